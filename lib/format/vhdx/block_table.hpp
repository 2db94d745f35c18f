// SPDX-License-Identifier: Apache-2.0
/// The block allocation table of a VHDX. Source: [MS-VHDX], 2.5.
#pragma once

#include "disk/table_pieces.hpp"
#include "format/vhdx/metadata.hpp"

#include <functional>

namespace vdisk::vhdx {

constexpr std::uint64_t kEntryBytes = sizeof(little_uint64_buf_t);
constexpr std::uint64_t kBitmapBytes = kMiB; ///< of a sector bitmap: one bit a sector, lowest bit first

enum class BlockState : std::uint8_t {
    not_present = 0, ///< the parent's bytes, zeros without one
    undefined = 1,   ///< nobody knows: zeros
    zero = 2,        ///< zeros, also over a parent
    unmapped = 3,    ///< given up by the guest: zeros
    present = 6,     ///< also a sector bitmap that is there
    partial = 7,     ///< the sector bitmap tells which sectors are here and which are the parent's
};

/// An entry. States 4 and 5 are reserved.
struct Entry {
    std::uint64_t raw = 0;

    [[nodiscard]] unsigned state() const noexcept { return static_cast<unsigned>(raw & 7); }
    [[nodiscard]] bool is(BlockState wanted) const noexcept { return state() == static_cast<unsigned>(wanted); }
    [[nodiscard]] std::uint64_t offset() const noexcept { return raw >> 20 << 20; }
    [[nodiscard]] bool has_reserved_bits() const noexcept { return (raw & 0xFFFF8) != 0; }
    [[nodiscard]] bool has_bytes() const noexcept { return is(BlockState::present) || is(BlockState::partial); }
};

/// Where the table is and what it is of.
struct BlockTable {
    Region region{};
    Metadata metadata{};
    std::vector<Claim> structures{}; ///< headers, log and regions
    std::uint64_t file_size = 0;

    /// Error: `corrupt` where the region has no room for the entries that the disk needs.
    [[nodiscard]] static Result<BlockTable> make(const ByteSource& file, const Regions& regions, Metadata metadata);

    [[nodiscard]] std::uint64_t offset_of_block(std::uint64_t number) const noexcept {
        return region.offset + (number + number / metadata.chunk_ratio()) * kEntryBytes;
    }
    /// Of the entry of a chunk's sector bitmap.
    [[nodiscard]] std::uint64_t offset_of_bitmap(std::uint64_t chunk) const noexcept {
        return region.offset + (chunk * (metadata.chunk_ratio() + 1) + metadata.chunk_ratio()) * kEntryBytes;
    }
    /// Entries that the disk needs, those of sector bitmaps between them included.
    [[nodiscard]] std::uint64_t entries() const noexcept;
};

/// Told of each entry that is not 0: of block number `number`, or of the sector bitmap of chunk number `number`.
using EntryVisitor = std::function<Result<void>(bool bitmap, std::uint64_t number, Entry entry)>;

/// Visits the entries in the table's order, reading at most `most_bytes` of it; what can't be read is added to
/// `lost`. Errors: the visitor's; `cancelled`.
[[nodiscard]] Result<void> visit_entries(const BlockTable& table, const ByteSource& file, std::uint64_t most_bytes,
                                         LostPieces& lost, const EntryVisitor& visit);

constexpr std::uint32_t kBitmapOwner = 0x80000000; ///< added to a chunk's number in a Claim: no table is so long

/// The bytes that an entry with bytes claims: all of a block, though the disk may end within it, as all writers store
/// it so. Where the file, which is `file_size` long, ends within what the disk does not need, up to there.
[[nodiscard]] Claim claim_of(const BlockTable& table, bool bitmap, std::uint64_t number, Entry entry) noexcept;

/// What the table as a whole says.
struct Survey {
    HostRanges contested{}; ///< bytes that more than one of blocks, bitmaps and structures claim
    std::vector<Remark> remarks{};
};

/// Looks at no more entries and blocks than Limits::table_bytes has room for. Error: `cancelled`.
[[nodiscard]] Result<Survey> survey(const BlockTable& table, const ByteSource& file, const Limits& limits);

} // namespace vdisk::vhdx
