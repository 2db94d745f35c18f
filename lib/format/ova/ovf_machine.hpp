// SPDX-License-Identifier: Apache-2.0
/// A machine by its OVF descriptor alone (.ovf), whose disks are files beside it.
#pragma once

#include "disk/format.hpp"
#include "disk/machine.hpp"

namespace vdisk::ova {

/// Whether a file is an OVF descriptor.
[[nodiscard]] Match probe_ovf(std::span<const std::byte> head, const ByteSource& source);

/// Reads the machine. A name of a file is that of a URI: as it stands or with its codes as bytes. Files that were
/// compressed by gzip or cut into chunks are read as what they were. Errors: `not_this_format` without an Envelope,
/// `limit_exceeded`, `io`.
[[nodiscard]] Result<Machine> read_ovf(const ByteSource& source, const OpenContext& context);

} // namespace vdisk::ova
