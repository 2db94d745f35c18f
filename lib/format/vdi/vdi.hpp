// SPDX-License-Identifier: Apache-2.0
/// VirtualBox disk images.
#pragma once

#include "disk/format.hpp"

namespace vdisk {

extern const Format kVdiFormat;

} // namespace vdisk
