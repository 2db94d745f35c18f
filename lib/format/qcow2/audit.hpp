// SPDX-License-Identifier: Apache-2.0
/// Checking a qcow2 image's refcounts against all that refers to clusters. Source: QEMU's docs/interop/qcow2, "Host
/// cluster management", "Cluster mapping" and "Bitmaps".
#pragma once

#include "disk/format.hpp"
#include "format/qcow2/snapshots.hpp"

namespace vdisk::qcow2 {

/// What is audited; all of it outlives the call.
struct AuditedImage {
    const Header& header;
    const SnapshotTable& snapshots;
    const SourcePtr& file;
    const OpenContext& context;
};

/// See DiskFile::audit. The report's facts have "corruptions" and "leaks" as `qemu-img check` counts them. Its leaked
/// ranges are the clusters that nothing refers to, also the free ones: those may hold what the guest deleted.
[[nodiscard]] Result<AuditReport> audit(const AuditedImage& image, const Progress& progress);

} // namespace vdisk::qcow2
