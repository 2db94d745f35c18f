// SPDX-License-Identifier: Apache-2.0
#include "common/output.hpp"

#include "base/text.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <unistd.h>
#include <vector>

namespace vdisk::tools {
namespace {

constexpr std::uint64_t kPiece = 1U << 20;

} // namespace

Result<std::unique_ptr<Output>> Output::open(const std::string& path, bool overwrite) {
    if (path == "-") return std::unique_ptr<Output>(new Output(STDOUT_FILENO, false));
    const int mode = O_WRONLY | O_CREAT | O_CLOEXEC | (overwrite ? O_TRUNC : O_EXCL);
    const int descriptor = ::open(path.c_str(), mode, 0666);
    if (descriptor < 0) return fail(ErrorKind::io, "{}: {}", printable(path), std::strerror(errno));
    return std::unique_ptr<Output>(new Output(descriptor, ::lseek(descriptor, 0, SEEK_CUR) == 0));
}

Output::~Output() {
    if (descriptor_ != STDOUT_FILENO) ::close(descriptor_);
}

Result<void> Output::write(std::span<const std::byte> bytes) {
    while (!bytes.empty()) {
        const ssize_t put = ::write(descriptor_, bytes.data(), bytes.size());
        if (put < 0 && errno == EINTR) continue;
        if (put < 0) return fail(ErrorKind::io, "writing: {}", std::strerror(errno));
        bytes = bytes.subspan(static_cast<std::size_t>(put));
    }
    return ok();
}

Result<void> Output::skip(std::uint64_t length) {
    if (seekable_) {
        if (::lseek(descriptor_, static_cast<off_t>(length), SEEK_CUR) < 0)
            return fail(ErrorKind::io, "seeking: {}", std::strerror(errno));
        return ok();
    }
    static const std::vector<std::byte> zeros(kPiece);
    for (; length > 0; length -= std::min(length, kPiece))
        VDISK_CHECK(write(std::span(zeros).first(std::min(length, kPiece))));
    return ok();
}

Result<void> Output::rewrite(std::uint64_t offset, std::span<const std::byte> bytes) {
    if (!seekable_) return fail(ErrorKind::usage, "the output must be a file that can be written out of order");
    while (!bytes.empty()) {
        const ssize_t put = ::pwrite(descriptor_, bytes.data(), bytes.size(), static_cast<off_t>(offset));
        if (put < 0 && errno == EINTR) continue;
        if (put < 0) return fail(ErrorKind::io, "writing at {}: {}", offset, std::strerror(errno));
        bytes = bytes.subspan(static_cast<std::size_t>(put));
        offset += static_cast<std::uint64_t>(put);
    }
    return ok();
}

Result<void> Output::finish(std::uint64_t size) {
    if (seekable_ && ::ftruncate(descriptor_, static_cast<off_t>(size)) != 0)
        return fail(ErrorKind::io, "setting the size: {}", std::strerror(errno));
    if (descriptor_ != STDOUT_FILENO && ::fsync(descriptor_) != 0 && errno != EINVAL && errno != EROFS)
        return fail(ErrorKind::io, "flushing: {}", std::strerror(errno));
    return ok();
}

} // namespace vdisk::tools
