// SPDX-License-Identifier: Apache-2.0
#include "base/system/file.hpp"

#include <fmt/format.h>

#include <cerrno>
#include <cstdio>
#include <dirent.h>
#include <fcntl.h>
#include <memory>
#include <poll.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <system_error>
#include <unistd.h>

namespace vdisk {

int Descriptor::reset() noexcept {
    return number_ < 0 ? 0 : ::close(release());
}

namespace system {
namespace {

using Kind = FileStatus::Kind;

constexpr int kFolderFlags = O_PATH | O_DIRECTORY | O_CLOEXEC;
// O_NONBLOCK: opening a FIFO for reading would otherwise wait for a writer. It changes nothing for regular files.
constexpr int kReadFlags = O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK;
constexpr mode_t kWritableByOthers = S_IWGRP | S_IWOTH;
constexpr mode_t kPermissions = 0777;

std::int64_t nanoseconds(const timespec& time) {
    return static_cast<std::int64_t>(time.tv_sec) * 1'000'000'000 + time.tv_nsec;
}

Kind kind_of(mode_t mode) {
    if (S_ISREG(mode)) return Kind::regular;
    if (S_ISDIR(mode)) return Kind::folder;
    if (S_ISBLK(mode)) return Kind::block_device;
    if (S_ISCHR(mode)) return Kind::character_device;
    if (S_ISFIFO(mode)) return Kind::fifo;
    if (S_ISSOCK(mode)) return Kind::socket;
    return S_ISLNK(mode) ? Kind::link : Kind::other;
}

FileStatus status_from(const struct stat& from) {
    FileStatus status{.kind = kind_of(from.st_mode), .identity = {from.st_dev, from.st_ino}};
    if (status.is_block_device()) status.identity = {0, from.st_rdev};
    status.size = status.is_regular() ? static_cast<std::uint64_t>(from.st_size) : 0;
    status.links = from.st_nlink;
    status.modified = nanoseconds(from.st_mtim);
    status.changed = nanoseconds(from.st_ctim);
    status.permissions = from.st_mode & kPermissions;
    status.of_this_user = from.st_uid == ::geteuid();
    status.of_this_user_alone = status.of_this_user && (from.st_mode & kWritableByOthers) == 0;
    return status;
}

// The time of access belongs to the evidence; but only a file's owner and root may leave it alone.
Descriptor open_untouched(int folder, const char* name, int flags) noexcept {
    Descriptor descriptor(::openat(folder, name, flags | O_NOATIME));
    if (!descriptor.is_open() && errno == EPERM) descriptor = Descriptor(::openat(folder, name, flags));
    return descriptor;
}

} // namespace

std::string reason(int error) {
    return std::generic_category().message(error);
}

std::string reason() {
    return reason(errno);
}

bool is_missing() noexcept {
    return errno == ENOENT;
}

bool is_occupied() noexcept {
    return errno == EEXIST;
}

bool is_no_matter() noexcept {
    return errno == EINVAL || errno == EROFS;
}

std::string_view kind_name(FileStatus::Kind kind) noexcept {
    switch (kind) {
    case Kind::regular: return "a regular file";
    case Kind::folder: return "a directory";
    case Kind::block_device: return "a block device";
    case Kind::character_device: return "a character device";
    case Kind::fifo: return "a FIFO";
    case Kind::socket: return "a socket";
    case Kind::link:
    case Kind::other: return "no regular file";
    }
    return "no regular file";
}

std::optional<FileStatus> status_of(const std::filesystem::path& path) noexcept {
    struct stat status {};
    if (::stat(path.c_str(), &status) != 0) return std::nullopt;
    return status_from(status);
}

std::optional<FileStatus> status_of(int descriptor) noexcept {
    struct stat status {};
    if (::fstat(descriptor, &status) != 0) return std::nullopt;
    return status_from(status);
}

std::optional<FileStatus> status_in(int folder, const std::string& name) noexcept {
    struct stat status {};
    if (::fstatat(folder, name.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0) return std::nullopt;
    return status_from(status);
}

bool is_component(std::string_view name) noexcept {
    return !name.empty() && name != "." && name != ".." && name.find('/') == std::string_view::npos &&
           name.find('\0') == std::string_view::npos;
}

std::filesystem::path path_of(int descriptor) {
    return fmt::format("/proc/self/fd/{}", descriptor);
}

Descriptor open_to_read(const std::filesystem::path& path) noexcept {
    return open_untouched(AT_FDCWD, path.c_str(), kReadFlags);
}

Descriptor open_folder(const std::filesystem::path& path, bool listed) noexcept {
    return Descriptor(::open(path.c_str(), listed ? O_RDONLY | O_DIRECTORY | O_CLOEXEC : kFolderFlags));
}

Descriptor open_folder_in(int folder, const std::string& name) noexcept {
    return Descriptor(::openat(folder, name.c_str(), kFolderFlags | O_NOFOLLOW));
}

Descriptor open_in(int folder, const std::string& name) noexcept {
    return open_untouched(folder, name.c_str(), kReadFlags | O_NOFOLLOW);
}

Descriptor make_in(int folder, const std::string& name, bool own) noexcept {
    return Descriptor(
        ::openat(folder, name.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, own ? 0600 : 0666));
}

Descriptor take_up_in(int folder, const std::string& name) noexcept {
    constexpr int kFlags = O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY;
    Descriptor file(::openat(folder, name.c_str(), kFlags, 0666));
    if (file.is_open() && ::flock(file.get(), LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) return {};
    return file;
}

Descriptor open_to_write(const std::filesystem::path& path, bool alone) noexcept {
    return Descriptor(::open(path.c_str(), O_WRONLY | O_CLOEXEC | O_NOCTTY | (alone ? O_EXCL : 0)));
}

Descriptor make_temporary() noexcept {
    std::error_code error;
    const std::filesystem::path folder = std::filesystem::temp_directory_path(error);
    if (error) {
        errno = error.value();
        return {};
    }
    return Descriptor(::open(folder.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
}

bool list(int folder, const std::function<bool(std::string_view)>& each) {
    Descriptor again = open_untouched(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (!again.is_open()) return false;
    const std::unique_ptr<DIR, int (*)(DIR*)> listing(::fdopendir(again.get()), ::closedir);
    if (!listing) return false;
    (void)again.release(); // the listing's now
    for (;;) {
        errno = 0;
        const dirent* const entry = ::readdir(listing.get());
        if (entry == nullptr) return errno == 0;
        const std::string_view name(entry->d_name);
        if (name != "." && name != ".." && !each(name)) return true;
    }
}

bool make_own_folder(const std::filesystem::path& path) noexcept {
    return ::mkdir(path.c_str(), 0700) == 0;
}

bool rename_in(int folder, const std::string& from, const std::string& to) noexcept {
    return ::renameat(folder, from.c_str(), folder, to.c_str()) == 0;
}

bool rename_to_free_name(int folder, const std::string& from, const std::string& to, bool surely) noexcept {
    if (::renameat2(folder, from.c_str(), folder, to.c_str(), RENAME_NOREPLACE) == 0) return true;
    if (surely || (errno != EINVAL && errno != ENOSYS)) return false;
    if (::linkat(folder, from.c_str(), folder, to.c_str(), 0) == 0) return ::unlinkat(folder, from.c_str(), 0) == 0;
    if (errno == EEXIST || status_in(folder, to)) {
        errno = EEXIST;
        return false;
    }
    return rename_in(folder, from, to); // a file system without links
}

bool remove_in(int folder, const char* name) noexcept {
    return ::unlinkat(folder, name, 0) == 0;
}

bool may_write_in(int folder, const std::string& name) noexcept {
    return ::faccessat(folder, name.c_str(), W_OK, AT_EACCESS) == 0;
}

void flush_folder(int folder) noexcept {
    const Descriptor again(::openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (again.is_open()) ::fsync(again.get());
}

std::int64_t read_at(int file, void* out, std::size_t count, std::uint64_t offset) noexcept {
    ssize_t got = 0;
    do got = ::pread(file, out, count, static_cast<off_t>(offset));
    while (got < 0 && errno == EINTR);
    return got;
}

bool write_at(int file, const void* bytes, std::size_t count, std::uint64_t offset) noexcept {
    for (std::size_t done = 0; done < count;) {
        const ssize_t put = ::pwrite(file, static_cast<const std::byte*>(bytes) + done, count - done,
                                     static_cast<off_t>(offset + done));
        if (put < 0 && errno == EINTR) continue;
        if (put < 0) return false;
        done += static_cast<std::size_t>(put);
    }
    return true;
}

bool write(int file, const void* bytes, std::size_t count) noexcept {
    for (std::size_t done = 0; done < count;) {
        const ssize_t put = ::write(file, static_cast<const std::byte*>(bytes) + done, count - done);
        if (put < 0 && errno == EINTR) continue;
        if (put < 0) return false;
        done += static_cast<std::size_t>(put);
    }
    return true;
}

bool skip(int file, std::uint64_t length) noexcept {
    return ::lseek(file, static_cast<off_t>(length), SEEK_CUR) >= 0;
}

std::optional<std::uint64_t> size_of(int file) noexcept {
    const off_t end = ::lseek(file, 0, SEEK_END);
    if (end < 0 || ::lseek(file, 0, SEEK_SET) < 0) return std::nullopt;
    return static_cast<std::uint64_t>(end);
}

bool can_have(int file, std::uint64_t size) noexcept {
    return ::lseek(file, static_cast<off_t>(size), SEEK_SET) >= 0 && ::lseek(file, 0, SEEK_SET) >= 0;
}

bool set_size(int file, std::uint64_t size) noexcept {
    return ::ftruncate(file, static_cast<off_t>(size)) == 0;
}

bool flush(int file) noexcept {
    return ::fsync(file) == 0;
}

void set_permissions(int file, std::uint32_t permissions) noexcept {
    ::fchmod(file, permissions); // some file systems have no permissions
}

void touch(int file) noexcept {
    ::futimens(file, nullptr);
}

// The descriptor's position means nothing here: all reads say where.
Stored stored_at(int file, std::uint64_t offset, std::uint64_t size, bool regular) noexcept {
    const auto here = static_cast<off_t>(offset);
    const auto up_to = [&](off_t end) { return std::min(static_cast<std::uint64_t>(end), size) - offset; };
    off_t data = ::lseek(file, here, SEEK_DATA);
    // Nothing more is stored: a hole up to the end, which may have come closer since the file was opened.
    if (data < 0 && errno == ENXIO && regular) data = ::lseek(file, 0, SEEK_END);
    if (data < here) return {size - offset, false};
    if (data > here) return {up_to(data), true};
    const off_t hole = ::lseek(file, here, SEEK_HOLE);
    return {hole > here ? up_to(hole) : size - offset, false};
}

bool has_writer(int file) noexcept {
    // QEMU's block/file-posix.c holds a shared lock on byte 100 + N for each permission N that it uses. The question is
    // for an exclusive lock, because that is what a shared one is in the way of.
    constexpr off_t kFirst = 100;
    constexpr off_t kWrite = 1;
    constexpr off_t kResize = 3;
    for (const off_t permission : {kWrite, kResize}) {
        struct flock lock {};
        lock.l_type = F_WRLCK;
        lock.l_whence = SEEK_SET;
        lock.l_start = kFirst + permission;
        lock.l_len = 1;
        if (::fcntl(file, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK) return true;
    }
    return false;
}

int wait_to_read(int pipe, int milliseconds) noexcept {
    pollfd ready{.fd = pipe, .events = POLLIN, .revents = 0};
    int count = 0;
    do count = ::poll(&ready, 1, milliseconds);
    while (count < 0 && errno == EINTR);
    return count;
}

std::int64_t read_some(int pipe, void* out, std::size_t count) noexcept {
    const ssize_t got = ::read(pipe, out, count);
    return got < 0 && (errno == EINTR || errno == EAGAIN) ? kNothingYet : got;
}

} // namespace system
} // namespace vdisk
