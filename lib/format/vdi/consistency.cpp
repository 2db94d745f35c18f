// SPDX-License-Identifier: Apache-2.0
#include "format/vdi/consistency.hpp"

#include <algorithm>
#include <optional>
#include <span>

namespace vdisk::vdi {
namespace {

constexpr std::uint64_t kSector = 512;
constexpr std::uint64_t kLargestAlignment = 1U << 20;

// What the map says of itself.
struct MapTally {
    std::uint64_t named = 0;             ///< entries that name a block
    std::uint64_t beyond = 0;            ///< of these, entries that name one behind the last of the file
    std::vector<std::uint32_t> shared{}; ///< blocks that are named more than once, not sorted, perhaps more than once
    LostPieces lost{};
};

Result<MapTally> tally_map(const Header& header, const ByteSource& file, const Limits& limits) {
    const std::uint64_t room = file.size() > header.data_offset ? file.size() - header.data_offset : 0;
    const std::uint64_t blocks = std::min<std::uint64_t>(div_ceil(room, header.stride()), limits.table_bytes * 8);
    const std::uint64_t count = std::min<std::uint64_t>(header.blocks, limits.table_bytes / kEntryBytes);
    std::vector<bool> seen(static_cast<std::size_t>(blocks));
    MapTally tally;
    const auto take = [&](std::uint64_t /*first*/, std::span<const little_uint32_buf_t> entries) -> Result<void> {
        for (const auto& entry : entries) {
            const std::uint32_t block = entry.value();
            if (block == kBlockFree || block == kBlockZero) continue;
            ++tally.named;
            if (block >= blocks) ++tally.beyond;
            else if (seen[block]) tally.shared.push_back(block);
            else seen[block] = true;
        }
        return ok();
    };
    VDISK_CHECK(for_each_piece<little_uint32_buf_t>(file, header.map_offset, count, tally.lost, take));
    return tally;
}

// Whether a writer that aligns to any power of two from a sector to a mebibyte puts at `offset` what goes behind `end`.
bool is_usual(std::uint64_t offset, std::uint64_t end) {
    for (std::uint64_t step = kSector; step <= kLargestAlignment; step *= 2)
        if (*align_up(end, step) == offset) return true;
    return false;
}

// The first field that no known writer sets so; empty if there is none.
std::string unusual_field(const Header& header) {
    if (header.version >> 16 == 0) return {}; // there the offsets are not stored
    if (!is_usual(header.map_offset, header.header_bytes))
        return fmt::format("block map offset is {}", header.map_offset);
    if (!is_usual(header.data_offset, header.map_offset + header.map_bytes()))
        return fmt::format("data offset is {}", header.data_offset);
    if (header.block_extra != 0) return fmt::format("block extra bytes are {}", header.block_extra);
    return {};
}

void check_places(const Header& header, const ByteSource& file, std::vector<std::string>& found) {
    const std::uint64_t needed =
        std::min<std::uint64_t>(header.blocks, div_ceil(header.disk_size, header.block_size)) * kEntryBytes;
    if (needed == 0) return;
    if (header.version >> 16 != 0) {
        for (const auto& [name, offset] :
             {std::pair{"block map offset", header.map_offset}, std::pair{"data offset", header.data_offset}})
            if (offset % kSector != 0)
                found.push_back(fmt::format("{} is {}, no multiple of {}", name, offset, kSector));
    }
    if (header.map_offset < header.header_bytes)
        found.push_back(fmt::format("block map offset is {}, inside the header of {} bytes", header.map_offset,
                                    header.header_bytes));
    if (header.data_offset < header.map_offset + needed && header.data_offset < file.size())
        found.push_back(fmt::format("data offset is {}, but the block map goes from {} to {}", header.data_offset,
                                    header.map_offset, header.map_offset + needed));
}

// Where the blocks stored end; nothing beyond 2^64.
std::optional<std::uint64_t> end_of_blocks(const Header& header) {
    const auto data = checked_mul<std::uint64_t>(header.blocks_allocated, header.stride());
    return data ? checked_add(*data, header.data_offset) : std::nullopt;
}

// The disk's size and the count of blocks say the blocks' size once more. If that is another one, the file's length
// tells which is wrong: blocks of another size would be read from wrong places.
void check_block_size(const Header& header, const ByteSource& file, std::vector<std::string>& found) {
    if (header.blocks == div_ceil(header.disk_size, header.block_size) || header.blocks_allocated == 0) return;
    if (end_of_blocks(header) == file.size()) return;
    found.push_back(fmt::format("block size is {}, but the disk of {} bytes has {} blocks, and the {} that are stored "
                                "do not end with the file of {} bytes",
                                header.block_size, header.disk_size, header.blocks, header.blocks_allocated,
                                file.size()));
}

} // namespace

Result<std::vector<std::string>> find_contradictions(const Header& header, const ByteSource& file,
                                                     const Limits& limits) {
    std::vector<std::string> found;
    if (!header.has_parent() && !header.uuid_linkage.is_null())
        found.push_back(fmt::format("type is {} ({}), but the parent {} is named",
                                    static_cast<std::uint32_t>(header.type), to_string(header.type),
                                    to_string(header.uuid_linkage)));
    check_places(header, file, found);
    check_block_size(header, file, found);
    const std::string unusual = unusual_field(header);
    if (unusual.empty() || !found.empty()) return found;
    VDISK_TRY(map, tally_map(header, file, limits));
    if (map.named == 0 && header.blocks_allocated == 0) return found; // there is nothing to misplace
    if (map.named != header.blocks_allocated || map.beyond > 0 || !map.shared.empty() ||
        end_of_blocks(header) != file.size())
        found.push_back(fmt::format("{}, which no writer sets so, and the {} entries of the map, the {} blocks of the "
                                    "header and the {} bytes of the file do not fit it",
                                    unusual, map.named, header.blocks_allocated, file.size()));
    return found;
}

Result<std::vector<std::uint32_t>> find_shared_blocks(const Header& header, const ByteSource& file,
                                                      const Limits& limits, LostPieces& lost) {
    VDISK_TRY(map, tally_map(header, file, limits));
    lost = std::move(map.lost);
    std::ranges::sort(map.shared);
    map.shared.erase(std::unique(map.shared.begin(), map.shared.end()), map.shared.end());
    return std::move(map.shared);
}

} // namespace vdisk::vdi
