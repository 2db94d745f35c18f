// SPDX-License-Identifier: Apache-2.0
/// Names of files as text.
#pragma once

#include <filesystem>
#include <string>

namespace vdisk {

/// A path as text: the bytes that the system has; on Windows UTF-8, a surrogate that has no partner as three bytes of
/// its own. A path that is made of the text, on Windows too, is that path again: text that becomes a std::filesystem
/// path is taken for UTF-8 there, bytes that are none for characters that no file's name has.
[[nodiscard]] std::string utf8(const std::filesystem::path& path);

namespace system {

/// Whether paths begin with a drive or a share here, and one of Windows is a path of this system.
#ifdef _WIN32
constexpr bool kHasDrives = true;
#else
constexpr bool kHasDrives = false;
#endif

} // namespace system
} // namespace vdisk
