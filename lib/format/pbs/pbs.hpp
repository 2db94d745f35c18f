// SPDX-License-Identifier: Apache-2.0
/// Proxmox Backup Server: disks out of a datastore.
#pragma once

#include "disk/format.hpp"

namespace vdisk {

extern const Format kPbsFormat;

} // namespace vdisk
