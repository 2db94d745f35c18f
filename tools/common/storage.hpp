// SPDX-License-Identifier: Apache-2.0
/// What files and block devices lie on, as far as the system tells: so that writing to one thing is known to change
/// another.
#pragma once

#include "io/input_files.hpp"

#include <set>

namespace vdisk::tools {

using system::Storage;

/// What `file` is; nothing if there is no such file.
[[nodiscard]] std::optional<Storage> storage_of(const InputFile& file);

/// What `file` lies on, or would if it were made: its file system's block device, the disk of a partition, what a
/// volume is mapped to, the file behind a loop device, and what those lie on. Without `file` itself.
[[nodiscard]] std::set<Storage> storage_below(const InputFile& file);

} // namespace vdisk::tools
