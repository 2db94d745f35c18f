// SPDX-License-Identifier: Apache-2.0
/// Where the clusters of a qcow2 image are: its L1 and L2 tables. Source: QEMU's docs/interop/qcow2, "Cluster mapping".
#pragma once

#include "format/qcow2/header.hpp"
#include "format/qcow2/subclusters.hpp"
#include "image/block_cache.hpp"
#include "image/layout.hpp"

namespace vdisk::qcow2 {

/// One state of the disk: the active one or a snapshot's.
struct State {
    std::uint64_t disk_size = 0;
    std::uint64_t l1_table_offset = 0;
    std::uint32_t l1_size = 0; ///< entries
};

/// What Extent::source counts: the image itself and, where it has one, the file that its clusters lie in instead.
enum Source : std::uint32_t { kImageFile = 0, kExternalData = 1 };

/// Guest bytes that one entry of the L1 table covers.
[[nodiscard]] std::uint64_t l1_entry_covers(const Header& header) noexcept;

/// Reads L1 and L2 entries through the shared metadata cache: nothing is read that no one asked for.
class ClusterLayout final : public Layout {
public:
    ClusterLayout(const Header& header, State state, SourcePtr file, CachesPtr caches);

    [[nodiscard]] std::uint64_t disk_size() const noexcept override { return state_.disk_size; }
    [[nodiscard]] Result<Mapping> map(GuestOffset at, std::uint64_t wanted) const override;

private:
    /// An L2 entry; the bitmap is 0 where entries have none.
    struct Entry {
        std::uint64_t descriptor = 0;
        std::uint64_t bitmap = 0;
    };

    /// Bytes of a cluster of which its entry says the same.
    struct Part {
        Allocation allocation = Allocation::unallocated;
        std::uint64_t length = 0;
    };

    Result<std::uint64_t> l1_entry(std::uint64_t index) const;
    Result<Mapping> map_piece(GuestOffset at, std::uint64_t wanted) const;
    Result<Mapping> map_in_l2(std::uint64_t table, GuestOffset at, std::uint64_t wanted) const;
    std::optional<Entry> l2_entry(const Block& block, std::uint64_t within) const;
    Mapping decode(Entry entry, GuestOffset at) const;
    bool has_host(Entry entry) const noexcept;
    std::string_view broken_rule(Entry entry, GuestOffset at) const;
    Part part_at(Entry entry, GuestOffset at) const;
    Mapping standard(Entry entry, GuestOffset at) const;
    Extent stored(std::uint64_t length, HostOffset host) const;
    Extent packed(Entry entry, GuestOffset at) const;
    Extent damaged(Entry entry, GuestOffset at, std::uint64_t length, std::string_view rule) const;

    std::uint64_t cluster_size() const noexcept { return std::uint64_t{1} << cluster_bits_; }
    std::uint64_t left_in_cluster(GuestOffset at) const noexcept;
    std::string_view name() const noexcept { return table_.source().name(); }

    std::uint32_t version_;
    std::uint32_t cluster_bits_;
    bool extended_;      ///< 16-byte entries with subclusters
    bool external_data_; ///< clusters lie in a data file, each at its guest offset
    Codec codec_;
    bool enciphered_;
    State state_;
    std::uint64_t l1_covers_;
    CachedTable table_;
};

} // namespace vdisk::qcow2
