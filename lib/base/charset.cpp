// SPDX-License-Identifier: Apache-2.0
#include "base/charset.hpp"

#include "base/parse.hpp"

#include <algorithm>
#include <array>
#include <iconv.h>

namespace vdisk {
namespace {

// Those that VMware names; iconv knows hundreds, some of which had bugs that hostile bytes found.
constexpr std::array<std::string_view, 10> kEncodings{"windows-1250", "windows-1251", "windows-1252", "windows-1253",
                                                      "windows-1254", "gbk",          "gb18030",      "big5",
                                                      "shift_jis",    "euc-kr"};

// "windows-1252" as "cp1252", which every iconv knows.
std::string name_for_iconv(std::string_view encoding) {
    const std::string name = lower(encoding);
    if (std::ranges::find(kEncodings, name) == kEncodings.end()) return "";
    return name.starts_with("windows-") ? "cp" + name.substr(8) : name;
}

} // namespace

std::string to_utf8(std::string_view text, std::string_view encoding) {
    const std::string from = name_for_iconv(encoding);
    if (from.empty()) return std::string(text);
    const iconv_t converter = iconv_open("UTF-8", from.c_str());
    if (converter == reinterpret_cast<iconv_t>(-1)) return std::string(text);
    std::string input(text);
    std::string output(input.size() * 4, '\0'); // no character of those encodings has more bytes than that
    char* in = input.data();
    char* out = output.data();
    std::size_t in_left = input.size();
    std::size_t out_left = output.size();
    const std::size_t status = iconv(converter, &in, &in_left, &out, &out_left);
    iconv_close(converter);
    if (status == static_cast<std::size_t>(-1) || in_left != 0) return std::string(text);
    output.resize(output.size() - out_left);
    return output;
}

} // namespace vdisk
