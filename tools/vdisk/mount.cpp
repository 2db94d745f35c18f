// SPDX-License-Identifier: Apache-2.0
#include "vdisk/commands.hpp"

#include "base/text.hpp"
#include "common/inputs.hpp"
#include "vdisk/mount/file_system.hpp"
#include "vdisk/mount/mount_point.hpp"

#include <algorithm>
#include <atomic>
#include <limits>
#include <sys/stat.h>

namespace vdisk::tools {
namespace {

constexpr std::size_t kMostOpen = 8;

struct Mount {
    ImageArgument image;
    std::string folder;
    std::vector<std::string> options{};
    bool foreground = false;

    int operator()() const {
        Background background;
        if (!foreground) {
            const auto status = background.start();
            if (status.has_error()) return report(status.error());
            if (status.value()) return *status.value();
        }
        const auto done = serve(background);
        return done.has_error() ? report(done.error()) : done.value();
    }

private:
    Result<int> serve(Background& background) const {
        VDISK_TRY(point, find_mount_point(folder));
        VDISK_TRY(opening, image.options());
        const auto bar_shown = std::make_shared<std::atomic<bool>>(true);
        opening.progress = [bar = opening.progress, bar_shown](std::uint64_t done, std::uint64_t total) {
            return !*bar_shown || bar(done, total);
        };
        VDISK_TRY(file, image.open_file(opening));
        find_inputs(file, opening);
        ProgressBar::wipe();
        VDISK_CHECK(check_no_input_folder(point));
        VDISK_TRY(which, choose(file));
        std::vector<ShownDisk> shown = shown_disks(*file.disks, which, last_change(file));
        const MountRequest request{.point = std::move(point), .shown_as = image.path, .options = options};

        OpenDisks disks(std::move(file), std::move(opening), kMostOpen);
        if (!wiped(open_one(disks, which))) return kFailed;
        *bar_shown = false; // from here on threads open disks
        warn_of_writers();
        VDISK_TRY(mounted, FileSystem::mount(disks, std::move(shown), request));
        background.ready(settled(kDone));
        VDISK_CHECK(mounted->serve());
        mounted.reset();
        return warn_of_changes() ? kPartial : kDone;
    }

    // The disk that is selected; else all that a file can be as long as.
    static Result<std::vector<std::size_t>> choose(const OpenedFile& file) {
        if (selects_disk(file.context.selector)) {
            VDISK_TRY(index, select_disk(file));
            return std::vector{index};
        }
        constexpr std::uint64_t kLongest = std::numeric_limits<off_t>::max();
        std::vector<std::size_t> chosen;
        const std::vector<Disk>& disks = file.disks->disks();
        for (std::size_t i = 0; i < disks.size(); ++i) {
            if (disks[i].size <= kLongest) chosen.push_back(i);
            else
                warn(fmt::format("{}: disk '{}' of {} bytes is larger than a file can be, and is left out",
                                 file.source->name(), shown_name(selecting_name(*file.disks, disks[i])),
                                 disks[i].size));
        }
        if (chosen.empty()) return fail(ErrorKind::usage, "{}: holds no disks", file.source->name());
        return chosen;
    }

    // What is wrong with an image, a passphrase that is missing or a parent, is told where it was typed. Of several
    // disks one that opens will do; what is wrong with the others is told when they are opened.
    static bool open_one(OpenDisks& disks, const std::vector<std::size_t>& which) {
        const std::size_t first = default_disk(disks.file(), which);
        const auto opens = [&](std::size_t index) { return disks.open(index).has_value(); };
        return opens(first) || std::ranges::any_of(which, [&](std::size_t i) { return i != first && opens(i); });
    }

    static std::size_t default_disk(const OpenedFile& file, const std::vector<std::size_t>& which) {
        const auto selected = select_disk(file);
        const bool shown = selected.has_value() && std::ranges::find(which, selected.value()) != which.end();
        return shown ? selected.value() : which.front();
    }

    static timespec last_change(const OpenedFile& file) {
        struct stat status {};
        const bool known = ::stat(file.context.selector.path.c_str(), &status) == 0;
        return known ? status.st_mtim : timespec{};
    }
};

} // namespace

Action add_mount(CommandLine& line) {
    auto action = std::make_shared<Mount>();
    action->image.add_operand_to(line, "IMAGE");
    line.operand("FOLDER", action->folder, "where to show the disks in it, a folder that is empty");
    line.flag("-f,--foreground", action->foreground, "stay, and tell what can't be read; Ctrl-C unmounts");
    line.list("-o,--options", "OPTION", action->options, "options of the mount")
        .one_of({"allow_other", "allow_root", "auto_unmount", "kernel_cache"});
    line.changes_system();
    add_format(line, action->image.format, "--format");
    return [action] { return (*action)(); };
}

} // namespace vdisk::tools
