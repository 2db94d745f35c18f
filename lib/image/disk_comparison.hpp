// SPDX-License-Identifier: Apache-2.0
/// Which ranges of two disks are the same by their metadata, so that nobody has to read them.
#pragma once

#include "image/disk_map.hpp"

namespace vdisk {

/// What the metadata of two disks say of one range of both.
struct ComparedRange {
    enum class State : std::uint8_t {
        same,       ///< both come from one place of one file, or have one digest, or both are zeros
        open,       ///< only reading them can tell
        unreadable, ///< one of them can't be read, or neither can
    };

    State state = State::open;
    MapRun first, second; ///< the run of each disk; they have one start and one length

    [[nodiscard]] std::uint64_t start() const noexcept { return first.start.value; }
    [[nodiscard]] std::uint64_t length() const noexcept { return first.length; }
};

/// Walks two disks side by side, as far as both reach, and keeps one run of each. What counts is where bytes come from
/// in the end: by which path, format, chain or snapshot either disk got there means nothing, so a snapshot or an
/// overlay costs what it does not share. Never says `same` on a guess: enciphered bytes have to have one key too, and
/// of two files, or of one that has changed since it was opened first, nothing is known.
///
/// A format that knows its bytes without reading them says so in PackedCluster::digest. One thread at a time.
class DiskComparison {
public:
    /// Both disks must outlive this object.
    DiskComparison(const Image& first, const Image& second);

    /// The next range, as long as both disks' next pieces of metadata go; nothing where the shorter disk ends.
    [[nodiscard]] std::optional<ComparedRange> next();

private:
    bool same_content(const MapRun& first, const MapRun& second);
    bool same_key(const MapRun& first, const MapRun& second);

    DiskMap first_map_, second_map_;
    std::optional<MapRun> first_{}, second_{}; ///< what is left of the last piece of each
    // The layers that were last asked whether they decipher alike.
    const Image* first_keyed_ = nullptr;
    const Image* second_keyed_ = nullptr;
    bool keys_are_same_ = false;
};

} // namespace vdisk
