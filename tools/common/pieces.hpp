// SPDX-License-Identifier: Apache-2.0
/// In what a disk is read by whoever wants every byte of it that can be read.
#pragma once

#include "base/checked.hpp"

#include <algorithm>
#include <cstdint>

namespace vdisk::tools {

/// Bytes that are read at once.
inline constexpr std::uint64_t kPiece = 1U << 20;

/// Bytes to which what can't be read is found.
inline constexpr std::uint64_t kSector = 512;

/// Where to cut in two what can't be read as a whole and is more than a sector.
[[nodiscard]] constexpr std::uint64_t first_half(std::uint64_t length) noexcept {
    return std::max(kSector, align_down(length / 2, kSector));
}

} // namespace vdisk::tools
