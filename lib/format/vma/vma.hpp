// SPDX-License-Identifier: Apache-2.0
/// Proxmox's VMA: the backup of a virtual machine, with all its disks and its configuration.
#pragma once

#include "disk/format.hpp"

namespace vdisk {

extern const Format kVmaFormat;

} // namespace vdisk
