// SPDX-License-Identifier: Apache-2.0
/// What an audit keeps about each cluster of a file: how often it is referenced, by what, and what its refcount says.
#pragma once

#include "base/checked.hpp"
#include "base/error.hpp"
#include "base/limits.hpp"

#include <string>
#include <vector>

namespace vdisk::qcow2 {

/// What a cluster is used as; a bit each.
enum class Role : std::uint8_t {
    header = 1U << 0,
    l1_table = 1U << 1,
    l2_table = 1U << 2,
    refcounts = 1U << 3,
    snapshot_table = 1U << 4,
    bitmap = 1U << 5,
    encryption = 1U << 6,
    guest_data = 1U << 7,
};

/// Five bytes a cluster. Numbers of references and refcounts beyond kMost count as kMost.
class ClusterTally {
public:
    static constexpr std::uint16_t kMost = 0xFFFE;
    static constexpr std::uint16_t kUnreadable = 0xFFFF; ///< a refcount in a block that can't be read

    /// For a file of `file_size` bytes. Error: `limit_exceeded` beyond Limits::audit_bytes.
    [[nodiscard]] static Result<ClusterTally> make(std::uint64_t file_size, std::uint32_t cluster_bits,
                                                   const Limits& limits);

    /// Clusters of the file, the last one perhaps in part.
    [[nodiscard]] std::uint64_t in_file() const noexcept { return in_file_; }

    /// Clusters that the tally knows: one more than the file has if something refers to that.
    [[nodiscard]] std::uint64_t known() const noexcept { return referenced_past_end_ ? in_file_ + 1 : in_file_; }

    /// Whether all of [offset, offset + length) ends less than a cluster past the end of the file.
    [[nodiscard]] bool reaches(std::uint64_t offset, std::uint64_t length) const noexcept;

    /// Counts a reference to each cluster of a range that reaches() accepts. Clusters that `most` references already go
    /// to keep that number; returns how many those were.
    std::uint64_t refer(std::uint64_t offset, std::uint64_t length, Role role, std::uint64_t most);

    void set_refcount(std::uint64_t cluster, std::uint16_t refcount) { refcounts_[cluster] = refcount; }

    [[nodiscard]] std::uint16_t references(std::uint64_t cluster) const { return references_[cluster]; }

    /// Of any cluster number: 0 past the ones that are known.
    [[nodiscard]] std::uint16_t refcount(std::uint64_t cluster) const {
        return cluster < refcounts_.size() ? refcounts_[cluster] : 0;
    }

    /// Whether a cluster is used as two things, or twice as something that can't be shared.
    [[nodiscard]] bool overlaps(std::uint64_t cluster) const;

    /// "L2 table and guest data".
    [[nodiscard]] std::string roles(std::uint64_t cluster) const;

private:
    ClusterTally(std::uint64_t file_size, std::uint32_t cluster_bits, std::uint64_t clusters);

    std::uint64_t file_size_;
    std::uint32_t cluster_bits_;
    std::uint64_t in_file_;
    bool referenced_past_end_ = false;
    std::vector<std::uint16_t> references_;
    std::vector<std::uint16_t> refcounts_;
    std::vector<std::uint8_t> roles_;
};

} // namespace vdisk::qcow2
