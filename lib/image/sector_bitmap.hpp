// SPDX-License-Identifier: Apache-2.0
/// Bitmaps with a bit for each sector.
#pragma once

#include "image/block_cache.hpp"

#include <cstddef>
#include <cstdint>
#include <span>

namespace vdisk {

/// Which bit of a byte stands for the first of its eight sectors.
enum class BitOrder : std::uint8_t { highest_first, lowest_first };

/// Equal bits, one behind the other.
struct BitRun {
    bool set = false;
    std::uint64_t length = 0; ///< bits, > 0
};

[[nodiscard]] inline bool bit_at(std::span<const std::byte> bitmap, std::uint64_t at, BitOrder order) noexcept {
    const auto shift = static_cast<unsigned>(order == BitOrder::highest_first ? 7 - at % 8 : at % 8);
    return (std::to_integer<unsigned>(bitmap[static_cast<std::size_t>(at / 8)]) >> shift & 1U) != 0;
}

/// The longest run from bit `first` on that ends at `end` or before. `first` < `end`, and `bitmap` has `end` bits.
[[nodiscard]] inline BitRun run_of_bits(std::span<const std::byte> bitmap, std::uint64_t first, std::uint64_t end,
                                        BitOrder order) noexcept {
    const bool set = bit_at(bitmap, first, order);
    const std::byte all = set ? std::byte{0xFF} : std::byte{0};
    std::uint64_t at = first + 1;
    while (at < end) {
        if (at % 8 == 0 && end - at >= 8 && bitmap[static_cast<std::size_t>(at / 8)] == all) at += 8;
        else if (bit_at(bitmap, at, order) == set) ++at;
        else break;
    }
    return {set, at - first};
}

/// run_of_bits() of a bitmap that is stored at `place` of the table's source: of no more bits than a read of 512 bytes
/// gives. Errors: those of reading it.
[[nodiscard]] Result<BitRun> read_run_of_bits(const CachedTable& table, std::uint64_t place, std::uint64_t first,
                                              std::uint64_t end, BitOrder order);

} // namespace vdisk
