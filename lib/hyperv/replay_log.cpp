// SPDX-License-Identifier: Apache-2.0
#include "hyperv/replay_log.hpp"

#include "hyperv/checksum.hpp"
#include "io/overlaid_source.hpp"

#include <boost/endian/buffers.hpp>

#include <algorithm>
#include <cstddef>
#include <cstring>

namespace vdisk::hyperv {
namespace {

using namespace boost::endian;

constexpr std::uint32_t kLogSignature = 0x01110003;

/// Header areas are as long as the data alignment, of which 64 KiB is the greatest.
constexpr std::uint64_t kGreatestHeaderArea = 65536;

struct LogRecord {
    little_uint32_buf_t signature;
    little_uint32_buf_t checksum;
    little_uint32_buf_t pending_count;
    little_uint8_buf_t reserved;
    little_uint32_buf_t max_entries;
    little_uint8_buf_t change_tracking;
    little_uint64_buf_t change_tracking_offset;
    little_uint32_buf_t change_tracking_size;
    little_uint32_buf_t change_tracking_used;
};
static_assert(sizeof(LogRecord) == 34);

struct EntryRecord {
    little_uint64_buf_t destination;
    little_uint32_buf_t length;
    little_uint64_buf_t data_offset;
    little_uint32_buf_t checksum;
    little_uint32_buf_t data_checksum;
};
static_assert(sizeof(EntryRecord) == 28);

ReplayLog from_record(const LogRecord& record, std::uint64_t offset) {
    ReplayLog log;
    log.offset = offset;
    log.pending_count = record.pending_count.value();
    log.max_entries = record.max_entries.value();
    log.change_tracking = record.change_tracking.value() != 0;
    log.change_tracking_offset = record.change_tracking_offset.value();
    log.change_tracking_size = record.change_tracking_size.value();
    log.change_tracking_used = record.change_tracking_used.value();
    return log;
}

class LogReader {
public:
    LogReader(const ByteSource& source, const LogPlace& place, Findings& findings)
        : source_(source), place_(place), findings_(findings), budget_(source.size()) {}

    Result<ReplayLog> run() {
        if (!fits(place_.offset, sizeof(LogRecord), source_.size())) {
            findings_.add(FindingKind::log_missing, place_.offset, "no replay log at offset {}: the file has {} bytes",
                          place_.offset, source_.size());
            return ReplayLog{.offset = place_.offset};
        }
        VDISK_TRY(record, read_struct<LogRecord>(source_, place_.offset, "replay log"));
        log_ = from_record(record, place_.offset);
        if (!header_holds(record)) {
            log_.state = LogState::bad;
            return std::move(log_);
        }
        VDISK_CHECK(read_pending());
        VDISK_CHECK(read_leftovers());
        return std::move(log_);
    }

private:
    bool header_holds(const LogRecord& record) {
        if (record.signature.value() != kLogSignature) {
            findings_.add(FindingKind::log_signature, log_.offset,
                          "replay log: signature is {:#010x}; the log is ignored", record.signature.value());
            return false;
        }
        if (record.checksum.value() == crc32_of(record, offsetof(LogRecord, checksum))) return true;
        findings_.add(FindingKind::log_header_checksum, log_.offset,
                      "replay log: header checksum mismatch; the log is ignored ({} pending entries)",
                      log_.pending_count);
        return false;
    }

    // Entries that the header area and the file have room for.
    std::uint64_t room() const {
        const std::uint64_t area =
            std::min({std::uint64_t{place_.header_size}, kGreatestHeaderArea, source_.size() - log_.offset});
        return area < sizeof(LogRecord) ? 0 : (area - sizeof(LogRecord)) / sizeof(EntryRecord);
    }

    Result<void> read_pending() {
        log_.state = LogState::clean;
        if (log_.pending_count == 0) return ok();
        findings_.add(FindingKind::dirty, log_.offset, "the replay log has {} pending entries", log_.pending_count);
        log_.state = LogState::pending;
        if (log_.pending_count > log_.max_entries || log_.pending_count > room()) {
            findings_.add(FindingKind::log_count, log_.offset,
                          "replay log: {} pending entries where {} fit; the log is ignored", log_.pending_count,
                          std::min<std::uint64_t>(log_.max_entries, room()));
            log_.state = LogState::refused;
            return ok();
        }
        for (std::uint32_t i = 0; i < log_.pending_count; ++i) {
            VDISK_TRY(entry, read_entry(i));
            judge(entry, i);
            log_.pending.push_back(entry);
        }
        return ok();
    }

    Result<void> read_leftovers() {
        if (log_.pending_count > room()) return ok();
        for (std::uint64_t i = log_.pending_count; i < room(); ++i) {
            VDISK_TRY(entry, read_entry(i));
            if (entry.good()) log_.leftovers.push_back(entry);
        }
        return ok();
    }

    Result<LogEntry> read_entry(std::uint64_t number) {
        LogEntry entry;
        entry.offset = log_.offset + sizeof(LogRecord) + number * sizeof(EntryRecord);
        VDISK_TRY(record, read_struct<EntryRecord>(source_, entry.offset, "replay log entry"));
        entry.destination = record.destination.value();
        entry.length = record.length.value();
        entry.checksum_good = record.checksum.value() == crc32_of(record, offsetof(EntryRecord, checksum));
        const auto data_offset = checked_add(log_.offset, record.data_offset.value());
        if (!entry.checksum_good || !data_offset) return entry;
        entry.data_offset = *data_offset;
        entry.data_inside_file = fits(entry.data_offset, entry.length, source_.size()) && entry.length <= budget_;
        if (!entry.data_inside_file) return entry;
        budget_ -= entry.length;
        VDISK_TRY(sum, checksum_of_data(entry));
        entry.data_checksum_good = sum == record.data_checksum.value();
        return entry;
    }

    Result<std::uint32_t> checksum_of_data(const LogEntry& entry) {
        // Entries are a table or less; only a made-up file has one that takes the whole of it.
        VDISK_TRY(bytes, read_bytes(source_, entry.data_offset, entry.length, "replay log data"));
        return crc32(bytes);
    }

    void judge(const LogEntry& entry, std::uint32_t number) {
        log_growth_ += entry.length;
        const auto end = checked_add(entry.destination, std::uint64_t{entry.length});
        // A table that the transaction adds lies behind the old end, at the next multiple of the alignment.
        const std::uint64_t most = source_.size() + log_growth_ + place_.alignment;
        if (!entry.checksum_good) refuse(FindingKind::log_entry_checksum, entry, number, "entry checksum wrong");
        else if (!entry.data_inside_file)
            refuse(FindingKind::log_entry_range, entry, number, "its data lies beyond the end of the file");
        else if (!entry.data_checksum_good)
            refuse(FindingKind::log_data_checksum, entry, number, "data checksum wrong");
        else if (!end || *end > most)
            refuse(FindingKind::log_entry_destination, entry, number, "its destination is outside any plausible file");
    }

    void refuse(FindingKind kind, const LogEntry& entry, std::uint32_t number, std::string_view why) {
        log_.state = LogState::refused;
        findings_.add(kind, entry.offset, "replay log entry {} (to offset {}, {} bytes): {}; no entry is applied",
                      number, entry.destination, entry.length, why);
    }

    const ByteSource& source_;
    const LogPlace& place_;
    Findings& findings_;
    std::uint64_t budget_;
    std::uint64_t log_growth_ = 0;
    ReplayLog log_;
};

} // namespace

Result<ReplayLog> read_replay_log(const ByteSource& source, const LogPlace& place, Findings& findings) {
    return LogReader(source, place, findings).run();
}

SourcePtr replayed(SourcePtr source, const ReplayLog& log) {
    if (log.state != LogState::pending) return source;
    std::vector<Overlay> writes;
    for (const LogEntry& entry : log.pending)
        writes.push_back({.at = entry.destination, .length = entry.length, .from = entry.data_offset});
    return overlaid(std::move(source), writes);
}

} // namespace vdisk::hyperv
