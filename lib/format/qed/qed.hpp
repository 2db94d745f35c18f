// SPDX-License-Identifier: Apache-2.0
/// QEMU's enhanced disk format (QED).
#pragma once

#include "disk/format.hpp"

namespace vdisk {

extern const Format kQedFormat;

} // namespace vdisk
