// SPDX-License-Identifier: Apache-2.0
/// What Proxmox VE keeps beside an archive: the notes of the backup (ARCHIVE.notes) and the log of the job that made it
/// (the archive's name with ".log" in place of ".vma" and what follows).
#pragma once

#include "disk/format.hpp"

namespace vdisk::vma {

/// Adds what the last MiB of these files say, made safe to show, where they lie in the archive's own folder and may be
/// opened: the notes; of the log the lines that tell of errors and warnings, and the last one. They are nothing that
/// the archive vouches for.
void add_backup_files(const OpenContext& context, Facts& facts);

} // namespace vdisk::vma
