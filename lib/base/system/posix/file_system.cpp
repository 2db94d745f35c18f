// SPDX-License-Identifier: Apache-2.0
// File systems, and what they lie on.
#include "base/system/file.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <fstream>
#include <linux/magic.h>
#include <set>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>

namespace fs = std::filesystem;

namespace vdisk {
namespace {

// These four are not in linux/magic.h.
constexpr std::uint64_t kCeph = 0x00c36400;
constexpr std::uint64_t kJfs = 0x3153464a;
constexpr std::uint64_t kZfs = 0x2fc12fc1;
constexpr std::uint64_t kBcachefs = 0xca451a4e;

} // namespace

std::uint64_t lasting_file_system(std::uint64_t type, std::uint64_t device) noexcept {
    return type == NFS_SUPER_MAGIC || type == kCeph ? type : device;
}

ChangeTimes change_times_of(std::uint64_t type) noexcept {
    // Not overlayfs and squashfs: what lies below one may be anything, and the other has no times of change.
    constexpr std::array kSure{std::uint64_t{EXT4_SUPER_MAGIC},
                               std::uint64_t{XFS_SUPER_MAGIC},
                               std::uint64_t{BTRFS_SUPER_MAGIC},
                               std::uint64_t{F2FS_SUPER_MAGIC},
                               std::uint64_t{TMPFS_MAGIC},
                               std::uint64_t{NFS_SUPER_MAGIC},
                               kCeph,
                               kJfs,
                               kZfs,
                               kBcachefs};
    return std::ranges::find(kSure, type) != kSure.end() ? ChangeTimes::sure : ChangeTimes::doubtful;
}

namespace system {
namespace {

class StorageWalk {
public:
    explicit StorageWalk(const std::function<void(const Storage&)>& each) : each_(each) {}

    // The block device `number` and what it lies on.
    void add_device(std::uint64_t number) {
        if (!add({.block_device = true, .number = number})) return;
        const fs::path folder = fmt::format("/sys/dev/block/{}:{}", major(number), minor(number));
        std::error_code error;
        if (fs::exists(folder / "partition", error)) add_device_named_in(fs::canonical(folder, error).parent_path());
        for (fs::directory_iterator slave(folder / "slaves", error), end; !error && slave != end;
             slave.increment(error))
            add_device_named_in(slave->path());
        add_file_behind_loop(folder / "loop" / "backing_file");
    }

private:
    bool add(const Storage& storage) {
        if (!found_.insert(storage).second) return false;
        each_(storage);
        return true;
    }

    void add_device_named_in(const fs::path& folder) {
        std::ifstream text(folder / "dev");
        unsigned major_number = 0;
        unsigned minor_number = 0;
        char colon = 0;
        if (text >> major_number >> colon >> minor_number) add_device(makedev(major_number, minor_number));
    }

    void add_file_behind_loop(const fs::path& name_file) {
        std::ifstream text(name_file);
        std::string path;
        struct stat status {};
        if (!std::getline(text, path) || ::stat(path.c_str(), &status) != 0) return;
        if (S_ISBLK(status.st_mode)) return add_device(status.st_rdev);
        if (add({.device = status.st_dev, .number = status.st_ino})) add_device(status.st_dev);
    }

    const std::function<void(const Storage&)>& each_;
    std::set<Storage> found_;
};

} // namespace

std::uint64_t file_system_of(int file, std::uint64_t device) noexcept {
    struct statfs status {};
    if (::fstatfs(file, &status) != 0) return device;
    return lasting_file_system(static_cast<std::uint64_t>(status.f_type), device);
}

ChangeTimes change_times(int file) noexcept {
    struct statfs status {};
    if (::fstatfs(file, &status) != 0) return ChangeTimes::doubtful;
    return change_times_of(static_cast<std::uint64_t>(status.f_type));
}

// A file system's device number is its block device's.
void for_each_below(std::uint64_t number, bool /*of_file_system*/, const std::function<void(const Storage&)>& each) {
    StorageWalk(each).add_device(number);
}

} // namespace system
} // namespace vdisk
