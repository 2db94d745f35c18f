// SPDX-License-Identifier: Apache-2.0
#include "base/uuid.hpp"

#include "base/text.hpp"

#include <algorithm>
#include <charconv>

namespace vdisk {
namespace {

// Where in the text of 36 characters the hyphens stand.
constexpr std::array<std::size_t, 4> kHyphens{8, 13, 18, 23};

bool is_hyphen_place(std::size_t at) {
    return std::ranges::find(kHyphens, at) != kHyphens.end();
}

} // namespace

Uuid Uuid::from_mixed(std::span<const std::byte, 16> stored) noexcept {
    constexpr std::array<std::size_t, 16> kOrder{3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15};
    Uuid uuid;
    for (std::size_t i = 0; i < kOrder.size(); ++i) uuid.bytes[i] = stored[kOrder[i]];
    return uuid;
}

std::optional<Uuid> Uuid::parse(std::string_view text) noexcept {
    if (text.size() == 38 && text.front() == '{' && text.back() == '}') text = text.substr(1, 36);
    if (text.size() != 36) return std::nullopt;
    Uuid uuid;
    std::size_t filled = 0;
    for (std::size_t at = 0; at < text.size();) {
        if (is_hyphen_place(at)) {
            if (text[at++] != '-') return std::nullopt;
            continue;
        }
        unsigned value = 0;
        const auto [end, error] = std::from_chars(text.data() + at, text.data() + at + 2, value, 16);
        if (error != std::errc{} || end != text.data() + at + 2) return std::nullopt;
        uuid.bytes[filled++] = static_cast<std::byte>(value);
        at += 2;
    }
    return uuid;
}

std::string to_string(const Uuid& uuid) {
    std::string text = hex(uuid.bytes);
    for (const std::size_t at : kHyphens) text.insert(at, 1, '-');
    return text;
}

} // namespace vdisk
