// SPDX-License-Identifier: Apache-2.0
/// The block table as a whole: which bytes of the file each entry claims.
#pragma once

#include "disk/claims.hpp"
#include "disk/table_pieces.hpp"
#include "format/vhd/header.hpp"

#include <functional>

namespace vdisk::vhd {

/// Told of an entry that the disk needs and that names a block; the block's number is its index.
using BlockVisitor = std::function<Result<void>(std::uint32_t number, std::uint32_t entry)>;

/// Visits the entries that name blocks, in ascending order, reading at most `most_bytes` of the table; what
/// can't be read is added to `lost`. Errors: the visitor's; `cancelled`.
[[nodiscard]] Result<void> visit_blocks(const Header& header, const ByteSource& file, std::uint64_t most_bytes,
                                        LostPieces& lost, const BlockVisitor& visit);

/// Where in the file a block begins with its bitmap.
[[nodiscard]] constexpr std::uint64_t block_offset(std::uint32_t entry) noexcept {
    return std::uint64_t{entry} * kSector;
}

/// What headers, the table and the footer take up.
[[nodiscard]] std::vector<Claim> structures(const Header& header, const ByteSource& file);

/// The bytes that a block claims, with its bitmap: all of it, though the disk may end within it, as all writers store
/// it so. Where the file ends within what the disk does not need, up to there.
[[nodiscard]] Claim claim_of(const Header& header, std::uint32_t number, std::uint32_t entry) noexcept;

/// What the table as a whole says.
struct Survey {
    /// What more than one block claims, or a block and a structure: no entry with such a block is believed.
    HostRanges contested{};
    std::vector<Remark> remarks{};
};

/// Looks at no more entries and blocks than Limits::table_bytes has room for. Error: `cancelled`.
[[nodiscard]] Result<Survey> survey(const Header& header, const ByteSource& file, const Limits& limits);

} // namespace vdisk::vhd
