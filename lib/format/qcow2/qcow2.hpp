// SPDX-License-Identifier: Apache-2.0
/// QEMU's qcow2 format, versions 2 and 3.
#pragma once

#include "disk/format.hpp"

namespace vdisk {

extern const Format kQcow2Format;

} // namespace vdisk
