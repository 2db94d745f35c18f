// SPDX-License-Identifier: Apache-2.0
/// The cluster resolver: all that a format is.
#pragma once

#include "image/extent.hpp"

namespace vdisk {

/// Answers where guest bytes are. Immutable to its users, thread-safe; it moves no guest data.
class Layout {
public:
    Layout() = default;
    Layout(const Layout&) = delete;
    Layout& operator=(const Layout&) = delete;
    virtual ~Layout() = default;

    /// Bytes of the virtual disk.
    [[nodiscard]] virtual std::uint64_t disk_size() const noexcept = 0;

    /// The longest run from `at` that comes from one place: longer than 0, at most `wanted` unless that costs nothing,
    /// and not past the end of the disk. Asked only with `at` inside the disk and `wanted` > 0. Damaged metadata are an
    /// unreadable extent as long as what they describe; an Error is for the passing kind (the file could not be read
    /// just now).
    [[nodiscard]] virtual Result<Mapping> map(GuestOffset at, std::uint64_t wanted) const = 0;
};

/// A run over pieces of metadata, a block or a table of entries each: `piece(at, wanted)` maps as far as one of them
/// tells. At most so many: above a parent in small pieces every piece asks for the run anew, and without a bound that
/// would look at all entries behind it each time.
template<class Piece>
[[nodiscard]] Result<Mapping> map_over_pieces(GuestOffset at, std::uint64_t wanted, const Piece& piece) {
    constexpr unsigned kMostPieces = 16;
    VDISK_TRY(run, piece(at, wanted));
    for (unsigned pieces = 1; run.length() < wanted && pieces < kMostPieces; ++pieces) {
        VDISK_TRY(next, piece(GuestOffset{at.value + run.length()}, wanted - run.length()));
        if (!run.absorb(next)) break;
    }
    return run;
}

} // namespace vdisk
