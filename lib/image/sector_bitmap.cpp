// SPDX-License-Identifier: Apache-2.0
#include "image/sector_bitmap.hpp"

#include "base/checked.hpp"

#include <algorithm>
#include <array>

namespace vdisk {

Result<BitRun> read_run_of_bits(const CachedTable& table, std::uint64_t place, std::uint64_t first, std::uint64_t end,
                                BitOrder order) {
    std::array<std::byte, 512> bits; // 2 MiB of a disk with sectors of 512 bytes
    const std::uint64_t skipped = align_down(first, 8);
    const std::uint64_t read = std::min<std::uint64_t>(div_ceil(end - skipped, 8), bits.size());
    VDISK_CHECK(table.read(place + skipped / 8, std::span(bits).first(static_cast<std::size_t>(read))));
    return run_of_bits(bits, first - skipped, std::min(end - skipped, read * 8), order);
}

} // namespace vdisk
