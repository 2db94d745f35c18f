// SPDX-License-Identifier: Apache-2.0
/// The chain of object tables: which parts of the file are what.
#pragma once

#include "hyperv/finding.hpp"
#include "io/byte_source.hpp"

namespace vdisk::hyperv {

inline constexpr std::uint64_t kRootObjectTable = 8192;
inline constexpr std::uint32_t kDefaultAlignment = 4096;

/// Other numbers than these occur and are kept as they are.
enum class ObjectType : std::uint8_t {
    empty = 0,
    object_table = 1,
    key_table = 2,
    file_object = 3,
    free = 4,
    replay_log = 6,
    change_tracking = 7,
};

struct Object {
    ObjectType type = ObjectType::empty;
    std::uint8_t flags = 0;
    std::uint64_t offset = 0;
    std::uint32_t size = 0;
    std::uint64_t slot_offset = 0; ///< where its slot lies in the file
    bool checksum_good = false;
};

struct ObjectTable {
    std::uint64_t offset = 0;
    std::uint32_t stored_count = 0; ///< EntriesCount as the file has it
    std::uint32_t slots = 0;        ///< how many of them could be read
    bool signature_good = false;
};

struct ObjectTables {
    std::vector<ObjectTable> tables; ///< in the order of the chain, each once
    std::vector<Object> objects;     ///< every slot that is in use, free objects among them
};

/// Whether the root object table's signature stands where it must.
[[nodiscard]] Result<bool> has_root_object_table(const ByteSource& source);

/// Walks the chain. `alignment` (0: unknown) is the root table's size. Reads no more slots in all than the file has
/// bytes for.
[[nodiscard]] Result<ObjectTables> read_object_tables(const ByteSource& source, std::uint32_t alignment,
                                                      Findings& findings);

} // namespace vdisk::hyperv
