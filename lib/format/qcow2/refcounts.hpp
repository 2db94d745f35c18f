// SPDX-License-Identifier: Apache-2.0
/// Refcounts as they are stored. Source: QEMU's docs/interop/qcow2, "Host cluster management".
#pragma once

#include "format/qcow2/header.hpp"

#include <span>

namespace vdisk::qcow2 {

constexpr std::uint64_t kRefcountOffsetMask = 0xFFFFFFFFFFFFFE00; ///< of an entry of the refcount table

/// Refcount number `index` of a block whose entries have 1 << order bits. Below a byte the first is in the lowest bits.
[[nodiscard]] std::uint64_t load_refcount(std::span<const std::byte> block, std::uint64_t index, std::uint32_t order);

/// Refcounts that one block of `cluster_size` bytes has.
[[nodiscard]] constexpr std::uint64_t refcounts_in(std::uint64_t cluster_size, std::uint32_t order) noexcept {
    return cluster_size * 8 >> order;
}

/// The first `count` (> 0) refcounts of the block at `offset`, packed as load_refcount() takes them; zeros for what
/// lies past the end of the file.
[[nodiscard]] Result<std::vector<std::byte>> read_refcounts(const ByteSource& file, std::uint64_t offset,
                                                            std::uint64_t count, std::uint32_t order);

/// Entries of the refcount table that an opening looks at: 16 TiB of file at clusters of 64 KiB.
constexpr std::uint64_t kMostRefcountTableEntries = 8192;

/// The first entries of the refcount table, as far as they lie in the file.
[[nodiscard]] Result<std::vector<std::uint64_t>> read_refcount_table(const Header& header, const ByteSource& file);

} // namespace vdisk::qcow2
