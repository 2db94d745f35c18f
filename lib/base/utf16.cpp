// SPDX-License-Identifier: Apache-2.0
#include "base/utf16.hpp"

namespace vdisk {
namespace {

constexpr char32_t kReplacement = 0xFFFD;

} // namespace

void append_utf8(std::string& text, char32_t character) {
    const auto put = [&](char32_t bits) { text.push_back(static_cast<char>(bits)); };
    if (character < 0x80) return put(character);
    if (character < 0x800) {
        put(0xC0 | (character >> 6));
    } else if (character < 0x10000) {
        put(0xE0 | (character >> 12));
        put(0x80 | ((character >> 6) & 0x3F));
    } else {
        put(0xF0 | (character >> 18));
        put(0x80 | ((character >> 12) & 0x3F));
        put(0x80 | ((character >> 6) & 0x3F));
    }
    put(0x80 | (character & 0x3F));
}

Utf16Text decode_utf16(std::span<const std::byte> bytes, std::endian order) {
    Utf16Text text;
    const bool odd = bytes.size() % 2 != 0;
    std::size_t units = bytes.size() / 2;
    const auto unit = [&](std::size_t i) {
        const auto low = std::to_integer<char32_t>(bytes[2 * i + (order == std::endian::little ? 0 : 1)]);
        const auto high = std::to_integer<char32_t>(bytes[2 * i + (order == std::endian::little ? 1 : 0)]);
        return high << 8 | low;
    };
    if (!odd && units > 0 && unit(units - 1) == 0) --units;
    text.utf8.reserve(units);
    for (std::size_t i = 0; i < units; ++i) {
        const char32_t first = unit(i);
        if (is_high_surrogate(first) && i + 1 < units && is_low_surrogate(unit(i + 1))) {
            append_utf8(text.utf8, joined_surrogates(first, unit(i + 1)));
            ++i;
        } else if (is_high_surrogate(first) || is_low_surrogate(first)) {
            append_utf8(text.utf8, kReplacement);
            text.exact = false;
        } else {
            append_utf8(text.utf8, first);
        }
    }
    if (odd) {
        append_utf8(text.utf8, kReplacement);
        text.exact = false;
    }
    return text;
}

} // namespace vdisk
