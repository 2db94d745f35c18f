// SPDX-License-Identifier: Apache-2.0
/// From a VirtualBox media registry to the files that it names.
#pragma once

#include "disk/references.hpp"
#include "format/vbox/machine.hpp"

namespace vdisk::vbox {

/// How a medium of `machine` is looked for: where the registry says, which may be relative to its folder, else as the
/// gate's search has it, with the registry's folder and its snapshot folder before the gate's own. A VDI, VHD or VMDK
/// must have the medium's UUID. `controller`, `port` and `name` are left to the caller.
[[nodiscard]] Drive drive_of(const Machine& machine, const Medium& medium);

/// Opens the file of a medium of `machine` through the gate. Errors: `unsupported` for formats that are not read here,
/// and for enciphered media of another format than VDI, `usage` for what the policy forbids, `io` for what is not
/// there, telling each path that was tried.
[[nodiscard]] Result<FoundFile> open_medium(const Machine& machine, const Medium& medium, const References& gate);

} // namespace vdisk::vbox
