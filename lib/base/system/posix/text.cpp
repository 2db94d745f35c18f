// SPDX-License-Identifier: Apache-2.0
#include "base/system/text.hpp"

#include <array>
#include <ctime>
#include <iconv.h>

namespace vdisk::system {

std::optional<std::string> to_utf8(const std::string& text, const std::string& name) {
    const iconv_t converter = iconv_open("UTF-8", name.c_str());
    if (converter == reinterpret_cast<iconv_t>(-1)) return std::nullopt;
    std::string input(text);
    std::string output(input.size() * 4, '\0'); // no character of those encodings has more bytes than that
    char* in = input.data();
    char* out = output.data();
    std::size_t in_left = input.size();
    std::size_t out_left = output.size();
    const std::size_t status = iconv(converter, &in, &in_left, &out, &out_left);
    iconv_close(converter);
    if (status == static_cast<std::size_t>(-1) || in_left != 0) return std::nullopt;
    output.resize(output.size() - out_left);
    return output;
}

std::string local_time(std::int64_t seconds) {
    const auto time = static_cast<std::time_t>(seconds);
    std::tm parts{};
    std::array<char, 80> text{};
    if (::localtime_r(&time, &parts) == nullptr) return "unknown";
    const std::size_t length = std::strftime(text.data(), text.size(), "%Y-%m-%dT%H:%M:%S%z (%Z)", &parts);
    return {text.data(), length};
}

} // namespace vdisk::system
