// SPDX-License-Identifier: Apache-2.0
/// The machines of a Proxmox VE cluster in one file: each disk is called by its machine's id and its drive.
#pragma once

#include "disk/format.hpp"

namespace vdisk::cluster {

/// Opens a `config.db`. Errors: those of proxmox::read_cluster() and machine_file(); `limit_exceeded` for more than
/// Limits::machine_media disks altogether.
[[nodiscard]] Result<std::shared_ptr<const DiskFile>> open(SourcePtr source, const OpenContext& context);

} // namespace vdisk::cluster
