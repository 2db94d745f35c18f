// SPDX-License-Identifier: Apache-2.0
/// What became of the files of one file system between two states.
#pragma once

#include "diff_files/content.hpp"

#include <optional>

namespace vdisk::diff_files {

/// One file.
struct Change {
    enum class Kind : std::uint8_t { created, deleted, renamed, changed };

    Kind kind = Kind::changed;
    std::string path{};     ///< in the later state; of a deleted file in the earlier one; as stored
    std::string old_path{}; ///< of a renamed file
    bool replaced = false;  ///< another file stands under that name
    bool content = false, size = false, times = false, attributes = false;
    bool unreadable = false; ///< nobody can say whether its content changed
    std::optional<FileRecord> before{}, after{};

    /// Its content changed, and neither its size nor its time of modification shows it.
    [[nodiscard]] bool is_hidden() const noexcept;
};

[[nodiscard]] std::string_view to_string(Change::Kind kind);

/// Words for what changed: "content", "size", "times", "attributes", "replaced", "hidden", "unreadable".
[[nodiscard]] std::vector<std::string_view> words_of(const Change& change);

/// All changes between the files of `before` and `after`, by their paths. Either may be null: then all of the other's
/// were created or deleted.
[[nodiscard]] std::vector<Change> changes_between(FileSystem* before, FileSystem* after, const ChangedRanges& changed);

/// A part of the disk that changed, by what it is in the later state.
struct Area {
    enum class Kind : std::uint8_t { unallocated, metadata, allocated, outside };
    Kind kind = Kind::outside;
    std::uint64_t start = 0, length = 0; ///< on the disk, bytes
};

[[nodiscard]] std::string_view to_string(Area::Kind kind);

/// The changed ranges within `after`, block by block. Those of which can't be read what they are are among `problems`.
[[nodiscard]] std::vector<Area> changed_areas(FileSystem& after, const ChangedRanges& changed,
                                              std::vector<std::string>& problems);

} // namespace vdisk::diff_files
