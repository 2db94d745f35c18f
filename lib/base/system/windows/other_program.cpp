// SPDX-License-Identifier: Apache-2.0
#include "base/system/other_program.hpp"

#include "base/system/program.hpp"
#include "base/system/windows/handles.hpp"
#include "base/text.hpp"

#include <algorithm>
#include <array>
#include <optional>

namespace vdisk::system {
namespace {

using Clock = std::chrono::steady_clock;

// As CommandLineToArgvW() and the C library take it apart again.
std::wstring as_word(std::wstring_view word) {
    std::wstring text = L"\"";
    std::size_t backslashes = 0;
    for (const wchar_t c : word) {
        if (c == L'"') text.append(backslashes + 1, L'\\'); // as many again, and one for the quote
        backslashes = c == L'\\' ? backslashes + 1 : 0;
        text += c;
    }
    text.append(backslashes, L'\\');
    return text + L'"';
}

std::wstring command_line(const std::vector<std::string>& words) {
    std::wstring line;
    for (const std::string& word : words) line += (line.empty() ? L"" : L" ") + as_word(wide(word));
    return line;
}

// In the folders of PATH and nowhere else: what lies in the current folder may be evidence.
std::wstring found_in_path(const std::string& name) {
    const std::wstring folders = wide(environment("PATH").value_or(""));
    std::array<wchar_t, 32768> path{}; // no path is longer
    const DWORD length = ::SearchPathW(folders.c_str(), wide(name).c_str(), L".exe", static_cast<DWORD>(path.size()),
                                       path.data(), nullptr);
    return {path.data(), length < path.size() ? length : 0};
}

std::wstring environment_of_child() {
    std::vector<std::string> all = variables("");
    std::erase_if(all, [](const std::string& variable) {
        return variable.starts_with("LC_ALL=") || variable.starts_with("TZ=");
    });
    all.insert(all.end(), {"LC_ALL=C", "TZ=UTC"});
    std::wstring block;
    for (const std::string& variable : all) (block += wide(variable)) += L'\0';
    return block + L'\0';
}

Error refused(const std::string& doing) {
    return fail(ErrorKind::io, "{}: error {} of Windows", printable(doing), ::GetLastError());
}

Result<HANDLE> start(const std::vector<std::string>& words, HANDLE input, HANDLE output) {
    const std::wstring program = found_in_path(words.front());
    if (program.empty()) return fail(ErrorKind::unsupported, "{}: there is no such program", printable(words.front()));
    std::wstring line = command_line(words);
    std::wstring variables = environment_of_child();
    STARTUPINFOW startup{};
    startup.cb = sizeof startup;
    startup.dwFlags = STARTF_USESTDHANDLES;
    startup.hStdInput = input;
    startup.hStdOutput = startup.hStdError = output;
    PROCESS_INFORMATION process{};
    if (::CreateProcessW(program.c_str(), line.data(), nullptr, nullptr, TRUE,
                         CREATE_NO_WINDOW | CREATE_UNICODE_ENVIRONMENT, variables.data(), nullptr, &startup,
                         &process) == 0)
        return refused(words.front());
    ::CloseHandle(process.hThread);
    return process.hProcess;
}

Error too_slow(const std::vector<std::string>& words, const ProgramBounds& bounds) {
    return fail(ErrorKind::limit_exceeded, "{}: has not ended after {} seconds", printable(words.front()),
                bounds.time.count());
}

// A program that runs, which ends with this object.
class RunningProgram {
public:
    explicit RunningProgram(HANDLE process) : process_(process) {}
    ~RunningProgram() { ::TerminateProcess(process_.get(), 1); } // no matter if it has ended
    RunningProgram(const RunningProgram&) = delete;
    RunningProgram& operator=(const RunningProgram&) = delete;

    int end() {
        ::TerminateProcess(process_.get(), 1);
        return *wait(INFINITE);
    }

    // Its exit status; nothing if it runs on until `end`.
    std::optional<int> wait_until(Clock::time_point end) {
        const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(end - Clock::now()).count();
        return wait(left <= 0 ? 0 : static_cast<DWORD>(left));
    }

private:
    std::optional<int> wait(DWORD milliseconds) {
        DWORD status = 1;
        if (::WaitForSingleObject(process_.get(), milliseconds) == WAIT_TIMEOUT) return std::nullopt;
        ::GetExitCodeProcess(process_.get(), &status);
        return static_cast<int>(status);
    }

    Handle process_;
};

// False once there is nothing more to come. Waits for a moment where there is nothing yet.
Result<bool> read_some(HANDLE from, ProgramAnswer& answer, const ProgramBounds& bounds) {
    constexpr DWORD kMoment = 5;
    std::array<char, 4096> buffer{};
    DWORD there = 0;
    DWORD got = 0;
    if (::PeekNamedPipe(from, nullptr, 0, nullptr, &there, nullptr) == 0) return false; // nobody writes any more
    if (there == 0) {
        ::Sleep(kMoment);
        return true;
    }
    if (::ReadFile(from, buffer.data(), static_cast<DWORD>(buffer.size()), &got, nullptr) == 0)
        return refused("reading from a program");
    const std::size_t room = bounds.bytes - answer.text.size();
    answer.text.append(buffer.data(), std::min<std::size_t>(room, got));
    answer.more = got > room;
    return !answer.more;
}

} // namespace

Result<ProgramAnswer> ask_program(const std::vector<std::string>& words, const ProgramBounds& bounds) {
    SECURITY_ATTRIBUTES inherited{sizeof(SECURITY_ATTRIBUTES), nullptr, TRUE};
    HANDLE ends[2]{};
    if (::CreatePipe(&ends[0], &ends[1], &inherited, 0) == 0) return refused("pipe");
    const Handle output(ends[0]);
    Result<HANDLE> started = [&] {
        const Handle of_child(ends[1]);
        ::SetHandleInformation(output.get(), HANDLE_FLAG_INHERIT, 0);
        const Handle nothing(::CreateFileW(L"NUL", GENERIC_READ, FILE_SHARE_READ | FILE_SHARE_WRITE, &inherited,
                                           OPEN_EXISTING, 0, nullptr));
        return start(words, nothing.get(), of_child.get());
    }();
    VDISK_TRY(process, std::move(started));
    RunningProgram program(process);
    ProgramAnswer answer;
    const auto end = Clock::now() + bounds.time;
    for (;;) {
        if (Clock::now() >= end) return too_slow(words, bounds);
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
