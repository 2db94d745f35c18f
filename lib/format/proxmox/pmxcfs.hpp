// SPDX-License-Identifier: Apache-2.0
/// Proxmox VE's cluster file system: `config.db`, in whose table `tree` each row is a file or folder of /etc/pve.
#pragma once

#include "disk/format.hpp"

#include <string>
#include <vector>

namespace vdisk::proxmox {

/// The configuration of a machine.
struct ClusterFile {
    std::string path; ///< below /etc/pve: "nodes/pve1/qemu-server/100.conf"
    std::string node; ///< "pve1"
    std::string text;
    std::int64_t changed = 0; ///< seconds since 1970
};

struct Cluster {
    std::vector<ClusterFile> machines; ///< by their paths
    std::string storages;              ///< of storage.cfg
    std::vector<std::string> files{};  ///< read with it: the log
    std::vector<std::string> problems{};
};

/// Whether a file is such a database.
[[nodiscard]] Match probe_cluster(std::span<const std::byte> head, const ByteSource& source);

/// Reads it, with the log that lies beside it, through the gate. Errors: `unsupported`, `corrupt`, `limit_exceeded`,
/// `io`.
[[nodiscard]] Result<Cluster> read_cluster(const SourcePtr& source, const OpenContext& context);

} // namespace vdisk::proxmox
