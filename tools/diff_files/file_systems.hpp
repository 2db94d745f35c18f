// SPDX-License-Identifier: Apache-2.0
/// The file systems on a disk and the files in them, as libtsk finds them.
#pragma once

#include "common/progress_bar.hpp"
#include "diff_files/tsk_disk.hpp"

#include <compare>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace vdisk::diff_files {

/// Seconds since 1970 and nanoseconds; zeros where the file system has no such time.
struct FileTime {
    std::int64_t seconds = 0;
    std::uint32_t nanoseconds = 0;
    friend auto operator<=>(const FileTime&, const FileTime&) = default;
};

/// A file, folder or named stream that is there: its name and its metadata are allocated.
struct FileRecord {
    std::uint64_t inode = 0;
    std::uint32_t sequence = 0;    ///< of NTFS: how often the record was used
    std::uint64_t first_block = 0; ///< of FAT, whose numbers change with the name; 0: none
    TSK_FS_META_TYPE_ENUM type{};
    TSK_FS_ATTR_TYPE_ENUM attribute = TSK_FS_ATTR_TYPE_NOT_FOUND; ///< that has the content; not found: the usual one
    std::uint16_t attribute_id = 0;
    std::uint32_t mode = 0, owner = 0, group = 0;
    std::int64_t size = 0;
    FileTime accessed{}, modified{}, changed{}, created{};

    [[nodiscard]] bool is_stream() const noexcept { return attribute != TSK_FS_ATTR_TYPE_NOT_FOUND; }
    /// Mode as `ls -l` has it: "r/rrwxr-xr-x".
    [[nodiscard]] std::string mode_text() const;
};

/// By its path from '/', as stored; of a stream with ":NAME" behind it.
using Files = std::map<std::string, FileRecord>;

/// One file system of a disk, with all of its files in memory.
class FileSystem {
public:
    /// Takes over `opened`. Reads all folders.
    FileSystem(TskDisk& disk, TSK_FS_INFO* opened);
    ~FileSystem();
    FileSystem(const FileSystem&) = delete;
    FileSystem& operator=(const FileSystem&) = delete;

    [[nodiscard]] TSK_FS_INFO& info() const noexcept { return *info_; }
    [[nodiscard]] TskDisk& disk() const noexcept { return disk_; }
    [[nodiscard]] std::uint64_t offset() const noexcept { return static_cast<std::uint64_t>(info_->offset); }
    [[nodiscard]] std::uint64_t end() const noexcept;
    [[nodiscard]] std::string type() const;
    [[nodiscard]] const Files& files() const noexcept { return files_; }
    /// What could not be listed; empty if nothing.
    [[nodiscard]] const std::string& problem() const noexcept { return problem_; }

private:
    static TSK_WALK_RET_ENUM take(TSK_FS_FILE* file, const char* folder, void* self);
    void add(TSK_FS_FILE& file, const std::string& path);
    void add_streams(TSK_FS_FILE& file, const std::string& path, const FileRecord& record);

    TskDisk& disk_;
    TSK_FS_INFO* info_;
    Files files_;
    tools::ProgressBar* bar_ = nullptr; ///< while they are read
    std::string problem_;
};

/// What is found on a disk: in its partitions, or on the whole of it where there are none. By their offsets.
[[nodiscard]] std::vector<std::unique_ptr<FileSystem>> find_file_systems(TskDisk& disk);

} // namespace vdisk::diff_files
