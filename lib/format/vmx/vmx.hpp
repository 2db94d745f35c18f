// SPDX-License-Identifier: Apache-2.0
/// VMware's machines: `<machine>.vmx` with the snapshots of `<machine>.vmsd`. Each state of a disk is a VMDK of its
/// own.
#pragma once

#include "disk/format.hpp"
#include "disk/machine.hpp"

namespace vdisk::vmx {

/// Whether a file begins as a .vmx.
[[nodiscard]] Match probe(std::span<const std::byte> head, const ByteSource& source);

/// Reads the machine, and beside it the snapshots, through the gate. What of the latter can't be had is one of its
/// problems. Errors: `limit_exceeded`, `io`.
[[nodiscard]] Result<Machine> read(const ByteSource& source, const OpenContext& context);

/// The path that a datastore's name stands for: "/vmfs/volumes/ds1/vm/vm.vmdk" of "[ds1] vm/vm.vmdk"; any other name as
/// host_path() has it.
[[nodiscard]] BackingName datastore_path(std::string_view name);

} // namespace vdisk::vmx
