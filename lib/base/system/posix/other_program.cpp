// SPDX-License-Identifier: Apache-2.0
#include "base/system/other_program.hpp"

#include "base/system/file.hpp"
#include "base/text.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <fcntl.h>
#include <optional>
#include <poll.h>
#include <spawn.h>
#include <string_view>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

namespace vdisk::system {
namespace {

using Clock = std::chrono::steady_clock;

std::vector<char*> pointers_to(std::vector<std::string>& words) {
    std::vector<char*> pointers;
    for (std::string& word : words) pointers.push_back(word.data());
    pointers.push_back(nullptr);
    return pointers;
}

std::vector<std::string> environment_of_child() {
    std::vector<std::string> variables{"LC_ALL=C", "TZ=UTC"};
    for (char** each = environ; each != nullptr && *each != nullptr; ++each) {
        const std::string_view variable = *each;
        if (!variable.starts_with("LC_ALL=") && !variable.starts_with("TZ=")) variables.emplace_back(variable);
    }
    return variables;
}

// A program that runs, which ends with this object.
class RunningProgram {
public:
    explicit RunningProgram(pid_t process) : process_(process) {}
    ~RunningProgram() {
        if (process_ > 0) end();
    }
    RunningProgram(const RunningProgram&) = delete;
    RunningProgram& operator=(const RunningProgram&) = delete;

    int end() {
        ::kill(process_, SIGKILL);
        return *wait(0);
    }

    // Its exit status; nothing if it runs on until `end`.
    std::optional<int> wait_until(Clock::time_point end) {
        constexpr std::chrono::milliseconds kMoment{1};
        for (;;) {
            if (const auto status = wait(WNOHANG)) return status;
            if (Clock::now() >= end) return std::nullopt;
            std::this_thread::sleep_for(kMoment);
        }
    }

private:
    // Nothing if it runs and `options` say not to wait.
    std::optional<int> wait(int options) {
        int status = 0;
        pid_t ended = 0;
        do ended = ::waitpid(process_, &status, options);
        while (ended < 0 && errno == EINTR);
        if (ended == 0) return std::nullopt;
        process_ = -1;
        return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    }

    pid_t process_;
};

Result<pid_t> start(const std::vector<std::string>& words, int output) {
    posix_spawn_file_actions_t actions;
    ::posix_spawn_file_actions_init(&actions);
    ::posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    ::posix_spawn_file_actions_adddup2(&actions, output, STDOUT_FILENO);
    ::posix_spawn_file_actions_adddup2(&actions, output, STDERR_FILENO);
    std::vector<std::string> copies = words;
    std::vector<std::string> variables = environment_of_child();
    pid_t process = -1;
    const int error = ::posix_spawnp(&process, words.front().c_str(), &actions, nullptr, pointers_to(copies).data(),
                                     pointers_to(variables).data());
    ::posix_spawn_file_actions_destroy(&actions);
    if (error == 0) return process;
    return fail(error == ENOENT ? ErrorKind::unsupported : ErrorKind::io, "{}: {}", printable(words.front()),
                std::strerror(error));
}

Error too_slow(const std::vector<std::string>& words, const ProgramBounds& bounds) {
    return fail(ErrorKind::limit_exceeded, "{}: has not ended after {} seconds", printable(words.front()),
                bounds.time.count());
}

// False once there is nothing more to come.
Result<bool> read_some(int from, ProgramAnswer& answer, const ProgramBounds& bounds) {
    std::array<char, 4096> buffer{};
    const ssize_t got = ::read(from, buffer.data(), buffer.size());
    if (got < 0 && errno == EINTR) return true;
    if (got < 0) return fail(ErrorKind::io, "reading from a program: {}", std::strerror(errno));
    const std::size_t room = bounds.bytes - answer.text.size();
    answer.text.append(buffer.data(), std::min(room, static_cast<std::size_t>(got)));
    answer.more = static_cast<std::size_t>(got) > room;
    return got > 0 && !answer.more;
}

} // namespace

Result<ProgramAnswer> ask_program(const std::vector<std::string>& words, const ProgramBounds& bounds) {
    std::array<int, 2> ends{};
    if (::pipe2(ends.data(), O_CLOEXEC) != 0) return fail(ErrorKind::io, "pipe: {}", std::strerror(errno));
    const Descriptor output(ends[0]);
    Descriptor of_child(ends[1]);
    VDISK_TRY(process, start(words, of_child.get()));
    RunningProgram program(process);
    of_child.reset();
    ProgramAnswer answer;
    const auto end = Clock::now() + bounds.time;
    for (;;) {
        const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(end - Clock::now()).count();
        if (left <= 0) return too_slow(words, bounds);
        struct pollfd ready {
            .fd = output.get(), .events = POLLIN, .revents = 0
        };
        if (::poll(&ready, 1, static_cast<int>(left)) <= 0) continue;
        VDISK_TRY(going, read_some(output.get(), answer, bounds));
        if (!going) break;
    }
    // One that has closed its outputs may still run.
    const auto status = answer.more ? std::optional(program.end()) : program.wait_until(end);
    if (!status) return too_slow(words, bounds);
    answer.status = *status;
    return answer;
}

} // namespace vdisk::system
