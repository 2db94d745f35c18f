// SPDX-License-Identifier: Apache-2.0
/// What a pass over a compressed stream leaves: where decoding can start, and what is wrong.
#pragma once

#include "base/fork_guard.hpp"
#include "base/limits.hpp"
#include "base/system/file.hpp"
#include "io/byte_source.hpp"

#include <mutex>

namespace vdisk {

/// Where the window of a segment lies among all windows.
struct WindowRange {
    std::uint64_t offset = 0;
    std::uint64_t length = 0; ///< 0: there is none
};

/// Plain bytes that are verified as one. Segments lie end to end and tile the stream. Several of them can be decoded
/// from one start: then the later ones have what is before them for a lead.
struct Segment {
    enum class Kind : std::uint8_t {
        whole, ///< from a header of the format on: zstd frames, gzip members, lzop blocks
        inner, ///< from inside a frame or member on, by the window
        lost,  ///< can't be decoded, but its length is known
    };
    /// What says that the bytes are those that were compressed.
    enum class Cover : std::uint8_t {
        checksum, ///< one that was compared
        nothing,  ///< there is none, or it is cut off
    };
    Kind kind = Kind::whole;
    Cover cover = Cover::checksum;
    std::uint8_t detail = 0; ///< gzip: how many bits of the byte before `packed` belong to it; zstd: log2 of the window
    std::uint32_t reason = 0;        ///< 0: good; else one more than the index of what is wrong in StreamIndex::doubts
    std::uint32_t crc = 0;           ///< CRC-32 of the plain bytes; 0 in a lost segment
    std::uint64_t plain = 0;         ///< offset of its first plain byte
    std::uint64_t length = 0;        ///< plain bytes
    std::uint64_t lead = 0;          ///< plain bytes to decode and drop before the first
    std::uint64_t packed = 0;        ///< where decoding starts in the compressed file
    std::uint64_t packed_length = 0; ///< compressed bytes
    WindowRange window{};
};

/// No segment is longer unless it is lost: lzop's largest block.
constexpr std::uint64_t kSegmentMost = 64U << 20;

/// What is held against segments.
struct Doubt {
    enum class Kind : std::uint8_t {
        altered,  ///< something in them is altered, but all that tells their length agrees: each byte is in its place
        unplaced, ///< some of them may lie at another offset
    };
    Error why;
    Kind kind = Kind::unplaced;
};

struct StreamIndex {
    std::uint64_t size = 0; ///< plain bytes
    std::vector<Segment> segments;
    std::vector<Doubt> doubts;         ///< why segments can't be vouched for or are lost
    std::vector<std::string> findings; ///< what is wrong with the stream, a line each
    std::uint32_t window_log = 0;      ///< of the largest zstd window

    /// The segment that holds the plain byte at `offset` (< size).
    [[nodiscard]] std::size_t segment_at(std::uint64_t offset) const noexcept;
};

/// Whether both are decoded from one start.
[[nodiscard]] bool one_start(const Segment& left, const Segment& right) noexcept;

/// What an index is made of: the bytes of the file and of all windows.
struct IndexBounds {
    std::uint64_t packed_size = 0;
    std::uint64_t windows_size = 0;
    std::uint64_t stored_most = Limits{}.stream_stored_bytes;
};

/// The invariant of every index, just made or kept: segments tile the plain bytes and go forward in the file, none is
/// longer than what a read can decode, what they refer to is there. `corrupt` if something is not so.
[[nodiscard]] Result<void> check(const StreamIndex& index, const IndexBounds& bounds);

/// The index as bytes; windows are kept beside it.
[[nodiscard]] std::vector<std::byte> encode(const StreamIndex& index);

/// The index in `bytes`, checked; `corrupt` if anything does not fit.
[[nodiscard]] Result<StreamIndex> decode_stream_index(std::span<const std::byte> bytes, const IndexBounds& bounds);

/// Windows as a pass finds them: in memory, and in a temporary file without a name when they get many. Thread-safe;
/// a child of fork() finds what its parent kept.
class WindowStore final : public ByteSource {
public:
    explicit WindowStore(std::size_t most_in_memory) : most_in_memory_(most_in_memory) {}

    /// Keeps a window. Errors: `io` if there is no room for it.
    [[nodiscard]] Result<WindowRange> add(std::span<const std::byte> window);

    [[nodiscard]] std::uint64_t size() const noexcept override;
    [[nodiscard]] Result<std::size_t> read_at(std::uint64_t offset, std::span<std::byte> out) const override;
    [[nodiscard]] std::string_view name() const noexcept override { return "windows"; }

private:
    Result<void> write_file(std::span<const std::byte> window);
    Result<void> read_file(std::uint64_t offset, std::span<std::byte> out) const;

    mutable std::mutex mutex_;
    std::size_t most_in_memory_;
    std::vector<std::byte> memory_;
    Descriptor file_; ///< for what lies behind memory_
    std::uint64_t file_bytes_ = 0;
    ForkGuard fork_{&mutex_};
};

} // namespace vdisk
