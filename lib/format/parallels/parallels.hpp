// SPDX-License-Identifier: Apache-2.0
/// Disks of Parallels: an image (.hds, or .hdd alone), or a DiskDescriptor.xml with all images that it names.
#pragma once

#include "disk/format.hpp"

namespace vdisk {

extern const Format kParallelsFormat;

} // namespace vdisk
