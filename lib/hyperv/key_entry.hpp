// SPDX-License-Identifier: Apache-2.0
/// One entry of a key table: a key's name, type, parent and value.
#pragma once

#include "hyperv/finding.hpp"

#include <cstddef>
#include <span>

namespace vdisk::hyperv {

/// Other numbers than these occur and are kept as they are.
enum class KeyType : std::uint8_t {
    free = 1,
    integer = 3,          ///< signed, 64 bits
    unsigned_integer = 4, ///< 64 bits
    real = 5,             ///< IEEE 754 double
    string = 6,           ///< UTF-16LE
    array = 7,            ///< bytes
    boolean = 8,          ///< signed, 32 bits; any but 0 is true
    node = 9,
};

/// The type's word: "int", "node", ...; "unknown" for a number that is not defined.
[[nodiscard]] std::string_view to_string(KeyType type) noexcept;
[[nodiscard]] bool is_defined(KeyType type) noexcept;

inline constexpr std::uint8_t kFlagFileObject = 0x01;
inline constexpr std::uint8_t kFlagSubcomponent = 0x02;
inline constexpr std::uint8_t kFlagChangeTracking = 0x04;

/// An entry, by the number of its table and the offset in it.
struct KeyPlace {
    std::uint16_t table = 0;
    std::uint32_t offset = 0;
    friend auto operator<=>(const KeyPlace&, const KeyPlace&) = default;
};

/// Where a value lies that is not in the key table.
struct FileObjectPointer {
    std::uint32_t size = 0;
    std::uint64_t offset = 0;
};

/// An entry as it stands in its table. `name` and `data` point into the table's bytes.
struct KeyEntry {
    std::uint32_t offset = 0; ///< in its table
    KeyType type = KeyType::free;
    std::uint8_t flags = 0;
    std::uint32_t stored_size = 0; ///< of the whole entry, with its slack
    KeyPlace parent;               ///< (0, 0): a root key
    std::uint32_t checksum = 0;
    std::uint32_t sequence = 0;               ///< insertion sequence
    std::string_view name;                    ///< bytes as stored, without the NUL
    std::span<const std::byte> data;          ///< the value's bytes, without a length prefix; a node's 12 bytes
    std::optional<FileObjectPointer> pointer; ///< the value is there instead
    std::size_t meaningful = 0;               ///< bytes of header, name and data; what follows is slack
    FindingSet faults;

    [[nodiscard]] bool placeable() const noexcept { return !faults.has(FindingKind::name_range); }
    [[nodiscard]] bool has_value() const noexcept { return !faults.has(FindingKind::value_range); }
};

/// Bytes of an entry's header.
inline constexpr std::size_t kEntryHeader = 21;
/// Where a key table's first entry begins.
inline constexpr std::size_t kFirstEntry = 10;

/// Reads the entry at `at` of `table`, of which it may use `extent` bytes (at least kEntryHeader; at + extent <= the
/// table's size). Judges everything but the stored size. A free entry is only its header.
[[nodiscard]] KeyEntry read_entry(std::span<const std::byte> table, std::size_t at, std::size_t extent);

/// The entry at `at` as if it were of `type`, if that makes its stored checksum match: what a free entry was before.
[[nodiscard]] std::optional<KeyEntry> read_entry_as(std::span<const std::byte> table, std::size_t at,
                                                    std::size_t extent, KeyType type);

enum class Damage : std::uint8_t {
    stop,   ///< the first impossible size ends the table
    search, ///< behind one, go on at the next entry whose checksum holds
};

/// The entries of a table, free ones among them, in physical order.
struct EntryWalk {
    std::vector<KeyEntry> entries;
    std::size_t end = 0;                     ///< where the walk ended
    std::optional<FindingKind> stopped_by{}; ///< why, if that is before the table's end
    std::vector<Finding> findings;           ///< impossible sizes; offsets in the table
};

struct WalkOptions {
    Damage damage = Damage::stop;
    bool truncated = false; ///< the table's end is missing, so that a size past it is no fault of the entry
};

[[nodiscard]] EntryWalk walk_entries(std::span<const std::byte> table, std::size_t start, const WalkOptions& options);

/// Searches `table` from `from` for the next entry that verifies by its checksum. `budget` bounds the bytes that all
/// searches together may add up.
[[nodiscard]] std::optional<KeyEntry> find_entry(std::span<const std::byte> table, std::size_t from,
                                                 std::uint64_t& budget);

/// What may be spent on searching a table of this size.
[[nodiscard]] constexpr std::uint64_t search_budget(std::size_t bytes) noexcept {
    return 16 * std::uint64_t{bytes} + 65536;
}

} // namespace vdisk::hyperv
