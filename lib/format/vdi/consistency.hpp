// SPDX-License-Identifier: Apache-2.0
/// Whether a VDI image's map and data can lie where its header says: a changed offset makes other places of all blocks.
#pragma once

#include "base/limits.hpp"
#include "disk/table_pieces.hpp"
#include "format/vdi/header.hpp"

#include <vector>

namespace vdisk::vdi {

/// What the header says that can't be so: field and value, without the file's name; such an image is not read. Offsets
/// that VirtualBox and QEMU would have chosen are believed; others only where the map, the header's count of blocks and
/// the file's length agree with them, and all of the map can be read. Error: `cancelled`.
[[nodiscard]] Result<std::vector<std::string>> find_contradictions(const Header& header, const ByteSource& file,
                                                                   const Limits& limits);

/// The numbers of the blocks that more than one map entry names, in ascending order: at most one of these entries is
/// right. Looks at no more entries than Limits::table_bytes has room for; what of them can't be read is added to
/// `lost`. Error: `cancelled`.
[[nodiscard]] Result<std::vector<std::uint32_t>> find_shared_blocks(const Header& header, const ByteSource& file,
                                                                    const Limits& limits, LostPieces& lost);

} // namespace vdisk::vdi
