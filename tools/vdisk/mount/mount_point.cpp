// SPDX-License-Identifier: Apache-2.0
#include "vdisk/mount/mount_point.hpp"

#include "base/text.hpp"

#include <array>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

namespace fs = std::filesystem;

namespace vdisk::tools {
namespace {

// Also where the same file system is mounted once more, which has no device number of its own.
bool has_mount(const fs::path& folder) {
    struct statx status {};
    if (::statx(AT_FDCWD, folder.c_str(), 0, STATX_BASIC_STATS, &status) != 0) return false;
    return (status.stx_attributes & status.stx_attributes_mask & STATX_ATTR_MOUNT_ROOT) != 0;
}

int status_of(pid_t child) {
    int status = 0;
    while (::waitpid(child, &status, 0) < 0)
        if (errno != EINTR) return EXIT_FAILURE;
    constexpr int kBySignal = 128; // as a shell has it
    return WIFEXITED(status) ? WEXITSTATUS(status) : kBySignal + WTERMSIG(status);
}

// What the child wrote; nothing if it ended before.
std::optional<int> wait_for_byte(int pipe) {
    unsigned char status = 0;
    ssize_t got = 0;
    do got = ::read(pipe, &status, 1);
    while (got < 0 && errno == EINTR);
    return got == 1 ? std::optional<int>(status) : std::nullopt;
}

} // namespace

Result<fs::path> find_mount_point(const std::string& path) {
    std::error_code error;
    const fs::path folder = fs::canonical(path, error);
    if (error) return fail(ErrorKind::io, "{}: {}", printable(path), error.message());
    if (!fs::is_directory(folder, error)) return fail(ErrorKind::usage, "{}: is no folder", printable(path));
    const bool empty = fs::is_empty(folder, error);
    if (error) return fail(ErrorKind::io, "{}: {}", printable(path), error.message());
    if (has_mount(folder)) return fail(ErrorKind::usage, "{}: something is mounted there already", printable(path));
    if (!empty)
        return fail(ErrorKind::usage, "{}: is not empty, and a mount would hide what is in it", printable(path));
    return folder;
}

Result<std::optional<int>> Background::start() {
    std::array<int, 2> ends{};
    if (::pipe2(ends.data(), O_CLOEXEC) != 0) return fail(ErrorKind::io, "pipe: {}", std::strerror(errno));
    const Descriptor child_end(ends[0]);
    parent_ = Descriptor(ends[1]);
    const pid_t child = ::fork();
    if (child < 0) return fail(ErrorKind::io, "fork: {}", std::strerror(errno));
    if (child == 0) return std::optional<int>();
    parent_.reset();
    const auto status = wait_for_byte(child_end.get());
    return std::optional(status ? *status : status_of(child));
}

// The current folder stays, as paths that were given relative to it are opened later; and so does standard input, where
// a key came by it: what it was is looked at again for each disk.
void Background::ready(int status) {
    if (!parent_.is_open()) return;
    ::setsid();
    const Descriptor nowhere(::open("/dev/null", O_RDWR | O_CLOEXEC));
    if (::isatty(STDIN_FILENO) == 1) ::dup2(nowhere.get(), STDIN_FILENO);
    for (const int stream : {STDOUT_FILENO, STDERR_FILENO}) ::dup2(nowhere.get(), stream);
    const auto byte = static_cast<unsigned char>(status);
    if (::write(parent_.get(), &byte, 1) < 0) {
    } // nobody waits any more
    parent_.reset();
}

} // namespace vdisk::tools
