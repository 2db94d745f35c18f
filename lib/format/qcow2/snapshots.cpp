// SPDX-License-Identifier: Apache-2.0
#include "format/qcow2/snapshots.hpp"

#include "base/text.hpp"

namespace vdisk::qcow2 {
namespace {

struct RawSnapshot {
    big_uint64_buf_t l1_table_offset;
    big_uint32_buf_t l1_size;
    big_uint16_buf_t id_str_size;
    big_uint16_buf_t name_size;
    big_uint32_buf_t date_sec;
    big_uint32_buf_t date_nsec;
    big_uint64_buf_t vm_clock_nsec;
    big_uint32_buf_t vm_state_size;
    big_uint32_buf_t extra_data_size;
};
static_assert(sizeof(RawSnapshot) == 40);

// What may follow, as far as it is known; an entry has as much of it as its extra_data_size says.
constexpr std::uint64_t kVmStateSizeAt = 0;
constexpr std::uint64_t kDiskSizeAt = 8;
constexpr std::uint64_t kIcountAt = 16;
constexpr std::uint64_t kNoIcount = ~std::uint64_t{0};
constexpr std::uint64_t kEntryAlignment = 8;

struct SnapshotEntry {
    Snapshot snapshot;
    std::uint64_t bytes = 0; ///< with its padding
};

Result<std::optional<std::uint64_t>> extra_field(const ByteSource& file, std::uint64_t extra, std::uint32_t extra_size,
                                                 std::uint64_t at) {
    if (!fits(at, sizeof(big_uint64_buf_t), extra_size)) return std::optional<std::uint64_t>();
    VDISK_TRY(field, read_struct<big_uint64_buf_t>(file, extra + at, "snapshot's extra data"));
    return std::optional<std::uint64_t>(field.value());
}

Result<SnapshotEntry> read_entry(const ByteSource& file, std::uint64_t at, std::uint64_t active_size) {
    VDISK_TRY(raw, read_struct<RawSnapshot>(file, at, "snapshot table entry"));
    const std::uint64_t extra =
        at + sizeof raw; // the file's end is far from 2^64, so that sums of what was read don't wrap
    const std::uint32_t extra_size = raw.extra_data_size.value();
    const std::uint64_t texts = extra + extra_size;
    VDISK_TRY(state_size, extra_field(file, extra, extra_size, kVmStateSizeAt));
    VDISK_TRY(disk_size, extra_field(file, extra, extra_size, kDiskSizeAt));
    VDISK_TRY(icount, extra_field(file, extra, extra_size, kIcountAt));
    VDISK_TRY(id, read_text(file, texts, raw.id_str_size.value(), "snapshot's id"));
    VDISK_TRY(name, read_text(file, texts + raw.id_str_size.value(), raw.name_size.value(), "snapshot's name"));
    Snapshot snapshot{.id = std::move(id),
                      .name = std::move(name),
                      .state = {.disk_size = disk_size.value_or(active_size),
                                .l1_table_offset = raw.l1_table_offset.value(),
                                .l1_size = raw.l1_size.value()},
                      .date_seconds = raw.date_sec.value(),
                      .date_nanoseconds = raw.date_nsec.value(),
                      .vm_clock = raw.vm_clock_nsec.value(),
                      .vm_state_size = state_size.value_or(raw.vm_state_size.value())};
    if (icount && *icount != kNoIcount) snapshot.icount = *icount;
    const std::uint64_t bytes =
        sizeof raw + std::uint64_t{extra_size} + raw.id_str_size.value() + raw.name_size.value();
    return SnapshotEntry{std::move(snapshot), *align_up(bytes, kEntryAlignment)};
}

std::string clock_text(std::uint64_t nanoseconds) {
    constexpr std::uint64_t kSecond = 1'000'000'000;
    const std::uint64_t seconds = nanoseconds / kSecond;
    return fmt::format("{:02}:{:02}:{:02}.{:09}", seconds / 3600, seconds / 60 % 60, seconds % 60,
                       nanoseconds % kSecond);
}

} // namespace

SnapshotTable read_snapshots(const ByteSource& file, const Header& header, const Limits& limits) {
    SnapshotTable table;
    std::uint64_t at = header.snapshots_offset;
    if (header.nb_snapshots > 0 && (at % header.cluster_size() != 0 || at == 0 || at >= file.size())) {
        table.damage =
            fail_at(at, ErrorKind::corrupt,
                    "{}: snapshots_offset is {} of a file of {} bytes, and nb_snapshots is {}: the table must "
                    "start at a cluster behind the header",
                    file.name(), at, file.size(), header.nb_snapshots);
        return table;
    }
    for (std::uint32_t i = 0; i < header.nb_snapshots; ++i) {
        const std::string context = fmt::format("{}: snapshot {} of {}", file.name(), i + 1, header.nb_snapshots);
        if (i >= limits.snapshots) {
            table.damage = fail_at(at, ErrorKind::limit_exceeded, "{}: the limit is {}", context, limits.snapshots);
            return table;
        }
        auto entry = read_entry(file, at, header.size);
        if (entry.has_error()) {
            table.damage = std::move(entry).error().in(context);
            return table;
        }
        if (at - header.snapshots_offset + entry.value().bytes > limits.snapshot_table_bytes) {
            table.damage = fail_at(at, ErrorKind::limit_exceeded, "{}: the table has more than {} bytes", context,
                                   limits.snapshot_table_bytes);
            return table;
        }
        if (entry.value().snapshot.state.l1_table_offset < header.cluster_size()) {
            table.damage = fail_at(at, ErrorKind::corrupt, "{}: l1_table_offset is {}, inside the header", context,
                                   entry.value().snapshot.state.l1_table_offset);
            return table;
        }
        table.snapshots.push_back(std::move(entry.value().snapshot));
        at += entry.value().bytes;
        table.bytes = at - header.snapshots_offset;
    }
    return table;
}

Disk describe_snapshot(const Snapshot& snapshot) {
    Disk disk{.kind = Disk::Kind::snapshot,
              .name = snapshot.name,
              .id = snapshot.id,
              .size = snapshot.state.disk_size,
              .chosen_by_default = false};
    disk.facts["date"] = utc_time(snapshot.date_seconds, snapshot.date_nanoseconds);
    disk.facts["vm clock"] = clock_text(snapshot.vm_clock);
    if (snapshot.icount) disk.facts["icount"] = *snapshot.icount;
    disk.facts["vm state size"] = snapshot.vm_state_size;
    return disk;
}

} // namespace vdisk::qcow2
