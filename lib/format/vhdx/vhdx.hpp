// SPDX-License-Identifier: Apache-2.0
/// Hyper-V's virtual hard disks, version 2, and its checkpoints (.avhdx).
#pragma once

#include "disk/format.hpp"

namespace vdisk {

extern const Format kVhdxFormat;

} // namespace vdisk
