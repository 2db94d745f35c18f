// SPDX-License-Identifier: Apache-2.0
#include "base/system/program.hpp"

#include "base/system/windows/handles.hpp"

#include <cstdio>
#include <cstring>
#include <fcntl.h>
#include <io.h>
#include <shellapi.h>

namespace vdisk::system {
namespace {

void (*clean_up_at_ending)() noexcept = nullptr;
SRWLOCK ending = SRWLOCK_INIT; // held by EndingHeld, and for ever by who cleans up

// In a thread of its own. Nothing else of the program runs on once that is cleaned up: no destructor, no message.
BOOL WINAPI clean_up_and_end(DWORD /*event*/) {
    ::AcquireSRWLockExclusive(&ending);
    clean_up_at_ending();
    ::TerminateProcess(::GetCurrentProcess(), STATUS_CONTROL_C_EXIT);
    return TRUE;
}

void take_control_sequences(DWORD stream) noexcept {
    const HANDLE console = ::GetStdHandle(stream);
    DWORD mode = 0;
    if (::GetConsoleMode(console, &mode) != 0) ::SetConsoleMode(console, mode | ENABLE_VIRTUAL_TERMINAL_PROCESSING);
}

HANDLE console_of(int stream) noexcept {
    return ::GetStdHandle(stream == kStandardOutput ? STD_OUTPUT_HANDLE : STD_ERROR_HANDLE);
}

} // namespace

std::optional<std::string> environment(const char* name) {
    const std::wstring key = wide(name);
    std::wstring value;
    ::SetLastError(ERROR_SUCCESS);
    DWORD needed = ::GetEnvironmentVariableW(key.c_str(), nullptr, 0);
    if (needed == 0 && ::GetLastError() == ERROR_ENVVAR_NOT_FOUND) return std::nullopt;
    while (needed > value.size()) { // with its NUL; another thread may set it in between
        value.resize(needed);
        needed = ::GetEnvironmentVariableW(key.c_str(), value.data(), static_cast<DWORD>(value.size()));
    }
    value.resize(needed);
    return narrow(value);
}

std::optional<std::string> trusted_environment(const char* name) {
    return environment(name);
}

std::vector<std::string> variables(std::string_view prefix) {
    std::vector<std::string> found;
    wchar_t* const all = ::GetEnvironmentStringsW();
    for (const wchar_t* each = all; each != nullptr && *each != L'\0'; each += std::wstring_view(each).size() + 1) {
        std::string variable = narrow(each);
        if (variable.starts_with(prefix)) found.push_back(std::move(variable));
    }
    ::FreeEnvironmentStringsW(all);
    return found;
}

// What GetVersionEx() says depends on what a program declares of itself; the system's library has the truth.
std::string name_and_version() {
    const HMODULE library = ::GetModuleHandleW(L"ntdll.dll");
    const FARPROC found = library == nullptr ? nullptr : ::GetProcAddress(library, "RtlGetVersion");
    if (found == nullptr) return "Windows";
    LONG(WINAPI * get_version)(OSVERSIONINFOW*) = nullptr;
    std::memcpy(&get_version, &found, sizeof found);
    OSVERSIONINFOW version{};
    version.dwOSVersionInfoSize = sizeof version;
    if (get_version(&version) != 0) return "Windows";
    return "Windows " + std::to_string(version.dwMajorVersion) + '.' + std::to_string(version.dwMinorVersion) + '.' +
           std::to_string(version.dwBuildNumber) + (sizeof(void*) == 8 ? " x86_64" : " x86");
}

std::filesystem::path cache_home() {
    const std::filesystem::path folder = environment("LOCALAPPDATA").value_or("");
    return folder.is_absolute() ? folder : std::filesystem::path();
}

// What main() gets has lost what the code page lacks.
std::vector<std::string> words(int /*count*/, char** /*given*/) {
    int count = 0;
    wchar_t** const found = ::CommandLineToArgvW(::GetCommandLineW(), &count);
    std::vector<std::string> all;
    for (int i = 0; i < count; ++i) all.push_back(narrow(found[i]));
    ::LocalFree(found);
    return all;
}

std::string program_name() {
    std::wstring name(32768, L'\0'); // no path is longer
    name.resize(::GetModuleFileNameW(nullptr, name.data(), static_cast<DWORD>(name.size())));
    return narrow(std::filesystem::path(name).stem().native());
}

void prepare_program() noexcept {
    for (const int stream : {0, kStandardOutput, kStandardError}) ::_setmode(stream, _O_BINARY);
    ::SetConsoleOutputCP(CP_UTF8);
    take_control_sequences(STD_OUTPUT_HANDLE);
    take_control_sequences(STD_ERROR_HANDLE);
}

bool is_terminal(int stream) noexcept {
    DWORD mode = 0;
    return ::GetConsoleMode(console_of(stream), &mode) != 0;
}

bool takes_control_sequences(int stream) noexcept {
    DWORD mode = 0;
    return ::GetConsoleMode(console_of(stream), &mode) != 0 && (mode & ENABLE_VIRTUAL_TERMINAL_PROCESSING) != 0;
}

void at_ending(void (*clean_up)() noexcept) noexcept {
    clean_up_at_ending = clean_up;
    ::SetConsoleCtrlHandler(clean_up_and_end, TRUE);
}

EndingHeld::EndingHeld() noexcept {
    ::AcquireSRWLockExclusive(&ending);
}

EndingHeld::~EndingHeld() {
    ::ReleaseSRWLockExclusive(&ending);
}

} // namespace vdisk::system
