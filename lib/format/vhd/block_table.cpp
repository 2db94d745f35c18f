// SPDX-License-Identifier: Apache-2.0
#include "format/vhd/block_table.hpp"

#include <algorithm>

namespace vdisk::vhd {
namespace {

constexpr std::size_t kMostTold = 16;

// Whether an entry names a block, of those that the disk does not need.
Result<bool> has_surplus(const Header& header, const ByteSource& file, std::uint64_t most_bytes) {
    const std::uint64_t first = header.table_offset + header.blocks() * kEntryBytes;
    if (header.entries <= header.blocks() || first >= file.size()) return false;
    const std::uint64_t count =
        std::min({header.entries - header.blocks(), (file.size() - first) / kEntryBytes, most_bytes / kEntryBytes});
    bool found = false;
    LostPieces lost; // of what is not needed
    using Entries = std::span<const big_uint32_buf_t>;
    VDISK_CHECK(for_each_piece<big_uint32_buf_t>(
        file, first, count, lost, [&](std::uint64_t /*first*/, Entries entries) -> Result<void> {
            found = found || std::ranges::any_of(entries, [](const auto& each) { return each.value() != kBlockFree; });
            return ok();
        }));
    return found;
}

// The disk's size and the table's say the size of the blocks once more. Where that is another one, blocks may be read
// from wrong places.
Result<void> doubt_block_size(const Header& header, const ByteSource& file, const Limits& limits, Survey& survey) {
    VDISK_TRY(surplus, has_surplus(header, file, limits.table_bytes));
    if (header.entries >= header.blocks() && !surplus) return ok();
    survey.remarks.push_back(
        Remark::doubt(fmt::format("the block table has {} entries, {} blocks of {} bytes make the disk: one of these "
                                  "numbers is wrong",
                                  header.entries, header.blocks(), header.block_size)));
    return ok();
}

} // namespace

Result<void> visit_blocks(const Header& header, const ByteSource& file, std::uint64_t most_bytes, LostPieces& lost,
                          const BlockVisitor& visit) {
    const std::uint64_t count = std::min({header.blocks(), std::uint64_t{header.entries}, most_bytes / kEntryBytes});
    using Entries = std::span<const big_uint32_buf_t>;
    return for_each_piece<big_uint32_buf_t>(
        file, header.table_offset, count, lost, [&](std::uint64_t first, Entries entries) -> Result<void> {
            for (std::size_t i = 0; i < entries.size(); ++i)
                if (entries[i].value() != kBlockFree)
                    VDISK_CHECK(visit(static_cast<std::uint32_t>(first + i), entries[i].value()));
            return ok();
        });
}

std::vector<Claim> structures(const Header& header, const ByteSource& file) {
    // The last sector is filled up; entries that the disk does not need are no reason to doubt a block.
    const std::uint64_t table =
        *align_up(std::min<std::uint64_t>(header.entries, header.blocks()) * kEntryBytes, kSector);
    return {Claim{.offset = 0, .length = sizeof(RawFooter)},
            Claim{.offset = header.header_offset, .length = sizeof(RawDynamicHeader)},
            Claim{.offset = header.table_offset, .length = table},
            Claim{.offset = header.data_end, .length = file.size() - header.data_end}};
}

Claim claim_of(const Header& header, std::uint32_t number, std::uint32_t entry) noexcept {
    return block_claim(block_offset(entry), header.bitmap_bytes() + header.block_size,
                       header.bitmap_bytes() + header.bytes_of(number), header.data_end, number);
}

Result<Survey> survey(const Header& header, const ByteSource& file, const Limits& limits) {
    std::vector<Claim> claims = structures(header, file);
    Survey survey;
    const bool ends_with_footer = header.data_end < file.size();
    const auto add = [&](std::uint32_t number, std::uint32_t entry) -> Result<void> {
        const Claim claim = claim_of(header, number, entry);
        // What one changed bit makes of an entry for the disk's last block may well lie inside the file.
        if (survey.remarks.size() < kMostTold && ends_with_footer && claim.end() <= header.data_end &&
            claim.length < header.bitmap_bytes() + header.block_size)
            survey.remarks.push_back(Remark::doubt(
                fmt::format("block {} at offset {} is stored in part, which no writer does", number, claim.offset)));
        if (claims.size() < limits.table_bytes / sizeof(Claim)) claims.push_back(claim);
        return ok();
    };
    LostPieces lost;
    VDISK_CHECK(visit_blocks(header, file, limits.table_bytes, lost, add));
    lost.tell(survey.remarks);
    VDISK_CHECK(doubt_block_size(header, file, limits, survey));
    survey.contested = contested(claims);
    return survey;
}

} // namespace vdisk::vhd
