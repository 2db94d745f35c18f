// SPDX-License-Identifier: Apache-2.0
/// Holds what a kept map says of an archive against the archive itself.
#pragma once

#include "base/fork_guard.hpp"
#include "format/vma/contents.hpp"

#include <array>
#include <mutex>

namespace vdisk::vma {

/// A map that was made in an earlier process is believed if the file's size, times and samples are what they were. All
/// of them can be made so: so before bytes of a cluster are given, the header of the extent is read that the map has
/// them from, and must say so still. Thread-safe.
class MapCheck {
public:
    /// All must outlive it.
    MapCheck(const ByteSource& source, const Header& header, const Contents& contents)
        : source_(source), header_(header), contents_(contents) {}

    /// Whether an extent has the run's clusters as the map says. Errors: `corrupt` if not; those of reading it.
    [[nodiscard]] Result<void> stored(const Device& device, const Run& run) const;
    /// Whether the cluster, and what the same header names behind it in `run`, is zeros by that header. nullptr is in
    /// no header. Errors as stored().
    [[nodiscard]] Result<void> zeros(const Device& device, std::uint32_t cluster, const ZeroRun* run) const;
    /// Whether no more blocks of the lost cluster are zeros than it says. Errors as stored().
    [[nodiscard]] Result<void> partial(const Device& device, const PartialCluster& cluster) const;

private:
    struct Known {
        std::uint64_t at = 0; // 0: none
        RawExtent extent;
    };
    static constexpr std::size_t kKnown = 64;

    Result<RawExtent> extent_at(std::uint64_t at) const;
    Result<RawExtent> sound_extent_at(std::uint64_t at) const;
    Error contradiction(const Device& device, std::uint32_t cluster, std::uint64_t at) const;

    const ByteSource& source_;
    const Header& header_;
    const Contents& contents_;
    mutable std::mutex mutex_;
    mutable std::array<Known, kKnown> known_{}; // the headers of the last extents
    mutable std::size_t next_ = 0;              // where the next one is kept
    ForkGuard fork_{&mutex_};
};

} // namespace vdisk::vma
