// SPDX-License-Identifier: Apache-2.0
/// Clusters of a disk behind tables of entries, as qcow (version 1), QED and Parallels have them: one table, or tables
/// that a directory (the L1 table) names. A format says where they lie and what an entry means; reading them, and
/// looking for what they contradict (cluster_file.hpp), is the same for all.
#pragma once

#include "disk/claims.hpp"
#include "image/block_cache.hpp"
#include "image/layout.hpp"

#include <bit>
#include <functional>

namespace vdisk {

/// What an entry says of its cluster.
struct ClusterEntry {
    enum class Kind : std::uint8_t {
        absent, ///< is not in this file: the parent's, or zeros
        zero,   ///< zeros, also over a parent
        stored, ///< lies at `host`
        packed, ///< lies there compressed
        broken, ///< can't be, as `rule` tells
    };
    Kind kind = Kind::absent;
    std::uint64_t host = 0;
    std::uint64_t packed_length = 0; ///< bytes that a compressed cluster takes in the file at most
    std::string_view rule{};         ///< what is wrong: "has ...", with static storage

    [[nodiscard]] bool in_file() const noexcept { return kind == Kind::stored || kind == Kind::packed; }
};

/// Where an image's tables lie and how they are read. Numbers that have passed the format's checks: none but the disk's
/// size is zero, the disk has at most 2^62 bytes, and the directory lies in the file.
struct ClusterTables {
    std::uint64_t disk_size = 0;
    std::uint64_t cluster_size = 0;
    std::uint64_t table_entries = 0; ///< of each table
    std::uint64_t entry_bytes = 8;   ///< 4 or 8
    std::endian order = std::endian::little;
    std::optional<std::uint64_t> directory{}; ///< where the directory lies, if there is one; its entries are offsets
    std::uint64_t only_table = 0;             ///< else: where the table lies, which the file has all of
    std::uint64_t table_alignment = 1;        ///< of the offsets in the directory
    std::uint64_t usual_alignment = 1;        ///< of tables and clusters that are not compressed, by every known writer
    Codec codec = Codec::deflate;             ///< of compressed clusters
    bool enciphered = false;                  ///< the stored ones
    std::function<ClusterEntry(std::uint64_t entry)> decode; ///< 0 is absent

    [[nodiscard]] std::uint64_t table_bytes() const noexcept { return table_entries * entry_bytes; }
    /// Bytes of the disk that one table maps.
    [[nodiscard]] std::uint64_t table_covers() const noexcept { return table_entries * cluster_size; }
    /// Tables, named or not, and clusters that the disk needs.
    [[nodiscard]] std::uint64_t tables() const noexcept { return div_ceil(disk_size, table_covers()); }
    [[nodiscard]] std::uint64_t clusters() const noexcept { return div_ceil(disk_size, cluster_size); }
    /// Bytes of the disk in cluster `number`: all of it, or up to the disk's end.
    [[nodiscard]] std::uint64_t bytes_of(std::uint64_t number) const noexcept;
    /// The entries of one table that the disk needs.
    [[nodiscard]] std::uint64_t entries_of(std::uint64_t table) const noexcept;

    /// Whether a table can lie at `offset`, which the directory names: aligned, and with its first entry in the file.
    [[nodiscard]] bool is_place_of_table(std::uint64_t offset, std::uint64_t file_size) const noexcept;

    /// The entry number `index` in bytes of a table, which must have it.
    [[nodiscard]] std::uint64_t entry_in(std::span<const std::byte> bytes, std::uint64_t index) const noexcept;
};

/// What can't be believed of an image's tables.
struct ClusterDoubts {
    HostRanges contested{};              ///< bytes that two claim: clusters there are unreadable
    std::vector<std::uint64_t> tables{}; ///< offsets, in ascending order, of tables that are none
    bool misaligned = false;             ///< nor what lies at no multiple of ClusterTables::usual_alignment
};

/// Reads the entries that are asked for through the shared metadata cache.
class ClusterLayout final : public Layout {
public:
    ClusterLayout(ClusterTables tables, ClusterDoubts doubts, SourcePtr file, CachesPtr caches)
        : tables_(std::move(tables)), doubts_(std::move(doubts)), cache_(std::move(file), std::move(caches)) {}

    [[nodiscard]] std::uint64_t disk_size() const noexcept override { return tables_.disk_size; }
    [[nodiscard]] Result<Mapping> map(GuestOffset at, std::uint64_t wanted) const override;

private:
    Result<Mapping> map_piece(GuestOffset at, std::uint64_t wanted) const;
    Result<Mapping> map_in_table(std::uint64_t table, GuestOffset at, std::uint64_t wanted) const;
    Result<std::uint64_t> entry_at(std::uint64_t offset) const;
    template<class EntryOf> Mapping run_of(GuestOffset at, std::uint64_t count, const EntryOf& entry_of) const;
    Mapping decode(std::uint64_t entry, std::uint64_t number) const;
    Mapping packed(const ClusterEntry& entry, std::uint64_t number) const;
    std::string_view name() const noexcept { return cache_.source().name(); }

    ClusterTables tables_;
    ClusterDoubts doubts_;
    CachedTable cache_;
};

} // namespace vdisk
