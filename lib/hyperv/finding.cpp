// SPDX-License-Identifier: Apache-2.0
#include "hyperv/finding.hpp"

namespace vdisk::hyperv {

std::string_view to_string(FindingKind kind) noexcept {
    switch (kind) {
    case FindingKind::dirty: return "dirty";
    case FindingKind::duplicate_table_index: return "duplicate-table-index";
    case FindingKind::entry_checksum: return "entry-checksum";
    case FindingKind::entry_size_bad: return "entry-size-bad";
    case FindingKind::entry_size_zero: return "entry-size-zero";
    case FindingKind::file_object_range: return "file-object-range";
    case FindingKind::file_object_size: return "file-object-size";
    case FindingKind::file_object_unlisted: return "file-object-unlisted";
    case FindingKind::format_version: return "format-version";
    case FindingKind::header_copy_bad: return "header-copy-bad";
    case FindingKind::header_equal_sequence: return "header-equal-sequence";
    case FindingKind::key_table_checksum: return "key-table-checksum";
    case FindingKind::key_table_range: return "key-table-range";
    case FindingKind::key_table_signature: return "key-table-signature";
    case FindingKind::key_table_truncated: return "key-table-truncated";
    case FindingKind::key_table_unlisted: return "key-table-unlisted";
    case FindingKind::log_count: return "log-count";
    case FindingKind::log_data_checksum: return "log-data-checksum";
    case FindingKind::log_entry_checksum: return "log-entry-checksum";
    case FindingKind::log_entry_destination: return "log-entry-destination";
    case FindingKind::log_entry_range: return "log-entry-range";
    case FindingKind::log_header_checksum: return "log-header-checksum";
    case FindingKind::log_missing: return "log-missing";
    case FindingKind::log_signature: return "log-signature";
    case FindingKind::name_range: return "name-range";
    case FindingKind::name_unterminated: return "name-unterminated";
    case FindingKind::name_utf8: return "name-utf8";
    case FindingKind::no_good_header: return "no-good-header";
    case FindingKind::object_entry_checksum: return "object-entry-checksum";
    case FindingKind::object_table_count: return "object-table-count";
    case FindingKind::object_table_loop: return "object-table-loop";
    case FindingKind::object_table_range: return "object-table-range";
    case FindingKind::object_table_signature: return "object-table-signature";
    case FindingKind::object_table_truncated: return "object-table-truncated";
    case FindingKind::orphan: return "orphan";
    case FindingKind::table_tail: return "table-tail";
    case FindingKind::unknown_key_type: return "unknown-key-type";
    case FindingKind::unreachable: return "unreachable";
    case FindingKind::value_range: return "value-range";
    }
    return "unknown";
}

std::vector<FindingKind> FindingSet::list() const {
    std::vector<FindingKind> kinds;
    for (std::size_t i = 0; i < kFindingKinds; ++i)
        if (has(static_cast<FindingKind>(i))) kinds.push_back(static_cast<FindingKind>(i));
    return kinds;
}

bool doubts_value(FindingKind kind) noexcept {
    return kind == FindingKind::entry_checksum || kind == FindingKind::entry_size_bad ||
           kind == FindingKind::entry_size_zero || kind == FindingKind::file_object_range ||
           kind == FindingKind::value_range;
}

} // namespace vdisk::hyperv
