// SPDX-License-Identifier: Apache-2.0
/// What is no longer part of the tree but still in the file.
#pragma once

#include "hyperv/storage.hpp"

namespace vdisk::hyperv {

enum class RemnantSource : std::uint8_t {
    free_entry,        ///< a free entry of a key table, or within one
    slack,             ///< behind the value of an entry, or behind a table's last entry
    superseded_table,  ///< a key table that lost to another of the same index
    free_object,       ///< space that an object table calls free
    unlisted,          ///< space that no object table lists
    stale_log_entry,   ///< the data of an entry that the log no longer counts
    log_region,        ///< elsewhere in the log
    pending_log_entry, ///< the data of a pending entry, of a log that is not applied
    before_replay,     ///< what stood in place before the log was applied
    file_object,       ///< a file object that no key points to
};
[[nodiscard]] std::string_view to_string(RemnantSource source) noexcept;

/// A key that was, or bytes of one.
struct Remnant {
    RemnantSource source = RemnantSource::free_entry;
    std::uint64_t file_offset = 0; ///< of its entry, or of its bytes where there is no entry
    std::optional<KeyPlace> place; ///< of its entry, where the table is known
    KeyType type = KeyType::free;  ///< free: not known
    std::uint32_t sequence = 0;
    std::string name;
    std::string parent_path; ///< empty: a root key, or its parent is gone
    bool parent_known = false;
    std::vector<std::byte> value;             ///< without length prefix; of a file object its first bytes
    std::optional<FileObjectPointer> pointer; ///< its value was there; what stands there now may be something else
    bool header_intact = false;               ///< type (or what it was), parent and name come from an entry's header
    bool checksum_good = false;
    std::string how; ///< how it was found, for people
};

/// Searches the whole file but live values. What equals a live key of the same parent is left out. Memory is bounded by
/// the file's size.
[[nodiscard]] Result<std::vector<Remnant>> find_remnants(const Storage& storage);

} // namespace vdisk::hyperv
