// SPDX-License-Identifier: Apache-2.0
#include "format/vhdx/block_table.hpp"

#include <algorithm>

namespace vdisk::vhdx {
namespace {

constexpr std::uint64_t kEntriesAtOnce = 8192; // 64 KiB of table a read
constexpr std::size_t kMostTold = 16;

// What of the entries is odd, counted: the first one of a kind speaks for all.
struct Oddities {
    std::uint64_t reserved = 0;
    std::uint64_t first_reserved = 0;
    std::uint64_t kept = 0; // blocks that show zeros although a place with bytes is named
    std::uint64_t first_kept = 0;
    bool kept_is_doubt = false;
    std::vector<Claim> cut{}; // blocks that the file has in part, the disk's last one
};

bool is_cut(const BlockTable& table, const Claim& claim) {
    return claim.end() <= table.file_size && claim.length < table.metadata.block_size;
}

// QEMU ends a fixed file with what the disk needs of its last block, right behind the block before, if there is one.
bool is_end_of_fixed(const BlockTable& table, const Claim& cut) {
    return table.metadata.leave_allocated && table.metadata.blocks() == 1 &&
           cut.offset + table.metadata.bytes_of(cut.owner) == table.file_size;
}

bool follows_another(const Claim& cut, std::span<const Claim> sorted) {
    const auto at = std::ranges::lower_bound(sorted, cut.offset, {}, &Claim::offset);
    return at != sorted.begin() && align_up(std::prev(at)->end(), kMiB) == cut.offset;
}

void look_at(const BlockTable& table, std::uint64_t number, Entry entry, Oddities& odd) {
    if (entry.has_reserved_bits() && odd.reserved++ == 0) odd.first_reserved = number;
    if (entry.has_bytes() || entry.offset() == 0 || entry.state() == 4 || entry.state() == 5) return;
    if (odd.kept++ == 0) odd.first_kept = number;
    // A block that its guest gave up may keep its place. A state that never has one, or zeros over a parent, may be
    // what one changed bit made of a block that is there.
    const bool given_up = entry.is(BlockState::undefined) || entry.is(BlockState::unmapped);
    odd.kept_is_doubt = odd.kept_is_doubt || !given_up || table.metadata.has_parent;
}

std::vector<Remark> remarks_of(const Oddities& odd) {
    std::vector<Remark> remarks;
    if (odd.reserved > 0)
        remarks.push_back({Remark::Weight::note,
                           fmt::format("{} entries of its block table have reserved bits set, the first is that of "
                                       "block {}",
                                       odd.reserved, odd.first_reserved)});
    if (odd.kept > 0)
        remarks.push_back({odd.kept_is_doubt ? Remark::Weight::doubt : Remark::Weight::note,
                           fmt::format("{} blocks read as zeros by their state, but the block table still names places "
                                       "for them, first for block {}",
                                       odd.kept, odd.first_kept)});
    for (const Claim& cut : odd.cut)
        remarks.push_back(
            {Remark::Weight::doubt,
             fmt::format("block {} is stored in part and not behind what is before it, which no writer does",
                         cut.owner)});
    return remarks;
}

} // namespace

std::uint64_t BlockTable::entries() const noexcept {
    const std::uint64_t last = metadata.blocks() - 1;
    const std::uint64_t end =
        metadata.has_parent ? offset_of_bitmap(last / metadata.chunk_ratio()) : offset_of_block(last);
    return (end - region.offset) / kEntryBytes + 1;
}

Result<BlockTable> BlockTable::make(const ByteSource& file, const Regions& regions, Metadata metadata) {
    BlockTable table{
        .region = regions.table, .metadata = std::move(metadata), .structures = regions.all, .file_size = file.size()};
    if (table.entries() > table.region.length / kEntryBytes)
        return fail_at(table.region.offset, ErrorKind::corrupt,
                       "{}: the block table has room for {} entries, a disk of {} bytes with blocks of {} needs {}",
                       file.name(), table.region.length / kEntryBytes, table.metadata.disk_size,
                       table.metadata.block_size, table.entries());
    return table;
}

Result<void> visit_entries(const BlockTable& table, const ByteSource& file, std::uint64_t most_bytes,
                           const EntryVisitor& visit) {
    const std::uint64_t count = std::min<std::uint64_t>(most_bytes, table.region.length) / kEntryBytes;
    const std::uint64_t in_chunk = table.metadata.chunk_ratio() + 1;
    std::vector<little_uint64_buf_t> entries;
    for (std::uint64_t first = 0; first < count; first += entries.size()) {
        entries.resize(static_cast<std::size_t>(std::min(kEntriesAtOnce, count - first)));
        VDISK_CHECK(
            read_exact(file, table.region.offset + first * kEntryBytes, std::as_writable_bytes(std::span(entries))));
        for (std::size_t i = 0; i < entries.size(); ++i) {
            if (entries[i].value() == 0) continue;
            const std::uint64_t chunk = (first + i) / in_chunk;
            const std::uint64_t within = (first + i) % in_chunk;
            const bool bitmap = within == in_chunk - 1;
            const std::uint64_t number = bitmap ? chunk : chunk * (in_chunk - 1) + within;
            VDISK_CHECK(visit(bitmap, number, Entry{entries[i].value()}));
        }
    }
    return ok();
}

Claim claim_of(const BlockTable& table, bool bitmap, std::uint64_t number, Entry entry) noexcept {
    const std::uint64_t offset = entry.offset();
    const std::uint64_t whole = bitmap ? kBitmapBytes : table.metadata.block_size;
    const std::uint64_t needed = bitmap ? kBitmapBytes : table.metadata.bytes_of(number);
    const std::uint64_t there = offset < table.file_size ? table.file_size - offset : 0;
    return {.offset = offset,
            .length = std::min({whole, std::max(needed, there), ~std::uint64_t{0} - offset}),
            .owner = static_cast<std::uint32_t>(number) + (bitmap ? kBitmapOwner : 0)};
}

Result<Survey> survey(const BlockTable& table, const ByteSource& file, const Limits& limits) {
    std::vector<Claim> claims = table.structures;
    Oddities odd;
    std::uint64_t beyond = 0;
    const auto look = [&](bool bitmap, std::uint64_t number, Entry entry) -> Result<void> {
        if (!bitmap && number >= table.metadata.blocks()) {
            if (entry.has_bytes()) ++beyond;
            return ok();
        }
        if (!bitmap) look_at(table, number, entry, odd);
        // What one changed bit makes of an entry for the disk's last block may well lie inside the file.
        if (entry.has_bytes() && !bitmap && odd.cut.size() < kMostTold &&
            is_cut(table, claim_of(table, false, number, entry)))
            odd.cut.push_back(claim_of(table, false, number, entry));
        if (entry.has_bytes() && claims.size() < limits.table_bytes / sizeof(Claim))
            claims.push_back(claim_of(table, bitmap, number, entry));
        return ok();
    };
    VDISK_CHECK(visit_entries(table, file, limits.table_bytes, look));
    Survey survey{.contested = contested(claims)}; // sorts them
    std::erase_if(odd.cut,
                  [&](const Claim& cut) { return follows_another(cut, claims) || is_end_of_fixed(table, cut); });
    survey.remarks = remarks_of(odd);
    if (beyond > 0)
        survey.remarks.push_back(
            {Remark::Weight::doubt,
             fmt::format("{} blocks with bytes lie behind the disk's end at {}", beyond, table.metadata.disk_size)});
    return survey;
}

} // namespace vdisk::vhdx
