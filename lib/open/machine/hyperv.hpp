// SPDX-License-Identifier: Apache-2.0
/// Hyper-V's machines: `Virtual Machines/ID.vmcx`, or `ID.xml` up to Windows Server 2012 R2, with the configurations of
/// its checkpoints in `Snapshots`.
#pragma once

#include "disk/format.hpp"
#include "disk/machine.hpp"

namespace vdisk::hyperv_machine {

/// Whether a file is a configuration, by the container's magic and the name's ending .vmcx (a saved state has the same
/// magic), or by its XML.
[[nodiscard]] Match probe(std::span<const std::byte> head, const ByteSource& source);

/// Reads the machine and, through the gate, its checkpoints: the configurations in `Snapshots` beside the file or
/// beside its folder that have the machine's id or are in its list, or whose disks are parents of the machine's.
/// Errors: those of Storage::open(), `limit_exceeded`.
[[nodiscard]] Result<Machine> read(const SourcePtr& source, const OpenContext& context);

} // namespace vdisk::hyperv_machine
