// SPDX-License-Identifier: Apache-2.0
/// Expanding one compressed cluster.
#pragma once

#include "base/error.hpp"

#include <cstddef>
#include <span>

namespace vdisk {

/// How a cluster is compressed.
enum class Codec : std::uint8_t {
    deflate, ///< raw deflate (RFC 1951), what qcow2 calls "zlib"
    zstd,    ///< zstd frames (RFC 8878)
    zlib,    ///< a zlib stream (RFC 1950), with a checksum of all that it expands to
    none,    ///< not at all: for what costs its source so much that it is kept, and read ahead, as if it were
};

/// Expands `packed` so that it fills `out` exactly, or fails with `corrupt`: a codec that ends early is an error, never
/// a buffer with stale bytes at its end. Bytes behind the compressed data are ignored: formats store whole sectors. Of
/// a zlib stream that goes on beyond `out` up to 2 MiB more are expanded to check it, and left out. Thread-safe; keeps
/// one decoder a thread.
[[nodiscard]] Result<void> expand(Codec codec, std::span<const std::byte> packed, std::span<std::byte> out);

/// Expands zstd frames, which all of `packed` must be (some may be empty or skippable), into the start of `out`.
/// Returns how many bytes that were. Errors: `corrupt` for other data and for what expands to more than `out` has room
/// for: no more than that is ever expanded. Thread-safe.
[[nodiscard]] Result<std::size_t> expand_frames(std::span<const std::byte> packed, std::span<std::byte> out);

} // namespace vdisk
