// SPDX-License-Identifier: Apache-2.0
/// Text that came from a file, made safe to show.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace vdisk {

/// Length of the valid UTF-8 sequence at the start of `text` (Unicode 15, table 3-7), or 0.
std::size_t utf8_length(std::string_view text) noexcept;

/// Whether all of `text` is valid UTF-8.
bool is_utf8(std::string_view text) noexcept;

/// `text` with control characters and bytes that are not valid UTF-8 written as \xNN: safe on a terminal and in JSON.
std::string printable(std::string_view text);

/// `text` as a word that a POSIX shell takes apart into nothing else: as it is, in single quotes, or, where control
/// characters or bytes that are not UTF-8 are in it, as bash's and ksh's $'...'. Safe on a terminal.
std::string shell_quoted(std::string_view text);

/// `text` if it has at most `bytes` bytes; else its beginning, cut between two characters of UTF-8, with "..." behind,
/// at most `bytes` (>= 3) bytes long.
std::string shortened(std::string_view text, std::size_t bytes);

/// The name of something in a file, printable and short enough for a message.
std::string shown_name(std::string_view name);

/// A byte count as people read it, exact where it is exact: "64 KiB", "1.5 GiB", "1234 bytes".
std::string human_size(std::uint64_t bytes);

/// Unix seconds as ISO 8601 has them, "2024-01-02T03:04:05Z"; out-of-range values as the bare number. Nanoseconds other
/// than 0 make it "03:04:05.123456789Z"; ones beyond a second are left out.
std::string utc_time(std::int64_t seconds, std::uint32_t nanoseconds = 0);

/// Lower-case hexadecimal, two digits a byte, no separators.
std::string hex(std::span<const std::byte> bytes);

} // namespace vdisk
