// SPDX-License-Identifier: Apache-2.0
#include "format/vhdx/layout.hpp"

#include "image/sector_bitmap.hpp"

#include <algorithm>
#include <array>

namespace vdisk::vhdx {
namespace {

// Entries that one look-up follows at most: half a gigabyte of disk at blocks of a mebibyte.
constexpr std::uint64_t kMostEntries = CachedTable::kBlockBytes / kEntryBytes;

} // namespace

Result<Entry> BlockLayout::entry_at(std::uint64_t offset) const {
    little_uint64_buf_t raw;
    VDISK_CHECK(cached_.read(offset, std::as_writable_bytes(std::span(&raw, 1))));
    return Entry{raw.value()};
}

Result<Mapping> BlockLayout::map(GuestOffset at, std::uint64_t wanted) const {
    const Metadata& disk = table_.metadata;
    wanted = std::min(wanted, disk.disk_size - at.value);
    Piece piece{
        .number = at.value / disk.block_size, .entry = {}, .within = at.value % disk.block_size, .wanted = wanted};
    VDISK_TRY(first, entry_at(table_.offset_of_block(piece.number)));
    piece.entry = first;
    VDISK_TRY(run, map_block(piece));
    const std::uint64_t end = std::min(piece.number + kMostEntries, disk.blocks());
    while (run.length() < wanted && piece.number + 1 < end &&
           at.value + run.length() == (piece.number + 1) * disk.block_size) {
        ++piece.number;
        VDISK_TRY(next, entry_at(table_.offset_of_block(piece.number)));
        piece.entry = next;
        piece.within = 0;
        VDISK_TRY(mapping, map_block(piece));
        if (!run.absorb(mapping)) break;
    }
    return run;
}

Extent BlockLayout::broken(const Piece& piece, std::string_view why) const {
    const std::uint64_t start = piece.number * table_.metadata.block_size + piece.within;
    return Extent::unreadable(table_.metadata.bytes_of(piece.number) - piece.within,
                              fail_at(start, ErrorKind::corrupt, "{}: the entry of block {} is {:#018x}: {}",
                                      cached_.source().name(), piece.number, piece.entry.raw, why));
}

Result<Mapping> BlockLayout::map_block(const Piece& piece) const {
    const std::uint64_t left = table_.metadata.bytes_of(piece.number) - piece.within;
    if (piece.entry.has_bytes()) {
        const Claim claim = claim_of(table_, false, piece.number, piece.entry);
        if (contested_.touch(claim.offset, claim.length))
            return broken(piece, "its bytes are those of another block or of the file's own structures too");
    }
    switch (static_cast<BlockState>(piece.entry.state())) {
    case BlockState::not_present: return Mapping::ask_parent(left);
    case BlockState::undefined:
    case BlockState::zero:
    case BlockState::unmapped: return Extent::zero(left);
    case BlockState::present: return Extent::stored(left, HostOffset{piece.entry.offset() + piece.within});
    case BlockState::partial:
        if (!table_.metadata.has_parent) return broken(piece, "it is partially present, but there is no parent");
        return map_partial(piece);
    }
    return broken(piece, "its state is a reserved one");
}

Result<Mapping> BlockLayout::map_partial(const Piece& piece) const {
    const Metadata& disk = table_.metadata;
    VDISK_TRY(bitmap, entry_at(table_.offset_of_bitmap(piece.number / disk.chunk_ratio())));
    if (!bitmap.is(BlockState::present)) return broken(piece, "its sector bitmap is not there");
    if (contested_.touch(bitmap.offset(), kBitmapBytes) ||
        !fits(bitmap.offset(), kBitmapBytes, cached_.source().size()))
        return broken(piece, "its sector bitmap shares bytes with something else or is not inside the file");

    // All in sectors of the chunk, which the bitmap begins with.
    const std::uint64_t left = disk.bytes_of(piece.number) - piece.within;
    const std::uint64_t start = piece.number % disk.chunk_ratio() * (disk.block_size / disk.sector_size);
    const std::uint64_t sector = start + piece.within / disk.sector_size;
    const std::uint64_t end = start + div_ceil(piece.within + std::min(left, piece.wanted), disk.sector_size);
    VDISK_TRY(run, read_run_of_bits(cached_, bitmap.offset(), sector, end, BitOrder::lowest_first));
    const std::uint64_t length = std::min((sector - start + run.length) * disk.sector_size - piece.within, left);
    if (!run.set) return Mapping::ask_parent(length);
    return Extent::stored(length, HostOffset{piece.entry.offset() + piece.within});
}

} // namespace vdisk::vhdx
