// SPDX-License-Identifier: Apache-2.0
/// The replay log: new images of file ranges that a crash may have kept from being written in place.
#pragma once

#include "hyperv/header.hpp"

namespace vdisk::hyperv {

enum class LogState : std::uint8_t {
    missing, ///< no header copy to find it by, or nothing readable where it points
    bad,     ///< its header's signature or checksum is wrong: nothing in it is trusted
    clean,   ///< no pending entries
    pending, ///< every pending entry verifies: the file's state is what they make of it
    refused, ///< a pending entry can't be trusted, so that none is applied
};

struct LogEntry {
    std::uint64_t offset = 0;      ///< of the entry itself in the file
    std::uint64_t destination = 0; ///< where its data belongs
    std::uint64_t data_offset = 0; ///< where its data lies in the file
    std::uint32_t length = 0;
    bool checksum_good = false;
    bool data_inside_file = false;
    bool data_checksum_good = false;

    [[nodiscard]] bool good() const noexcept { return checksum_good && data_inside_file && data_checksum_good; }
};

struct ReplayLog {
    LogState state = LogState::missing;
    std::uint64_t offset = 0;
    std::uint32_t pending_count = 0;
    std::uint32_t max_entries = 0;
    bool change_tracking = false;
    std::uint64_t change_tracking_offset = 0;
    std::uint32_t change_tracking_size = 0;
    std::uint32_t change_tracking_used = 0;
    std::vector<LogEntry> pending;   ///< as many of pending_count as the log can hold
    std::vector<LogEntry> leftovers; ///< behind them, from earlier transactions; only those that verify

    [[nodiscard]] bool header_good() const noexcept { return state != LogState::missing && state != LogState::bad; }
};

/// Where to look for a log.
struct LogPlace {
    std::uint64_t offset = 0;
    std::uint32_t header_size = 0; ///< bytes of log header and entries, before the data
    std::uint32_t alignment = 0;
};

/// Reads and verifies the log. The data of all entries together may not be longer than the file.
[[nodiscard]] Result<ReplayLog> read_replay_log(const ByteSource& source, const LogPlace& place, Findings& findings);

/// The file as it is once the pending entries are written: a view, nothing is copied. A log that is not `pending` gives
/// `source` itself.
[[nodiscard]] SourcePtr replayed(SourcePtr source, const ReplayLog& log);

} // namespace vdisk::hyperv
