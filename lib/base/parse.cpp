// SPDX-License-Identifier: Apache-2.0
#include "base/parse.hpp"

#include <algorithm>
#include <charconv>

namespace vdisk {

std::string lower(std::string_view text) {
    std::string made(text);
    for (char& c : made) c = lower(c);
    return made;
}

bool ends_in(std::string_view text, std::string_view end) noexcept {
    return text.size() >= end.size() &&
           std::ranges::equal(text.substr(text.size() - end.size()), end, {}, [](char c) { return lower(c); });
}

std::string_view trimmed(std::string_view text, std::string_view blanks) noexcept {
    text.remove_prefix(std::min(text.find_first_not_of(blanks), text.size()));
    return text.substr(0, text.find_last_not_of(blanks) + 1);
}

std::string_view take_line(std::string_view& text) noexcept {
    const std::size_t end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (line.ends_with('\r')) line.remove_suffix(1);
    return line;
}

std::optional<std::uint64_t> parse_up_to(std::uint64_t most, std::string_view text, int base) noexcept {
    std::uint64_t number = 0;
    const char* const end = text.data() + text.size();
    const auto [stopped, error] = std::from_chars(text.data(), end, number, base);
    if (text.empty() || error != std::errc() || stopped != end || number > most) return std::nullopt;
    return number;
}

std::optional<std::vector<std::byte>> parse_hex(std::string_view text) {
    if (text.size() % 2 != 0) return std::nullopt;
    std::vector<std::byte> bytes;
    for (std::size_t i = 0; i < text.size(); i += 2) {
        const auto byte = parse_number<unsigned char>(text.substr(i, 2), 16);
        if (!byte) return std::nullopt;
        bytes.push_back(static_cast<std::byte>(*byte));
    }
    return bytes;
}

std::optional<std::vector<std::byte>> parse_base64(std::string_view text) {
    constexpr std::string_view kDigits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    constexpr std::size_t kGroup = 4;
    if (text.size() % kGroup != 0) return std::nullopt;
    const std::size_t padding = text.ends_with("==") ? 2 : text.ends_with('=') ? 1 : 0;
    std::vector<std::byte> bytes;
    std::uint32_t bits = 0;
    unsigned held = 0;
    for (const char c : text.substr(0, text.size() - padding)) {
        const std::size_t digit = kDigits.find(c);
        if (digit == std::string_view::npos) return std::nullopt;
        bits = (bits << 6 | static_cast<std::uint32_t>(digit)) & 0xFFFFU;
        held += 6;
        if (held < 8) continue;
        held -= 8;
        bytes.push_back(static_cast<std::byte>(bits >> held));
    }
    if ((bits & ((1U << held) - 1)) != 0) return std::nullopt;
    return bytes;
}

std::string percent_decoded(std::string_view text) {
    std::string plain;
    for (std::size_t i = 0; i < text.size(); ++i) {
        const auto code = text[i] == '%' && i + 2 < text.size() ? parse_number<unsigned char>(text.substr(i + 1, 2), 16)
                                                                : std::nullopt;
        plain += code ? static_cast<char>(*code) : text[i];
        if (code) i += 2;
    }
    return plain;
}

} // namespace vdisk
