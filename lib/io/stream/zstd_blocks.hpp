// SPDX-License-Identifier: Apache-2.0
/// The outside of zstd frames (RFC 8878): headers of frames and blocks, and decoding from a block on.
#pragma once

#include "io/stream/stream_pass.hpp"

#include <array>

namespace vdisk {

constexpr std::size_t kZstdBlockMax = 128U << 10;
constexpr std::size_t kZstdFrameHeaderMax = 18;
constexpr std::size_t kZstdBlockHeader = 3;
constexpr std::uint64_t kUnknownSize = ~std::uint64_t{0};

/// What begins at some place between frames.
struct ZstdFrameHeader {
    enum class Kind : std::uint8_t { frame, skippable, other };
    Kind kind = Kind::other;
    std::uint64_t length = 0;                    ///< of the header; of all of it where skippable
    std::uint64_t window = 0;                    ///< bytes that a match can reach back
    std::uint64_t content_size = kUnknownSize;   ///< plain bytes, if the header tells
    std::uint32_t dictionary = 0;                ///< 0: none
    bool checksum = false;
};

/// The header at the start of `bytes`, which must be kZstdFrameHeaderMax long unless the file ends; `truncated` if that is too
/// short, `corrupt` for a frame header with a reserved bit.
[[nodiscard]] Result<ZstdFrameHeader> parse_zstd_frame_header(std::span<const std::byte> bytes);

struct ZstdBlock {
    enum class Kind : std::uint8_t { raw, rle, compressed, reserved };
    Kind kind = Kind::reserved;
    bool last = false;
    std::uint32_t size = 0;   ///< raw and RLE: plain bytes; compressed: compressed ones
    std::uint32_t packed = 0; ///< bytes behind the header
};

/// The block header in the first three bytes.
[[nodiscard]] ZstdBlock parse_zstd_block(std::span<const std::byte> bytes) noexcept;

/// How well decoding can start with a compressed block, by a look at its own headers.
enum class StartQuality : std::uint8_t {
    none, ///< it uses tables of earlier blocks
    weak, ///< it does not, but leaves a later block free to
    good, ///< it brings every table
};

[[nodiscard]] StartQuality zstd_start_quality(std::span<const std::byte> block) noexcept;

/// Room for a made-up frame header that callers leave before the blocks.
constexpr std::size_t kZstdHeaderRoom = 6;

/// Decodes the blocks behind the first kZstdHeaderRoom bytes of `framed` (their headers included, none cut) so that they fill
/// `out` exactly; writes to `framed`. `prefix` are the plain bytes before them, as many as matches reach. `corrupt` if they do
/// not.
[[nodiscard]] Result<void> expand_zstd_blocks(std::span<std::byte> framed, std::span<const std::byte> prefix, std::span<std::byte> out);

/// Decodes whole frames, checksums verified.
[[nodiscard]] Result<void> expand_zstd_frames(std::span<const std::byte> packed, std::span<std::byte> out);

/// A frame header for blocks without their own: no content size, no checksum, a window of 2^`window_log` bytes.
[[nodiscard]] std::array<std::byte, kZstdHeaderRoom> made_up_zstd_header(unsigned window_log) noexcept;

} // namespace vdisk
