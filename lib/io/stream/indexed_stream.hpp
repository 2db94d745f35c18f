// SPDX-License-Identifier: Apache-2.0
/// A compressed stream whose index is there: what reads are made of.
#pragma once

#include "io/expanded_blocks.hpp"
#include "io/stream/stream_codec.hpp"
#include "io/stream_source.hpp"

#include <array>
#include <atomic>
#include <optional>

namespace vdisk {

/// Bytes of which all or none may be read.
struct RefusedRun {
    std::uint64_t length = 0;
    const Error* why = nullptr; ///< nullptr: they may be read; valid as long as the stream
};

/// Immutable but for its caches; thread-safe, and usable in a child of fork().
class IndexedStream {
public:
    struct Parts {
        const StreamCodec& codec;
        SourcePtr packed;
        StreamIndex index;
        SourcePtr windows;
        Limits limits;
    };

    explicit IndexedStream(Parts parts);

    [[nodiscard]] const StreamIndex& index() const noexcept { return parts_.index; }
    [[nodiscard]] const ByteSource& windows() const noexcept { return *parts_.windows; }
    [[nodiscard]] Result<std::size_t> read_at(std::uint64_t offset, std::span<std::byte> out,
                                              Unverified unverified) const;

    /// The longest run from `offset` that is refused for one reason, or not refused; at most `wanted` bytes.
    [[nodiscard]] RefusedRun refused_at(std::uint64_t offset, std::uint64_t wanted, Unverified unverified) const;

    /// How far ahead of a reader in order prepare() is worth asking: 0 if segments or windows are so large that there
    /// is no memory for several.
    [[nodiscard]] std::uint64_t worth_preparing() const noexcept { return room_.ahead; }
    /// Has the segments that begin or lie from `offset` on decoded in the background.
    void prepare(std::uint64_t offset, std::uint64_t length) const;

    /// Whether a window could not be read back: then the index is of no use.
    [[nodiscard]] bool spoilt() const noexcept { return spoilt_.load(std::memory_order_relaxed); }
    /// Plain bytes decoded until now.
    [[nodiscard]] std::uint64_t decoded() const noexcept { return decoded_.load(std::memory_order_relaxed); }
    /// Segments, or runs of them, that were decoded ahead of their reader.
    [[nodiscard]] std::uint64_t decoded_ahead() const noexcept { return blocks_.expanded_ahead(); }
    /// The most bytes of memory that decoded segments had at once.
    [[nodiscard]] std::uint64_t peak_bytes() const { return pool_->peak(); }

private:
    // What may be in memory at once.
    struct Room {
        std::size_t helpers = 0; ///< threads that decode ahead
        std::size_t at_once = 1; ///< decoders at work, and those that wait in a run for the next read
        std::uint64_t ahead = 0; ///< bytes ahead of a reader in order
        std::uint64_t unit = 0;  ///< of the longest run or segment that is decoded as one
        std::size_t memory = 0;  ///< bytes of all blocks, of what waits to be one again, and of the decoders at work
    };

    // Segments that are decoded from one start.
    struct Run {
        std::size_t first;
        std::size_t last;
    };

    // Decoded bytes with those of a segment among them.
    struct Decoded {
        BlockPtr block;
        std::uint64_t start = 0; ///< plain offset of its first byte
        BlockKey key;
    };

    // A decoder that stands somewhere in a run of segments that are decoded from one start.
    struct PlacedReader {
        Segment run;
        std::uint64_t at = 0; ///< plain offset of what it gives next
        std::unique_ptr<SegmentReader> reader;
        std::vector<std::byte> window;
    };

    const Error* refused(const Segment& segment, Unverified unverified) const;
    Result<void> check_segment(const Segment& segment, std::uint64_t from, Unverified unverified) const;
    std::size_t work_for(const Segment& segment, bool alone) const;
    Room find_room() const;
    Result<Decoded> decoded(std::size_t number) const;
    Result<BlockPtr> expand(std::size_t number) const;
    Result<BlockPtr> expand_whole(const Segment& segment) const;
    Result<BlockPtr> expand_in_run(std::size_t number) const;
    Result<BlockPtr> expand_run(const Run& run) const;
    Result<BlockPtr> advance_to(PlacedReader& reader, std::size_t number) const;
    Result<std::shared_ptr<Block>> decode_next(PlacedReader& reader, const Segment& segment) const;
    Result<void> verify(std::span<const std::byte> plain, const Segment& segment) const;
    [[nodiscard]] Run run_at(std::size_t number) const;
    [[nodiscard]] std::optional<Run> short_run_at(std::size_t number) const;
    [[nodiscard]] Segment as_segment(const Run& run) const;
    std::optional<PlacedReader> take_reader(const Segment& segment) const;
    std::size_t decoders_beside() const;
    void drop_readers(std::size_t others) const;
    bool has_reader(const Segment& segment) const;
    Result<PlacedReader> make_reader(std::size_t number) const;
    Result<std::vector<std::byte>> window_of(const Segment& segment) const;
    Error in_segment(Error error, const Segment& segment) const;

    Parts parts_;
    std::array<std::vector<std::size_t>, kUnverifiedPolicies> refused_numbers_; ///< of segments, ascending, by policy
    Room room_;
    mutable std::mutex readers_mutex_;
    mutable std::vector<PlacedReader> readers_; ///< the latest last
    ForkGuard readers_fork_{&readers_mutex_};
    mutable std::atomic<std::uint64_t> decoded_{0};
    mutable std::atomic<bool> spoilt_{false};
    std::shared_ptr<BlockPool> pool_; ///< made behind blocks_, for the order of guards
    mutable ExpandedBlocks blocks_;   ///< its threads use all of the above
};

} // namespace vdisk
