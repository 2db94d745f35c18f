// SPDX-License-Identifier: Apache-2.0
/// What every compression's pass is made of.
#pragma once

#include "base/limits.hpp"
#include "io/block_memory.hpp"
#include "io/stream/stream_index.hpp"

#include <optional>
#include <span>

namespace vdisk {

/// Some plain bytes of a pass. At most one of `bytes` and `lost` says something.
struct PlainChunk {
    std::span<const std::byte> bytes{}; ///< valid until the next one is asked for
    std::uint64_t lost = 0;             ///< bytes that can't be decoded, though what follows them can
    const Error* why = nullptr;         ///< where `lost`; valid until the next one is asked for
    bool end = false;                   ///< no more comes
};

/// One pass over a compressed stream. One thread's, though it may use others. Damage in the stream is no error but ends
/// up in the index; errors are those of reading the file.
class StreamPass {
public:
    StreamPass() = default;
    StreamPass(const StreamPass&) = delete;
    StreamPass& operator=(const StreamPass&) = delete;
    virtual ~StreamPass() = default;

    /// One step on, of at most some megabytes of the compressed file; it may give nothing though more comes.
    [[nodiscard]] virtual Result<PlainChunk> next() = 0;
    /// How far it came in the compressed file.
    [[nodiscard]] virtual std::uint64_t packed_position() const noexcept = 0;
    /// What was learnt. Call it once, after the last chunk.
    [[nodiscard]] virtual Result<StreamIndex> finish() = 0;
};

/// What decoding a segment needs.
struct SegmentBytes {
    const Segment& segment;
    std::span<const std::byte> packed; ///< all of the segment's compressed bytes
    std::span<const std::byte> window; ///< as the pass stored it
};

/// Decodes from one start, a piece after the other. One thread's.
class SegmentReader {
public:
    SegmentReader() = default;
    SegmentReader(const SegmentReader&) = delete;
    SegmentReader& operator=(const SegmentReader&) = delete;
    virtual ~SegmentReader() = default;

    /// Fills `out` with the next bytes.
    [[nodiscard]] virtual Result<void> read(std::span<std::byte> out) = 0;
};

/// Bytes of a file that are read at once.
constexpr std::size_t kPackedReadAhead = 512U << 10;

/// Reads a file forward in large pieces.
class PackedInput {
public:
    explicit PackedInput(const ByteSource& source) : source_(source) {}

    /// [offset, offset + count), fewer at the end of the file; valid until the next call. Offsets should mostly grow.
    [[nodiscard]] Result<std::span<const std::byte>> at(std::uint64_t offset, std::size_t count);
    /// All that is at hand from `offset`, at least one byte unless the file ends there.
    [[nodiscard]] Result<std::span<const std::byte>> some(std::uint64_t offset);

    [[nodiscard]] std::uint64_t size() const noexcept { return source_.size(); }
    [[nodiscard]] const ByteSource& source() const noexcept { return source_; }

private:
    Result<void> fill(std::uint64_t offset, std::size_t count);
    [[nodiscard]] std::uint64_t end() const noexcept { return start_ + filled_; }
    [[nodiscard]] std::span<const std::byte> from(std::uint64_t offset) const noexcept;

    const ByteSource& source_;
    std::optional<BlockMemory> memory_; ///< pages: of what threads free the C library would keep much
    std::size_t filled_ = 0;            ///< bytes of it, which stand in the file from start_ on
    std::uint64_t start_ = 0;
};

/// Bytes in memory that the source does not own.
class SpanSource final : public ByteSource {
public:
    explicit SpanSource(std::span<const std::byte> bytes) : bytes_(bytes) {}
    [[nodiscard]] std::uint64_t size() const noexcept override { return bytes_.size(); }
    [[nodiscard]] Result<std::size_t> read_at(std::uint64_t offset, std::span<std::byte> out) const override;
    [[nodiscard]] std::string_view name() const noexcept override { return "compressed bytes"; }

private:
    std::span<const std::byte> bytes_;
};

/// The number of `count` bytes (at most 8) at `at`, the lowest byte first. They must be there.
[[nodiscard]] inline std::uint64_t little(std::span<const std::byte> bytes, std::size_t at,
                                          std::size_t count) noexcept {
    std::uint64_t value = 0;
    for (std::size_t i = count; i-- > 0;) value = value << 8 | std::to_integer<std::uint64_t>(bytes[at + i]);
    return value;
}

/// CRC-32 as gzip has it, of `bytes` appended to what `crc` is of (0: nothing).
[[nodiscard]] std::uint32_t crc32_of(std::uint32_t crc, std::span<const std::byte> bytes) noexcept;
/// The CRC-32 of two runs one after the other.
[[nodiscard]] std::uint32_t crc32_joined(std::uint32_t first, std::uint32_t second,
                                         std::uint64_t second_length) noexcept;

/// Whether two checks of 32 bits differ in one byte only: then the check was damaged and not the data, for which one
/// altered byte in the data would do with a chance of 1 in 4 million.
[[nodiscard]] bool differ_in_one_byte(std::uint32_t stored, std::uint32_t computed) noexcept;

} // namespace vdisk
