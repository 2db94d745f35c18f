// SPDX-License-Identifier: Apache-2.0
/// Disks as files of a file system, by libfuse.
#pragma once

#include "vdisk/mount/disk_names.hpp"
#include "vdisk/mount/open_disks.hpp"

#include <filesystem>
#include <map>

struct fuse;

namespace vdisk::tools {

/// The folders and files that are shown: the root, and one folder deep. Immutable.
class ShownFiles {
public:
    explicit ShownFiles(std::vector<ShownDisk> disks);
    ShownFiles(const ShownFiles&) = delete;
    ShownFiles& operator=(const ShownFiles&) = delete;

    /// By a path that begins with '/'. The file, or nullptr; the names in the folder, or nullptr.
    [[nodiscard]] const ShownDisk* file(const std::string& path) const;
    [[nodiscard]] const std::vector<std::string>* folder(const std::string& path) const;

    /// The latest time of a file.
    [[nodiscard]] timespec newest() const noexcept { return newest_; }

private:
    std::vector<ShownDisk> disks_;
    std::map<std::string, const ShownDisk*> files_;
    std::map<std::string, std::vector<std::string>> folders_;
    timespec newest_{};
};

/// How to mount.
struct MountRequest {
    std::filesystem::path point;        ///< an absolute path
    std::string shown_as;               ///< the image, in the list of mounts
    std::vector<std::string> options{}; ///< of libfuse: "allow_other", "kernel_cache"
};

/// The file system, mounted as long as this object lives. Files are read by as many threads as ask; what can't be read
/// is EIO for the read, which has no bytes then. With the option kernel_cache the kernel keeps pages, and what can't be
/// read is EIO for its pages, until the file is opened again. Nothing can be written: EROFS.
class FileSystem {
public:
    /// From here on SIGHUP, SIGINT and SIGTERM end serve(). Errors: `io`.
    static Result<std::unique_ptr<FileSystem>> mount(OpenDisks& disks, std::vector<ShownDisk> shown,
                                                     const MountRequest& request);
    ~FileSystem();
    FileSystem(const FileSystem&) = delete;
    FileSystem& operator=(const FileSystem&) = delete;

    /// Answers until somebody unmounts it, or one of those signals comes. Errors: `io`.
    Result<void> serve();

    [[nodiscard]] OpenDisks& disks() noexcept { return disks_; }
    [[nodiscard]] const ShownFiles& files() const noexcept { return files_; }

private:
    FileSystem(OpenDisks& disks, std::vector<ShownDisk> shown) : disks_(disks), files_(std::move(shown)) {}
    Result<void> mount_at(const MountRequest& request);

    OpenDisks& disks_;
    ShownFiles files_;
    fuse* fuse_ = nullptr;
    bool handles_signals_ = false, mounted_ = false;
};

} // namespace vdisk::tools
