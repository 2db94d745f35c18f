// SPDX-License-Identifier: Apache-2.0
/// What stands in texts that files hold: words, numbers, bytes as digits. ASCII alone, whatever the locale.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace vdisk {

[[nodiscard]] constexpr char lower(char c) noexcept {
    return 'A' <= c && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}
[[nodiscard]] std::string lower(std::string_view text);

/// Bytes as the characters that they are.
[[nodiscard]] inline std::string_view as_text(std::span<const std::byte> bytes) noexcept {
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

/// Whether `text` ends in `end`, which is in lower case, in whatever case.
[[nodiscard]] bool ends_in(std::string_view text, std::string_view end) noexcept;

/// `text` without the `blanks` around it.
[[nodiscard]] std::string_view trimmed(std::string_view text, std::string_view blanks = " \t\r\n") noexcept;

/// The next line of `text`, without its end ("\n" or "\r\n"), taken away from it.
[[nodiscard]] std::string_view take_line(std::string_view& text) noexcept;

/// The number that all of `text` is, without a sign in front of it; nothing if it is none or above `most`.
[[nodiscard]] std::optional<std::uint64_t> parse_up_to(std::uint64_t most, std::string_view text, int base) noexcept;

/// The same for the numbers of a type.
template<std::unsigned_integral Number>
[[nodiscard]] std::optional<Number> parse_number(std::string_view text, int base = 10) noexcept {
    const auto number = parse_up_to(std::numeric_limits<Number>::max(), text, base);
    return number ? std::optional(static_cast<Number>(*number)) : std::nullopt;
}

/// The bytes of which `text` has the hexadecimal digits, in either case; nothing if it is none of that.
[[nodiscard]] std::optional<std::vector<std::byte>> parse_hex(std::string_view text);

/// The bytes that `text` has in base64 (RFC 4648, padded, without line breaks); nothing if it is none.
[[nodiscard]] std::optional<std::vector<std::byte>> parse_base64(std::string_view text);

/// `text` with each %XX of a URI as the byte that it means; what is no such code stays as it is.
[[nodiscard]] std::string percent_decoded(std::string_view text);

} // namespace vdisk
