// SPDX-License-Identifier: Apache-2.0
#include "format/qcow2/consistency.hpp"

#include "base/text.hpp"
#include "base/zeros.hpp"
#include "format/qcow2/bitmaps.hpp"
#include "format/qcow2/encryption.hpp"
#include "format/qcow2/entries.hpp"
#include "format/qcow2/refcounts.hpp"

#include <algorithm>
#include <array>
#include <bit>

namespace vdisk::qcow2 {
namespace {

constexpr std::uint64_t kLargestCluster = std::uint64_t{2} << 20;

// What an opening looks at: enough to tell a table from something else, and no more reads than nobody notices.
constexpr std::uint64_t kL1EntriesSeen = 2048;
constexpr std::size_t kL2TablesSeen = 4;
constexpr std::size_t kSnapshotsSeen = 64;
constexpr std::uint64_t kL2EntriesSeen = 512;
constexpr std::uint64_t kLargestEmptyTable = 1U << 20;

using Contradictions = std::vector<Contradiction>;

template<class... Args>
void add(Contradictions& found, std::uint64_t at, fmt::format_string<Args...> format, Args&&... args) {
    found.push_back({HostOffset{at}, fmt::format(format, std::forward<Args>(args)...)});
}

Result<std::vector<std::uint64_t>> read_entries(const ByteSource& file, std::uint64_t offset, std::uint64_t count) {
    if (offset >= file.size()) return std::vector<std::uint64_t>();
    count = std::min(count, (file.size() - offset) / kEntryBytes);
    std::vector<big_uint64_buf_t> raw(static_cast<std::size_t>(count));
    VDISK_CHECK(read_exact(file, offset, std::as_writable_bytes(std::span(raw))));
    std::vector<std::uint64_t> entries(raw.size());
    std::ranges::transform(raw, entries.begin(), &big_uint64_buf_t::value);
    return entries;
}

bool has_extension(const Header& header, std::uint32_t type) {
    return std::ranges::find(header.extensions, type, &Extension::type) != header.extensions.end();
}

// A changed version would hide the features that all else depends on.
Result<void> check_version(const Header& header, const ByteSource& file, Contradictions& found) {
    if (header.version != 2 || file.size() < sizeof(RawQcow2Header) + sizeof(RawQcow2HeaderV3)) return ok();
    if (header.backing_file_offset != 0 &&
        header.backing_file_offset < sizeof(RawQcow2Header) + sizeof(RawQcow2HeaderV3))
        return ok();
    VDISK_TRY(raw, read_struct<RawQcow2HeaderV3>(file, sizeof(RawQcow2Header), "qcow2 version 3 header"));
    const std::uint32_t length = raw.header_length.value();
    if (raw.incompatible_features.value() >> 32 == 0 && raw.refcount_order.value() <= 6 && length >= 104 &&
        length <= 256 && length % 8 == 0)
        add(found, 4, "version is 2, but a header of version 3 with header_length {} follows", length);
    return ok();
}

// What says the same thing twice has to say the same.
void check_features(const Header& header, Contradictions& found) {
    if (header.crypt_method == 0 && has_extension(header, kExtensionEncryption))
        add(found, 32, "crypt_method is 0 (none), but there is an encryption header extension");
    if (!header.has(kDataFile) && has_extension(header, kExtensionDataFile))
        add(found, 72, "incompatible_features has no data file bit, but a data file is named");
    if (header.has(kCompressionType) != (header.codec != Codec::deflate))
        add(found, 72, "incompatible_features {} a compression type, but compression_type is {}",
            header.has(kCompressionType) ? "announces" : "lacks", header.codec == Codec::zstd ? 1 : 0);
    if (header.header_length % 8 != 0 && header.version >= 3)
        add(found, 100, "header_length is {}, no multiple of 8", header.header_length);
}

// The name stands behind the extensions, and zeros stand behind it and before it: a changed offset or length makes
// another name of it, or none.
Result<void> check_backing(const Header& header, const ByteSource& file, Contradictions& found) {
    const std::uint64_t offset = header.backing_file_offset;
    const std::uint64_t size = header.backing_file_size;
    if ((offset == 0) != (size == 0))
        add(found, 8, "backing_file_offset is {}, but backing_file_size is {}", offset, size);
    if (!header.backing_file) return ok();
    if (offset < header.header_length)
        add(found, 8, "backing_file_offset is {}, inside the header of {} bytes", offset, header.header_length);
    else if (offset < header.extensions_end)
        add(found, 8, "backing_file_offset is {}, inside the extensions up to {}", offset, header.extensions_end);
    if (header.backing_file->find('\0') != std::string::npos)
        add(found, 16, "backing_file_size is {}, but the name '{}' has a zero in it", size,
            printable(*header.backing_file));
    const std::uint64_t first = std::min(header.extensions_end, offset);
    const std::uint64_t end = std::min({header.cluster_size(), offset + size + 1, file.size()});
    VDISK_TRY(bytes, read_bytes(file, first, end - first, "backing file name"));
    if (!all_zeros(std::span(bytes).first(static_cast<std::size_t>(offset - first))))
        add(found, 8, "backing_file_offset is {}, but the name '{}' starts before it", offset,
            printable(*header.backing_file));
    if (first + bytes.size() > offset + size && bytes.back() != std::byte{0})
        add(found, 16, "backing_file_size is {}, but the name '{}' goes on behind it", size,
            printable(*header.backing_file));
    return ok();
}

// The number of the last refcount that is not 0, and 1 more, if clusters had `cluster_size` bytes.
Result<std::uint64_t> counted_clusters(const Header& header, const std::vector<std::uint64_t>& table,
                                       std::uint64_t cluster_size, const ByteSource& file) {
    const auto last =
        std::ranges::find_if(table.rbegin(), table.rend(), [](std::uint64_t entry) { return entry != 0; });
    if (last == table.rend() || *last >= file.size()) return std::uint64_t{0};
    const std::uint64_t in_block = refcounts_in(cluster_size, header.refcount_order);
    const std::uint64_t in_file = div_ceil((file.size() - *last) * 8, std::uint64_t{1} << header.refcount_order);
    const std::uint64_t count = std::min(in_block, in_file);
    VDISK_TRY(block, read_refcounts(file, *last, count, header.refcount_order));
    for (std::uint64_t i = count; i > 0; --i)
        if (load_refcount(block, i - 1, header.refcount_order) != 0)
            return static_cast<std::uint64_t>(table.rend() - last - 1) * in_block + i;
    return std::uint64_t{0};
}

// Smaller clusters than the file's make other places of the same entries, and all tables are aligned to them. But then
// the refcounts end far before the file, and with larger clusters they end where it does.
Result<void> look_for_larger_clusters(const Header& header, const std::vector<std::uint64_t>& table,
                                      const ByteSource& file, Contradictions& found) {
    std::uint64_t places = header.refcount_table_offset | header.l1_table_offset | header.snapshots_offset;
    if (places % (2 * header.cluster_size()) != 0) return ok();
    for (const std::uint64_t entry : table) places |= entry;
    const auto fit = [&](std::uint64_t cluster_size) -> Result<bool> {
        VDISK_TRY(clusters, counted_clusters(header, table, cluster_size, file));
        return clusters == div_ceil(file.size(), cluster_size);
    };
    VDISK_TRY(right, fit(header.cluster_size()));
    if (right) return ok();
    for (std::uint64_t larger = 2 * header.cluster_size(); larger <= kLargestCluster && places % larger == 0;
         larger *= 2) {
        VDISK_TRY(fits, fit(larger));
        if (!fits) continue;
        add(found, 20, "cluster_bits is {}, but all tables and refcounts are those of clusters of {} bytes",
            header.cluster_bits, larger);
        return ok();
    }
    return ok();
}

Result<void> check_clusters(const Header& header, const ByteSource& file, Contradictions& found) {
    if (header.refcount_table_offset % header.cluster_size() != 0) {
        add(found, 48, "refcount_table_offset is {}, no multiple of the cluster size {}", header.refcount_table_offset,
            header.cluster_size());
        return ok();
    }
    VDISK_TRY(table, read_refcount_table(header, file));
    const auto entries = std::ranges::count_if(table, [](std::uint64_t entry) { return entry != 0; });
    const auto unaligned =
        std::ranges::count_if(table, [&](std::uint64_t entry) { return entry % header.cluster_size() != 0; });
    // One entry may be damaged; larger clusters than the file's leave every second one or more unaligned.
    if (unaligned > 1 && unaligned * 8 > entries)
        add(found, 20, "cluster_bits is {}, but {} of {} refcount blocks lie at no multiple of that cluster size",
            header.cluster_bits, unaligned, entries);
    else if (unaligned == 0) return look_for_larger_clusters(header, table, file, found);
    return ok();
}

struct Area {
    std::string name;
    std::uint64_t offset = 0;
    std::uint64_t length = 0;

    bool overlaps(const Area& other) const noexcept {
        return length > 0 && other.length > 0 && offset < other.offset + other.length && other.offset < offset + length;
    }
};

std::string name_of(const SnapshotTable& snapshots, std::size_t index) {
    if (index == 0) return "the active state";
    return fmt::format("snapshot '{}'", shown_name(snapshots.snapshots[index - 1].id));
}

// The part of an L1 table that the disk and the machine state need.
Area l1_area(const Header& header, const SnapshotTable& snapshots, std::size_t index) {
    const State state = state_of(header, snapshots, index);
    const std::uint64_t machine = index == 0 ? 0 : std::min(snapshots.snapshots[index - 1].vm_state_size, kMaxDiskSize);
    const std::uint64_t disk = div_ceil(std::min(state.disk_size, kMaxDiskSize), l1_entry_covers(header));
    const std::uint64_t needed = disk + div_ceil(machine, l1_entry_covers(header));
    return {.name = fmt::format("the L1 table of {}", name_of(snapshots, index)),
            .offset = state.l1_table_offset,
            .length = std::min<std::uint64_t>(needed, state.l1_size) * kEntryBytes};
}

// Calls `each` for every part of the file that can't be what an L1 table is.
template<class Each>
Result<void> for_each_other_area(const Header& header, const SnapshotTable& snapshots, std::size_t index,
                                 const ByteSource& file, Each&& each) {
    const auto in_file = [&](Area area) {
        if (fits(area.offset, area.length, file.size())) each(area);
    };
    in_file({"the header", 0, std::min(header.cluster_size(), file.size())});
    in_file(
        {"the refcount table", header.refcount_table_offset, header.refcount_table_clusters * header.cluster_size()});
    in_file({"the snapshot table", header.snapshots_offset, snapshots.bytes});
    VDISK_TRY(table, read_refcount_table(header, file));
    Area block{.name = "a refcount block", .length = header.cluster_size()};
    for (const std::uint64_t entry : table) {
        block.offset = entry;
        if (entry != 0 && entry < file.size()) each(block);
    }
    for (std::size_t other = 0; other <= snapshots.snapshots.size(); ++other)
        if (other != index) in_file(l1_area(header, snapshots, other));
    if (const auto area = encryption_area(header, file); area.has_value())
        in_file({"the encryption header", area.value().offset, area.value().length});
    const BitmapDirectory bitmaps = read_bitmaps(file, header, Limits{});
    in_file({"the bitmap directory", bitmaps.offset, bitmaps.size});
    return ok();
}

bool is_impossible(const Header& header, std::uint64_t descriptor) {
    if ((descriptor & kCompressed) != 0) return false;
    if (header.version < 3 && (descriptor & 1) != 0) return true;
    return (descriptor & kL2Reserved) != 0 || (descriptor & kOffsetMask) % header.cluster_size() != 0;
}

struct Tally {
    std::uint64_t entries = 0; ///< that are not 0
    std::uint64_t impossible = 0;
    bool speaks_against() const noexcept { return 2 * impossible > entries; }
};

void leave_out(const Error& error, Consistency& done) {
    done.left_out.push_back(Remark::doubt(fmt::format("not all of its tables could be checked: {}", error.what)));
}

Result<void> count_l2(const Header& header, const ByteSource& file, std::uint64_t table, Tally& tally) {
    const std::size_t step = header.has(kExtendedL2) ? 2 : 1;
    VDISK_TRY(entries, read_entries(file, table, std::min(kL2EntriesSeen, header.cluster_size() / kEntryBytes)));
    for (std::size_t i = 0; i < entries.size(); i += step) {
        if (entries[i] == 0) continue;
        ++tally.entries;
        tally.impossible += is_impossible(header, entries[i]) ? 1U : 0U;
    }
    return ok();
}

// Guest data that are taken for tables give themselves away by their entries. Single entries may be damaged, and an
// entry that leads past the end of a file that was cut off is none the worse for it.
Result<void> check_entries(const Header& header, const Area& l1, const ByteSource& file, Consistency& done) {
    Contradictions& found = done.contradictions;
    VDISK_TRY(entries, read_entries(file, l1.offset, std::min(l1.length / kEntryBytes, kL1EntriesSeen)));
    Tally tally;
    std::vector<std::uint64_t> tables;
    for (const std::uint64_t entry : entries) {
        if (entry == 0) continue;
        ++tally.entries;
        if ((entry & kL1Reserved) != 0 || (entry & kOffsetMask) % header.cluster_size() != 0) ++tally.impossible;
        else tables.push_back(entry & kOffsetMask);
    }
    if (tally.speaks_against()) {
        add(found, l1.offset, "{} at offset {} is none: {} of {} entries are impossible", l1.name, l1.offset,
            tally.impossible, tally.entries);
        return ok();
    }
    Tally second;
    const std::size_t seen = std::min(tables.size(), kL2TablesSeen);
    for (std::size_t i = 0; i < seen; ++i)
        if (const auto counted = count_l2(header, file, tables[i * tables.size() / seen], second); counted.has_error())
            leave_out(counted.error(), done);
    if (second.speaks_against())
        add(found, l1.offset, "{} at offset {} leads to no L2 tables: {} of {} entries there are impossible", l1.name,
            l1.offset, second.impossible, second.entries);
    return ok();
}

Result<std::vector<std::uint64_t>> l1_entries(const Header& header, const SnapshotTable& snapshots, std::size_t index,
                                              const ByteSource& file) {
    const Area l1 = l1_area(header, snapshots, index);
    return read_entries(file, l1.offset, std::min(l1.length / kEntryBytes, kL1EntriesSeen));
}

Result<std::uint64_t> refcount_of(const Header& header, const std::vector<std::uint64_t>& table, std::uint64_t offset,
                                  const ByteSource& file) {
    const std::uint64_t in_block = refcounts_in(header.cluster_size(), header.refcount_order);
    const std::uint64_t cluster = offset / header.cluster_size();
    const std::uint64_t index = cluster / in_block;
    if (index >= table.size() || table[index] == 0 || table[index] >= file.size()) return std::uint64_t{0};
    VDISK_TRY(block, read_refcounts(file, table[index], cluster % in_block + 1, header.refcount_order));
    return load_refcount(block, cluster % in_block, header.refcount_order);
}

// An L2 table that is the active state's alone, by its COPIED flag and its refcount, is no snapshot's: one of the two
// L1 entries that lead there is wrong. A flag alone may be out of date, and so may a refcount.
Result<void> check_sharing(const Header& header, const SnapshotTable& snapshots, std::size_t index,
                           const ByteSource& file, Contradictions& found) {
    if (snapshots.snapshots.empty()) return ok();
    VDISK_TRY(active, l1_entries(header, snapshots, 0, file));
    std::vector<std::uint64_t> alone;
    for (const std::uint64_t entry : active)
        if ((entry & kCopied) != 0 && (entry & kOffsetMask) != 0) alone.push_back(entry & kOffsetMask);
    if (alone.empty()) return ok();
    std::ranges::sort(alone);
    VDISK_TRY(refcounts, read_refcount_table(header, file));
    const std::size_t first = index == 0 ? 1 : index;
    const std::size_t last = index == 0 ? std::min(snapshots.snapshots.size(), kSnapshotsSeen) : index;
    for (std::size_t other = first; other <= last; ++other) {
        VDISK_TRY(entries, l1_entries(header, snapshots, other, file));
        for (const std::uint64_t entry : entries) {
            const std::uint64_t table = entry & kOffsetMask;
            if (!std::ranges::binary_search(alone, table)) continue;
            VDISK_TRY(refcount, refcount_of(header, refcounts, table, file));
            if (refcount != 1) continue;
            add(found, l1_area(header, snapshots, index).offset,
                "the L2 table at offset {} has one reference, by its refcount and its COPIED flag, but {} and {} refer "
                "to it",
                table, name_of(snapshots, 0), name_of(snapshots, other));
            return ok();
        }
    }
    return ok();
}

} // namespace

State state_of(const Header& header, const SnapshotTable& snapshots, std::size_t index) {
    if (index > 0) return snapshots.snapshots[index - 1].state;
    return {.disk_size = header.size, .l1_table_offset = header.l1_table_offset, .l1_size = header.l1_size};
}

Consistency check_consistency(const Header& header, const ByteSource& file) {
    Consistency done;
    Contradictions& found = done.contradictions;
    check_features(header, found);
    for (const auto check : {check_version, check_backing, check_clusters})
        if (const auto checked = check(header, file, found); checked.has_error()) leave_out(checked.error(), done);
    return done;
}

Consistency check_consistency(const Header& header, const SnapshotTable& snapshots, std::size_t index,
                              const ByteSource& file) {
    Consistency done;
    Contradictions& found = done.contradictions;
    const State state = state_of(header, snapshots, index);
    const Area l1 = l1_area(header, snapshots, index);
    if (!fits(state.l1_table_offset, state.l1_size * kEntryBytes, file.size())) {
        add(found, state.l1_table_offset,
            "the file is cut off at {} bytes, or l1_table_offset is wrong: it is {}, and l1_size is {}", file.size(),
            state.l1_table_offset, state.l1_size);
        return done;
    }
    if (l1.length == 0) return done;
    if (state.l1_table_offset % header.cluster_size() != 0) {
        add(found, state.l1_table_offset, "l1_table_offset is {}, no multiple of the cluster size {}",
            state.l1_table_offset, header.cluster_size());
        return done;
    }
    const auto take = [&](const Result<void>& checked) {
        if (checked.has_error()) leave_out(checked.error(), done);
    };
    take(for_each_other_area(header, snapshots, index, file, [&](const Area& other) {
        if (l1.overlaps(other)) add(found, l1.offset, "l1_table_offset is {}, where {} lies", l1.offset, other.name);
    }));
    if (found.empty()) take(check_entries(header, l1, file, done));
    if (found.empty()) take(check_sharing(header, snapshots, index, file, found));
    return done;
}

Result<bool> is_empty(const Header& header, const State& state, const ByteSource& file) {
    const std::uint64_t needed = div_ceil(state.disk_size, l1_entry_covers(header));
    if (needed == 0 || needed > state.l1_size || needed * kEntryBytes > kLargestEmptyTable) return false;
    VDISK_TRY(entries, read_entries(file, state.l1_table_offset, needed));
    return std::ranges::all_of(entries, [](std::uint64_t entry) { return entry == 0; });
}

} // namespace vdisk::qcow2
