// SPDX-License-Identifier: Apache-2.0
/// A machine in one archive (OVA): a tar with an OVF descriptor and disks of other formats, which are read in place.
#pragma once

#include "disk/format.hpp"

namespace vdisk {

extern const Format kOvaFormat;

} // namespace vdisk
