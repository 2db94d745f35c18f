// SPDX-License-Identifier: Apache-2.0
/// A compressed stream whose index is there: what reads are made of.
#pragma once

#include "io/stream/segment_cache.hpp"
#include "io/stream/stream_codec.hpp"
#include "io/stream_source.hpp"

#include <atomic>

namespace vdisk {

/// Immutable but for its caches; thread-safe.
class IndexedStream {
public:
    struct Parts {
        const StreamCodec& codec;
        SourcePtr packed;
        StreamIndex index;
        SourcePtr windows;
        Limits limits;
    };

    explicit IndexedStream(Parts parts) : parts_(std::move(parts)), cache_(parts_.limits.stream_cache_bytes) {}

    [[nodiscard]] const StreamIndex& index() const noexcept { return parts_.index; }
    [[nodiscard]] const ByteSource& windows() const noexcept { return *parts_.windows; }
    [[nodiscard]] Result<std::size_t> read_at(std::uint64_t offset, std::span<std::byte> out, Unverified unverified) const;

    /// Whether a window could not be read back: then the index is of no use.
    [[nodiscard]] bool spoilt() const noexcept { return spoilt_.load(std::memory_order_relaxed); }
    /// Plain bytes decoded until now.
    [[nodiscard]] std::uint64_t decoded() const noexcept { return decoded_.load(std::memory_order_relaxed); }

private:
    struct PlacedReader {
        std::size_t segment = 0;
        std::uint64_t part = 0; ///< the one that it gives next
        std::unique_ptr<SegmentReader> reader;
        std::vector<std::byte> window;
    };

    Result<void> check_segment(const Segment& segment, std::uint64_t from, Unverified unverified) const;
    Result<void> read_segment(std::size_t number, std::uint64_t from, std::span<std::byte> out) const;
    Result<PlainBytes> expand_whole(const Segment& segment) const;
    Result<PlainBytes> read_part(std::size_t number, std::uint64_t part) const;
    Result<std::vector<std::byte>> window_of(const Segment& segment) const;
    Result<PlacedReader> reader_for(std::size_t number, std::uint64_t part) const;
    Error in_segment(Error error, const Segment& segment) const;

    Parts parts_;
    mutable SegmentCache cache_;
    mutable std::mutex readers_mutex_;
    mutable std::vector<PlacedReader> readers_; ///< the latest last
    mutable std::atomic<std::uint64_t> decoded_{0};
    mutable std::atomic<bool> spoilt_{false};
};

} // namespace vdisk
