// SPDX-License-Identifier: Apache-2.0
#include "vdisk/safe_name.hpp"

#include "base/text.hpp"

#include <algorithm>
#include <cctype>

namespace vdisk::tools {
namespace {

constexpr std::size_t kLongestPart = 100; // of a file name, which may have 255 bytes

bool plain(unsigned char c) {
    return c < 0x80 && (std::isalnum(c) != 0 || c == '_' || c == '.' || c == '-');
}

} // namespace

// Of other scripts all that is valid UTF-8 and no control character is kept.
std::string safe_name(std::string_view text, Letters letters) {
    std::string part;
    while (!text.empty() && part.size() < kLongestPart) {
        const std::size_t length = utf8_length(text);
        const std::string_view character = text.substr(0, std::max<std::size_t>(length, 1));
        const bool kept = length > 1 ? letters == Letters::every_script && printable(character) == character
                                     : length == 1 && plain(static_cast<unsigned char>(text[0]));
        part += kept ? character : "_";
        text.remove_prefix(character.size());
    }
    if (part.starts_with('-') || part.starts_with('.')) part.front() = '_';
    return part;
}

} // namespace vdisk::tools
