// SPDX-License-Identifier: Apache-2.0
/// A compressed stream whose index is there: what reads are made of.
#pragma once

#include "io/stream/segment_cache.hpp"
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

    /// Whether a window could not be read back: then the index is of no use.
    [[nodiscard]] bool spoilt() const noexcept { return spoilt_.load(std::memory_order_relaxed); }
    /// Plain bytes decoded until now.
    [[nodiscard]] std::uint64_t decoded() const noexcept { return decoded_.load(std::memory_order_relaxed); }

private:
    // A decoder that stands somewhere in a run of segments that are decoded from one start.
    struct PlacedReader {
        Segment run;
        std::uint64_t at = 0; ///< plain offset of what it gives next
        std::unique_ptr<SegmentReader> reader;
        std::vector<std::byte> window;
    };

    const Error* refused(const Segment& segment, Unverified unverified) const;
    Result<void> check_segment(const Segment& segment, std::uint64_t from, Unverified unverified) const;
    Result<PlainBytes> expand(std::size_t number) const;
    Result<PlainBytes> expand_alone(const Segment& segment) const;
    Result<PlainBytes> expand_in_run(std::size_t number) const;
    Result<PlainBytes> advance_to(PlacedReader& reader, std::size_t number) const;
    Result<PlainBytes> read_next(PlacedReader& reader, const Segment& segment) const;
    Result<PlainBytes> verified(std::vector<std::byte> plain, const Segment& segment) const;
    [[nodiscard]] Segment run_of(std::size_t number) const;
    std::optional<PlacedReader> take_reader(const Segment& segment) const;
    Result<PlacedReader> make_reader(std::size_t number) const;
    Result<std::vector<std::byte>> window_of(const Segment& segment) const;
    Error in_segment(Error error, const Segment& segment) const;

    Parts parts_;
    std::array<std::vector<std::size_t>, kUnverifiedPolicies> refused_numbers_; ///< of segments, ascending, by policy
    std::size_t readers_most_; ///< decoders in use at most, and as many that wait
    mutable SegmentCache cache_;
    mutable std::mutex readers_mutex_;
    mutable std::vector<PlacedReader> readers_; ///< the latest last
    ForkGuard readers_fork_{&readers_mutex_};
    mutable std::atomic<std::uint64_t> decoded_{0};
    mutable std::atomic<bool> spoilt_{false};
};

} // namespace vdisk
