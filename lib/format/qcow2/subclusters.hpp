// SPDX-License-Identifier: Apache-2.0
/// The subcluster allocation bitmap of an extended L2 entry. Source: QEMU's docs/interop/qcow2, "Extended L2 Entries".
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>

namespace vdisk::qcow2 {

/// What an L2 entry says of a cluster, or of a part of it.
enum class Allocation : std::uint8_t {
    unallocated, ///< the parent's
    zero,        ///< reads as zeros
    stored,      ///< lies at the entry's host offset
    invalid,     ///< both allocated and zero, which no writer may set
};

/// Subclusters in a row of which the bitmap says the same.
struct SubclusterRun {
    Allocation allocation = Allocation::unallocated;
    std::uint32_t count = 0; ///< >= 1
    friend bool operator==(const SubclusterRun&, const SubclusterRun&) = default;
};

constexpr std::uint32_t kSubclusters = 32; ///< in one cluster
constexpr std::uint32_t kSubclusterBits = 5;

/// The longest run from subcluster `index` (< kSubclusters) to at most the cluster's end. Bit i of `bitmap` allocates
/// subcluster i, bit 32 + i makes it read as zeros.
[[nodiscard]] constexpr SubclusterRun subcluster_run(std::uint64_t bitmap, std::uint32_t index) noexcept {
    const auto stored = static_cast<std::uint32_t>(bitmap) >> index;
    const auto zero = static_cast<std::uint32_t>(bitmap >> 32) >> index;
    const bool is_stored = (stored & 1) != 0;
    const bool is_zero = (zero & 1) != 0;
    const std::uint32_t differs = (is_stored ? ~stored : stored) | (is_zero ? ~zero : zero);
    const auto same = static_cast<std::uint32_t>(std::countr_zero(differs));
    const Allocation allocation = is_stored ? (is_zero ? Allocation::invalid : Allocation::stored)
                                            : (is_zero ? Allocation::zero : Allocation::unallocated);
    return {allocation, std::min(same, kSubclusters - index)};
}

} // namespace vdisk::qcow2
