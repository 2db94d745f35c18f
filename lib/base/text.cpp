// SPDX-License-Identifier: Apache-2.0
#include "base/text.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <chrono>

namespace vdisk {
std::size_t utf8_length(std::string_view text) noexcept {
    const auto byte = [&](std::size_t i) { return i < text.size() ? static_cast<unsigned char>(text[i]) : 0U; };
    const auto tail = [&](std::size_t i) { return (byte(i) & 0xC0U) == 0x80U; };
    const unsigned first = byte(0);
    if (first < 0x80) return 1;
    if (first >= 0xC2 && first <= 0xDF) return tail(1) ? 2 : 0;
    if (first >= 0xE0 && first <= 0xEF) {
        const bool overlong = first == 0xE0 && byte(1) < 0xA0;
        const bool surrogate = first == 0xED && byte(1) > 0x9F;
        return tail(1) && tail(2) && !overlong && !surrogate ? 3 : 0;
    }
    if (first >= 0xF0 && first <= 0xF4) {
        const bool overlong = first == 0xF0 && byte(1) < 0x90;
        const bool beyond = first == 0xF4 && byte(1) > 0x8F;
        return tail(1) && tail(2) && tail(3) && !overlong && !beyond ? 4 : 0;
    }
    return 0;
}

bool is_utf8(std::string_view text) noexcept {
    while (!text.empty()) {
        const std::size_t length = utf8_length(text);
        if (length == 0) return false;
        text.remove_prefix(length);
    }
    return true;
}

std::string printable(std::string_view text) {
    std::string shown;
    shown.reserve(text.size());
    while (!text.empty()) {
        const std::size_t length = utf8_length(text);
        const auto first = static_cast<unsigned char>(text[0]);
        const bool c1_control = length == 2 && first == 0xC2 && static_cast<unsigned char>(text[1]) < 0xA0;
        const bool plain = length > 0 && first >= 0x20 && first != 0x7F && !c1_control;
        const std::size_t taken = plain ? length : 1;
        if (plain) shown.append(text.substr(0, taken));
        else shown += fmt::format("\\x{:02x}", first);
        text.remove_prefix(taken);
    }
    return shown;
}

std::string shell_quoted(std::string_view text) {
    constexpr std::string_view kPlain = "_./@%+=:,#-"; // '#' and '=' are special at a word's beginning alone
    const auto plain = [&](char c) {
        return ('a' <= c && c <= 'z') || ('A' <= c && c <= 'Z') || ('0' <= c && c <= '9') ||
               kPlain.find(c) != std::string_view::npos;
    };
    if (!text.empty() && text[0] != '#' && text[0] != '=' && std::ranges::all_of(text, plain)) return std::string(text);
    const bool shown_as_it_is = printable(text) == text;
    std::string quoted = shown_as_it_is ? "'" : "$'";
    for (const char c : text) {
        if (c == '\'') quoted += shown_as_it_is ? "'\\''" : "\\'";
        else if (c == '\\' && !shown_as_it_is) quoted += "\\\\";
        else quoted += c;
    }
    return (shown_as_it_is ? quoted : printable(quoted)) + "'";
}

std::string shortened(std::string_view text, std::size_t bytes) {
    if (text.size() <= bytes) return std::string(text);
    std::size_t kept = bytes - 3;
    while (kept > 0 && (static_cast<unsigned char>(text[kept]) & 0xC0U) == 0x80U)
        --kept; // never before a continuation byte
    return std::string(text.substr(0, kept)) + "...";
}

std::string shown_name(std::string_view name) {
    constexpr std::size_t kLongest = 128; // bytes
    return shortened(printable(name), kLongest);
}

std::string human_size(std::uint64_t bytes) {
    static constexpr std::array kUnits{"bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    std::size_t unit = 0;
    std::uint64_t scale = 1;
    while (unit + 1 < kUnits.size() && bytes / scale >= 1024) {
        scale *= 1024;
        ++unit;
    }
    if (bytes % scale == 0) return fmt::format("{} {}", bytes / scale, kUnits[unit]);
    return fmt::format("{:.2f} {}", static_cast<double>(bytes) / static_cast<double>(scale), kUnits[unit]);
}

std::string utc_time(std::int64_t seconds, std::uint32_t nanoseconds) {
    // Years 0 to 9999: what four digits show.
    if (seconds < -62167219200 || seconds > 253402300799) return fmt::format("{}", seconds);
    const std::chrono::sys_seconds time{std::chrono::seconds(seconds)};
    const auto day = std::chrono::floor<std::chrono::days>(time);
    const std::chrono::year_month_day date(day);
    const std::chrono::hh_mm_ss clock(time - day);
    const bool fraction = nanoseconds > 0 && nanoseconds < 1'000'000'000;
    return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}{}Z", static_cast<int>(date.year()),
                       static_cast<unsigned>(date.month()), static_cast<unsigned>(date.day()), clock.hours().count(),
                       clock.minutes().count(), clock.seconds().count(),
                       fraction ? fmt::format(".{:09}", nanoseconds) : "");
}

std::string hex(std::span<const std::byte> bytes) {
    static constexpr std::string_view kDigits = "0123456789abcdef";
    std::string digits(bytes.size() * 2, '0');
    for (std::size_t i = 0; i < bytes.size(); ++i) {
        const auto byte = static_cast<unsigned>(bytes[i]);
        digits[2 * i] = kDigits[byte >> 4];
        digits[2 * i + 1] = kDigits[byte & 15U];
    }
    return digits;
}

} // namespace vdisk
