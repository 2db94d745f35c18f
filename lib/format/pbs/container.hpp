// SPDX-License-Identifier: Apache-2.0
/// The disks of a snapshot, of a group, of a whole datastore.
#pragma once

#include "disk/format.hpp"

namespace vdisk::pbs {

/// Of the folder at `context.file`. Errors: `io`, `limit_exceeded`.
[[nodiscard]] Result<std::shared_ptr<const DiskFile>> open_container(const OpenContext& context);

} // namespace vdisk::pbs
