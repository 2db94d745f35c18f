// SPDX-License-Identifier: Apache-2.0
/// The formats of machines' files: each leads to the disks of a machine.
#pragma once

#include "disk/format.hpp"

namespace vdisk {

extern const Format kVboxFormat;
extern const Format kVmxFormat;
extern const Format kLibvirtFormat;
extern const Format kProxmoxFormat;
extern const Format kHypervFormat;
extern const Format kOvfFormat;
extern const Format kPmxcfsFormat;
extern const Format kPvsFormat;
extern const Format kUtmFormat;

} // namespace vdisk
