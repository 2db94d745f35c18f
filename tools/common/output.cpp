// SPDX-License-Identifier: Apache-2.0
#include "common/output.hpp"

#include "base/text.hpp"
#include "common/inputs.hpp"
#include "common/pieces.hpp"

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <vector>

namespace fs = std::filesystem;

namespace vdisk::tools {
namespace {

Error os_error(const std::string& path, int code) {
    return fail(ErrorKind::io, "{}: {}", printable(path), std::strerror(code));
}

// The number of the open descriptor that a path stands for: opened by its name, a file would be another one that knows
// nothing of what was written by that descriptor.
std::optional<int> descriptor_named(std::string_view path) {
    if (path == "-" || path == "/dev/stdout") return STDOUT_FILENO;
    if (path == "/dev/stderr") return STDERR_FILENO;
    for (const std::string_view folder : {"/dev/fd/", "/proc/self/fd/"}) {
        if (!path.starts_with(folder)) continue;
        const std::string_view digits = path.substr(folder.size());
        int number = -1;
        const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), number);
        if (error == std::errc() && end == digits.data() + digits.size() && number >= 0) return number;
    }
    return std::nullopt;
}

} // namespace

Result<std::unique_ptr<Output>> Output::open(const OutputRequest& request) {
    const auto number = descriptor_named(request.path);
    auto opened = [&]() -> Result<std::unique_ptr<Output>> {
        if (number) return open_descriptor(*number);
        VDISK_CHECK(check_no_input(request.path));
        struct stat status {};
        const bool there = ::stat(request.path.c_str(), &status) == 0;
        if (there && S_ISDIR(status.st_mode)) return os_error(request.path, EISDIR);
        return there && !S_ISREG(status.st_mode) ? open_special(request, S_ISBLK(status.st_mode)) : open_file(request);
    }();
    if (opened.has_error()) return opened;
    if (request.out_of_order && !opened.value()->seekable_)
        return fail(ErrorKind::usage, "{}: is written out of order, which only a file can be", printable(request.path));
    if (opened.value()->seekable_) VDISK_CHECK(opened.value()->check_room(request));
    return opened;
}

Result<std::unique_ptr<Output>> Output::open_descriptor(int number) {
    const std::string name = number == STDOUT_FILENO ? "standard output" : fmt::format("descriptor {}", number);
    VDISK_CHECK(check_no_input(number, name));
    return std::unique_ptr<Output>(new Output(number, name));
}

// A pipe or a device. One that is in use, as a mounted one is, is refused by the kernel.
Result<std::unique_ptr<Output>> Output::open_special(const OutputRequest& request, bool block_device) {
    if (block_device && !request.overwrite)
        return fail(ErrorKind::usage, "{}: is a block device; with --force its content is overwritten",
                    printable(request.path));
    Descriptor opened(::open(request.path.c_str(), O_WRONLY | O_CLOEXEC | O_NOCTTY | (block_device ? O_EXCL : 0)));
    if (!opened.is_open()) return os_error(request.path, errno);
    std::unique_ptr<Output> output(new Output(opened.get(), printable(request.path)));
    output->owned_ = std::move(opened);
    output->seekable_ = block_device;
    // Once more, as the name may have changed hands.
    VDISK_CHECK(check_no_input(output->descriptor_, output->name_));
    struct stat status {};
    if (::fstat(output->descriptor_, &status) != 0) return os_error(request.path, errno);
    if (S_ISREG(status.st_mode) || S_ISBLK(status.st_mode) != block_device)
        return fail(ErrorKind::io, "{}: has become another file just now", printable(request.path));
    return output;
}

// A link stays one: the file that it leads to is what is replaced.
Result<std::unique_ptr<Output>> Output::open_file(const OutputRequest& request) {
    std::error_code error;
    fs::path path = request.path;
    if (path.filename().empty()) return os_error(request.path, path.empty() ? ENOENT : ENOTDIR);
    const fs::file_status own = fs::symlink_status(path, error);
    if (fs::exists(own) && !request.overwrite)
        return fail(ErrorKind::usage, "{}: is there already; --force replaces it", printable(request.path));
    if (fs::is_symlink(own)) {
        path = fs::canonical(path, error);
        if (error) return fail(ErrorKind::io, "{}: is a link that leads nowhere", printable(request.path));
    }
    VDISK_TRY(file, UnfinishedFile::create(path, request.overwrite));
    std::unique_ptr<Output> output(new Output(file->descriptor(), printable(request.path)));
    output->file_ = std::move(file);
    output->seekable_ = true;
    return output;
}

// Tells at once what writing would tell hours later.
Result<void> Output::check_room(const OutputRequest& request) const {
    constexpr std::uint64_t kMost = std::uint64_t{1} << 62;
    const off_t end = file_ ? 0 : ::lseek(descriptor_, 0, SEEK_END);
    if (end < 0) return os_error(request.path, errno);
    const std::uint64_t size = request.size;
    if (!file_ && size > static_cast<std::uint64_t>(end))
        return fail(ErrorKind::io, "{}: has {} bytes, and {} are to be written", printable(request.path), end, size);
    if (file_ && (size > kMost || ::lseek(descriptor_, static_cast<off_t>(size), SEEK_SET) < 0))
        return fail(ErrorKind::io, "{}: {} bytes are more than a file can have on this file system",
                    printable(request.path), size);
    if (::lseek(descriptor_, 0, SEEK_SET) < 0) return os_error(request.path, errno);
    return ok();
}

bool Output::is_standard_output() const noexcept {
    return descriptor_ == STDOUT_FILENO;
}

Result<void> Output::write(std::span<const std::byte> bytes) {
    while (!bytes.empty()) {
        const ssize_t put = ::write(descriptor_, bytes.data(), bytes.size());
        if (put < 0 && errno == EINTR) continue;
        if (put < 0) return failed("writing");
        bytes = bytes.subspan(static_cast<std::size_t>(put));
    }
    return ok();
}

Error Output::failed(std::string_view doing) const {
    return fail(ErrorKind::io, "{}: {}: {}", name_, doing, std::strerror(errno));
}

Result<void> Output::skip(std::uint64_t length) {
    if (file_) {
        if (::lseek(descriptor_, static_cast<off_t>(length), SEEK_CUR) < 0) return failed("seeking");
        return ok();
    }
    static const std::vector<std::byte> zeros(kPiece);
    for (; length > 0; length -= std::min(length, kPiece))
        VDISK_CHECK(write(std::span(zeros).first(std::min(length, kPiece))));
    return ok();
}

Result<void> Output::rewrite(std::uint64_t offset, std::span<const std::byte> bytes) {
    while (!bytes.empty()) {
        const ssize_t put = ::pwrite(descriptor_, bytes.data(), bytes.size(), static_cast<off_t>(offset));
        if (put < 0 && errno == EINTR) continue;
        if (put < 0) return failed("writing");
        bytes = bytes.subspan(static_cast<std::size_t>(put));
        offset += static_cast<std::uint64_t>(put);
    }
    return ok();
}

Result<void> Output::finish(std::uint64_t size) {
    if (file_) {
        if (::ftruncate(descriptor_, static_cast<off_t>(size)) != 0) return failed("setting the size");
        return file_->commit();
    }
    // What can't be flushed says EINVAL.
    if (::fsync(descriptor_) != 0 && errno != EINVAL && errno != EROFS) return failed("flushing");
    return ok();
}

} // namespace vdisk::tools
