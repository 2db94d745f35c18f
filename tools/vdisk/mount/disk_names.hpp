// SPDX-License-Identifier: Apache-2.0
/// The files under which `vdisk mount` shows the disks of an image.
#pragma once

#include "disk/disk_file.hpp"

#include <ctime>

namespace vdisk::tools {

/// A disk as a file.
struct ShownDisk {
    std::string folder;     ///< in which it stands: "", "snapshots" or "memory"
    std::string name;       ///< "active.raw", "before-update.raw": safe in a path, and no two in a folder are the same
    std::size_t index = 0;  ///< of DiskFile::disks()
    std::uint64_t size = 0; ///< bytes
    timespec time{};        ///< when a snapshot or backup was made, as it says; else that of the image's last change
};

/// The disks of `file` of the numbers `which`, in that order. `changed` is when the image was last changed. The same
/// image gives the same names.
[[nodiscard]] std::vector<ShownDisk> shown_disks(const DiskFile& file, std::span<const std::size_t> which,
                                                 timespec changed);

} // namespace vdisk::tools
