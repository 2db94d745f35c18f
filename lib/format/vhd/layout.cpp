// SPDX-License-Identifier: Apache-2.0
#include "format/vhd/layout.hpp"

#include "image/sector_bitmap.hpp"

#include <algorithm>
#include <array>

namespace vdisk::vhd {
namespace {

// Entries that one look-up follows at most: a block of the cache; 2 GiB of disk at 2 MiB blocks.
constexpr std::uint64_t kMostEntries = CachedTable::kBlockBytes / kEntryBytes;

} // namespace

Result<std::vector<big_uint32_buf_t>> BlockLayout::entries(std::uint64_t first, std::uint64_t count) const {
    std::vector<big_uint32_buf_t> read(static_cast<std::size_t>(count));
    VDISK_CHECK(table_.read(header_.table_offset + first * kEntryBytes, std::as_writable_bytes(std::span(read))));
    return read;
}

Result<Mapping> BlockLayout::map(GuestOffset at, std::uint64_t wanted) const {
    const std::uint64_t number = at.value / header_.block_size;
    if (number >= header_.entries)
        return Extent::unreadable(header_.disk_size - at.value,
                                  fail_at(at.value, ErrorKind::corrupt,
                                          "{}: the block table has {} entries, but disk offset {} needs entry {}",
                                          table_.source().name(), header_.entries, at.value, number));
    VDISK_TRY(entry, entries(number, 1));
    if (entry.front().value() == kBlockFree) return map_free(number, at, wanted);
    return map_block(static_cast<std::uint32_t>(number), entry.front().value(), at.value % header_.block_size, wanted);
}

// Entry `first` is free; so are perhaps those behind it.
Result<Mapping> BlockLayout::map_free(std::uint64_t first, GuestOffset at, std::uint64_t wanted) const {
    const std::uint64_t end = div_ceil(at.value + std::min(wanted, header_.disk_size - at.value), header_.block_size);
    VDISK_TRY(found, entries(first, std::min({end, std::uint64_t{header_.entries}, first + kMostEntries}) - first));
    const auto stop =
        std::ranges::find_if(found, [](const big_uint32_buf_t& entry) { return entry.value() != kBlockFree; });
    const std::uint64_t behind = first + static_cast<std::uint64_t>(stop - found.begin());
    return Mapping::ask_parent(std::min(behind * header_.block_size, header_.disk_size) - at.value);
}

Result<Mapping> BlockLayout::map_block(std::uint32_t number, std::uint32_t entry, std::uint64_t within,
                                       std::uint64_t wanted) const {
    const std::uint64_t left = header_.bytes_of(number) - within;
    const std::uint64_t host = block_offset(entry);
    const auto broken = [&](ErrorKind kind, std::string_view why) {
        return Extent::unreadable(left, fail_at(std::uint64_t{number} * header_.block_size + within, kind,
                                                "{}: block table entry {} is {:#010x}: {}", table_.source().name(),
                                                number, entry, why));
    };
    const Claim claim = claim_of(header_, number, entry);
    if (contested_.touch(claim.offset, claim.length))
        return broken(ErrorKind::corrupt, "its block shares bytes with another one or with the file's own structures");
    if (!fits(host, header_.bitmap_bytes(), header_.data_end))
        return broken(ErrorKind::truncated,
                      fmt::format("its block does not lie inside the file of {} bytes", table_.source().size()));
    const std::uint64_t sector = within / kSector;
    const std::uint64_t end = div_ceil(within + std::min(left, wanted), kSector);
    VDISK_TRY(run, read_run_of_bits(table_, host, sector, end, header_.bit_order()));
    const std::uint64_t length = std::min((sector + run.length) * kSector - within, left);
    if (!run.set) return Mapping::ask_parent(length);
    return Extent::stored(length, HostOffset{host + header_.bitmap_bytes() + within});
}

} // namespace vdisk::vhd
