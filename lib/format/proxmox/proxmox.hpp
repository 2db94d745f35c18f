// SPDX-License-Identifier: Apache-2.0
/// Proxmox VE's machines: `/etc/pve/qemu-server/ID.conf`, whose snapshots are sections of it, with the `storage.cfg`
/// that says where volumes are.
#pragma once

#include "disk/format.hpp"
#include "disk/machine.hpp"
#include "format/proxmox/storage.hpp"

namespace vdisk::proxmox {

/// Whether a file is such a text: only by its content, as a copy may have any name.
[[nodiscard]] Match probe(std::span<const std::byte> head, const ByteSource& source);

/// Reads the machine, and the storages through the gate: beside the file, in the folders above it, below the evidence's
/// root. What of these can't be had is one of its problems. Errors: `limit_exceeded`, `io`.
[[nodiscard]] Result<Machine> read(const ByteSource& source, const OpenContext& context);

/// The machine of such a text; `file`: its name, by which it has its id. Error: `limit_exceeded`.
[[nodiscard]] Result<Machine> machine_of(std::string_view text, const std::filesystem::path& file,
                                         const Storages& storages, const Limits& limits);

} // namespace vdisk::proxmox
