// SPDX-License-Identifier: Apache-2.0
/// Where the blocks of a VHDX are: its block table and, for partially present blocks, sector bitmaps.
#pragma once

#include "format/vhdx/block_table.hpp"
#include "image/block_cache.hpp"
#include "image/layout.hpp"

namespace vdisk::vhdx {

/// Reads the entries and bitmaps that are asked for through the shared metadata cache.
class BlockLayout final : public Layout {
public:
    /// `contested`: bytes that blocks share; such blocks are unreadable. `file`: with its log replayed.
    BlockLayout(BlockTable table, HostRanges contested, SourcePtr file, CachesPtr caches)
        : table_(std::move(table)), contested_(std::move(contested)), cached_(std::move(file), std::move(caches)) {}

    [[nodiscard]] std::uint64_t disk_size() const noexcept override { return table_.metadata.disk_size; }
    [[nodiscard]] Result<Mapping> map(GuestOffset at, std::uint64_t wanted) const override;

private:
    struct Piece {
        std::uint64_t number; ///< of the block
        Entry entry;
        std::uint64_t within; ///< the block
        std::uint64_t wanted;
    };
    Result<Entry> entry_at(std::uint64_t offset) const;
    Result<Mapping> map_block(const Piece& piece) const;
    Result<Mapping> map_partial(const Piece& piece) const;
    Extent broken(const Piece& piece, std::string_view why) const;

    BlockTable table_;
    HostRanges contested_;
    CachedTable cached_;
};

} // namespace vdisk::vhdx
