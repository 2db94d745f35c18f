// SPDX-License-Identifier: Apache-2.0
#include "format/vhdx/block_table.hpp"

#include "base/zeros.hpp"

#include <algorithm>

namespace vdisk::vhdx {
namespace {

constexpr std::size_t kMostTold = 16;

// QEMU ends a fixed file with what the disk needs of its last block, right behind the block before, if there is one.
bool may_be_cut(const BlockTable& table, const Claim& cut, std::span<const Claim> sorted) {
    if (table.metadata.leave_allocated && table.metadata.blocks() == 1 &&
        cut.offset + table.metadata.bytes_of(cut.owner) == table.file_size)
        return true;
    const auto at = std::ranges::lower_bound(sorted, cut.offset, {}, &Claim::offset);
    return at != sorted.begin() && align_up(std::prev(at)->end(), kMiB) == cut.offset;
}

// Goes through a table; the first entry of what is odd speaks for all of its kind.
class Surveyor {
public:
    Surveyor(const BlockTable& table, const Limits& limits)
        : table_(table), most_claims_(limits.table_bytes / sizeof(Claim)), claims_(table.structures) {}

    void take(bool bitmap, std::uint64_t number, Entry entry) {
        if (!bitmap && number >= table_.metadata.blocks()) {
            if (entry.has_bytes()) ++beyond_;
            return;
        }
        if (!bitmap) look_at(number, entry);
        if (!entry.has_bytes()) return;
        const Claim claim = claim_of(table_, bitmap, number, entry);
        // What one changed bit makes of an entry for the disk's last block may well lie inside the file.
        const bool is_cut = claim.end() <= table_.file_size && claim.length < table_.metadata.block_size;
        if (!bitmap && is_cut && cut_.size() < kMostTold) cut_.push_back(claim);
        if (claims_.size() < most_claims_) claims_.push_back(claim);
    }

    Survey finish() {
        Survey survey{.contested = contested(claims_)}; // sorts them
        std::erase_if(cut_, [&](const Claim& cut) { return may_be_cut(table_, cut, claims_); });
        survey.remarks = remarks();
        return survey;
    }

private:
    void look_at(std::uint64_t number, Entry entry) {
        if (entry.has_reserved_bits() && reserved_++ == 0) first_reserved_ = number;
        if (entry.has_bytes() || entry.offset() == 0 || entry.state() == 4 || entry.state() == 5) return;
        if (kept_++ == 0) first_kept_ = number;
        // A block that its guest gave up may keep its place. A state that never has one, or zeros over a parent, may be
        // what one changed bit made of a block that is there.
        const bool given_up = entry.is(BlockState::undefined) || entry.is(BlockState::unmapped);
        kept_is_doubt_ = kept_is_doubt_ || !given_up || table_.metadata.has_parent;
    }

    std::vector<Remark> remarks() const {
        std::vector<Remark> remarks;
        if (reserved_ > 0)
            remarks.push_back(Remark::note(
                fmt::format("{} entries of its block table have reserved bits set, the first is that of block {}",
                            reserved_, first_reserved_)));
        if (kept_ > 0)
            remarks.push_back({kept_is_doubt_ ? Remark::Weight::doubt : Remark::Weight::note,
                               fmt::format("{} blocks read as zeros by their state, but the block table still names "
                                           "places for them, first for block {}",
                                           kept_, first_kept_)});
        for (const Claim& cut : cut_)
            remarks.push_back(Remark::doubt(fmt::format(
                "block {} is stored in part and not behind what is before it, which no writer does", cut.owner)));
        if (beyond_ > 0)
            remarks.push_back(Remark::doubt(fmt::format("{} blocks with bytes lie behind the disk's end at {}", beyond_,
                                                        table_.metadata.disk_size)));
        return remarks;
    }

    const BlockTable& table_;
    std::size_t most_claims_;
    std::vector<Claim> claims_;
    std::vector<Claim> cut_; ///< blocks that the file has in part: the disk's last one
    std::uint64_t reserved_ = 0;
    std::uint64_t first_reserved_ = 0;
    std::uint64_t kept_ = 0; ///< blocks that show zeros although a place with bytes is named
    std::uint64_t first_kept_ = 0;
    bool kept_is_doubt_ = false;
    std::uint64_t beyond_ = 0;
};

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

Result<void> visit_entries(const BlockTable& table, const ByteSource& file, std::uint64_t most_bytes, LostPieces& lost,
                           const EntryVisitor& visit) {
    const std::uint64_t count = std::min<std::uint64_t>(most_bytes, table.region.length) / kEntryBytes;
    const std::uint64_t in_chunk = table.metadata.chunk_ratio() + 1;
    const auto take = [&](std::uint64_t first, std::span<const little_uint64_buf_t> entries) -> Result<void> {
        if (all_zeros(std::as_bytes(entries))) return ok();
        for (std::size_t i = 0; i < entries.size(); ++i) {
            if (entries[i].value() == 0) continue;
            const std::uint64_t chunk = (first + i) / in_chunk;
            const std::uint64_t within = (first + i) % in_chunk;
            const bool bitmap = within == in_chunk - 1;
            const std::uint64_t number = bitmap ? chunk : chunk * (in_chunk - 1) + within;
            VDISK_CHECK(visit(bitmap, number, Entry{entries[i].value()}));
        }
        return ok();
    };
    return for_each_piece<little_uint64_buf_t>(file, table.region.offset, count, lost, take);
}

Claim claim_of(const BlockTable& table, bool bitmap, std::uint64_t number, Entry entry) noexcept {
    const std::uint64_t whole = bitmap ? kBitmapBytes : table.metadata.block_size;
    const std::uint64_t needed = bitmap ? kBitmapBytes : table.metadata.bytes_of(number);
    return block_claim(entry.offset(), whole, needed, table.file_size,
                       static_cast<std::uint32_t>(number) + (bitmap ? kBitmapOwner : 0));
}

Result<Survey> survey(const BlockTable& table, const ByteSource& file, const Limits& limits) {
    Surveyor surveyor(table, limits);
    LostPieces lost;
    VDISK_CHECK(visit_entries(table, file, limits.table_bytes, lost,
                              [&](bool bitmap, std::uint64_t number, Entry entry) -> Result<void> {
                                  surveyor.take(bitmap, number, entry);
                                  return ok();
                              }));
    Survey survey = surveyor.finish();
    lost.tell(survey.remarks);
    return survey;
}

} // namespace vdisk::vhdx
