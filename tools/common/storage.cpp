// SPDX-License-Identifier: Apache-2.0
#include "common/storage.hpp"

#include <fmt/format.h>

#include <fstream>
#include <sys/stat.h>
#include <sys/sysmacros.h>

namespace fs = std::filesystem;

namespace vdisk::tools {
namespace {

class Collector {
public:
    // The block device `number` and what it lies on.
    void add_device(std::uint64_t number) {
        if (!found_.insert({.block_device = true, .number = number}).second) return;
        const fs::path folder = fmt::format("/sys/dev/block/{}:{}", major(number), minor(number));
        std::error_code error;
        if (fs::exists(folder / "partition", error)) add_device_named_in(fs::canonical(folder, error).parent_path());
        for (fs::directory_iterator slave(folder / "slaves", error), end; !error && slave != end;
             slave.increment(error))
            add_device_named_in(slave->path());
        add_file_behind_loop(folder / "loop" / "backing_file");
    }

    [[nodiscard]] std::set<Storage> found() && { return std::move(found_); }

private:
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
        if (found_.insert({.device = status.st_dev, .number = status.st_ino}).second) add_device(status.st_dev);
    }

    std::set<Storage> found_;
};

} // namespace

std::optional<Storage> storage_of(const InputFile& file) {
    if (!file.identity) return std::nullopt;
    return Storage{.block_device = file.block_device, .device = file.identity->device, .number = file.identity->inode};
}

std::set<Storage> storage_below(const InputFile& file) {
    Collector collector;
    collector.add_device(file.block_device ? file.identity->inode
                         : file.identity   ? file.identity->device
                                           : file.folder.device);
    auto below = std::move(collector).found();
    if (const auto own = storage_of(file)) below.erase(*own);
    return below;
}

} // namespace vdisk::tools
