// SPDX-License-Identifier: Apache-2.0
/// The bits of L1 and L2 entries. Source: QEMU's docs/interop/qcow2, "Cluster mapping".
#pragma once

#include <cstdint>

namespace vdisk::qcow2 {

constexpr std::uint64_t kEntryBytes = 8;                        ///< of L1, refcount table and standard L2 entries
constexpr std::uint64_t kOffsetMask = 0x00FFFFFFFFFFFE00;       ///< bits 9 to 55: a table, or a standard cluster
constexpr std::uint64_t kCopied = std::uint64_t{1} << 63;       ///< its refcount is one
constexpr std::uint64_t kCompressed = std::uint64_t{1} << 62;   ///< of L2 entries
constexpr std::uint64_t kReadsAsZeros = 1;                      ///< of standard L2 entries, from version 3 on
constexpr std::uint64_t kL1Reserved = ~(kOffsetMask | kCopied); ///< what must be zero
constexpr std::uint64_t kL2Reserved = 0x3F000000000001FE;       ///< of standard ones

} // namespace vdisk::qcow2
