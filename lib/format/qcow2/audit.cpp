// SPDX-License-Identifier: Apache-2.0
#include "format/qcow2/audit.hpp"

#include "base/text.hpp"
#include "disk/table_pieces.hpp"
#include "format/qcow2/bitmaps.hpp"
#include "format/qcow2/cluster_tally.hpp"
#include "format/qcow2/consistency.hpp"
#include "format/qcow2/encryption.hpp"
#include "format/qcow2/entries.hpp"
#include "format/qcow2/features.hpp"
#include "format/qcow2/refcounts.hpp"

#include <algorithm>
#include <cstring>
#include <unordered_map>

namespace vdisk::qcow2 {
namespace {

constexpr std::uint64_t kAuditSector = 512;

// One of the two halves of a bitmap of subclusters.
constexpr std::uint32_t allocated(std::uint64_t bitmap) {
    return static_cast<std::uint32_t>(bitmap);
}
constexpr std::uint32_t zeros(std::uint64_t bitmap) {
    return static_cast<std::uint32_t>(bitmap >> 32);
}

std::uint64_t load(std::span<const std::byte> bytes, std::uint64_t at) {
    big_uint64_buf_t value;
    std::memcpy(&value, bytes.data() + at, sizeof value);
    return value.value();
}

// One audit, from the first look to the report.
class Auditor {
public:
    Auditor(const AuditedImage& image, const Progress& progress, ClusterTally tally)
        : header_(image.header), snapshots_(image.snapshots), file_(*image.file), context_(image.context),
          progress_(progress), tally_(std::move(tally)), report_(image.context.limits) {}

    Result<AuditReport> run() {
        VDISK_CHECK(load_refcounts());
        VDISK_CHECK(note_contradictions());
        refer(0, header_.cluster_size(), Role::header, "the header");
        VDISK_CHECK(walk_states());
        VDISK_CHECK(refer_to_tables());
        VDISK_CHECK(check_refcount_blocks());
        VDISK_CHECK(compare());
        VDISK_CHECK(locate_clusters());
        describe();
        note_features();
        return std::move(report_);
    }

private:
    // What one state of the disk is called, and whether its COPIED flags mean anything.
    struct Walk {
        std::string name;
        std::string snapshot{}; ///< what Place::disk says of it
        State state;
        bool active = false;
    };

    std::uint64_t cluster_size() const noexcept { return header_.cluster_size(); }
    std::uint64_t most_references() const noexcept {
        return header_.refcount_order >= 4 ? std::uint64_t{ClusterTally::kMost}
                                           : (std::uint64_t{1} << (1U << header_.refcount_order)) - 1;
    }

    // A finding that `qemu-img check` counts as a corruption.
    template<class... Args>
    void corruption(Severity severity, std::string_view kind, Place place, fmt::format_string<Args...> format,
                    Args&&... args) {
        ++corruptions_;
        report_.add(severity, kind, place, format, std::forward<Args>(args)...);
    }

    // An entry that says where a range of a disk is; of none, if it is about the machine state.
    static Place place_at(HostOffset entry, DiskRange covered) {
        if (covered.length == 0) return {.host = entry};
        return {.host = entry, .disk = std::move(covered.disk), .guest = covered.offset, .length = covered.length};
    }

    // Counts that `what` refers to a range, which the disk of `reader` is read from, if there is one. Whether it could
    // lie in this file.
    bool refer(std::uint64_t offset, std::uint64_t length, Role role, std::string_view what, const Place& reader = {}) {
        Place place = reader;
        place.host = HostOffset{offset};
        if (!reader.guest) place.length = length;
        if (!tally_.reaches(offset, length)) {
            corruption(Severity::error, "past-end", place,
                       "{}: {} bytes at offset {} lie past the end of the file at {}", what, length, offset,
                       file_.size());
            return false;
        }
        for (std::uint64_t full = tally_.refer(offset, length, role, most_references()); full > 0; --full)
            corruption(Severity::error, "refcount-overflow", place,
                       "{}: more references to offset {} than a refcount of {} bits can count", what, offset,
                       1U << header_.refcount_order);
        return true;
    }

    // What the file has of a cluster; zeros for what lies past its end, as QEMU reads that. False if it can't be read.
    bool read_padded(std::uint64_t offset, std::span<std::byte> out) {
        const auto got = file_.read_at(offset, out);
        if (got.has_error()) lost_.add(offset, out.size(), got.error());
        else std::ranges::fill(out.subspan(got.value()), std::byte{0});
        return got.has_value();
    }

    // Calls `each(index, entry)` for the entries of a table that are not 0, as far as they lie in the file and can be
    // read.
    template<class Each> Result<void> for_each_entry(std::uint64_t offset, std::uint64_t count, Each&& each) {
        if (offset >= file_.size()) return ok();
        count = std::min(count, (file_.size() - offset) / kEntryBytes);
        const auto take = [&](std::uint64_t first, std::span<const big_uint64_buf_t> entries) -> Result<void> {
            for (std::size_t i = 0; i < entries.size(); ++i)
                if (entries[i].value() != 0) VDISK_CHECK(each(first + i, entries[i].value()));
            return ok();
        };
        return for_each_piece<big_uint64_buf_t>(file_, offset, count, lost_, take);
    }

    std::uint64_t refcount_table_bytes() const { return header_.refcount_table_clusters * cluster_size(); }
    std::uint64_t refcounts_a_block() const { return refcounts_in(cluster_size(), header_.refcount_order); }

    Result<void> load_refcounts() {
        return for_each_entry(header_.refcount_table_offset, refcount_table_bytes() / kEntryBytes,
                              [&](std::uint64_t index, std::uint64_t entry) {
                                  return load_refcount_block(index * refcounts_a_block(), entry & kRefcountOffsetMask);
                              });
    }

    Result<void> load_refcount_block(std::uint64_t first, std::uint64_t offset) {
        if (first > tally_.in_file()) return ok();
        const std::uint64_t count = std::min(refcounts_a_block(), tally_.in_file() + 1 - first);
        std::vector<std::byte> block(static_cast<std::size_t>(div_ceil(count << header_.refcount_order, 8)));
        const bool readable = offset % cluster_size() == 0 && (offset == 0 || read_padded(offset, block));
        for (std::uint64_t i = 0; i < count; ++i) {
            const std::uint64_t refcount = load_refcount(block, i, header_.refcount_order);
            tally_.set_refcount(
                first + i, readable ? static_cast<std::uint16_t>(std::min<std::uint64_t>(refcount, ClusterTally::kMost))
                                    : ClusterTally::kUnreadable);
        }
        return ok();
    }

    // What keeps the active state from being opened; where the tables of snapshots can't be, the walk over them finds.
    // Not corruptions as `qemu-img check` counts them: it opens no such image.
    Result<void> note_contradictions() {
        const Consistency of_header = check_consistency(header_, file_);
        for (const Contradiction& one : of_header.contradictions)
            report_.add(Severity::error, "header", {.host = one.at}, "{}", one.what);
        const Consistency of_state = check_consistency(header_, snapshots_, 0, file_);
        for (const Contradiction& one : of_state.contradictions)
            report_.add(Severity::error, "l1-table", {.host = one.at}, "{}", one.what);
        no_active_table_ = !of_state.contradictions.empty();
        return ok();
    }

    Walk walk_of_active() const {
        return {.name = "active state", .state = state_of(header_, snapshots_, 0), .active = true};
    }
    static Walk walk_of(const Snapshot& snapshot) {
        const std::string name = fmt::format("snapshot '{}'", shown_name(snapshot.id));
        return {.name = name, .snapshot = name, .state = snapshot.state};
    }

    Result<void> walk_states() {
        total_ = header_.l1_size;
        for (const Snapshot& snapshot : snapshots_.snapshots) total_ += snapshot.state.l1_size;
        VDISK_CHECK(walk(walk_of_active()));
        for (const Snapshot& snapshot : snapshots_.snapshots) VDISK_CHECK(walk(walk_of(snapshot)));
        return ok();
    }

    Result<void> walk(const Walk& walk) {
        const State& state = walk.state;
        const std::uint64_t start = done_;
        done_ += state.l1_size;
        if (state.l1_table_offset % cluster_size() != 0 && !walk.active) {
            corruption(Severity::error, "unaligned", {.host = HostOffset{state.l1_table_offset}},
                       "{}: L1 table at offset {} is not aligned", walk.name, state.l1_table_offset);
            return ok();
        }
        refer(state.l1_table_offset, state.l1_size * kEntryBytes, Role::l1_table,
              fmt::format("{}: L1 table", walk.name));
        // Each table of an intact state lies in a cluster of its own: whoever has more is out to make this endless. Or
        // it is the active state's, and was reported as no L1 table: then what seems to be more of it is left out.
        std::uint64_t left = tally_.in_file() + 1;
        return for_each_entry(
            state.l1_table_offset, state.l1_size, [&](std::uint64_t index, std::uint64_t entry) -> Result<void> {
                VDISK_CHECK(tell(progress_, std::min(start + index, total_), total_));
                if (left == 0 && walk.active && no_active_table_) return ok();
                if (left-- == 0)
                    return fail(ErrorKind::limit_exceeded, "{}: {}: more L2 tables than the file has clusters",
                                file_.name(), walk.name);
                return walk_l1_entry(walk, index, entry);
            });
    }

    Result<void> walk_l1_entry(const Walk& walk, std::uint64_t index, std::uint64_t entry) {
        const std::uint64_t table = entry & kOffsetMask;
        const DiskRange covered = covered_by(walk, index);
        const Place place = place_at(HostOffset{walk.state.l1_table_offset + index * kEntryBytes}, covered);
        if ((entry & kL1Reserved) != 0)
            corruption(Severity::warning, "reserved-bits", place, "{}: L1 entry {} is {:#x}, which has reserved bits",
                       walk.name, index, entry);
        if (table == 0) return ok();
        if (table % cluster_size() != 0)
            corruption(Severity::error, "unaligned", place, "{}: L1 entry {}: L2 table at offset {} is not aligned",
                       walk.name, index, table);
        const bool there =
            refer(table, cluster_size(), Role::l2_table, fmt::format("{}: L1 entry {}", walk.name, index), place);
        if (walk.active) check_copied(table, (entry & kCopied) != 0, place, "L2 table");
        if (!there) return ok();
        return walk_l2(walk, table, covered.offset);
    }

    // What an L1 entry is about; nothing of the disk if it is the machine state's.
    DiskRange covered_by(const Walk& walk, std::uint64_t index) const {
        const std::uint64_t covers = l1_entry_covers(header_);
        const std::uint64_t start = index >= kMaxDiskSize / covers ? kMaxDiskSize : index * covers;
        return {walk.snapshot, GuestOffset{start}, std::min(covers, rest_of(walk, start))};
    }
    static std::uint64_t rest_of(const Walk& walk, std::uint64_t start) {
        return walk.state.disk_size > start ? walk.state.disk_size - start : 0;
    }

    void check_copied(std::uint64_t offset, bool copied, const Place& place, std::string_view what) {
        const std::uint16_t refcount = tally_.refcount(offset >> header_.cluster_bits);
        if (refcount == ClusterTally::kUnreadable || (refcount == 1) == copied) return;
        corruption(Severity::warning, "copied-flag", place,
                   "the COPIED flag of the {} at offset {} is {}, but its refcount is {}", what, offset,
                   copied ? "set" : "clear", refcount);
    }

    struct L2Entry {
        std::uint64_t descriptor = 0;
        std::uint64_t bitmap = 0;
        std::uint64_t at = 0; ///< where in the file it stands
        GuestOffset guest{};  ///< where on the disk the cluster is read
        std::uint64_t length = 0;
        std::string_view disk{};
        Place place() const { return place_at(HostOffset{at}, {std::string(disk), guest, length}); }
    };

    Result<void> walk_l2(const Walk& walk, std::uint64_t table, GuestOffset start) {
        return for_each_l2_entry(walk, table, start, [&](const L2Entry& entry) {
            if ((entry.descriptor & kCompressed) != 0) walk_compressed(walk, entry);
            else walk_standard(walk, entry);
        });
    }

    // Calls `each` for the entries of a table that are not 0. The disk from `start` on is what they are about.
    template<class Each>
    Result<void> for_each_l2_entry(const Walk& walk, std::uint64_t table, GuestOffset start, Each&& each) {
        const std::uint64_t bytes = header_.has(kExtendedL2) ? 2 * kEntryBytes : kEntryBytes;
        const std::uint64_t there = div_ceil(file_.size() - std::min(file_.size(), table), bytes) * bytes;
        std::vector<std::byte> entries(static_cast<std::size_t>(std::min(cluster_size(), there)));
        if (!read_padded(table, entries)) return ok();
        std::uint64_t guest = start.value;
        for (std::uint64_t at = 0; at < entries.size(); at += bytes, guest += cluster_size()) {
            const L2Entry entry{load(entries, at),
                                header_.has(kExtendedL2) ? load(entries, at + kEntryBytes) : 0,
                                table + at,
                                GuestOffset{guest},
                                std::min(cluster_size(), rest_of(walk, guest)),
                                walk.snapshot};
            if (entry.descriptor != 0 || entry.bitmap != 0) each(entry);
        }
        return ok();
    }

    // Where a compressed cluster lies.
    HostRange stored_range(const L2Entry& entry) const {
        const std::uint32_t offset_bits = 62 - (header_.cluster_bits - 8);
        const std::uint64_t host = entry.descriptor & ((std::uint64_t{1} << offset_bits) - 1);
        const std::uint64_t sectors = ((entry.descriptor & (kCompressed - 1)) >> offset_bits) + 1;
        return {HostOffset{host}, sectors * kAuditSector - host % kAuditSector};
    }

    void walk_compressed(const Walk& walk, const L2Entry& entry) {
        if ((entry.descriptor & kCopied) != 0)
            corruption(Severity::warning, "copied-flag", entry.place(),
                       "{}: L2 entry {:#x}: a compressed cluster must not have the COPIED flag", walk.name,
                       entry.descriptor);
        if (header_.has(kDataFile) || entry.bitmap != 0) {
            corruption(Severity::error, "compressed-entry", entry.place(),
                       "{}: L2 entry {:#x}: a compressed cluster {}", walk.name, entry.descriptor,
                       header_.has(kDataFile) ? "in an image with a data file" : "with subclusters");
            return;
        }
        const HostRange stored = stored_range(entry);
        refer(stored.offset.value, stored.length, Role::guest_data,
              fmt::format("{}: L2 entry {:#x} at offset {}", walk.name, entry.descriptor, entry.at), entry.place());
    }

    void walk_standard(const Walk& walk, const L2Entry& entry) {
        const std::uint64_t host = entry.descriptor & kOffsetMask;
        const bool extended = header_.has(kExtendedL2);
        const bool in_data_file = header_.has(kDataFile);
        const std::uint64_t reserved = extended ? kL2Reserved | kReadsAsZeros : kL2Reserved;
        if ((entry.descriptor & kL2Reserved) != 0)
            corruption(Severity::warning, "reserved-bits", entry.place(),
                       "{}: L2 entry {:#x} at offset {} has reserved bits", walk.name, entry.descriptor, entry.at);
        else if ((entry.descriptor & reserved) != 0)
            report_.add(Severity::warning, "reserved-bits", entry.place(),
                        "{}: L2 entry {:#x} at offset {} has the zero flag, which extended entries lack", walk.name,
                        entry.descriptor, entry.at);
        const bool has_host = host != 0 || (in_data_file && (entry.descriptor & kCopied) != 0);
        if ((has_host && (allocated(entry.bitmap) & zeros(entry.bitmap)) != 0) ||
            (!has_host && allocated(entry.bitmap) != 0))
            corruption(Severity::error, "subclusters", entry.place(),
                       "{}: L2 entry {:#x} at offset {}: its subclusters {:#x} contradict it", walk.name,
                       entry.descriptor, entry.at, entry.bitmap);
        if (!has_host) return;
        if (host % cluster_size() != 0)
            corruption(Severity::error, "unaligned", entry.place(),
                       "{}: L2 entry {:#x} at offset {}: cluster offset {} is not aligned", walk.name, entry.descriptor,
                       entry.at, host);
        if (!in_data_file)
            refer(host, cluster_size(), Role::guest_data,
                  fmt::format("{}: L2 entry {:#x} at offset {}", walk.name, entry.descriptor, entry.at), entry.place());
        if (!walk.active) return;
        if (!in_data_file) check_copied(host, (entry.descriptor & kCopied) != 0, entry.place(), "cluster");
        else if ((entry.descriptor & kCopied) == 0)
            corruption(Severity::warning, "copied-flag", entry.place(),
                       "the COPIED flag of the cluster at offset {} of the data file is clear", host);
    }

    Result<void> refer_to_tables() {
        refer(header_.snapshots_offset, snapshots_.bytes, Role::snapshot_table, "the snapshot table");
        if (snapshots_.damage)
            report_.add(Severity::error, "snapshot-table", {.host = HostOffset{header_.snapshots_offset}}, "{}",
                        snapshots_.damage->what);
        refer(header_.refcount_table_offset, refcount_table_bytes(), Role::refcounts, "the refcount table");
        if (const auto area = encryption_area(header_, file_); area.has_error())
            report_.add(Severity::error, "encryption-header", {}, "{}", area.error().what);
        else refer(area.value().offset, area.value().length, Role::encryption, "the encryption header");
        return refer_to_bitmaps();
    }

    // Bitmaps that are out of date are nobody's: what they hold is leaked.
    Result<void> refer_to_bitmaps() {
        const BitmapDirectory directory = read_bitmaps(file_, header_, context_.limits);
        if (directory.damage)
            report_.add(Severity::error, "bitmaps", {.host = HostOffset{directory.offset}}, "{}",
                        directory.damage->what);
        if ((header_.autoclear_features & kBitmapsConsistent) == 0) {
            if (!directory.bitmaps.empty())
                report_.add(Severity::note, "bitmaps-outdated", {.host = HostOffset{directory.offset}},
                            "{} bitmaps were left out of date by a program that knows none", directory.bitmaps.size());
            return ok();
        }
        refer(directory.offset, directory.size, Role::bitmap, "the bitmap directory");
        // Each table of intact bitmaps lies in clusters of its own, as each of a state's tables does.
        std::uint64_t left = file_.size();
        for (const Bitmap& bitmap : directory.bitmaps) {
            const std::uint64_t bytes = bitmap.table_size * kEntryBytes;
            if (bytes > left)
                return fail(ErrorKind::limit_exceeded, "{}: the tables of its bitmaps have more bytes than the file",
                            file_.name());
            left -= bytes;
            refer_to_bitmap(bitmap);
        }
        return ok();
    }

    void refer_to_bitmap(const Bitmap& bitmap) {
        const std::string what = fmt::format("bitmap '{}'", shown_name(bitmap.name));
        refer(bitmap.table_offset, bitmap.table_size * kEntryBytes, Role::bitmap, what);
        const auto table = read_bitmap_table(file_, bitmap, context_.limits);
        if (table.has_error())
            report_.add(Severity::error, "bitmaps", {.host = HostOffset{bitmap.table_offset}}, "{}",
                        table.error().what);
        if (table.has_error()) return;
        for (const std::uint64_t entry : table.value()) {
            const std::uint64_t host = entry & kBitmapOffsetMask;
            const bool good = (entry & ~(kBitmapOffsetMask | kBitmapAllOnes)) == 0 && host % cluster_size() == 0 &&
                              (host == 0 || (entry & kBitmapAllOnes) == 0);
            if (!good)
                corruption(Severity::error, "bitmaps", {.host = HostOffset{bitmap.table_offset}},
                           "{}: table entry {:#x} is not legal", what, entry);
            else if (host != 0) refer(host, cluster_size(), Role::bitmap, what);
        }
    }

    Result<void> check_refcount_blocks() {
        if (!fits(header_.refcount_table_offset, refcount_table_bytes(), file_.size()))
            report_.add(Severity::error, "refcount-table", {},
                        "the refcount table has {} bytes at offset {} of a file of {}", refcount_table_bytes(),
                        header_.refcount_table_offset, file_.size());
        return for_each_entry(header_.refcount_table_offset, refcount_table_bytes() / kEntryBytes,
                              [&](std::uint64_t index, std::uint64_t entry) -> Result<void> {
                                  check_refcount_block(index, entry);
                                  return ok();
                              });
    }

    void check_refcount_block(std::uint64_t index, std::uint64_t entry) {
        const Place place{.host = HostOffset{header_.refcount_table_offset + index * kEntryBytes}};
        const std::uint64_t cluster = entry >> header_.cluster_bits;
        if (entry % kAuditSector != 0 || entry % cluster_size() != 0)
            corruption(Severity::error, "unaligned", place,
                       "refcount table entry {} is {:#x}: no multiple of the cluster size", index, entry);
        else if (cluster >= tally_.known())
            corruption(Severity::error, "past-end", place,
                       "refcount table entry {}: the block at offset {} lies past the end of the file", index, entry);
        else if (refer(entry, cluster_size(), Role::refcounts, fmt::format("refcount table entry {}", index)) &&
                 tally_.references(cluster) != 1)
            corruption(Severity::error, "refcount-block", place,
                       "the refcount block at offset {} is referenced {} times", entry, tally_.references(cluster));
    }

    // What a cluster has of the file: the last may be cut off.
    HostRange range_of(std::uint64_t cluster) const {
        const std::uint64_t offset = cluster << header_.cluster_bits;
        return {HostOffset{offset}, offset < file_.size() ? std::min(cluster_size(), file_.size() - offset) : 0};
    }

    // Where not all tables can be read, who refers to a cluster is not known.
    Result<void> compare() {
        lost_.tell(report_);
        const bool all_read = lost_.none();
        for (std::uint64_t cluster = 0; cluster < tally_.known(); ++cluster) {
            const std::uint16_t references = tally_.references(cluster);
            if (references > 0) last_referenced_ = cluster;
            if (tally_.overlaps(cluster))
                report_.add(Severity::error, "overlap", place_of(cluster),
                            "the cluster at offset {} is used {} times, as {}", range_of(cluster).offset.value,
                            references, tally_.roles(cluster));
            if (all_read) compare_refcount(cluster);
            if (references > 0 || !all_read) continue;
            VDISK_CHECK(report_.leak(range_of(cluster).offset, range_of(cluster).length));
        }
        if (all_read) note_free_ranges();
        return ok();
    }

    // The findings about single clusters, by cluster: whatever is read from there is to be distrusted.
    std::unordered_multimap<std::uint64_t, std::size_t> clusters_in_doubt() const {
        std::unordered_multimap<std::uint64_t, std::size_t> clusters;
        for (std::size_t i = 0; i < report_.findings().size(); ++i) {
            const Finding& finding = report_.findings()[i];
            if (finding.kind == "overlap" || finding.kind == "refcount-too-low" || finding.kind == "no-refcount" ||
                finding.kind == "refcount-too-high")
                clusters.emplace(finding.place.host->value >> header_.cluster_bits, i);
        }
        return clusters;
    }

    // Who reads a cluster is known only when all tables are read, so the tables are read once more.
    Result<void> locate_clusters() {
        const auto doubtful = clusters_in_doubt();
        if (doubtful.empty()) return ok();
        VDISK_CHECK(locate_in(walk_of_active(), doubtful));
        for (const Snapshot& snapshot : snapshots_.snapshots) VDISK_CHECK(locate_in(walk_of(snapshot), doubtful));
        return ok();
    }

    Result<void> locate_in(const Walk& walk, const std::unordered_multimap<std::uint64_t, std::size_t>& doubtful) {
        if (walk.state.l1_table_offset % cluster_size() != 0 && !walk.active) return ok();
        std::uint64_t left = tally_.in_file() + 1;
        return for_each_entry(
            walk.state.l1_table_offset, walk.state.l1_size,
            [&](std::uint64_t index, std::uint64_t entry) -> Result<void> {
                const DiskRange covered = covered_by(walk, index);
                const std::uint64_t table = entry & kOffsetMask;
                if (table == 0 || covered.length == 0 || left-- == 0) return ok();
                VDISK_CHECK(tell(progress_, total_, total_));
                locate_range({HostOffset{table}, cluster_size()}, covered, doubtful);
                return for_each_l2_entry(walk, table, covered.offset, [&](const L2Entry& found) {
                    if (found.length > 0)
                        locate_range(host_range(found), {walk.snapshot, found.guest, found.length}, doubtful);
                });
            });
    }

    HostRange host_range(const L2Entry& entry) const {
        if ((entry.descriptor & kCompressed) != 0) return stored_range(entry);
        const std::uint64_t host = entry.descriptor & kOffsetMask;
        return {HostOffset{host}, host == 0 || header_.has(kDataFile) ? 0 : cluster_size()};
    }

    // Tells every finding about a cluster of `stored` that `read` is read from there.
    void locate_range(HostRange stored, const DiskRange& read,
                      const std::unordered_multimap<std::uint64_t, std::size_t>& doubtful) {
        if (stored.length == 0) return;
        const std::uint64_t last = (stored.offset.value + stored.length - 1) >> header_.cluster_bits;
        for (std::uint64_t cluster = stored.offset.value >> header_.cluster_bits; cluster <= last; ++cluster) {
            const auto [begin, end] = doubtful.equal_range(cluster);
            for (auto found = begin; found != end; ++found) report_.locate(found->second, read);
        }
    }

    Place place_of(std::uint64_t cluster) const {
        return {.host = range_of(cluster).offset, .length = range_of(cluster).length};
    }

    void compare_refcount(std::uint64_t cluster) {
        const std::uint16_t references = tally_.references(cluster);
        const std::uint16_t refcount = tally_.refcount(cluster);
        const std::uint64_t offset = range_of(cluster).offset.value;
        if (refcount == ClusterTally::kUnreadable) {
            report_.add(Severity::error, "no-refcount", place_of(cluster),
                        "the refcount of the cluster at offset {} can't be read", offset);
        } else if (refcount < references) {
            corruption(Severity::error, "refcount-too-low", place_of(cluster),
                       "the cluster at offset {} has refcount {}, but {} references ({})", offset, refcount, references,
                       tally_.roles(cluster));
        } else if (refcount > references) {
            ++leaks_;
            report_.add(Severity::warning, references == 0 ? "leaked" : "refcount-too-high", place_of(cluster),
                        "the cluster at offset {} has refcount {}, but {} references", offset, refcount, references);
        }
    }

    // Clusters with refcount 0 that the file still has: free for new data, and holding old ones until then.
    void note_free_ranges() {
        for (const HostRange& range : report_.leaked()) {
            std::uint64_t free = 0;
            const std::uint64_t first = range.offset.value >> header_.cluster_bits;
            const std::uint64_t end = div_ceil(range.offset.value + range.length, cluster_size());
            for (std::uint64_t cluster = first; cluster < end; ++cluster)
                free += tally_.refcount(cluster) == 0 ? 1U : 0U;
            if (free > 0)
                report_.add(Severity::note, "free", {.host = range.offset, .length = range.length},
                            "{} of {} unreferenced clusters from offset {} on have refcount 0", free, end - first,
                            range.offset.value);
        }
        const std::uint64_t end = (last_referenced_ + 1) << header_.cluster_bits;
        if (end < file_.size())
            report_.add(Severity::note, "behind-last-cluster", {.host = HostOffset{end}, .length = file_.size() - end},
                        "behind the last referenced cluster, from offset {} on, the file has {} bytes", end,
                        file_.size() - end);
    }

    void describe() {
        if (context_.file) report_.facts["file modified"] = utc_time(context_.file->modified() / 1'000'000'000);
        report_.facts["cluster size"] = cluster_size();
        report_.facts["clusters"] = tally_.in_file();
        report_.facts["refcount bits"] = 1U << header_.refcount_order;
        report_.facts["corruptions"] = corruptions_;
        if (lost_.none()) report_.facts["leaks"] = leaks_;
        for (const Snapshot& snapshot : snapshots_.snapshots) {
            Facts row = {{"id", printable(snapshot.id)}, {"name", printable(snapshot.name)}};
            row.update(describe_snapshot(snapshot).facts);
            report_.facts["snapshots"].push_back(std::move(row));
        }
    }

    void note_features() {
        if (header_.has(kDirty))
            report_.add(Severity::note, "dirty", {}, "the dirty bit is set: refcounts may be out of date");
        if (header_.has(kCorrupt))
            report_.add(Severity::warning, "marked-corrupt", {}, "the corrupt bit is set: QEMU found damage once");
        for (const std::string& extension : unknown_extensions(header_))
            report_.add(Severity::note, "unknown-extension", {}, "header extension {}", extension);
        const std::uint64_t unknown = header_.autoclear_features & ~std::uint64_t{kBitmapsConsistent | kDataFileRaw};
        for (const std::string& name : feature_names(file_, header_, FeatureType::autoclear, unknown))
            report_.add(Severity::note, "unknown-feature", {}, "autoclear feature {}", name);
        for (const std::string& name : feature_names(file_, header_, FeatureType::compatible,
                                                     header_.compatible_features & ~std::uint64_t{kLazyRefcounts}))
            report_.add(Severity::note, "unknown-feature", {}, "compatible feature {}", name);
        if (header_.size % kAuditSector != 0)
            report_.add(Severity::note, "size", {},
                        "the virtual size {} is no whole number of sectors: QEMU shows {} bytes", header_.size,
                        align_down(header_.size, kAuditSector));
    }

    const Header& header_;
    const SnapshotTable& snapshots_;
    const ByteSource& file_;
    const OpenContext& context_;
    const Progress& progress_;
    ClusterTally tally_;
    AuditReport report_;
    LostPieces lost_;              ///< of the tables
    bool no_active_table_ = false; ///< something contradicts the active state's L1 table
    std::uint64_t corruptions_ = 0;
    std::uint64_t leaks_ = 0;
    std::uint64_t total_ = 0; ///< L1 entries of all states
    std::uint64_t done_ = 0;
    std::uint64_t last_referenced_ = 0;
};

} // namespace

Result<AuditReport> audit(const AuditedImage& image, const Progress& progress) {
    VDISK_TRY(tally, ClusterTally::make(image.file->size(), image.header.cluster_bits, image.context.limits));
    return Auditor(image, progress, std::move(tally)).run();
}

} // namespace vdisk::qcow2
