// SPDX-License-Identifier: Apache-2.0
#include "common/exit_status.hpp"

#include "base/system/program.hpp"
#include "common/inputs.hpp"
#include "common/progress_bar.hpp"

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fmt/format.h>
#include <set>
#include <string>

namespace vdisk::tools {
namespace {

bool doubt_told = false; // of the process: a command may open a disk in more than one place

// Lines that begin at the terminal's edge, each with the program's name so that it is known whose it is, and that no
// input gets appended: "2>>image" is as easily typed as done.
void print_lines(std::string_view head, std::string_view text) {
    ProgressBar::wipe();
    if (check_no_input(system::kStandardError, "standard error").has_error()) return;
    for (bool more = true; more;) {
        const std::string_view line = text.substr(0, text.find('\n'));
        const std::string whole = fmt::format("{}: {}{}\n", system::program_name(), head, line);
        std::fputs(whole.c_str(), stderr); // where that fails, nowhere is left to tell it
        more = line.size() < text.size();
        if (more) text.remove_prefix(line.size() + 1);
    }
}

} // namespace

int report(const Error& error) {
    print_lines("", error.what);
    return kFailed;
}

void warn(std::string_view message) {
    print_lines("warning: ", message);
}

void tell_statistics(std::string_view name, std::string_view text) {
    if (text.ends_with('\n')) text.remove_suffix(1);
    print_lines("", fmt::format("statistics of {}:\n{}", name, text));
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

void tell_remarks(std::span<const Remark> remarks) {
    static std::set<std::string> told;
    for (const Remark& remark : remarks) {
        const bool doubt = remark.weight == Remark::Weight::doubt;
        doubt_told = doubt_told || doubt;
        if (!told.insert(remark.text).second) continue;
        if (doubt) warn(remark.text);
        else print_lines("note: ", remark.text);
    }
}

int settled(int status) noexcept {
    return status == kDone && doubt_told ? kPartial : status;
}

} // namespace vdisk::tools
