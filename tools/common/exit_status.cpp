// SPDX-License-Identifier: Apache-2.0
#include "common/exit_status.hpp"

#include "common/inputs.hpp"
#include "common/progress_bar.hpp"

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

namespace vdisk::tools {
namespace {

// A line that begins at the terminal's edge, and that no input gets appended: "2>>image" is as easily typed as done.
void print_line(std::string_view line) {
    ProgressBar::wipe();
    if (check_no_input(STDERR_FILENO, "standard error").has_error()) return;
    const std::string whole = fmt::format("{}: {}\n", program_invocation_short_name, line);
    std::fputs(whole.c_str(), stderr); // where that fails, nowhere is left to tell it
}

} // namespace

int report(const Error& error) {
    print_line(error.what);
    return kFailed;
}

void warn(std::string_view message) {
    print_line(fmt::format("warning: {}", message));
}

void hold_standard_streams() {
    int descriptor = 0;
    do descriptor = ::open("/dev/null", O_RDONLY); // not to be written to: an error, as a closed one is
    while (descriptor >= 0 && descriptor <= STDERR_FILENO);
    if (descriptor >= 0) ::close(descriptor);
}

int close_standard_output(int status) {
    errno = 0;
    const bool failed = std::ferror(stdout) != 0;
    if (std::fclose(stdout) == 0 && !failed) return status;
    // An error of an earlier write left no reason behind.
    const int code = errno;
    return report(
        fail(ErrorKind::io, "standard output: {}", code == 0 ? "not all of it was written" : std::strerror(code)));
}

} // namespace vdisk::tools
