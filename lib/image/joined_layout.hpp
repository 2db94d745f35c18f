// SPDX-License-Identifier: Apache-2.0
/// The layout of a disk that is put together from pieces, each with a layout of its own.
#pragma once

#include "image/layout.hpp"

#include <memory>
#include <vector>

namespace vdisk {

/// Pieces of a disk, one behind the other.
class JoinedLayout final : public Layout {
public:
    struct Piece {
        std::uint64_t length = 0; ///< bytes of the disk, > 0; at most what its layout has
        std::shared_ptr<const Layout> layout;
        std::uint32_t first_source = 0; ///< the layer's source that the layout counts as its first
    };

    /// `pieces` is not empty, and their lengths come to less than 2^64.
    explicit JoinedLayout(std::vector<Piece> pieces);

    [[nodiscard]] std::uint64_t disk_size() const noexcept override { return ends_.back(); }
    [[nodiscard]] Result<Mapping> map(GuestOffset at, std::uint64_t wanted) const override;

private:
    std::vector<Piece> pieces_;
    std::vector<std::uint64_t> ends_; ///< on the disk, of each piece
};

} // namespace vdisk
