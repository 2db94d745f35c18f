// SPDX-License-Identifier: Apache-2.0
/// Parallels' machines: `config.pvs` in a bundle (X.pvm), with the tree of `Snapshots.xml`, whose states of a disk are
/// those of its DiskDescriptor.xml.
#pragma once

#include "disk/format.hpp"
#include "disk/machine.hpp"

namespace vdisk::parallels {

constexpr std::string_view kSettingsName = "config.pvs";

/// Whether a file is such settings.
[[nodiscard]] Match probe_machine(std::span<const std::byte> head, const ByteSource& source);

/// Reads the machine and, through the gate, its snapshots: what of these can't be had is one of its problems. Errors:
/// `not_this_format`, `limit_exceeded`, `io`.
[[nodiscard]] Result<Machine> read_machine(const ByteSource& source, const OpenContext& context);

} // namespace vdisk::parallels
