// SPDX-License-Identifier: Apache-2.0
/// Where each cluster of a device is in an archive, in little memory.
#pragma once

#include "base/error.hpp"
#include "format/vma/extent.hpp"

#include <boost/endian/arithmetic.hpp>

#include <cstdint>
#include <vector>

namespace vdisk::vma {

/// Clusters that follow each other on the device and in one extent, all with the same mask. 12 bytes, the same in
/// memory and in the index cache.
class Run {
public:
    static constexpr std::uint32_t kMostClusters = 64;
    /// Of kAlignment bytes: archives up to 2 PiB.
    static constexpr std::uint64_t kMostUnits = (std::uint64_t{1} << 42) - 1;

    Run() = default;
    /// One cluster. `units` is the place of its first stored block, at most kMostUnits.
    Run(std::uint32_t cluster, std::uint16_t mask, std::uint64_t units)
        : cluster_(cluster), low_(static_cast<std::uint32_t>(units)),
          rest_(static_cast<std::uint32_t>(units >> 32) << 22 | mask) {}

    [[nodiscard]] std::uint32_t first() const noexcept { return cluster_; }
    [[nodiscard]] std::uint32_t last() const noexcept { return cluster_ + more(); }
    [[nodiscard]] std::uint32_t count() const noexcept { return more() + 1; }
    /// Bit i, from the lowest: block i is stored, else it is zeros.
    [[nodiscard]] std::uint16_t mask() const noexcept { return static_cast<std::uint16_t>(rest_); }
    /// Where the first cluster's first stored block is, in units of kAlignment behind the archive's header.
    [[nodiscard]] std::uint64_t units() const noexcept { return std::uint64_t{rest_ >> 22} << 32 | low_; }

    /// The run's cluster number `index` (0: its first) alone.
    [[nodiscard]] Run single(std::uint32_t index) const noexcept;
    /// Lengthens the run by `next`, if that goes on where it ends.
    [[nodiscard]] bool take(const Run& next) noexcept;

private:
    std::uint32_t more() const noexcept { return rest_ >> 16 & (kMostClusters - 1); }

    boost::endian::little_uint32_t cluster_ = 0;
    boost::endian::little_uint32_t low_ = 0; // of the units
    boost::endian::little_uint32_t rest_ =
        0; // from the top: 10 bits of the units, 6 bits of the clusters less one, 16 bits of mask
};
static_assert(sizeof(Run) == 12);

/// Clusters, both ends included.
struct Range {
    boost::endian::little_uint32_t first = 0;
    boost::endian::little_uint32_t last = 0;
    [[nodiscard]] std::uint64_t count() const noexcept { return std::uint64_t{last} - first + 1; }
};
static_assert(sizeof(Range) == 8);

/// Clusters that are zeros, and the headers that say so: those of as many extents one behind the other as it takes, of
/// all slots of which but the last one's each names the next cluster.
struct ZeroRun {
    boost::endian::little_uint32_t first = 0;
    boost::endian::little_uint32_t last = 0;
    boost::endian::little_uint64_t units = 0; ///< where the first header is, as Run::units() counts

    [[nodiscard]] std::uint64_t header_of(std::uint32_t cluster) const noexcept {
        return units + (cluster - first) / kSlots;
    }
    /// The last cluster that the same header names.
    [[nodiscard]] std::uint32_t last_with(std::uint32_t cluster) const noexcept;
    /// Lengthens it by a cluster whose header is at `units`, if that goes on where it ends.
    [[nodiscard]] bool take(std::uint32_t cluster, std::uint64_t header) noexcept;
};
static_assert(sizeof(ZeroRun) == 16);

/// A lost cluster of which it is known which blocks are zeros.
struct PartialCluster {
    boost::endian::little_uint32_t cluster = 0;
    boost::endian::little_uint16_t mask = 0; ///< the blocks that are lost; not 0
    boost::endian::little_uint16_t unused = 0;
    boost::endian::little_uint64_t units = 0; ///< where the header is that says so
};
static_assert(sizeof(PartialCluster) == 16);

/// Where the clusters of one device are. Every cluster is in a run, a duplicate, lost, or else zeros. Immutable after
/// building, thread-safe.
class ClusterMap {
public:
    /// The parts as the index cache keeps them.
    struct Parts {
        std::vector<Run> runs; ///< ascending, none over another
        std::vector<Run>
            duplicates;          ///< ascending single clusters, each at least twice; mask 0 for a copy that is zeros
        std::vector<Range> lost; ///< ascending, none over another
        std::vector<PartialCluster> partial; ///< ascending, each once; of the lost ones
        /// All clusters that are zeros, ascending, none over another. Empty where headers name one of them twice.
        std::vector<ZeroRun> zeros;
    };
    /// What find() tells of a cluster: and that it is the same up to `last`.
    struct Found {
        enum class Kind : std::uint8_t { zero, stored, duplicate, lost } kind;
        std::uint32_t last;
        std::span<const Run> runs{};             ///< stored: the one; duplicate: all copies
        const PartialCluster* partial = nullptr; ///< lost: where it is known which blocks are zeros
    };

    ClusterMap() = default;
    /// `clusters` are the device's. Errors: `corrupt` if the parts are not as they must be.
    [[nodiscard]] static Result<ClusterMap> from_parts(Parts parts, std::uint64_t clusters);

    /// `cluster` must be one of the device's.
    [[nodiscard]] Found find(std::uint32_t cluster) const;
    /// The run that a cluster is in which is zeros; nullptr if it is not known which header says that.
    [[nodiscard]] const ZeroRun* zeros_at(std::uint32_t cluster) const;

    [[nodiscard]] const Parts& parts() const noexcept { return parts_; }
    [[nodiscard]] std::uint64_t bytes() const noexcept {
        return (parts_.runs.size() + parts_.duplicates.size()) * sizeof(Run) + parts_.lost.size() * sizeof(Range) +
               parts_.partial.size() * sizeof(PartialCluster) + parts_.zeros.size() * sizeof(ZeroRun);
    }
    [[nodiscard]] std::uint64_t stored_blocks() const noexcept;
    [[nodiscard]] std::uint64_t stored_clusters() const noexcept;
    [[nodiscard]] std::uint64_t lost_clusters() const noexcept;
    [[nodiscard]] std::uint64_t duplicate_clusters() const noexcept;
    [[nodiscard]] std::uint64_t zero_clusters() const noexcept;

private:
    friend class ClusterMapBuilder;
    Found find_lost(std::uint32_t cluster, std::uint32_t last) const;
    ClusterMap(Parts parts, std::uint64_t clusters) : parts_(std::move(parts)), clusters_(clusters) {}
    Parts parts_;
    std::uint64_t clusters_ = 0;
};

/// Collects a device's clusters in whatever order they come.
class ClusterMapBuilder {
public:
    /// Cluster numbers must be the device's. A stored one has a mask that is not 0.
    void add_stored(const Run& cluster);
    /// `units` is where the header is that names it, as Run::units() counts.
    void add_zero(std::uint32_t cluster, std::uint64_t units);
    /// One of which nothing but zeros can be had; its mask is not 0. Counts only where the cluster is nowhere else.
    void add_partial(const PartialCluster& cluster) { partial_.push_back(cluster); }
    /// What comes next is in another extent: no run goes on.
    void end_extent() noexcept { open_ = false; }

    [[nodiscard]] std::uint64_t bytes() const noexcept {
        return runs_.size() * sizeof(Run) + zeros_.size() * sizeof(ZeroRun) + partial_.size() * sizeof(PartialCluster);
    }

    /// Sorts, finds what is there twice or not at all. The builder is empty then. Takes for a moment up to twice
    /// bytes() and `room` together. Errors: `limit_exceeded` if that takes more than `room` bytes to keep.
    [[nodiscard]] Result<ClusterMap> finish(std::uint64_t clusters, std::uint64_t room);

private:
    std::vector<Run> runs_;
    std::vector<ZeroRun> zeros_;
    std::vector<PartialCluster> partial_;
    bool open_ = false; ///< the last run may be lengthened
};

} // namespace vdisk::vma
