// SPDX-License-Identifier: Apache-2.0
/// A RamBlock: one MiB of guest memory, plain or as a stream of pages.
#pragma once

#include "base/error.hpp"

#include <bitset>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace vdisk::hyperv {

inline constexpr std::size_t kPageBytes = 4096;
inline constexpr std::size_t kPagesPerBlock = 256;
inline constexpr std::size_t kBlockBytes = kPageBytes * kPagesPerBlock;

/// What could be rebuilt. Pages that are not `good` have no content: their bytes must not be used.
struct RamBlock {
    std::vector<std::byte> bytes = std::vector<std::byte>(kBlockBytes);
    std::bitset<kPagesPerBlock> good;
    std::string fault; ///< why a page is missing: the first reason; empty if all are good

    [[nodiscard]] bool whole() const noexcept { return good.all(); }
};

/// Decodes a stored block into `block`. `stored` is what there is of the `length` bytes that it has; where it ends
/// early (the file is cut off) the pages before that are good, and all that can be. A page whose own compression is
/// broken costs that page, provided that the rest of the stream still makes exactly one MiB; a stream that loses its
/// thread costs all pages from there on.
void decode_ram_block(std::span<const std::byte> stored, std::uint64_t length, RamBlock& block);

} // namespace vdisk::hyperv
