// SPDX-License-Identifier: Apache-2.0
/// The images in a folder of evidence.
#pragma once

#include "base/error.hpp"

#include <string>
#include <vector>

namespace vdisk::tools {

/// What a walk through a folder found.
struct FoundImages {
    std::vector<std::string> paths{}; ///< of files and folders that surely are images, or are called raw disks
    std::vector<Error> unread{};      ///< of what could not be looked at
    std::size_t others = 0;           ///< files that are none
};

/// The images in `folder` and all folders below it, sorted by their paths. Symbolic links to files are followed, those
/// to folders are not. Reference files are none; a folder that a format owns, a datastore, is one image.
[[nodiscard]] FoundImages find_images(const std::string& folder);

/// Whether `path` is a folder that no format owns.
[[nodiscard]] bool is_plain_folder(const std::string& path);

} // namespace vdisk::tools
