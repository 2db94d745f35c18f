// SPDX-License-Identifier: Apache-2.0
#include "format/vhd/block_table.hpp"

#include <algorithm>

namespace vdisk::vhd {
namespace {

constexpr std::size_t kMostTold = 16;

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
    survey.contested = contested(claims);
    return survey;
}

} // namespace vdisk::vhd
