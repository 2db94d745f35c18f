// SPDX-License-Identifier: Apache-2.0
/// What a compression is: one row each.
#pragma once

#include "io/stream/stream_pass.hpp"

namespace vdisk {

/// What a pass is for.
enum class PassKind : std::uint8_t {
    whole, ///< all that is to be known
    look,  ///< the first bytes alone: no part of the stream is decoded further than they need
};

struct StreamCodec {
    std::string_view name;       ///< "zstd"
    std::string_view index_kind; ///< with the version of what its pass leaves; a new pass is a new kind

    /// Whether a file that starts with these bytes is of it.
    bool (*detect)(std::span<const std::byte> head);

    /// `windows` gets what segments need; it and `packed` must outlive the pass. `unsupported` for what the first
    /// header asks for that can't be had.
    Result<std::unique_ptr<StreamPass>> (*make_pass)(const ByteSource& packed, WindowStore& windows,
                                                     const Limits& limits, PassKind kind);

    /// Decodes a segment that has no lead. `out` is as long as it.
    Result<void> (*expand)(const SegmentBytes& bytes, std::span<std::byte> out);

    /// Decodes several segments from one start, one after the other. `run` is the first of them made as long as all;
    /// `packed` and `window` must outlive the reader.
    Result<std::unique_ptr<SegmentReader>> (*make_reader)(const ByteSource& packed, const Segment& run,
                                                          std::span<const std::byte> window);
};

extern const StreamCodec kZstdCodec;
extern const StreamCodec kGzipCodec;
extern const StreamCodec kLzopCodec; ///< its make_pass refuses if the build has no liblzo2

} // namespace vdisk
