// SPDX-License-Identifier: Apache-2.0
#include "vdisk/commands.hpp"

#include "base/text.hpp"
#include "common/output.hpp"
#include "common/progress_bar.hpp"

#include <algorithm>

namespace vdisk::tools {
namespace {

constexpr std::uint64_t kPiece = 1U << 20;
constexpr std::uint64_t kSector = 512;

struct LostRange {
    std::uint64_t offset;
    std::uint64_t length;
    std::string why;
};

// Copies an image from `start` to its end.
class Exporter {
public:
    Exporter(const Image& image, std::uint64_t start, Output& output) : image_(image), start_(start), output_(output) {}

    Result<void> run() {
        ProgressBar bar("exporting");
        for (std::uint64_t at = start_; at < image_.size();) {
            VDISK_TRY(length, copy_extent(at));
            at += length;
            bar.update(at - start_, image_.size() - start_);
        }
        return output_.finish(image_.size() - start_);
    }

    const std::vector<LostRange>& lost() const { return lost_; }

private:
    Result<std::uint64_t> copy_extent(std::uint64_t at) {
        auto found = image_.resolve(GuestOffset{at}, image_.size() - at);
        if (found.has_error()) {
            const std::uint64_t length = std::min(kSector, image_.size() - at);
            VDISK_CHECK(lose(at, length, found.error().what));
            return length;
        }
        const Extent& extent = found.value().extent;
        if (extent.kind == Extent::Kind::zero) {
            VDISK_CHECK(output_.skip(extent.length));
            return extent.length;
        }
        if (extent.kind == Extent::Kind::unreadable) {
            VDISK_CHECK(lose(at, extent.length, extent.why->what));
            return extent.length;
        }
        const std::uint64_t length = std::min(extent.length, kPiece);
        VDISK_CHECK(copy(at, length));
        return length;
    }

    // Reads a piece; if that fails, halves it until what can't be read is one sector: each byte that can be read is kept.
    Result<void> copy(std::uint64_t at, std::uint64_t length) {
        buffer_.resize(static_cast<std::size_t>(length));
        const auto read = image_.read_at(at, buffer_);
        if (read.has_value()) return output_.write(buffer_);
        if (length <= kSector) return lose(at, length, read.error().what);
        const std::uint64_t half = std::max(kSector, align_down(length / 2, kSector));
        VDISK_CHECK(copy(at, half));
        return copy(at + half, length - half);
    }

    Result<void> lose(std::uint64_t at, std::uint64_t length, const std::string& why) {
        if (!lost_.empty() && lost_.back().offset + lost_.back().length == at) lost_.back().length += length;
        else lost_.push_back({at, length, why});
        return output_.skip(length);
    }

    const Image& image_;
    std::uint64_t start_;
    Output& output_;
    std::vector<std::byte> buffer_;
    std::vector<LostRange> lost_;
};

struct Export {
    ImageArgument image;
    std::string output;
    bool overwrite = false;
    bool vm_state = false;

    int operator()() const {
        return vm_state ? export_saved_state() : export_disk();
    }

private:
    int export_disk() const {
        const auto disk = image.open_disk();
        return disk.has_error() ? report(disk.error()) : write(*disk.value().image, 0);
    }

    int export_saved_state() const {
        const auto file = image.open_file();
        if (file.has_error()) return report(file.error());
        const auto state = open_saved_state(file.value());
        return state.has_error() ? report(state.error()) : write(*state.value().image, state.value().start.value);
    }

    int write(const Image& source, std::uint64_t start) const {
        auto out = Output::open(output, overwrite);
        if (out.has_error()) return report(out.error());
        Exporter exporter(source, start, *out.value());
        if (auto done = exporter.run(); done.has_error()) return report(std::move(done).error().in(printable(output)));
        for (const LostRange& lost : exporter.lost())
            warn(fmt::format("disk offset {}, {} bytes can't be read and are zeros in the output: {}", lost.offset, lost.length, lost.why));
        return exporter.lost().empty() ? kDone : kPartial;
    }
};

} // namespace

Action add_export(CLI::App& command) {
    auto action = std::make_shared<Export>();
    action->image.add_to(command);
    command.add_option("OUT", action->output, "the raw file to write, '-' for standard output")->required();
    command.add_flag("--vm-state", action->vm_state, "write the machine's RAM and devices that were saved with the selected snapshot");
    command.add_flag("--force", action->overwrite, "overwrite OUT if it exists");
    return [action] { return (*action)(); };
}

} // namespace vdisk::tools
