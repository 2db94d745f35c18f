// SPDX-License-Identifier: Apache-2.0
/// A source as it will be once a log that lies in it is replayed: a view, nothing is copied.
#pragma once

#include "io/byte_source.hpp"

#include <optional>

namespace vdisk {

/// Bytes of the source, or zeros, that are to be read at another place of it.
struct Overlay {
    std::uint64_t at = 0; ///< where they are read
    std::uint64_t length = 0;
    std::optional<std::uint64_t> from{}; ///< where in the source they lie; nothing: they are zeros
};

/// What is known of the bytes behind the source's end.
struct OverlaidEnd {
    std::uint64_t lost = 0; ///< up to here the source once had bytes, which are gone: an error
    std::uint64_t size = 0; ///< up to here there are zeros
};

/// `source` with `overlays` written to it in their order, so that later ones hide earlier ones. It ends where the
/// source, the last overlay or `end` does, whichever is last. No overlay may reach beyond 2^64.
[[nodiscard]] SourcePtr overlaid(SourcePtr source, std::span<const Overlay> overlays, const OverlaidEnd& end = {});

} // namespace vdisk
