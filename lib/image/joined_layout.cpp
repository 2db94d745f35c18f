// SPDX-License-Identifier: Apache-2.0
#include "image/joined_layout.hpp"

#include <algorithm>

namespace vdisk {

JoinedLayout::JoinedLayout(std::vector<Piece> pieces) : pieces_(std::move(pieces)) {
    std::uint64_t end = 0;
    for (const Piece& piece : pieces_) ends_.push_back(end += piece.length);
}

Result<Mapping> JoinedLayout::map(GuestOffset at, std::uint64_t wanted) const {
    const auto number = static_cast<std::size_t>(std::ranges::upper_bound(ends_, at.value) - ends_.begin());
    const Piece& piece = pieces_[number];
    const std::uint64_t start = ends_[number] - piece.length;
    const std::uint64_t left = ends_[number] - at.value;
    VDISK_TRY(found, piece.layout->map(GuestOffset{at.value - start}, std::min(wanted, left)));
    const Mapping mapping = found.cut_to(left);
    if (mapping.own() == nullptr) return mapping;
    Extent extent = *mapping.own();
    extent.source += piece.first_source;
    extent.packed.start.value += start;
    return Mapping(std::move(extent));
}

} // namespace vdisk
