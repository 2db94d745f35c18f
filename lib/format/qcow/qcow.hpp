// SPDX-License-Identifier: Apache-2.0
/// QEMU's first copy-on-write format: qcow, version 1.
#pragma once

#include "disk/format.hpp"

namespace vdisk {

extern const Format kQcowFormat;

} // namespace vdisk
