// SPDX-License-Identifier: Apache-2.0
#include "base/system/program.hpp"

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <unistd.h>

namespace vdisk::system {
namespace {

std::optional<std::string> value_of(const char* value) {
    return value == nullptr ? std::nullopt : std::optional<std::string>(value);
}

void hold_closed_streams() noexcept {
    int descriptor = 0;
    do descriptor = ::open("/dev/null", O_RDONLY); // not to be written to: an error, as a closed one is
    while (descriptor >= 0 && descriptor <= STDERR_FILENO);
    if (descriptor >= 0) ::close(descriptor);
}

// An image may be cut into more parts than the usual limit lets a process open; nothing here looks at descriptors by
// select(), which that limit is for.
void open_as_many_files_as_allowed() noexcept {
    struct rlimit limit {};
    if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
    limit.rlim_cur = limit.rlim_max;
    ::setrlimit(RLIMIT_NOFILE, &limit);
}

void (*clean_up_at_ending)() noexcept = nullptr;

void clean_up_and_end(int signal) {
    clean_up_at_ending();
    std::raise(signal); // as its handler was reset on the way in, that ends the program once this one returns
}

} // namespace

std::optional<std::string> environment(const char* name) {
    return value_of(std::getenv(name));
}

std::optional<std::string> trusted_environment(const char* name) {
    return value_of(::secure_getenv(name));
}

std::vector<std::string> variables(std::string_view prefix) {
    std::vector<std::string> found;
    for (char** each = environ; each != nullptr && *each != nullptr; ++each)
        if (std::string_view(*each).starts_with(prefix)) found.emplace_back(*each);
    return found;
}

std::string name_and_version() {
    struct utsname system {};
    if (::uname(&system) != 0) return "unknown";
    return std::string(system.sysname) + ' ' + system.release + ' ' + system.machine;
}

std::filesystem::path cache_home() {
    std::filesystem::path chosen = trusted_environment("XDG_CACHE_HOME").value_or("");
    if (chosen.is_absolute()) return chosen;
    const std::filesystem::path home = trusted_environment("HOME").value_or("");
    return home.is_absolute() ? home / ".cache" : std::filesystem::path();
}

std::vector<std::string> words(int count, char** given) {
    return {given, given + count};
}

std::string program_name() {
    return program_invocation_short_name;
}

void prepare_program() noexcept {
    hold_closed_streams();
    open_as_many_files_as_allowed();
    std::signal(SIGCHLD, SIG_DFL); // a program that was started to ignore it never learns how a child ended
}

bool is_terminal(int stream) noexcept {
    return ::isatty(stream) == 1;
}

bool takes_control_sequences(int stream) noexcept {
    return is_terminal(stream);
}

void at_ending(void (*clean_up)() noexcept) noexcept {
    clean_up_at_ending = clean_up;
    for (const int signal : {SIGHUP, SIGINT, SIGQUIT, SIGPIPE, SIGTERM, SIGXCPU}) {
        struct sigaction action {};
        if (::sigaction(signal, nullptr, &action) != 0 || action.sa_handler == SIG_IGN) continue;
        action = {};
        action.sa_handler = clean_up_and_end;
        action.sa_flags = static_cast<int>(SA_RESETHAND);
        ::sigaction(signal, &action, nullptr);
    }
    std::signal(SIGXFSZ, SIG_IGN);
}

EndingHeld::EndingHeld() noexcept {
    static_assert(sizeof(sigset_t) <= sizeof before_ && alignof(sigset_t) <= 16);
    sigset_t all;
    sigset_t before;
    ::sigfillset(&all);
    ::pthread_sigmask(SIG_SETMASK, &all, &before);
    std::memcpy(before_, &before, sizeof before);
}

EndingHeld::~EndingHeld() {
    sigset_t before;
    std::memcpy(&before, before_, sizeof before);
    ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

} // namespace vdisk::system
