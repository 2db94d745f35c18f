// SPDX-License-Identifier: Apache-2.0
/// The snapshot table. Source: QEMU's docs/interop/qcow2, "Snapshots".
#pragma once

#include "base/limits.hpp"
#include "disk/disk_file.hpp"
#include "format/qcow2/layout.hpp"

namespace vdisk::qcow2 {

/// One entry of the table. Its L1 table has not been looked at.
struct Snapshot {
    std::string id;
    std::string name;
    State state;
    std::uint32_t date_seconds = 0; ///< since 1970
    std::uint32_t date_nanoseconds = 0;
    std::uint64_t vm_clock = 0;            ///< nanoseconds that the guest had run
    std::uint64_t vm_state_size = 0;       ///< bytes; 0: only the disk was saved
    std::optional<std::uint64_t> icount{}; ///< instructions executed, where the machine counted them
};

/// The entries up to the first that can't be read.
struct SnapshotTable {
    std::vector<Snapshot> snapshots;
    std::uint64_t bytes = 0;       ///< of the entries that were read
    std::optional<Error> damage{}; ///< why it ends before it should; the active state reads all the same
};

/// Reads the table that `header` points to. An entry that lacks its disk size (version 2 allows that) has the active
/// one's.
[[nodiscard]] SnapshotTable read_snapshots(const ByteSource& file, const Header& header, const Limits& limits);

/// A snapshot as one of the file's disks.
[[nodiscard]] Disk describe_snapshot(const Snapshot& snapshot);

} // namespace vdisk::qcow2
