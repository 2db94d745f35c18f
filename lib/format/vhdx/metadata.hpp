// SPDX-License-Identifier: Apache-2.0
/// What a VHDX says of its disk and of its parent. Source: [MS-VHDX], 2.6.
#pragma once

#include "base/limits.hpp"
#include "format/vhdx/header.hpp"

#include <optional>
#include <utility>

namespace vdisk::vhdx {

/// A key of the parent locator and its value.
using LocatorEntry = std::pair<std::string, std::string>;

/// Checked: the block size is a power of two from 1 to 256 MiB, a sector 512 or 4096 bytes, the disk whole sectors and
/// at most 64 TiB.
struct Metadata {
    std::uint32_t block_size = 0;
    bool leave_allocated = false; ///< a fixed disk
    bool has_parent = false;
    std::uint64_t disk_size = 0;
    std::uint32_t sector_size = 0;          ///< logical
    std::uint32_t physical_sector_size = 0; ///< 0 where it is missing
    Uuid disk_id{};                         ///< the same in a whole chain; null where it is missing
    std::vector<LocatorEntry> locator{};    ///< of the parent, in the file's order
    std::vector<Remark> remarks{};

    /// Errors: `unsupported` for items and parents of unknown kinds that must be known, `corrupt`, `io`.
    [[nodiscard]] static Result<Metadata> parse(const ByteSource& file, const Region& region, const Limits& limits);

    /// The value of a key of the locator; empty if it is not there.
    [[nodiscard]] std::string_view locator_value(std::string_view key) const noexcept;

    /// Blocks that share a sector bitmap.
    [[nodiscard]] std::uint64_t chunk_ratio() const noexcept {
        return (std::uint64_t{1} << 23) * sector_size / block_size;
    }
    [[nodiscard]] std::uint64_t blocks() const noexcept { return div_ceil(disk_size, block_size); }
    /// Bytes of the disk that block `number` holds.
    [[nodiscard]] std::uint64_t bytes_of(std::uint64_t number) const noexcept;
};

} // namespace vdisk::vhdx
