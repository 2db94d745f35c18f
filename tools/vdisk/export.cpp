// SPDX-License-Identifier: Apache-2.0
#include "vdisk/commands.hpp"

#include "base/text.hpp"
#include "common/inputs.hpp"
#include "common/output.hpp"
#include "vdisk/continued_output.hpp"
#include "vdisk/copy.hpp"
#include "vdisk/hashes.hpp"

namespace vdisk::tools {
namespace {

struct Export {
    ImageArgument image;
    std::string output;
    bool overwrite = false;
    bool vm_state = false;
    bool continued = false;
    std::vector<std::string> algorithms{};
    Printing printing{};

    int operator()() const {
        const auto options = image.options();
        if (options.has_error()) return report(options.error());
        const auto file = image.open_file(options.value());
        if (file.has_error()) return report(file.error());
        const auto source = wiped(open_source(file.value(), options.value()));
        if (source.has_error()) return report(source.error());
        find_inputs(file.value(), options.value());
        ProgressBar::wipe();
        return write(source.value());
    }

private:
    // A disk, or a part of what was saved with one.
    struct Source {
        OpenedDisk disk{}; ///< without an image where it is no disk
        OpenedState bytes{};
        Disk described{}; ///< which disk of its file it is
    };

    Result<Source> open_source(const OpenedFile& file, const OpenOptions& options) const {
        if (vm_state) {
            VDISK_TRY(state, open_saved_state(file));
            VDISK_TRY(index, select_disk(file));
            return Source{.bytes = std::move(state), .described = file.disks->disks()[index]};
        }
        VDISK_TRY(disk, vdisk::open_disk(file, options));
        tell_remarks(disk.remarks());
        const OpenedState bytes{.image = disk.image, .start = GuestOffset{0}, .size = disk.image->size()};
        Disk described = file.disks->disks()[disk.index];
        return Source{.disk = std::move(disk), .bytes = bytes, .described = std::move(described)};
    }

    static Result<Distrust> look_at(const Source& source, std::span<const LostRange> lost) {
        if (!source.disk.image) return Distrust();
        return distrusted(source.disk, lost);
    }

    // What an earlier run wrote is hashed as it stands there.
    static Result<void> hash_what_is_there(const Output& out, const HashSinks& hashes) {
        VDISK_TRY(written, FileSource::open(out.kept_path(), FileKinds::regular_only));
        return copy_file(*written, sinks_of(hashes), "hashing what is there");
    }

    // Returns what can't be read, by this run or an earlier one.
    Result<std::vector<LostRange>> copy(const Source& from, Output& out, const HashSinks& hashes) const {
        const Image& bytes = *from.bytes.image;
        const std::uint64_t start = from.bytes.start.value;
        std::vector<Sink*> sinks = sinks_of(hashes);
        if (!continued) {
            sinks.push_back(&out);
            VDISK_TRY(lost, copy_disk(bytes, start, sinks, "exporting"));
            VDISK_CHECK(out.finish(bytes.size() - start));
            return std::move(lost);
        }
        const ExportSource source{bytes, start, what_is_exported(from.described, vm_state, bytes.size() - start)};
        VDISK_TRY(kept, ContinuedOutput::take_up(out, source));
        if (kept->done() > 0) {
            fmt::print(stderr, "vdisk: {}: goes on at byte {}\n", printable(output), kept->done());
            if (!hashes.empty()) VDISK_CHECK(hash_what_is_there(out, hashes));
        }
        std::vector<LostRange> lost = kept->lost();
        sinks.push_back(kept.get());
        VDISK_TRY(more, copy_disk(bytes, start + kept->done(), sinks, "exporting"));
        lost.insert(lost.end(), more.begin(), more.end());
        VDISK_CHECK(out.finish(bytes.size() - start));
        kept->remove_state();
        return lost;
    }

    Result<Facts> describe(std::uint64_t size, const HashSinks& hashes, std::span<const LostRange> lost,
                           const Distrust& distrust) const {
        Facts facts{{"image", printable(image.path)}, {"output", printable(output)}, {"size", size}};
        VDISK_TRY(digests, finish(hashes));
        for (const auto& [algorithm, digest] : digests) facts["hashes"][algorithm] = digest;
        if (!lost.empty()) facts["lost"] = describe_lost(lost);
        if (!distrust.ranges.empty()) facts["distrusted"] = describe_distrusted(distrust);
        return facts;
    }

    int write(const Source& from) const {
        const Image& source = *from.bytes.image;
        const std::uint64_t start = from.bytes.start.value;
        const auto hashes = make_hashes(algorithms);
        if (hashes.has_error()) return report(hashes.error());
        const auto out =
            Output::open({.path = output, .overwrite = overwrite, .size = source.size() - start, .kept = continued});
        if (out.has_error()) return report(out.error());
        if (printing.json && out.value()->is_standard_output())
            return report(fail(ErrorKind::usage, "OUT can't be standard output: the JSON goes there"));
        warn_of_writers();
        const auto lost = copy(from, *out.value(), hashes.value());
        if (lost.has_error()) return report(lost.error());
        warn_of_lost(lost.value(), "are zeros in the output");
        const auto distrust = look_at(from, lost.value());
        if (distrust.has_error()) return report(distrust.error());
        warn_of_distrusted(distrust.value());
        const bool changed = warn_of_changes();
        std::FILE* const told = out.value()->is_standard_output() ? stderr : stdout;
        if (printing.json) {
            const auto facts = describe(source.size() - start, hashes.value(), lost.value(), distrust.value());
            if (facts.has_error()) return report(facts.error());
            printing.print_json(facts.value());
        } else if (auto printed = print_hashes(told, hashes.value(), output); printed.has_error())
            return report(printed.error());
        return lost.value().empty() && !changed ? kDone : kPartial;
    }
};

} // namespace

Action add_export(CommandLine& line) {
    auto action = std::make_shared<Export>();
    action->image.add_to(line);
    action->image.add_threads_to(line);
    line.operand("OUT", action->output, "the raw file to write, '-' for standard output");
    line.flag("--vm-state", action->vm_state,
              "write the machine's RAM and devices that were saved with the selected snapshot");
    add_algorithms(line, "--hash", action->algorithms, "also print hashes of what is written");
    line.flag("--continue", action->continued,
              "keep what is written if this is interrupted, and go on there when the command is given again");
    line.flag("--force", action->overwrite, "overwrite OUT if it exists");
    action->printing.add_to(line);
    return [action] { return (*action)(); };
}

} // namespace vdisk::tools
