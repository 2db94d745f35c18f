// SPDX-License-Identifier: Apache-2.0
/// Whether two files have the same bytes.
#pragma once

#include "diff_files/changed_ranges.hpp"
#include "diff_files/file_systems.hpp"

namespace vdisk::diff_files {

enum class Content : std::uint8_t { same, different, unreadable };

/// A file in one file system.
struct PlacedFile {
    FileSystem* system = nullptr;
    const FileRecord* record = nullptr;
};

/// Compares the content of two files of one size. Files that lie in the same blocks, none of which `changed`, are not
/// read.
[[nodiscard]] Content compare_content(PlacedFile a, PlacedFile b, const ChangedRanges& changed);

} // namespace vdisk::diff_files
