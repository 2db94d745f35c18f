// SPDX-License-Identifier: Apache-2.0
#include "io/pipe.hpp"

#include "base/system/file.hpp"
#include "base/system/path.hpp"
#include "base/text.hpp"

namespace vdisk {
namespace {

constexpr int kLongestWait = 60'000; // milliseconds: long enough to type a passphrase into the writer

Error refused(const std::filesystem::path& path) {
    return fail(ErrorKind::io, "{}: {}", printable(utf8(path)), system::reason());
}

// Until there is something to read, or nobody left to write.
Result<void> wait(int descriptor, const std::filesystem::path& path) {
    const int count = system::wait_to_read(descriptor, kLongestWait);
    if (count < 0) return refused(path);
    if (count == 0)
        return fail(ErrorKind::io, "{}: is a pipe into which nothing was written for {} seconds", printable(utf8(path)),
                    kLongestWait / 1000);
    return ok();
}

} // namespace

bool is_pipe(const std::filesystem::path& path) noexcept {
    const auto status = system::status_of(path);
    return status && status->kind == system::FileStatus::Kind::fifo;
}

Result<std::size_t> read_pipe(const std::filesystem::path& path, std::span<std::byte> out) {
    const Descriptor pipe = system::open_to_read(path);
    if (!pipe.is_open()) return refused(path);
    for (std::size_t taken = 0;;) {
        VDISK_CHECK(wait(pipe.get(), path));
        std::byte beyond{};
        const bool full = taken == out.size();
        const std::int64_t got = full ? system::read_some(pipe.get(), &beyond, 1)
                                      : system::read_some(pipe.get(), out.data() + taken, out.size() - taken);
        if (got == system::kNothingYet) continue;
        if (got < 0) return refused(path);
        if (got == 0) return taken;
        if (full)
            return fail(ErrorKind::limit_exceeded, "{}: gives more than {} bytes", printable(utf8(path)), out.size());
        taken += static_cast<std::size_t>(got);
    }
}

} // namespace vdisk
