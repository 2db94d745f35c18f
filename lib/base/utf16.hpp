// SPDX-License-Identifier: Apache-2.0
/// UTF-16 as Windows writes it into files.
#pragma once

#include <bit>
#include <cstddef>
#include <span>
#include <string>

namespace vdisk {

[[nodiscard]] constexpr bool is_high_surrogate(char32_t unit) noexcept {
    return unit >= 0xD800 && unit < 0xDC00;
}

[[nodiscard]] constexpr bool is_low_surrogate(char32_t unit) noexcept {
    return unit >= 0xDC00 && unit < 0xE000;
}

/// The character that two surrogates stand for.
[[nodiscard]] constexpr char32_t joined_surrogates(char32_t high, char32_t low) noexcept {
    return 0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00);
}

/// Appends a character; one that is a surrogate is no UTF-8 then.
void append_utf8(std::string& text, char32_t character);

/// UTF-16 as UTF-8.
struct Utf16Text {
    std::string utf8;  ///< without one trailing NUL; U+FFFD in place of what is not valid
    bool exact = true; ///< false: a lone surrogate, or an odd number of bytes
};

[[nodiscard]] Utf16Text decode_utf16(std::span<const std::byte> bytes, std::endian order = std::endian::little);

} // namespace vdisk
