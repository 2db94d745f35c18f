// SPDX-License-Identifier: Apache-2.0
/// A machine's settings as a file that holds disks: those of its drives now, those of its checkpoints, and those that
/// it knows besides. The disks are other files, which are looked for through the gate; the layer of each is empty and
/// has the image for its parent.
#pragma once

#include "disk/format.hpp"
#include "disk/machine.hpp"

namespace vdisk {

/// The file of `machine`. A disk now is called as its drive; one of a checkpoint DRIVE@CHECKPOINT, or as the checkpoint
/// where that has one disk; its id is the same with the checkpoint's. Errors: `limit_exceeded` for more than
/// Limits::search_files disks.
[[nodiscard]] Result<std::shared_ptr<const DiskFile>> machine_file(const Format& format, Machine machine,
                                                                   const SourcePtr& source, const OpenContext& context);

/// The context in which a file that a machine names is opened, with what lies beside it.
[[nodiscard]] OpenContext context_beside(const OpenContext& machine, const FilePtr& file);

} // namespace vdisk
