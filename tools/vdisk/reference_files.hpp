// SPDX-License-Identifier: Apache-2.0
/// What `vdisk ref` writes: names, paths and keys of reference files.
#pragma once

#include "open/open.hpp"
#include "vdisk/safe_name.hpp"

namespace vdisk::tools {

/// Where reference files go, and how they name what they lead to.
struct ReferencePlace {
    std::filesystem::path folder; ///< absolute, without symbolic links
    bool absolute_paths = false;  ///< else relative to `folder`
};

/// The place in `folder`, which write_reference() makes where it is not there. Errors: `io`.
[[nodiscard]] Result<ReferencePlace> reference_place(const std::string& folder, bool absolute_paths);

/// What a reference file at `place` has to say to lead to this disk of `file`: its image, the disk, and what was
/// selected to open it. What came by $VDISK_KEY_FILE and $VDISK_PASSPHRASE_FILE becomes a key-file and a
/// passphrase-file. Errors: `usage`, `io`.
[[nodiscard]] Result<Selector> reference_to(const OpenedFile& file, const Disk& disk, const ReferencePlace& place);

/// Which part of the image's name a reference file has in its own.
enum class NamedAfter : std::uint8_t { stem, whole_name };

/// A name for that file: letters, digits, '_', '.', '-'. "backup.vma.zst" and its disk
/// "drive-scsi0" give "backup.drive-scsi0.vdisk", or after the whole name "backup.vma.zst.drive-scsi0.vdisk".
[[nodiscard]] std::string reference_name(const OpenedFile& file, const Disk& disk, NamedAfter part, Letters letters);

/// What is at a path, seen from one disk.
enum class LeadsTo : std::uint8_t { none, this_disk, another_disk, another_image };

/// Where the reference file at `path` leads, seen from the disk of `file` that `selector` selects; `none` if there is
/// no reference file.
[[nodiscard]] LeadsTo leads_to(const std::filesystem::path& path, const OpenedFile& file, const Selector& selector);

/// Writes `text` to `path`, in a folder that is made if there is none. With `overwrite`, over a reference file that is
/// there; never over anything else. Errors: `usage`, `io`.
[[nodiscard]] Result<void> write_reference(const std::filesystem::path& path, std::string_view text, bool overwrite);

} // namespace vdisk::tools
