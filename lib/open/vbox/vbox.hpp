// SPDX-License-Identifier: Apache-2.0
/// A VirtualBox machine's settings as a file that holds disks: those attached now, those of its snapshots, and those
/// that the registry knows besides.
#pragma once

#include "disk/format.hpp"

namespace vdisk {

extern const Format kVboxFormat;

} // namespace vdisk
