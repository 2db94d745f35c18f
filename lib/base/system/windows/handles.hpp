// SPDX-License-Identifier: Apache-2.0
/// What the files of this folder share. Nobody else includes this.
#pragma once

#ifndef NOMINMAX
#define NOMINMAX
#endif
#ifndef WIN32_LEAN_AND_MEAN
#define WIN32_LEAN_AND_MEAN
#endif
#include <windows.h>

#include <filesystem>
#include <string>
#include <string_view>

namespace vdisk::system {

/// UTF-16 as UTF-8 and back. A surrogate without a partner is three bytes of its own; bytes that are no UTF-8 become
/// U+FFFF each, which no file's name has.
[[nodiscard]] std::string narrow(std::wstring_view text);
[[nodiscard]] std::wstring wide(std::string_view text);

/// Closes a handle that is not a descriptor's.
class Handle {
public:
    explicit Handle(HANDLE handle) noexcept : handle_(handle) {}
    ~Handle() {
        if (is_open()) ::CloseHandle(handle_);
    }
    Handle(const Handle&) = delete;
    Handle& operator=(const Handle&) = delete;
    [[nodiscard]] bool is_open() const noexcept { return handle_ != INVALID_HANDLE_VALUE && handle_ != nullptr; }
    [[nodiscard]] HANDLE get() const noexcept { return handle_; }

private:
    HANDLE handle_;
};

/// The handle of a descriptor; INVALID_HANDLE_VALUE if there is none.
[[nodiscard]] HANDLE handle_of(int descriptor) noexcept;

/// `path` as functions of Windows take it however long it is.
[[nodiscard]] std::wstring native_name(const std::filesystem::path& path);

/// The path of an open file or folder, with \\?\ in front; empty on failure.
[[nodiscard]] std::wstring final_path(HANDLE handle);

/// A number for a drive or volume that is open: the same for each of its names. 0 if it is none.
[[nodiscard]] std::uint64_t device_number(HANDLE device) noexcept;

/// What final_path() puts in front.
constexpr std::wstring_view kLiteral = L"\\\\?\\";

} // namespace vdisk::system
