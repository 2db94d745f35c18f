// SPDX-License-Identifier: Apache-2.0
#include "base/system/text.hpp"

#include "base/system/windows/handles.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <ctime>
#include <limits>
#include <utility>

namespace vdisk::system {
namespace {

constexpr std::array<std::pair<std::string_view, UINT>, 10> kCodePages{{{"cp1250", 1250},
                                                                        {"cp1251", 1251},
                                                                        {"cp1252", 1252},
                                                                        {"cp1253", 1253},
                                                                        {"cp1254", 1254},
                                                                        {"gbk", 936},
                                                                        {"gb18030", 54936},
                                                                        {"big5", 950},
                                                                        {"shift_jis", 932},
                                                                        {"euc-kr", 949}}};

} // namespace

std::optional<std::string> to_utf8(const std::string& text, const std::string& name) {
    const auto* const page = std::ranges::find(kCodePages, name, &std::pair<std::string_view, UINT>::first);
    constexpr int kMost = std::numeric_limits<int>::max() / 2; // so that twice as many are counted, too
    if (page == kCodePages.end() || text.size() > static_cast<std::size_t>(kMost)) return std::nullopt;
    if (text.empty()) return text;
    const auto size = static_cast<int>(text.size());
    std::wstring units(text.size() * 2, L'\0'); // no byte of those encodings becomes more
    const int count = ::MultiByteToWideChar(page->second, MB_ERR_INVALID_CHARS, text.data(), size, units.data(),
                                            static_cast<int>(units.size()));
    if (count == 0) return std::nullopt;
    units.resize(static_cast<std::size_t>(count));
    return narrow(units);
}

std::string local_time(std::int64_t seconds) {
    const __time64_t time = seconds; // std::time_t has 32 bits in a 32-bit program
    std::tm parts{};
    std::tm world{};
    if (::_localtime64_s(&parts, &time) != 0 || ::_gmtime64_s(&world, &time) != 0) return "unknown";
    // The zone's distance by the two clocks: they are less than a day apart.
    const int days = parts.tm_year != world.tm_year ? parts.tm_year - world.tm_year : parts.tm_yday - world.tm_yday;
    const int minutes = (days * 24 + parts.tm_hour - world.tm_hour) * 60 + parts.tm_min - world.tm_min;
    TIME_ZONE_INFORMATION zone{};
    const DWORD season = ::GetTimeZoneInformation(&zone);
    const bool summer = parts.tm_isdst > 0 && season != TIME_ZONE_ID_INVALID;
    std::array<char, 40> text{};
    const std::size_t length = std::strftime(text.data(), text.size(), "%Y-%m-%dT%H:%M:%S", &parts);
    return fmt::format("{}{}{:02}{:02} ({})", std::string_view(text.data(), length), minutes < 0 ? '-' : '+',
                       std::abs(minutes) / 60, std::abs(minutes) % 60,
                       narrow(summer ? zone.DaylightName : zone.StandardName));
}

} // namespace vdisk::system
