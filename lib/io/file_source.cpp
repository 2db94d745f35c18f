// SPDX-License-Identifier: Apache-2.0
#include "io/file_source.hpp"

#include "base/text.hpp"

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#include <limits>
#include <system_error>

namespace vdisk {
namespace {

std::string os_error(int code) {
    return std::generic_category().message(code);
}

std::string_view kind_name(mode_t mode) {
    if (S_ISDIR(mode)) return "a directory";
    if (S_ISFIFO(mode)) return "a FIFO";
    if (S_ISCHR(mode)) return "a character device";
    if (S_ISBLK(mode)) return "a block device";
    if (S_ISSOCK(mode)) return "a socket";
    return "no regular file";
}

bool allowed(mode_t mode, FileKinds kinds) {
    return S_ISREG(mode) || (S_ISBLK(mode) && kinds == FileKinds::regular_or_block_device);
}

std::int64_t nanoseconds(const timespec& time) {
    return static_cast<std::int64_t>(time.tv_sec) * 1'000'000'000 + time.tv_nsec;
}

} // namespace

std::uint64_t lasting_file_system(std::uint64_t type, std::uint64_t device) noexcept {
    constexpr std::uint64_t kCeph = 0x00c36400; // not in linux/magic.h
    return type == NFS_SUPER_MAGIC || type == kCeph ? type : device;
}

FileSource::FileSource(int descriptor, std::filesystem::path path)
    : descriptor_(descriptor), path_(std::move(path)), name_(printable(path_.native())) {}

FileSource::~FileSource() {
    ::close(descriptor_);
}

Result<FilePtr> FileSource::open(const std::filesystem::path& path, FileKinds kinds) {
    // Looked at before it is opened, because opening a device can do something to it; and again afterwards, because the
    // name may have changed hands.
    struct stat before {};
    if (::stat(path.c_str(), &before) != 0)
        return fail(ErrorKind::io, "{}: {}", printable(path.native()), os_error(errno));
    if (!allowed(before.st_mode, kinds))
        return fail(ErrorKind::io, "{}: is {}, not an image file", printable(path.native()), kind_name(before.st_mode));

    // O_NONBLOCK: opening a FIFO for reading would otherwise wait for a writer. It changes nothing for regular files.
    const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (descriptor < 0) return fail(ErrorKind::io, "{}: {}", printable(path.native()), os_error(errno));
    const std::shared_ptr<FileSource> file(new FileSource(descriptor, path));

    struct stat status {};
    if (::fstat(descriptor, &status) != 0) return fail(ErrorKind::io, "{}: {}", file->name(), os_error(errno));
    if (!allowed(status.st_mode, kinds))
        return fail(ErrorKind::io, "{}: is {}, not an image file", file->name(), kind_name(status.st_mode));
    const off_t end = S_ISREG(status.st_mode) ? status.st_size : ::lseek(descriptor, 0, SEEK_END);
    if (end < 0) return fail(ErrorKind::io, "{}: {}", file->name(), os_error(errno));

    file->size_ = static_cast<std::uint64_t>(end);
    file->identity_ = {status.st_dev, status.st_ino};
    file->modified_ = nanoseconds(status.st_mtim);
    file->changed_ = nanoseconds(status.st_ctim);
    file->owner_ = status.st_uid;
    file->regular_ = S_ISREG(status.st_mode);
    return FilePtr(file);
}

std::uint64_t FileSource::file_system() const noexcept {
    struct statfs status {};
    if (::fstatfs(descriptor_, &status) != 0) return identity_.device;
    return lasting_file_system(static_cast<std::uint64_t>(status.f_type), identity_.device);
}

Result<std::size_t> FileSource::read_at(std::uint64_t offset, std::span<std::byte> out) const {
    if (offset >= size_) return std::size_t{0};
    const std::size_t wanted = static_cast<std::size_t>(std::min<std::uint64_t>(out.size(), size_ - offset));
    std::size_t done = 0;
    while (done < wanted) {
        const ssize_t got = ::pread(descriptor_, out.data() + done, wanted - done, static_cast<off_t>(offset + done));
        if (got < 0 && errno == EINTR) continue;
        if (got < 0)
            return fail_at(offset + done, ErrorKind::io, "{}: reading at offset {}: {}", name_, offset + done,
                           os_error(errno));
        if (got == 0)
            return fail_at(offset + done, ErrorKind::truncated,
                           "{}: ends at offset {} now, but had {} bytes when opened", name_, offset + done, size_);
        done += static_cast<std::size_t>(got);
    }
    return done;
}

} // namespace vdisk
