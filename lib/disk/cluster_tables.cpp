// SPDX-License-Identifier: Apache-2.0
#include "disk/cluster_tables.hpp"

#include <boost/endian/conversion.hpp>

#include <algorithm>
#include <array>
#include <cstring>

namespace vdisk {
namespace {

constexpr std::string_view kMisaligned =
    "is no multiple of the cluster size, and not all bytes of the file are accounted for";

template<class Number> std::uint64_t number_at(const std::byte* bytes, std::endian order) {
    Number number{};
    std::memcpy(&number, bytes, sizeof number);
    return order == std::endian::little ? boost::endian::little_to_native(number)
                                        : boost::endian::big_to_native(number);
}

} // namespace

std::uint64_t ClusterTables::bytes_of(std::uint64_t number) const noexcept {
    return std::min(cluster_size, disk_size - number * cluster_size);
}

std::uint64_t ClusterTables::entries_of(std::uint64_t table) const noexcept {
    return std::min(table_entries, clusters() - table * table_entries);
}

bool ClusterTables::is_place_of_table(std::uint64_t offset, std::uint64_t file_size) const noexcept {
    return offset % table_alignment == 0 && fits(offset, entry_bytes, file_size);
}

std::uint64_t ClusterTables::entry_in(std::span<const std::byte> bytes, std::uint64_t index) const noexcept {
    const std::byte* const at = bytes.data() + index * entry_bytes;
    return entry_bytes == 4 ? number_at<std::uint32_t>(at, order) : number_at<std::uint64_t>(at, order);
}

Result<std::uint64_t> ClusterLayout::entry_at(std::uint64_t offset) const {
    std::array<std::byte, 8> bytes{};
    VDISK_CHECK(cache_.read(offset, std::span(bytes).first(static_cast<std::size_t>(tables_.entry_bytes))));
    return tables_.entry_in(bytes, 0);
}

Result<Mapping> ClusterLayout::map(GuestOffset at, std::uint64_t wanted) const {
    return map_over_pieces(at, std::min(wanted, tables_.disk_size - at.value),
                           [this](GuestOffset from, std::uint64_t most) { return map_piece(from, most); });
}

// The run from `at` as far as one table tells.
Result<Mapping> ClusterLayout::map_piece(GuestOffset at, std::uint64_t wanted) const {
    if (!tables_.directory) return map_in_table(tables_.only_table, at, wanted);
    const std::uint64_t number = at.value / tables_.table_covers();
    const std::uint64_t left =
        std::min(tables_.table_covers() - at.value % tables_.table_covers(), tables_.disk_size - at.value);
    VDISK_TRY(table, entry_at(*tables_.directory + number * tables_.entry_bytes));
    const auto broken = [&](std::string_view why) {
        return Extent::unreadable(
            left, fail_at(at.value, ErrorKind::corrupt, "{}: L1 entry {} is {:#x}: {}", name(), number, table, why));
    };
    if (table == 0) return Mapping::ask_parent(left);
    if (!tables_.is_place_of_table(table, cache_.source().size()))
        return broken(fmt::format("no place of an L2 table in a file of {} bytes", cache_.source().size()));
    if (std::ranges::binary_search(doubts_.tables, table))
        return broken("the L2 table there shares bytes with another structure or with a cluster");
    if (doubts_.misaligned && table % tables_.usual_alignment != 0) return broken(kMisaligned);
    return map_in_table(table, at, std::min(wanted, left));
}

Result<Mapping> ClusterLayout::map_in_table(std::uint64_t table, GuestOffset at, std::uint64_t wanted) const {
    const std::uint64_t first = at.value / tables_.cluster_size;
    const std::uint64_t index = first % tables_.table_entries;
    const std::uint64_t place = table + index * tables_.entry_bytes;
    const std::uint64_t size = cache_.source().size();
    const std::uint64_t there = place < size ? (size - place) / tables_.entry_bytes : 0;
    if (there == 0)
        return Extent::unreadable(tables_.bytes_of(first) - at.value % tables_.cluster_size,
                                  fail_at(place, ErrorKind::truncated,
                                          "{}: table entry at offset {} lies past the end of the file at {}", name(),
                                          place, size));
    const std::uint64_t end = div_ceil(at.value + wanted, tables_.cluster_size);
    const std::uint64_t wanted_entries = std::min({end - first, tables_.table_entries - index, there});
    const std::uint64_t within = place % CachedTable::kBlockBytes;
    const std::uint64_t in_block = (CachedTable::kBlockBytes - within) / tables_.entry_bytes;
    if (in_block == 0) { // half of the entry is in the next block
        VDISK_TRY(entry, entry_at(place));
        return run_of(at, 1, [entry = entry](std::uint64_t) { return entry; });
    }
    VDISK_TRY(block, cache_.block_at(place));
    const std::uint64_t in_file = block->size() > within ? (block->size() - within) / tables_.entry_bytes : 0;
    if (in_file == 0) // it has become shorter
        return fail_at(place, ErrorKind::truncated, "{}: table entry at offset {} is not there", name(), place);
    const std::span<const std::byte> bytes(block->data() + within, static_cast<std::size_t>(block->size() - within));
    return run_of(at, std::min({wanted_entries, in_block, in_file}),
                  [&](std::uint64_t i) { return tables_.entry_in(bytes, i); });
}

// The run from `at` over `count` entries at most, of which `entry_of(i)` gives the one that is `i` clusters behind.
template<class EntryOf>
Mapping ClusterLayout::run_of(GuestOffset at, std::uint64_t count, const EntryOf& entry_of) const {
    const std::uint64_t first = at.value / tables_.cluster_size;
    std::uint64_t before = entry_of(0);
    Mapping cluster = decode(before, first);
    Mapping run = cluster.without_start(at.value % tables_.cluster_size);
    for (std::uint64_t i = 1; i < count; ++i) {
        const std::uint64_t entry = entry_of(i);
        // Of a disk that is empty for the most part most entries are alike.
        if (entry != before || tables_.bytes_of(first + i) != cluster.length()) cluster = decode(entry, first + i);
        if (!run.absorb(cluster)) break;
        before = entry;
    }
    return run;
}

Mapping ClusterLayout::decode(std::uint64_t entry, std::uint64_t number) const {
    const std::uint64_t length = tables_.bytes_of(number);
    const ClusterEntry cluster = tables_.decode(entry);
    const auto broken = [&](std::string_view why) {
        return Extent::unreadable(length, fail_at(number * tables_.cluster_size, ErrorKind::corrupt,
                                                  "{}: the entry of cluster {} is {:#x}, which {}", name(), number,
                                                  entry, why));
    };
    const std::uint64_t taken =
        cluster.kind == ClusterEntry::Kind::packed ? cluster.packed_length : tables_.cluster_size;
    if (cluster.in_file() && doubts_.contested.touch(cluster.host, taken))
        return broken("shares bytes with another cluster or with the file's own structures");
    if (doubts_.misaligned && cluster.kind == ClusterEntry::Kind::stored && cluster.host % tables_.usual_alignment != 0)
        return broken(kMisaligned);
    switch (cluster.kind) {
    case ClusterEntry::Kind::absent: return Mapping::ask_parent(length);
    case ClusterEntry::Kind::zero: return Extent::zero(length);
    case ClusterEntry::Kind::packed: return packed(cluster, number);
    case ClusterEntry::Kind::broken: return broken(cluster.rule);
    case ClusterEntry::Kind::stored: break;
    }
    Extent extent = Extent::stored(length, HostOffset{cluster.host});
    extent.enciphered = tables_.enciphered;
    return extent;
}

Mapping ClusterLayout::packed(const ClusterEntry& entry, std::uint64_t number) const {
    const std::uint64_t length = tables_.bytes_of(number);
    const std::uint64_t start = number * tables_.cluster_size;
    if (!fits(entry.host, entry.packed_length, cache_.source().size()))
        return Extent::unreadable(length,
                                  fail_at(start, ErrorKind::truncated,
                                          "{}: cluster {} has {} compressed bytes at offset {}, past the end "
                                          "of the file at {}",
                                          name(), number, entry.packed_length, entry.host, cache_.source().size()));
    Extent extent{.kind = Extent::Kind::packed, .length = length, .host = HostOffset{entry.host}};
    extent.packed = {.codec = tables_.codec,
                     .start = GuestOffset{start},
                     .expanded = static_cast<std::uint32_t>(tables_.cluster_size),
                     .host_length = entry.packed_length};
    return extent;
}

} // namespace vdisk
