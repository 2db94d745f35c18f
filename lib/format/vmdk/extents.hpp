// SPDX-License-Identifier: Apache-2.0
/// The files that a descriptor names, opened and put together.
#pragma once

#include "disk/disk_file.hpp"
#include "disk/format.hpp"
#include "format/vmdk/sparse.hpp"

namespace vdisk::vmdk {

/// Opens the file of an extent beside the descriptor, by the last part of its name: no other place of this machine is
/// looked at, whatever the name says, but one below the evidence's root or in a copy of the tree that the name stands
/// for. Errors: `usage` for what the policy forbids, `unsupported` for a device, `corrupt` for the descriptor itself,
/// `io` for what is not there.
[[nodiscard]] Result<FoundFile> open_extent(const ExtentLine& extent, const OpenContext& context);

/// One of the disk's extents.
struct Piece {
    const ExtentLine* line = nullptr;   ///< null: the file that was opened, which is all of the disk
    SourcePtr file{};                   ///< null where there is none
    std::optional<Sparse> sparse{};     ///< its header, where it has one
    std::shared_ptr<const Error> why{}; ///< why none of it can be read
};

/// All that the extents are read from. What can't be opened is an error for its part of the disk, and a doubt; unless
/// nothing is left. Errors: that of the only file, `usage` where the policy forbids one.
struct Pieces {
    std::vector<Piece> list{};
    std::vector<Remark> remarks{};

    [[nodiscard]] static Result<Pieces> open(const Descriptor& descriptor, const OpenContext& context);
};

/// Puts `pieces` together. The layer has no parent yet.
[[nodiscard]] Result<Layer> join(const Pieces& pieces, const OpenContext& context);

} // namespace vdisk::vmdk
