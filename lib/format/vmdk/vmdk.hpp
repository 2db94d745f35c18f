// SPDX-License-Identifier: Apache-2.0
/// VMware's virtual disks, of Workstation, Fusion, ESX and ESXi, and as VirtualBox, QEMU and others write them.
#pragma once

#include "disk/format.hpp"

namespace vdisk {

extern const Format kVmdkFormat;

} // namespace vdisk
