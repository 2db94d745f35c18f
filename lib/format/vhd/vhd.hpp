// SPDX-License-Identifier: Apache-2.0
/// Microsoft's virtual hard disks, version 1, of Virtual PC, Hyper-V, Azure, XenServer, VirtualBox and QEMU.
#pragma once

#include "disk/format.hpp"

namespace vdisk {

extern const Format kVhdFormat;

} // namespace vdisk
