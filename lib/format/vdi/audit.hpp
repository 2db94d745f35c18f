// SPDX-License-Identifier: Apache-2.0
/// The check of a VDI image's block map.
#pragma once

#include "disk/audit.hpp"
#include "format/vdi/header.hpp"

namespace vdisk::vdi {

/// Adds to `report` what is wrong with the map of `file`, and which blocks of it no entry names. Errors: as
/// DiskFile::audit.
[[nodiscard]] Result<void> audit_map(const Header& header, const ByteSource& file, const Limits& limits,
                                     const Progress& progress, AuditReport& report);

} // namespace vdisk::vdi
