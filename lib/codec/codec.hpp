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
};

/// Expands `packed` so that it fills `out` exactly, or fails with `corrupt`: a codec that ends early is an error, never
/// a buffer with stale bytes at its end. Bytes behind the compressed data are ignored: formats store whole sectors. Of
/// a zlib stream that goes on beyond `out` up to 2 MiB more are expanded to check it, and left out. Thread-safe; keeps
/// one decoder a thread.
[[nodiscard]] Result<void> expand(Codec codec, std::span<const std::byte> packed, std::span<std::byte> out);

} // namespace vdisk
