// SPDX-License-Identifier: Apache-2.0
#include "io/pipe.hpp"

#include "base/text.hpp"
#include "io/descriptor.hpp"

#include <cerrno>
#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <system_error>

namespace vdisk {
namespace {

constexpr int kLongestWait = 60'000; // milliseconds: long enough to type a passphrase into the writer

Error refused(const std::filesystem::path& path) {
    return fail(ErrorKind::io, "{}: {}", printable(path.native()), std::generic_category().message(errno));
}

// Until there is something to read, or nobody left to write.
Result<void> wait(int descriptor, const std::filesystem::path& path) {
    pollfd ready{.fd = descriptor, .events = POLLIN, .revents = 0};
    int count = 0;
    do count = ::poll(&ready, 1, kLongestWait);
    while (count < 0 && errno == EINTR);
    if (count < 0) return refused(path);
    if (count == 0)
        return fail(ErrorKind::io, "{}: is a pipe into which nothing was written for {} seconds",
                    printable(path.native()), kLongestWait / 1000);
    return ok();
}

} // namespace

bool is_pipe(const std::filesystem::path& path) noexcept {
    struct stat status {};
    return ::stat(path.c_str(), &status) == 0 && S_ISFIFO(status.st_mode);
}

Result<std::size_t> read_pipe(const std::filesystem::path& path, std::span<std::byte> out) {
    // O_NONBLOCK: without it, opening waits for a writer without end.
    const Descriptor pipe(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
    if (!pipe.is_open()) return refused(path);
    for (std::size_t taken = 0;;) {
        VDISK_CHECK(wait(pipe.get(), path));
        std::byte beyond{};
        const bool full = taken == out.size();
        const ssize_t got =
            full ? ::read(pipe.get(), &beyond, 1) : ::read(pipe.get(), out.data() + taken, out.size() - taken);
        if (got < 0 && (errno == EINTR || errno == EAGAIN)) continue;
        if (got < 0) return refused(path);
        if (got == 0) return taken;
        if (full)
            return fail(ErrorKind::limit_exceeded, "{}: gives more than {} bytes", printable(path.native()),
                        out.size());
        taken += static_cast<std::size_t>(got);
    }
}

} // namespace vdisk
