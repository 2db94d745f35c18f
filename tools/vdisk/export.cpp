// SPDX-License-Identifier: Apache-2.0
#include "vdisk/commands.hpp"

#include "base/processors.hpp"
#include "base/text.hpp"
#include "common/inputs.hpp"
#include "common/output.hpp"
#include "io/file_source.hpp"
#include "vdisk/continued_output.hpp"
#include "vdisk/copy.hpp"
#include "vdisk/hash_list.hpp"
#include "vdisk/hashes.hpp"
#include "vdisk/qcow2_output.hpp"

namespace vdisk::tools {
namespace {

struct Export {
    ImageArgument image;
    std::string output;
    bool overwrite = false;
    bool vm_state = false;
    bool continued = false;
    std::string written_as = "raw";
    std::optional<std::string> compression{};
    std::vector<std::string> algorithms{};
    Printing printing{};

    int operator()() const {
        if (compression && !is_qcow2())
            return report(fail(ErrorKind::usage, "--compression is one of qcow2: say -O qcow2"));
        if (is_qcow2() && (vm_state || continued))
            return report(
                fail(ErrorKind::usage, "-O qcow2 and --{} exclude each other", vm_state ? "vm-state" : "continue"));
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
    bool is_qcow2() const { return written_as == "qcow2"; }

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

    // Hashes are of the disk's bytes, which are those of the file only where it is raw.
    std::string hashed_name() const { return is_qcow2() ? label_of({"", true, output, ""}) : output; }

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
        if (is_qcow2()) return copy_as_qcow2(*from.bytes.image, out, hashes);
        if (continued) return go_on(from, out, hashes);
        const Image& bytes = *from.bytes.image;
        const std::uint64_t start = from.bytes.start.value;
        std::vector<Sink*> sinks = sinks_of(hashes);
        sinks.push_back(&out);
        VDISK_TRY(lost, copy_disk(bytes, start, sinks, "exporting"));
        VDISK_CHECK(out.finish(bytes.size() - start));
        return std::move(lost);
    }

    Result<std::vector<LostRange>> copy_as_qcow2(const Image& disk, Output& out, const HashSinks& hashes) const {
        VDISK_TRY(options, image.options());
        Qcow2Output qcow2(out, disk.size(), compression == "zstd" ? Codec::zstd : Codec::deflate,
                          threads_of(options.limits));
        std::vector<Sink*> sinks = sinks_of(hashes);
        sinks.push_back(&qcow2);
        VDISK_TRY(lost, copy_disk(disk, 0, sinks, "exporting"));
        VDISK_CHECK(qcow2.finish());
        return std::move(lost);
    }

    Result<std::vector<LostRange>> go_on(const Source& from, Output& out, const HashSinks& hashes) const {
        const Image& bytes = *from.bytes.image;
        const std::uint64_t start = from.bytes.start.value;
        const ExportSource source{bytes, start, what_is_exported(from.described, vm_state, bytes.size() - start)};
        VDISK_TRY(kept, ContinuedOutput::take_up(out, source));
        if (kept->done() > 0) {
            fmt::print(stderr, "vdisk: {}: goes on at byte {}\n", printable(output), kept->done());
            if (!hashes.empty()) VDISK_CHECK(hash_what_is_there(out, hashes));
        }
        std::vector<Sink*> sinks = sinks_of(hashes);
        sinks.push_back(kept.get());
        VDISK_CHECK(copy_disk(bytes, start + kept->done(), sinks, "exporting"));
        VDISK_CHECK(out.finish(bytes.size() - start));
        kept->remove_state();
        return kept->lost();
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
        if (is_qcow2() && source.size() > Qcow2Output::kMostSize)
            return report(fail(ErrorKind::limit_exceeded,
                               "{}: the disk has {} bytes, and a qcow2 image here at most {}", printable(image.path),
                               source.size(), Qcow2Output::kMostSize));
        const auto out = Output::open({.path = output,
                                       .overwrite = overwrite,
                                       .size = is_qcow2() ? 0 : source.size() - start,
                                       .out_of_order = is_qcow2(),
                                       .kept = continued});
        if (out.has_error()) return report(out.error());
        if (printing.json && out.value()->is_standard_output())
            return report(fail(ErrorKind::usage, "OUT can't be standard output: the JSON goes there"));
        warn_of_writers();
        const auto lost = copy(from, *out.value(), hashes.value());
        if (lost.has_error()) return report(lost.error());
        warn_of_lost(lost.value(), "are zeros in the output");
        if (is_qcow2() && Qcow2Output::size_for(source.size()) != source.size())
            warn(fmt::format("{}: has {} bytes of zeros behind the disk's {}, as QEMU counts whole sectors",
                             printable(output), Qcow2Output::size_for(source.size()) - source.size(), source.size()));
        const auto distrust = look_at(from, lost.value());
        if (distrust.has_error()) return report(distrust.error());
        warn_of_distrusted(distrust.value());
        const bool changed = warn_of_changes();
        std::FILE* const told = out.value()->is_standard_output() ? stderr : stdout;
        if (printing.json) {
            const auto facts = describe(source.size() - start, hashes.value(), lost.value(), distrust.value());
            if (facts.has_error()) return report(facts.error());
            printing.print_json(facts.value());
        } else if (auto printed = print_hashes(told, hashes.value(), hashed_name()); printed.has_error())
            return report(printed.error());
        return lost.value().empty() && !changed ? kDone : kPartial;
    }
};

} // namespace

Action add_export(CommandLine& line) {
    auto action = std::make_shared<Export>();
    action->image.add_to(line);
    action->image.add_threads_to(line);
    line.operand("OUT", action->output, "the file to write; '-' for standard output, if it is raw");
    line.writes(action->output);
    line.option("-O,--output-format", "FORMAT", action->written_as, "what OUT is, raw if not given")
        .one_of({"raw", "qcow2"});
    line.option("--compression", "METHOD", action->compression,
                "of a qcow2, zlib if not given; QEMU reads zstd from 5.1 on")
        .one_of({"zlib", "zstd"});
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
