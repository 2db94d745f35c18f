// SPDX-License-Identifier: Apache-2.0
/// Text as Microsoft's formats have it; without the library, for builders that share nothing with the reader.
#pragma once

#include <cstddef>
#include <string_view>
#include <vector>

namespace vdisk::test {

/// ASCII as UTF-16LE.
inline std::vector<std::byte> utf16(std::string_view ascii) {
    std::vector<std::byte> bytes;
    for (const char each : ascii) {
        bytes.push_back(static_cast<std::byte>(each));
        bytes.push_back(std::byte{0});
    }
    return bytes;
}

} // namespace vdisk::test
