// SPDX-License-Identifier: Apache-2.0
#include "base/charset.hpp"

#include "base/parse.hpp"
#include "base/system/text.hpp"

#include <algorithm>
#include <array>

namespace vdisk {
namespace {

// Those that VMware names; iconv knows hundreds, some of which had bugs that hostile bytes found.
constexpr std::array<std::string_view, 10> kEncodings{"windows-1250", "windows-1251", "windows-1252", "windows-1253",
                                                      "windows-1254", "gbk",          "gb18030",      "big5",
                                                      "shift_jis",    "euc-kr"};

// "windows-1252" as "cp1252", which every system knows.
std::string name_for_system(std::string_view encoding) {
    const std::string name = lower(encoding);
    if (std::ranges::find(kEncodings, name) == kEncodings.end()) return "";
    return name.starts_with("windows-") ? "cp" + name.substr(8) : name;
}

} // namespace

std::string to_utf8(std::string_view text, std::string_view encoding) {
    const std::string from = name_for_system(encoding);
    if (from.empty()) return std::string(text);
    return system::to_utf8(std::string(text), from).value_or(std::string(text));
}

} // namespace vdisk
