// SPDX-License-Identifier: Apache-2.0
/// The check of the grain tables of a VMDK's extents.
#pragma once

#include "format/vmdk/extents.hpp"

namespace vdisk::vmdk {

/// Adds to `report` what is wrong with the tables of each sparse extent, and, of a file that is all of the disk, the
/// bytes of it that no disk shows. Errors: as DiskFile::audit.
[[nodiscard]] Result<void> audit_pieces(const Pieces& pieces, const OpenContext& context, const AuditRequest& request,
                                        AuditReport& report);

} // namespace vdisk::vmdk
