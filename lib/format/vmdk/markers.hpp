// SPDX-License-Identifier: Apache-2.0
/// The markers of a stream-optimized extent: each piece of such a file begins with one, so that the disk can be put
/// together without any table.
#pragma once

#include "format/vmdk/sparse.hpp"
#include "io/progress.hpp"

#include <map>

namespace vdisk::vmdk {

/// What stands before a compressed grain.
struct RawMarker {
    little_uint64_buf_t value; ///< the first sector of the disk that the grain has
    little_uint32_buf_t size;  ///< bytes of the zlib stream behind it; 0: no grain
    little_uint32_buf_t type;  ///< then: what it is; else the stream's first bytes
};
static_assert(sizeof(RawMarker) == 16);

constexpr std::uint64_t kMarkerBytes = 12; ///< of a grain's

/// A compressed grain: [host, host + length) is its zlib stream.
struct PackedGrain {
    std::uint64_t number = 0;
    std::uint64_t host = 0;
    std::uint64_t length = 0;
};

/// The grain whose marker is at `offset`; nothing if no grain's can be there. Errors: `io`.
[[nodiscard]] Result<std::optional<PackedGrain>> grain_at(const Sparse& sparse, const ByteSource& file,
                                                          std::uint64_t offset);

/// What following the markers gives.
struct FoundGrains {
    struct Place {
        std::uint32_t number = 0; ///< of the grain
        std::uint32_t sector = 0; ///< of its marker
        friend auto operator<=>(const Place&, const Place&) = default;
    };
    std::vector<Place> places{};                     ///< sorted, each grain once: of several the last
    std::map<std::uint64_t, std::uint64_t> tables{}; ///< by number: where those are that are there
    bool whole = false;                              ///< the markers lead without a gap to the end of the stream
    std::uint64_t passed_over = 0;                   ///< bytes that belong to no marker
    std::uint64_t end = 0;                           ///< behind the last grain
};

/// Goes from marker to marker; where none can be, to the next sector where one can. Errors: `limit_exceeded` for more
/// grains than Limits::cluster_map_bytes has room for, `cancelled`, `io`.
[[nodiscard]] Result<FoundGrains> follow_markers(const Sparse& sparse, const ByteSource& file, const Limits& limits,
                                                 const Progress& progress);

} // namespace vdisk::vmdk
