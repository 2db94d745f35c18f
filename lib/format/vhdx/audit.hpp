// SPDX-License-Identifier: Apache-2.0
/// The check of a VHDX's block table and sector bitmaps.
#pragma once

#include "format/vhdx/block_table.hpp"

#include "disk/audit.hpp"

namespace vdisk::vhdx {

/// Adds to `report` what is wrong with the table, and the bytes of `file`, whose log is replayed, that no disk shows:
/// between the blocks, in places of blocks that were given up, and in sectors that are the parent's. Errors: as
/// DiskFile::audit.
[[nodiscard]] Result<void> audit_table(const BlockTable& table, const ByteSource& file, const Limits& limits,
                                       const AuditRequest& request, AuditReport& report);

} // namespace vdisk::vhdx
