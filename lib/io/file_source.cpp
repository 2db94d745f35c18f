// SPDX-License-Identifier: Apache-2.0
#include "io/file_source.hpp"

#include "base/text.hpp"

#include <algorithm>
#include <array>
#include <atomic>
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
    const bool all = kinds == FileKinds::any_of_these;
    return S_ISREG(mode) || (S_ISBLK(mode) && (all || kinds == FileKinds::regular_or_block_device)) ||
           (S_ISDIR(mode) && (all || kinds == FileKinds::regular_or_folder));
}

std::int64_t nanoseconds(const timespec& time) {
    return static_cast<std::int64_t>(time.tv_sec) * 1'000'000'000 + time.tv_nsec;
}

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

FileSource::FileSource(Descriptor descriptor, std::filesystem::path path)
    : descriptor_(std::move(descriptor)), path_(std::move(path)), name_(printable(path_.native())) {}

Result<FilePtr> FileSource::open(const std::filesystem::path& path, FileKinds kinds) {
    // Looked at before it is opened, because opening a device can do something to it; and again afterwards, because the
    // name may have changed hands.
    struct stat before {};
    if (::stat(path.c_str(), &before) != 0)
        return fail(ErrorKind::io, "{}: {}", printable(path.native()), os_error(errno));
    if (!allowed(before.st_mode, kinds))
        return fail(ErrorKind::io, "{}: is {}, not an image file", printable(path.native()), kind_name(before.st_mode));

    // O_NONBLOCK: opening a FIFO for reading would otherwise wait for a writer. It changes nothing for regular files.
    constexpr int kMode = O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK;
    // The time of access belongs to the evidence; but only a file's owner and root may leave it alone.
    Descriptor descriptor(::open(path.c_str(), kMode | O_NOATIME));
    if (!descriptor.is_open() && errno == EPERM) descriptor = Descriptor(::open(path.c_str(), kMode));
    if (!descriptor.is_open()) return fail(ErrorKind::io, "{}: {}", printable(path.native()), os_error(errno));
    return take(std::move(descriptor), path, kinds);
}

Result<FilePtr> FileSource::take(Descriptor descriptor, const std::filesystem::path& path, FileKinds kinds) {
    const std::shared_ptr<FileSource> file(new FileSource(std::move(descriptor), path));
    const int number = file->descriptor_.get();
    struct stat status {};
    if (::fstat(number, &status) != 0) return fail(ErrorKind::io, "{}: {}", file->name(), os_error(errno));
    if (!allowed(status.st_mode, kinds))
        return fail(ErrorKind::io, "{}: is {}, not an image file", file->name(), kind_name(status.st_mode));
    file->folder_ = S_ISDIR(status.st_mode);
    const off_t end = S_ISREG(status.st_mode) ? status.st_size : file->folder_ ? 0 : ::lseek(number, 0, SEEK_END);
    if (end < 0) return fail(ErrorKind::io, "{}: {}", file->name(), os_error(errno));

    file->size_ = static_cast<std::uint64_t>(end);
    file->identity_ =
        S_ISBLK(status.st_mode) ? FileIdentity{0, status.st_rdev} : FileIdentity{status.st_dev, status.st_ino};
    file->modified_ = nanoseconds(status.st_mtim);
    file->changed_ = nanoseconds(status.st_ctim);
    file->owner_ = status.st_uid;
    file->regular_ = S_ISREG(status.st_mode);
    return FilePtr(file);
}

std::uint64_t FileSource::file_system() const noexcept {
    if (!parts_.empty()) return parts_.front().file->file_system();
    struct statfs status {};
    if (::fstatfs(descriptor_.get(), &status) != 0) return identity_.device;
    return lasting_file_system(static_cast<std::uint64_t>(status.f_type), identity_.device);
}

FilePtr FileSource::join(std::vector<FilePart> parts) {
    const FileSource& first = *parts.front().file;
    const std::shared_ptr<FileSource> whole(new FileSource(Descriptor(), first.path_));
    whole->size_ = parts.back().start + parts.back().length;
    whole->identity_ = first.identity_;
    whole->modified_ = first.modified_;
    whole->changed_ = first.changed_;
    whole->owner_ = first.owner_;
    whole->parts_ = std::move(parts);
    whole->regular_ = std::ranges::all_of(whole->files(), &FileSource::regular_);
    return whole;
}

FilePtr FileSource::over(SourcePtr bytes, const std::filesystem::path& name) {
    static std::atomic<std::uint64_t> next{0};
    constexpr auto kNoDevice = std::numeric_limits<std::uint64_t>::max(); // no file of the system is on it
    const std::shared_ptr<FileSource> file(new FileSource(Descriptor(), name));
    file->size_ = bytes->size();
    file->identity_ = {kNoDevice, next.fetch_add(1)};
    file->given_ = std::move(bytes);
    return FilePtr(file);
}

std::vector<const FileSource*> FileSource::files() const {
    if (parts_.empty()) return {this};
    std::vector<const FileSource*> files;
    for (const FilePart& part : parts_)
        if (part.file) files.push_back(part.file.get());
    return files;
}

Origin FileSource::origin(std::uint64_t offset, std::uint64_t wanted) const {
    if (given_) return given_->origin(offset, wanted);
    if (parts_.empty()) return {.length = std::min(wanted, size_ - offset), .file = this, .offset = offset};
    const FilePart& part = part_at(offset);
    const std::uint64_t within = offset - part.start;
    return {.length = std::min(wanted, part.length - within), .file = part.file.get(), .offset = within};
}

// The descriptor's position means nothing here: all reads say where.
FileSource::Allocation FileSource::allocation(std::uint64_t offset) const noexcept {
    const auto here = static_cast<off_t>(offset);
    const auto up_to = [&](off_t end) { return std::min(static_cast<std::uint64_t>(end), size_) - offset; };
    off_t data = ::lseek(descriptor_.get(), here, SEEK_DATA);
    // Nothing more is stored: a hole up to the end, which may have come closer since the file was opened.
    if (data < 0 && errno == ENXIO && regular_) data = ::lseek(descriptor_.get(), 0, SEEK_END);
    if (data < here) return {size_ - offset, false};
    if (data > here) return {up_to(data), true};
    const off_t hole = ::lseek(descriptor_.get(), here, SEEK_HOLE);
    return {hole > here ? up_to(hole) : size_ - offset, false};
}

ChangeTimes FileSource::change_times() const noexcept {
    const auto is_doubtful = [](const FilePart& part) {
        return part.file && part.file->change_times() == ChangeTimes::doubtful;
    };
    if (!parts_.empty()) return std::ranges::any_of(parts_, is_doubtful) ? ChangeTimes::doubtful : ChangeTimes::sure;
    struct statfs status {};
    if (::fstatfs(descriptor_.get(), &status) != 0) return ChangeTimes::doubtful;
    return change_times_of(static_cast<std::uint64_t>(status.f_type));
}

std::optional<std::string> FileSource::change() const {
    for (const FilePart& part : parts_)
        if (auto change = part.file ? part.file->change() : std::nullopt) return change;
    if (!parts_.empty()) return std::nullopt;
    struct stat now {};
    if (!regular_ || ::fstat(descriptor_.get(), &now) != 0) return std::nullopt;
    if (now.st_size != static_cast<off_t>(size_)) return fmt::format("its size was {} and is {}", size_, now.st_size);
    if (nanoseconds(now.st_mtim) != modified_) return "its time of modification changed";
    if (nanoseconds(now.st_ctim) != changed_) return "its time of status change did";
    return std::nullopt;
}

bool FileSource::has_writer() const noexcept {
    if (!parts_.empty())
        return std::ranges::any_of(parts_, [](const FilePart& part) { return part.file && part.file->has_writer(); });
    // QEMU's block/file-posix.c holds a shared lock on byte 100 + N for each permission N that it uses. The question is
    // for an exclusive lock, because that is what a shared one is in the way of.
    constexpr off_t kPermissions = 100;
    constexpr off_t kWrite = 1;
    constexpr off_t kResize = 3;
    for (const off_t permission : {kWrite, kResize}) {
        struct flock lock {};
        lock.l_type = F_WRLCK;
        lock.l_whence = SEEK_SET;
        lock.l_start = kPermissions + permission;
        lock.l_len = 1;
        if (::fcntl(descriptor_.get(), F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK) return true;
    }
    return false;
}

const FilePart& FileSource::part_at(std::uint64_t offset) const noexcept {
    return *std::prev(std::ranges::upper_bound(parts_, offset, {}, &FilePart::start));
}

Readability FileSource::readability(std::uint64_t offset, std::uint64_t wanted) const {
    if (given_) return given_->readability(offset, wanted);
    if (parts_.empty() || offset >= size_) return ByteSource::readability(offset, wanted);
    const FilePart* part = &part_at(offset);
    const std::shared_ptr<const Error> why = part->why;
    std::uint64_t end = part->start + part->length;
    while (end - offset < wanted && end < size_ && !why && !(++part)->why) end = part->start + part->length;
    return {std::min(wanted, end - offset), why};
}

Result<std::size_t> FileSource::read_parts(std::uint64_t offset, std::span<std::byte> out) const {
    std::size_t done = 0;
    while (done < out.size()) {
        const std::uint64_t at = offset + done;
        const FilePart& part = part_at(at);
        if (part.why) return Error(*part.why);
        const std::uint64_t left = part.start + part.length - at;
        const auto piece =
            out.subspan(done, static_cast<std::size_t>(std::min<std::uint64_t>(left, out.size() - done)));
        VDISK_CHECK(read_exact(*part.file, at - part.start, piece));
        done += piece.size();
    }
    return done;
}

Result<std::size_t> FileSource::read_at(std::uint64_t offset, std::span<std::byte> out) const {
    if (offset >= size_) return std::size_t{0};
    const std::size_t wanted = static_cast<std::size_t>(std::min<std::uint64_t>(out.size(), size_ - offset));
    if (!parts_.empty()) return read_parts(offset, out.first(wanted));
    if (given_) return given_->read_at(offset, out.first(wanted));
    std::size_t done = 0;
    while (done < wanted) {
        const ssize_t got =
            ::pread(descriptor_.get(), out.data() + done, wanted - done, static_cast<off_t>(offset + done));
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
