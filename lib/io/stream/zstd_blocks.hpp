// SPDX-License-Identifier: Apache-2.0
/// The outside of zstd frames (RFC 8878): headers of frames and blocks, and decoding from a block on.
#pragma once

#include "io/stream/stream_pass.hpp"

#include <array>
#include <memory>
#include <optional>

struct ZSTD_DCtx_s;
struct ZSTD_DDict_s;

namespace vdisk {

constexpr std::size_t kZstdBlockMax = 128U << 10;
constexpr std::size_t kZstdFrameHeaderMax = 18;
constexpr std::size_t kZstdBlockHeader = 3;
constexpr std::uint64_t kUnknownSize = ~std::uint64_t{0};

/// What begins at some place between frames.
struct ZstdFrameHeader {
    enum class Kind : std::uint8_t { frame, skippable, other };
    Kind kind = Kind::other;
    std::uint64_t length = 0;                  ///< of the header; of all of it where skippable
    std::uint64_t window = 0;                  ///< bytes that a match can reach back
    std::uint64_t content_size = kUnknownSize; ///< plain bytes, if the header tells
    std::uint32_t dictionary = 0;              ///< 0: none
    bool checksum = false;
};

/// The header at the start of `bytes`, which must be kZstdFrameHeaderMax long unless the file ends; `truncated` if that
/// is too short, `corrupt` for a frame header with a reserved bit.
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

/// The literals section that a compressed block begins with.
struct ZstdLiterals {
    enum class Kind : std::uint8_t { raw, rle, compressed, treeless };
    Kind kind;
    std::size_t length; ///< bytes, its header included
    std::size_t plain;  ///< bytes that it expands to
};

/// Nothing if the block is too short to tell.
[[nodiscard]] std::optional<ZstdLiterals> parse_zstd_literals(std::span<const std::byte> block) noexcept;

/// What a block's sequences may repeat the offset of without telling it, the latest first. None is 0.
using RepeatOffsets = std::array<std::uint32_t, 3>;

/// The plain bytes before a block, as many as matches reach, behind room for what the decoder has to know besides them.
struct ZstdPrefix {
    std::span<std::byte> room; ///< kZstdPrefixRoom bytes, which get written; the window follows them in memory
    std::span<const std::byte> window;
};
constexpr std::size_t kZstdPrefixRoom = 4096;
/// A shorter window is of no use: a zstd dictionary has to be longer.
constexpr std::size_t kZstdWindowLeast = 64;

/// Decodes blocks one after the other, from any one on that needs no tables of earlier ones. One thread's.
class ZstdBlockDecoder {
public:
    /// Begins where there is nothing before the first block, or nothing that it needs. `io` if there is no memory.
    [[nodiscard]] Result<void> begin();
    /// Begins behind `prefix`, which must outlive the object's use. `io` if there is no memory.
    [[nodiscard]] Result<void> begin(const ZstdPrefix& prefix, const RepeatOffsets& offsets);

    /// How long the block at the start of `packed` is, with its header; `corrupt` if `packed` ends before it does.
    [[nodiscard]] static Result<std::size_t> length_of(std::span<const std::byte> packed);

    /// Decodes one block, its header included, and returns how many bytes it has. `out` lies directly behind the bytes
    /// of the block before; of its first kZstdBlockMax bytes all may be written to. `corrupt` if it can't be decoded,
    /// or has more bytes than `out`.
    [[nodiscard]] Result<std::size_t> decode(std::span<const std::byte> block, std::span<std::byte> out);

private:
    Result<void> feed_header();
    struct Free {
        void operator()(ZSTD_DCtx_s* decoder) const noexcept;
        void operator()(ZSTD_DDict_s* prefix) const noexcept;
    };
    std::unique_ptr<ZSTD_DDict_s, Free> prefix_;
    std::unique_ptr<ZSTD_DCtx_s, Free> decoder_;
};

/// Decodes whole frames. Their checksums were looked at in the pass and are not here.
[[nodiscard]] Result<void> expand_zstd_frames(std::span<const std::byte> packed, std::span<std::byte> out);

} // namespace vdisk
