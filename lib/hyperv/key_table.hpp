// SPDX-License-Identifier: Apache-2.0
/// Key tables: where the keys stand.
#pragma once

#include "hyperv/key_entry.hpp"
#include "hyperv/object_table.hpp"

namespace vdisk::hyperv {

struct KeyTable {
    std::uint16_t index = 0;
    std::uint16_t sequence = 0;
    std::uint64_t offset = 0;
    std::vector<std::byte> bytes; ///< as much of it as the file has
    bool signature_good = false;
    bool header_good = false; ///< signature and checksum hold
    bool truncated = false;   ///< the file ends before the table does
    bool listed = true;       ///< by an object table; else it was found by searching
};

struct KeyTables {
    std::vector<KeyTable> live;       ///< one an index, in the order in which the object tables list them
    std::vector<KeyTable> superseded; ///< lost to another of the same index
};

struct KeyTableOptions {
    bool best_effort = false;     ///< also take tables with a wrong signature and ones that no object table lists
    std::uint64_t log_offset = 0; ///< where no tables are searched, with log_size
    std::uint64_t log_size = 0;
};

/// Loads the key tables among `objects` and decides between those of the same index. All together hold no more bytes
/// than the file has.
[[nodiscard]] Result<KeyTables> read_key_tables(const ByteSource& source, const std::vector<Object>& objects,
                                                const KeyTableOptions& options, Findings& findings);

/// The header at the start of `bytes`, with what of it holds; `bytes` is not kept. Nothing if it is too short.
[[nodiscard]] std::optional<KeyTable> read_key_table_header(std::span<const std::byte> bytes, std::uint64_t offset);

/// The offsets, multiples of kDefaultAlignment, in [from, to) at which a key table with a good header stands.
[[nodiscard]] Result<std::vector<std::uint64_t>> find_key_tables(const ByteSource& source, std::uint64_t from,
                                                                 std::uint64_t to);

} // namespace vdisk::hyperv
