// SPDX-License-Identifier: Apache-2.0
/// What a compression is: one row each.
#pragma once

#include "io/stream/stream_pass.hpp"

namespace vdisk {

struct StreamCodec {
    std::string_view name;       ///< "zstd"
    std::string_view index_kind; ///< with the version of what its pass leaves; a new pass is a new kind

    /// Whether a file that starts with these bytes is of it.
    bool (*detect)(std::span<const std::byte> head);

    /// `windows` gets what segments need; it and `packed` must outlive the pass. `unsupported` for what the first header asks for
    /// that can't be had.
    Result<std::unique_ptr<StreamPass>> (*make_pass)(const ByteSource& packed, WindowStore& windows, const Limits& limits);

    /// Decodes a segment whole. `out` is as long as the segment with its lead.
    Result<void> (*expand)(const SegmentBytes& bytes, std::span<std::byte> out);

    /// Decodes a long segment of `packed`, which must outlive the reader, piece by piece.
    Result<std::unique_ptr<SegmentReader>> (*make_reader)(const ByteSource& packed, const Segment& segment, std::span<const std::byte> window);
};

/// Bytes that are left free at the start of SegmentBytes::packed, for a header that a codec may want to put there.
constexpr std::size_t kSegmentRoom = 6;

extern const StreamCodec kZstdCodec;
extern const StreamCodec kGzipCodec;
extern const StreamCodec kLzopCodec; ///< its make_pass refuses if the build has no liblzo2

} // namespace vdisk
