// SPDX-License-Identifier: Apache-2.0
/// Files and folders of the operating system, as thinly as they can be had on each. Functions that can fail say so by
/// what they return and leave the reason for reason(). Descriptors are small numbers, those of the standard streams 0
/// to
/// 2. All are thread-safe. Who reads evidence opens it by open_to_read() and open_in() alone.
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace vdisk {

/// What makes two paths the same file: of a block device, of which there may be several files, device 0 and its number.
struct FileIdentity {
    std::uint64_t device = 0;
    std::uint64_t inode = 0;
    friend auto operator<=>(const FileIdentity&, const FileIdentity&) = default;
};

/// What the time of a file's last change is worth as a proof that nothing has changed since.
enum class ChangeTimes : std::uint8_t {
    sure,    ///< the kernel or a file server sets it, and nobody can put it back
    doubtful ///< it is the time of modification under another name, or programs may set it: FAT, NTFS, SMB, FUSE
};

/// A number for the file system of type `type` (statfs(2)) on `device`, by which indexes of its files are found again.
/// That of the device where the kernel numbers the files; where a server does (NFS, Ceph), every client and every mount
/// has another device number, so it is the type's.
[[nodiscard]] std::uint64_t lasting_file_system(std::uint64_t type, std::uint64_t device) noexcept;

/// Of files on file systems of type `type` (statfs(2)); doubtful for those that are not known to be sure.
[[nodiscard]] ChangeTimes change_times_of(std::uint64_t type) noexcept;

/// An open file that somebody owns. Closes it. One thread.
class Descriptor {
public:
    Descriptor() = default;
    /// Takes over `number`; a negative one is none.
    explicit Descriptor(int number) noexcept : number_(number) {}
    ~Descriptor() { reset(); }
    Descriptor(Descriptor&& other) noexcept : number_(other.release()) {}
    Descriptor& operator=(Descriptor&& other) noexcept {
        reset();
        number_ = other.release();
        return *this;
    }

    [[nodiscard]] bool is_open() const noexcept { return number_ >= 0; }
    [[nodiscard]] int get() const noexcept { return number_; }
    /// The number, which is the caller's from now on.
    [[nodiscard]] int release() noexcept { return std::exchange(number_, -1); }

    /// Closes it now. Returns what close() does; 0 if there was nothing to close.
    int reset() noexcept;

private:
    int number_ = -1;
};

namespace system {

/// Why the last function of this thread that failed did so, in words.
[[nodiscard]] std::string reason();

/// The same of an error of errno.h: where nothing was asked of the system.
[[nodiscard]] std::string reason(int error);

/// Some reasons that make a difference.
[[nodiscard]] bool is_missing() noexcept;   ///< there is no such file
[[nodiscard]] bool is_occupied() noexcept;  ///< there is a file of that name
[[nodiscard]] bool is_no_matter() noexcept; ///< flushing means nothing there: a pipe, a medium that is read-only

/// What is known of a file without reading it.
struct FileStatus {
    enum class Kind : std::uint8_t { regular, folder, block_device, character_device, fifo, socket, link, other };
    Kind kind = Kind::other;
    FileIdentity identity{};
    std::uint64_t size = 0; ///< bytes, of a regular file
    std::uint64_t links = 0;
    std::int64_t modified = 0;     ///< nanoseconds since 1970
    std::int64_t changed = 0;      ///< of the content or of anything about the file, nanoseconds since 1970
    std::uint32_t permissions = 0; ///< as chmod() takes them
    bool of_this_user = false;     ///< belongs to the user that this process makes files as
    bool of_this_user_alone =
        false; ///< belongs to the user that this process makes files as, and no other may write to it

    [[nodiscard]] bool is_regular() const noexcept { return kind == Kind::regular; }
    [[nodiscard]] bool is_folder() const noexcept { return kind == Kind::folder; }
    [[nodiscard]] bool is_block_device() const noexcept { return kind == Kind::block_device; }
};

/// "a directory", "a FIFO"; "no regular file" of what has no name.
[[nodiscard]] std::string_view kind_name(FileStatus::Kind kind) noexcept;

/// Of what is at `path`, behind links; of what is open; of `name` itself in an open folder. Opens nothing. Nothing on
/// failure.
[[nodiscard]] std::optional<FileStatus> status_of(const std::filesystem::path& path) noexcept;
[[nodiscard]] std::optional<FileStatus> status_of(int descriptor) noexcept;
[[nodiscard]] std::optional<FileStatus> status_in(int folder, const std::string& name) noexcept;

/// Whether `name` is a name in a folder, and no path that leads elsewhere or nowhere.
[[nodiscard]] bool is_component(std::string_view name) noexcept;

/// A path that leads to an open file.
[[nodiscard]] std::filesystem::path path_of(int descriptor);

/// --- Opening. Nothing is inherited by programs that are started.

/// For reading: never waits, for a writer of a FIFO say, and leaves the time of access alone as far as it may.
[[nodiscard]] Descriptor open_to_read(const std::filesystem::path& path) noexcept;

/// A folder in which names are to be opened; with `listed`, for list() too.
[[nodiscard]] Descriptor open_folder(const std::filesystem::path& path, bool listed = false) noexcept;

/// The folder, or the file as open_to_read() does it, that has the name `name` in an open folder; no link.
[[nodiscard]] Descriptor open_folder_in(int folder, const std::string& name) noexcept;
[[nodiscard]] Descriptor open_in(int folder, const std::string& name) noexcept;

/// A new file in an open folder, for reading and writing. With `own`, for this user alone. Fails if there is one
/// (is_occupied()).
[[nodiscard]] Descriptor make_in(int folder, const std::string& name, bool own) noexcept;

/// The file `name` in an open folder, or a new one, for reading and writing by this process alone; no link. Fails where
/// another process has taken it up, as long as it has.
[[nodiscard]] Descriptor take_up_in(int folder, const std::string& name) noexcept;

/// A pipe or device at `path`, for writing; with `alone`, fails if it is in use.
[[nodiscard]] Descriptor open_to_write(const std::filesystem::path& path, bool alone) noexcept;

/// A file without a name in the folder for such, for reading and writing.
[[nodiscard]] Descriptor make_temporary() noexcept;

/// --- Folders.

/// Calls `each` with every name in an open folder but "." and "..", until it returns false. False on failure.
[[nodiscard]] bool list(int folder, const std::function<bool(std::string_view)>& each);

/// Makes a folder for this user alone. False on failure (is_occupied()).
[[nodiscard]] bool make_own_folder(const std::filesystem::path& path) noexcept;

/// Gives `from` in an open folder the name `to`, in the place of what may have it.
[[nodiscard]] bool rename_in(int folder, const std::string& from, const std::string& to) noexcept;

/// The same where nothing has that name. False if something has (is_occupied()), and, with `surely`, if a file system
/// can't tell; without, such a file system renames.
[[nodiscard]] bool rename_to_free_name(int folder, const std::string& from, const std::string& to,
                                       bool surely) noexcept;

/// Takes no lock and allocates nothing: a signal handler may call it.
bool remove_in(int folder, const char* name) noexcept;

/// Whether this user may write to `name` in an open folder.
[[nodiscard]] bool may_write_in(int folder, const std::string& name) noexcept;

/// Puts the names in an open folder on the disk, as far as that can be had.
void flush_folder(int folder) noexcept;

/// --- Open files.

/// At most `count` bytes at `offset`, as few as the system likes, 0 at the end; -1 on failure. A device is read in any
/// pieces.
[[nodiscard]] std::int64_t read_at(int file, void* out, std::size_t count, std::uint64_t offset) noexcept;
/// All bytes at `offset`. False on failure.
[[nodiscard]] bool write_at(int file, const void* bytes, std::size_t count, std::uint64_t offset) noexcept;
/// All bytes where the last write or skip ended. False on failure.
[[nodiscard]] bool write(int file, const void* bytes, std::size_t count) noexcept;
/// Goes on `length` bytes further. False on failure.
[[nodiscard]] bool skip(int file, std::uint64_t length) noexcept;

/// Bytes of a file or block device; nothing on failure.
[[nodiscard]] std::optional<std::uint64_t> size_of(int file) noexcept;
/// Whether so many bytes are less than a file can have there. Leaves the place of writing at the file's beginning.
[[nodiscard]] bool can_have(int file, std::uint64_t size) noexcept;
[[nodiscard]] bool set_size(int file, std::uint64_t size) noexcept;
[[nodiscard]] bool flush(int file) noexcept;
void set_permissions(int file, std::uint32_t permissions) noexcept;
/// Notes a file as used just now.
void touch(int file) noexcept;

/// Where the bytes at `offset` are stored: how many are alike from there, at most `size - offset`, and whether they are
/// a hole, which reads as zeros.
struct Stored {
    std::uint64_t length = 0;
    bool hole = false;
};
[[nodiscard]] Stored stored_at(int file, std::uint64_t offset, std::uint64_t size, bool regular) noexcept;

/// The lasting_file_system() and the change_times_of() the file system that an open file is on, which has `device`.
[[nodiscard]] std::uint64_t file_system_of(int file, std::uint64_t device) noexcept;
[[nodiscard]] ChangeTimes change_times(int file) noexcept;

/// Whether another program says that it writes to the file: on Linux by the lock with which QEMU marks its images, on
/// Windows by having it open so. Asks only, and takes no lock.
[[nodiscard]] bool has_writer(int file) noexcept;

/// --- Pipes.

/// Waits until there is something to read from an open FIFO, or nobody left to write. 1, or 0 after `milliseconds`, or
/// -1 on failure.
[[nodiscard]] int wait_to_read(int pipe, int milliseconds) noexcept;
/// Some bytes of an open FIFO; 0 where there are no more, kNothingYet, or -1 on failure.
constexpr std::int64_t kNothingYet = -2;
[[nodiscard]] std::int64_t read_some(int pipe, void* out, std::size_t count) noexcept;

/// --- What lies on what.

/// A file, or a block device by its number: so that writing to one thing is known to change another.
struct Storage {
    bool block_device = false;
    std::uint64_t device = 0; ///< of a file: the device number of its file system
    std::uint64_t number = 0; ///< the inode, or the block device's number
    friend auto operator<=>(const Storage&, const Storage&) = default;
};

/// Calls `each` with the block device `number` (with `of_file_system`: with the one of the file system that has this
/// device number) and all that it lies on, as far as the system tells: the disk of a partition, what a volume is mapped
/// to, the file behind a loop device, and what those lie on.
void for_each_below(std::uint64_t number, bool of_file_system, const std::function<void(const Storage&)>& each);

} // namespace system
} // namespace vdisk
