// SPDX-License-Identifier: Apache-2.0
#include "format/vdi/layout.hpp"

#include <algorithm>

namespace vdisk::vdi {
namespace {

// Entries that one look-up follows at most: a block of the cache; a gigabyte of disk at 1 MiB blocks.
constexpr std::uint64_t kMostEntries = CachedTable::kBlockBytes / kEntryBytes;

} // namespace

std::optional<std::uint64_t> data_offset_of(const Header& header, std::uint32_t index) noexcept {
    const auto relative = checked_mul<std::uint64_t>(index, header.stride());
    if (!relative) return std::nullopt;
    return checked_add(*relative, header.data_offset + header.block_extra);
}

Result<std::vector<little_uint32_buf_t>> BlockLayout::entries(std::uint64_t first, std::uint64_t count) const {
    std::vector<little_uint32_buf_t> read(static_cast<std::size_t>(count));
    VDISK_CHECK(table_.read(header_.map_offset + first * kEntryBytes, std::as_writable_bytes(std::span(read))));
    return read;
}

Result<Mapping> BlockLayout::map(GuestOffset at, std::uint64_t wanted) const {
    const std::uint64_t left = header_.disk_size - at.value;
    const std::uint64_t first = at.value / header_.block_size;
    if (first >= header_.blocks)
        return Extent::unreadable(left, fail_at(at.value, ErrorKind::corrupt,
                                                "{}: the block map has {} entries, but disk offset {} needs entry {}",
                                                table_.source().name(), header_.blocks, at.value, first));
    const std::uint64_t end = div_ceil(at.value + std::min(wanted, left), header_.block_size);
    VDISK_TRY(found, entries(first, std::min({end, std::uint64_t{header_.blocks}, first + kMostEntries}) - first));

    Mapping run = decode(found.front().value(), first).without_start(at.value % header_.block_size);
    for (std::size_t i = 1; i < found.size(); ++i) {
        if (!run.absorb(decode(found[i].value(), first + i))) break;
    }
    return run;
}

Mapping BlockLayout::decode(std::uint32_t entry, std::uint64_t block) const {
    const std::uint64_t start = block * header_.block_size;
    const std::uint64_t length = std::min<std::uint64_t>(header_.block_size, header_.disk_size - start);
    if (entry == kBlockFree) return Mapping::ask_parent(length);
    if (entry == kBlockZero) return Extent::zero(length);
    if (std::ranges::binary_search(shared_, entry))
        return Extent::unreadable(length, fail_at(start, ErrorKind::corrupt,
                                                  "{}: block map entry {} names block {}, as another entry does",
                                                  table_.source().name(), block, entry));
    const auto host = data_offset_of(header_, entry);
    if (!host)
        return Extent::unreadable(length, fail_at(start, ErrorKind::corrupt,
                                                  "{}: block map entry {} is {:#010x}, beyond what a file can hold",
                                                  table_.source().name(), block, entry));
    Extent stored = Extent::stored(length, HostOffset{*host});
    stored.enciphered = enciphered_;
    return stored;
}

} // namespace vdisk::vdi
