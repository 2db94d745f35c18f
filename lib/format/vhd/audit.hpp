// SPDX-License-Identifier: Apache-2.0
/// The check of a VHD's block table and bitmaps.
#pragma once

#include "format/vhd/header.hpp"

#include "disk/audit.hpp"

namespace vdisk::vhd {

/// Adds to `report` what is wrong with the table of a dynamic or differencing `file`, and the bytes of it that no disk
/// shows: between the blocks, and in sectors that a bitmap says were not written. Errors: as DiskFile::audit.
[[nodiscard]] Result<void> audit_table(const Header& header, const ByteSource& file, const Limits& limits,
                                       const AuditRequest& request, AuditReport& report);

/// The same of a fixed disk: bytes behind its end.
[[nodiscard]] Result<void> audit_fixed(const Header& header, const ByteSource& file, AuditReport& report);

} // namespace vdisk::vhd
