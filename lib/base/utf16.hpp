// SPDX-License-Identifier: Apache-2.0
/// UTF-16 as Windows writes it into files.
#pragma once

#include <bit>
#include <cstddef>
#include <span>
#include <string>

namespace vdisk {

/// UTF-16 as UTF-8.
struct Utf16Text {
    std::string utf8;  ///< without one trailing NUL; U+FFFD in place of what is not valid
    bool exact = true; ///< false: a lone surrogate, or an odd number of bytes
};

[[nodiscard]] Utf16Text decode_utf16(std::span<const std::byte> bytes, std::endian order = std::endian::little);

} // namespace vdisk
