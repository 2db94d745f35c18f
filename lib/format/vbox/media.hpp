// SPDX-License-Identifier: Apache-2.0
/// From a VirtualBox media registry to the files that it names.
#pragma once

#include "disk/references.hpp"
#include "format/vbox/machine.hpp"

namespace vdisk::vbox {

/// Opens the file of a medium of `machine` through the gate: where the registry says, else by its last component beside
/// the registry, in its snapshot folder and in `gate`'s own folders. A VDI, VHD or VMDK must have the medium's UUID.
/// Errors: `unsupported` for formats that are not read here and for enciphered media, `usage` for what the policy
/// forbids, `io` for what is not there, telling each path that was tried.
[[nodiscard]] Result<FoundFile> open_medium(const Machine& machine, const Medium& medium, const References& gate);

} // namespace vdisk::vbox
