// SPDX-License-Identifier: Apache-2.0
/// libvirt's machines: the XML of a domain, with that of its snapshots, which libvirt keeps in a folder of its own.
#pragma once

#include "disk/format.hpp"
#include "disk/machine.hpp"

namespace vdisk::libvirt {

/// Whether a file is the XML of a domain or of one of its snapshots.
[[nodiscard]] Match probe(std::span<const std::byte> head, const ByteSource& source);

/// Reads the domain, and its snapshots through the gate: from /var/lib/libvirt/qemu/snapshot/NAME below the evidence's
/// root or in a copied tree, from such a folder beside the file, or from files beside it. What of these can't be had is
/// one of its problems. Errors: `not_this_format` where there is no domain, `limit_exceeded`, `io`.
[[nodiscard]] Result<Machine> read(const ByteSource& source, const OpenContext& context);

} // namespace vdisk::libvirt
