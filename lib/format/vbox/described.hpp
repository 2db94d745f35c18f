// SPDX-License-Identifier: Apache-2.0
/// A VirtualBox machine in the words for all machines.
#pragma once

#include "format/vbox/machine.hpp"

namespace vdisk::vbox {

/// With the media that the registry knows and nothing has attached now, other than those of snapshots.
[[nodiscard]] vdisk::Machine described(const Machine& machine);

} // namespace vdisk::vbox
