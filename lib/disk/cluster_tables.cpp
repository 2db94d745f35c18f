// SPDX-License-Identifier: Apache-2.0
#include "disk/cluster_tables.hpp"

#include <boost/endian/conversion.hpp>

#include <algorithm>
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

std::vector<std::uint64_t> ClusterTables::numbers(std::span<const std::byte> bytes) const {
    std::vector<std::uint64_t> numbers(static_cast<std::size_t>(bytes.size() / entry_bytes));
    for (std::size_t i = 0; i < numbers.size(); ++i) {
        const std::byte* const at = bytes.data() + i * entry_bytes;
        numbers[i] = entry_bytes == 4 ? number_at<std::uint32_t>(at, order) : number_at<std::uint64_t>(at, order);
    }
    return numbers;
}

Result<std::vector<std::uint64_t>> ClusterLayout::entries(std::uint64_t offset, std::uint64_t count) const {
    std::vector<std::byte> bytes(static_cast<std::size_t>(count * tables_.entry_bytes));
    VDISK_CHECK(cache_.read(offset, bytes));
    return tables_.numbers(bytes);
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
    VDISK_TRY(entry, entries(*tables_.directory + number * tables_.entry_bytes, 1));
    const std::uint64_t table = entry.front();
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
    const std::uint64_t most = CachedTable::kBlockBytes / tables_.entry_bytes;
    VDISK_TRY(found, entries(place, std::min({end - first, tables_.table_entries - index, there, most})));
    Mapping run = decode(found.front(), first).without_start(at.value % tables_.cluster_size);
    for (std::size_t i = 1; i < found.size(); ++i)
        if (!run.absorb(decode(found[i], first + i))) break;
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
