// SPDX-License-Identifier: Apache-2.0
/// Where the sectors of a dynamic or differencing VHD are: its block table, and the bitmap of each block.
#pragma once

#include "format/vhd/block_table.hpp"
#include "image/block_cache.hpp"
#include "image/layout.hpp"

namespace vdisk::vhd {

/// Reads the entries and bitmaps that are asked for through the shared metadata cache. A sector that the bitmap says
/// was not written is the parent's; of a dynamic disk, which has none, it is zeros.
class BlockLayout final : public Layout {
public:
    /// `contested`: bytes that blocks share; such blocks are unreadable. Stored extents lie in `file` itself.
    BlockLayout(Header header, HostRanges contested, SourcePtr file, CachesPtr caches)
        : header_(std::move(header)), contested_(std::move(contested)), table_(std::move(file), std::move(caches)) {}

    [[nodiscard]] std::uint64_t disk_size() const noexcept override { return header_.disk_size; }
    [[nodiscard]] Result<Mapping> map(GuestOffset at, std::uint64_t wanted) const override;

private:
    Result<Mapping> map_free(std::uint64_t first, GuestOffset at, std::uint64_t wanted) const;
    Result<Mapping> map_block(std::uint32_t number, std::uint32_t entry, std::uint64_t within,
                              std::uint64_t wanted) const;
    Result<std::vector<big_uint32_buf_t>> entries(std::uint64_t first, std::uint64_t count) const;

    Header header_;
    HostRanges contested_;
    CachedTable table_;
};

} // namespace vdisk::vhd
