// SPDX-License-Identifier: Apache-2.0
#include "format/qcow2/layout.hpp"

#include "format/qcow2/entries.hpp"

#include <algorithm>
#include <cstring>

namespace vdisk::qcow2 {
namespace {

constexpr std::uint64_t kSector = 512;

std::uint32_t l2_entry_bits(const Header& header) {
    return header.has(kExtendedL2) ? 4 : 3;
}

std::uint64_t big_endian_at(const Block& block, std::uint64_t within) {
    big_uint64_buf_t value;
    std::memcpy(&value, block.data() + within, sizeof value);
    return value.value();
}

} // namespace

std::uint64_t l1_entry_covers(const Header& header) noexcept {
    return std::uint64_t{1} << (2 * header.cluster_bits - l2_entry_bits(header));
}

ClusterLayout::ClusterLayout(const Header& header, State state, SourcePtr file, CachesPtr caches)
    : version_(header.version), cluster_bits_(header.cluster_bits), extended_(header.has(kExtendedL2)),
      external_data_(header.has(kDataFile)), codec_(header.codec), enciphered_(header.crypt_method != 0), state_(state),
      l1_covers_(l1_entry_covers(header)), table_(std::move(file), std::move(caches)) {}

std::uint64_t ClusterLayout::left_in_cluster(GuestOffset at) const noexcept {
    return std::min(cluster_size() - at.value % cluster_size(), state_.disk_size - at.value);
}

Result<std::uint64_t> ClusterLayout::l1_entry(std::uint64_t index) const {
    const std::uint64_t offset = state_.l1_table_offset + index * kEntryBytes;
    const std::uint64_t within = offset % CachedTable::kBlockBytes;
    if (!fits(within, kEntryBytes, CachedTable::kBlockBytes)) { // a table that is not aligned even to its entries
        VDISK_TRY(entry, read_struct<big_uint64_buf_t>(table_.source(), offset, "L1 entry"));
        return entry.value();
    }
    VDISK_TRY(block, table_.block_at(offset));
    if (!fits(within, kEntryBytes, block->size()))
        return fail_at(offset, ErrorKind::truncated, "{}: L1 entry {} at offset {} lies past the end of the file",
                       name(), index, offset);
    return big_endian_at(*block, within);
}

std::optional<ClusterLayout::Entry> ClusterLayout::l2_entry(const Block& block, std::uint64_t within) const {
    const std::uint64_t bytes = extended_ ? 16 : 8;
    if (!fits(within, bytes, block.size())) return std::nullopt;
    return Entry{big_endian_at(block, within), extended_ ? big_endian_at(block, within + 8) : 0};
}

Result<Mapping> ClusterLayout::map(GuestOffset at, std::uint64_t wanted) const {
    return map_over_pieces(at, std::min(wanted, state_.disk_size - at.value),
                           [this](GuestOffset from, std::uint64_t most) { return map_piece(from, most); });
}

// The run from `at` as far as one L1 entry, and of its L2 table one block, tells.
Result<Mapping> ClusterLayout::map_piece(GuestOffset at, std::uint64_t wanted) const {
    const std::uint64_t index = at.value / l1_covers_;
    const std::uint64_t left = std::min(l1_covers_ - at.value % l1_covers_, state_.disk_size - at.value);
    if (index >= state_.l1_size)
        return Extent::unreadable(state_.disk_size - at.value,
                                  fail_at(at.value, ErrorKind::corrupt,
                                          "{}: l1_size is {}, but disk offset {} needs entry {}", name(),
                                          state_.l1_size, at.value, index));
    VDISK_TRY(entry, l1_entry(index));
    const std::uint64_t table = entry & kOffsetMask;
    if (table == 0) return Mapping::ask_parent(left);
    if (table % cluster_size() != 0 || table >= table_.source().size())
        return Extent::unreadable(left,
                                  fail_at(table, ErrorKind::corrupt,
                                          "{}: L1 entry {} is {:#x}: an L2 table at offset {} of a file of {} bytes",
                                          name(), index, entry, table, table_.source().size()));
    return map_in_l2(table, at, std::min(wanted, left));
}

// The run that starts at `at`: cluster after cluster, or subcluster after subcluster, while each goes on where the one
// before ends.
Result<Mapping> ClusterLayout::map_in_l2(std::uint64_t table, GuestOffset at, std::uint64_t wanted) const {
    const std::uint64_t entry_bytes = extended_ ? 16 : 8;
    const auto entry_offset = [&](std::uint64_t guest) {
        return table + guest % l1_covers_ / cluster_size() * entry_bytes;
    };
    const std::uint64_t block_start = align_down(entry_offset(at.value), CachedTable::kBlockBytes);
    VDISK_TRY(block, table_.block_at(block_start));

    const auto first = l2_entry(*block, entry_offset(at.value) - block_start);
    if (!first)
        return Extent::unreadable(left_in_cluster(at),
                                  fail_at(entry_offset(at.value), ErrorKind::truncated,
                                          "{}: L2 entry at offset {} lies past the end of the file at {}", name(),
                                          entry_offset(at.value), table_.source().size()));
    Mapping run = decode(*first, at);
    while (run.length() < wanted) {
        const GuestOffset behind{at.value + run.length()};
        const auto entry = l2_entry(*block, entry_offset(behind.value) - block_start);
        if (!entry || !run.absorb(decode(*entry, behind))) break;
    }
    return run;
}

// What `entry` says from `at`, which lies in its cluster, to the end of the cluster or of the subclusters that are
// alike.
Mapping ClusterLayout::decode(Entry entry, GuestOffset at) const {
    if ((entry.descriptor & kCompressed) != 0) return packed(entry, at);
    return standard(entry, at);
}

// Offset 0 means "none", but in a data file, where the guest's cluster 0 lies there.
bool ClusterLayout::has_host(Entry entry) const noexcept {
    return (entry.descriptor & kOffsetMask) != 0 || (external_data_ && (entry.descriptor & kCopied) != 0);
}

// What is wrong with all that a standard descriptor describes; empty if nothing is.
std::string_view ClusterLayout::broken_rule(Entry entry, GuestOffset at) const {
    const std::uint64_t host = entry.descriptor & kOffsetMask;
    if (version_ < 3 && (entry.descriptor & kReadsAsZeros) != 0) return "has the zero flag, which version 2 lacks";
    if (host % cluster_size() != 0) return "has a data offset that is no multiple of the cluster size";
    if (external_data_ && has_host(entry) && host != align_down(at.value, cluster_size()))
        return "has another offset in the data file than on the disk";
    return {};
}

// What is said of the byte at `at`, and of how many bytes from there the same.
ClusterLayout::Part ClusterLayout::part_at(Entry entry, GuestOffset at) const {
    const std::uint64_t cluster_left = left_in_cluster(at);
    if (extended_) {
        const std::uint64_t subcluster = cluster_size() >> kSubclusterBits;
        const std::uint64_t within = at.value % cluster_size();
        const SubclusterRun run = subcluster_run(entry.bitmap, static_cast<std::uint32_t>(within / subcluster));
        return {run.allocation, std::min(run.count * subcluster - within % subcluster, cluster_left)};
    }
    if ((entry.descriptor & kReadsAsZeros) != 0) return {Allocation::zero, cluster_left};
    return {has_host(entry) ? Allocation::stored : Allocation::unallocated, cluster_left};
}

Mapping ClusterLayout::standard(Entry entry, GuestOffset at) const {
    if (const std::string_view rule = broken_rule(entry, at); !rule.empty())
        return damaged(entry, at, left_in_cluster(at), rule);
    const Part part = part_at(entry, at);
    const HostOffset host{(entry.descriptor & kOffsetMask) + at.value % cluster_size()};
    switch (part.allocation) {
    case Allocation::unallocated: return Mapping::ask_parent(part.length);
    case Allocation::zero: return Extent::zero(part.length);
    case Allocation::stored:
        if (!has_host(entry)) return damaged(entry, at, part.length, "allocates subclusters, but has no data offset");
        return stored(part.length, host);
    case Allocation::invalid: break;
    }
    return damaged(entry, at, part.length, "has subclusters that are both allocated and zero");
}

Extent ClusterLayout::stored(std::uint64_t length, HostOffset host) const {
    Extent extent = Extent::stored(length, host, external_data_ ? kExternalData : kImageFile);
    extent.enciphered = enciphered_;
    return extent;
}

// Specification, "Compressed clusters": the offset takes the low x = 62 - (cluster_bits - 8) bits, the number of
// further sectors the bits up to 61.
Extent ClusterLayout::packed(Entry entry, GuestOffset at) const {
    const std::uint32_t offset_bits = 62 - (cluster_bits_ - 8);
    const std::uint64_t host = entry.descriptor & ((std::uint64_t{1} << offset_bits) - 1);
    const std::uint64_t more_sectors = (entry.descriptor & (kCompressed - 1)) >> offset_bits;
    const std::uint64_t length = left_in_cluster(at);
    if (external_data_)
        return damaged(entry, at, length, "is a compressed cluster, which an image with a data file can't have");
    if (host >= table_.source().size())
        return damaged(entry, at, length, "has compressed data past the end of the file");
    Extent extent{.kind = Extent::Kind::packed, .length = length, .source = kImageFile, .host = HostOffset{host}};
    extent.packed = {.codec = codec_,
                     .start = GuestOffset{align_down(at.value, cluster_size())},
                     .expanded = static_cast<std::uint32_t>(cluster_size()),
                     .host_length = (more_sectors + 1) * kSector - host % kSector};
    return extent;
}

Extent ClusterLayout::damaged(Entry entry, GuestOffset at, std::uint64_t length, std::string_view rule) const {
    const std::string bitmap = extended_ ? fmt::format(", bitmap {:#x},", entry.bitmap) : "";
    return Extent::unreadable(length, fail_at(at.value, ErrorKind::corrupt, "{}: L2 entry {:#x}{} {}", name(),
                                              entry.descriptor, bitmap, rule));
}

} // namespace vdisk::qcow2
