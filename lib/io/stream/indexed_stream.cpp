// SPDX-License-Identifier: Apache-2.0
#include "io/stream/indexed_stream.hpp"

#include <algorithm>
#include <cstring>

namespace vdisk {
namespace {

// Up to here a segment is decoded as one; longer ones, which are rare, in parts.
constexpr std::uint64_t kDecodedWhole = 24U << 20;
constexpr std::uint64_t kPart = 1U << 20;
// Decoders that wait in a long segment for the next read; each may hold a window.
constexpr std::size_t kWaitingReaders = 1;

bool is_long(const Segment& segment) { return segment.lead > 0 || segment.length > kDecodedWhole; }

} // namespace

Result<std::size_t> IndexedStream::read_at(std::uint64_t offset, std::span<std::byte> out, Unverified unverified) const {
    const StreamIndex& index = parts_.index;
    if (offset >= index.size) return std::size_t{0};
    out = out.first(static_cast<std::size_t>(std::min<std::uint64_t>(out.size(), index.size - offset)));
    std::size_t number = index.segment_at(offset);
    for (std::size_t done = 0; done < out.size(); ++number) {
        const Segment& segment = index.segments[number];
        const std::uint64_t from = offset + done - segment.plain;
        const auto piece = out.subspan(done, static_cast<std::size_t>(std::min<std::uint64_t>(out.size() - done, segment.length - from)));
        VDISK_CHECK(check_segment(segment, from, unverified));
        VDISK_CHECK(read_segment(number, from, piece));
        done += piece.size();
    }
    return out.size();
}

// Whether the segment may be read.
Result<void> IndexedStream::check_segment(const Segment& segment, std::uint64_t from, Unverified unverified) const {
    const bool lost = segment.kind == Segment::Kind::lost;
    if (segment.reason == 0 || (!lost && unverified == Unverified::read)) return ok();
    Error why = parts_.index.reasons[segment.reason - 1];
    why.offset = segment.plain + from;
    if (!lost) why.what += " (VDISK_UNVERIFIED=read reads them as they are)";
    return why;
}

Result<void> IndexedStream::read_segment(std::size_t number, std::uint64_t from, std::span<std::byte> out) const {
    const Segment& segment = parts_.index.segments[number];
    if (!is_long(segment)) {
        VDISK_TRY(bytes, cache_.get_or_make({number, 0}, [&] { return expand_whole(segment); }));
        std::memcpy(out.data(), bytes->data() + from, out.size());
        return ok();
    }
    while (!out.empty()) {
        const std::uint64_t part = from / kPart;
        VDISK_TRY(bytes, cache_.get_or_make({number, part}, [&] { return read_part(number, part); }));
        const std::size_t skipped = static_cast<std::size_t>(from % kPart);
        const std::size_t count = std::min(out.size(), bytes->size() - skipped);
        std::memcpy(out.data(), bytes->data() + skipped, count);
        out = out.subspan(count);
        from += count;
    }
    return ok();
}

Error IndexedStream::in_segment(Error error, const Segment& segment) const {
    error.offset = segment.plain;
    return std::move(error).in(fmt::format("{}: segment at offset {} of the decompressed bytes", parts_.packed->name(), segment.plain));
}

Result<std::vector<std::byte>> IndexedStream::window_of(const Segment& segment) const {
    auto window = read_bytes(*parts_.windows, segment.window.offset, segment.window.length, "decompression window");
    if (window.has_error()) spoilt_.store(true, std::memory_order_relaxed);
    return window;
}

Result<PlainBytes> IndexedStream::expand_whole(const Segment& segment) const {
    VDISK_TRY(window, window_of(segment));
    std::vector<std::byte> packed(kSegmentRoom + static_cast<std::size_t>(segment.packed_length));
    VDISK_CHECK(read_exact(*parts_.packed, segment.packed, std::span(packed).subspan(kSegmentRoom)));
    auto plain = std::make_shared<std::vector<std::byte>>(static_cast<std::size_t>(segment.length));
    if (auto done = parts_.codec.expand({segment, packed, window}, *plain); done.has_error()) return in_segment(std::move(done).error(), segment);
    decoded_.fetch_add(plain->size(), std::memory_order_relaxed);
    // Whatever may be wrong, with the index or with a file that has changed since: other bytes than the pass saw are not handed out.
    if (crc32_of(0, *plain) != segment.crc)
        return in_segment(fail(ErrorKind::corrupt, "the bytes are not those that the index was made of"), segment);
    return PlainBytes(std::move(plain));
}

// A reader that stands at the part, or before it in the same segment; a new one otherwise.
Result<IndexedStream::PlacedReader> IndexedStream::reader_for(std::size_t number, std::uint64_t part) const {
    {
        const std::lock_guard lock(readers_mutex_);
        const auto waiting = std::ranges::find_if(readers_, [&](const PlacedReader& reader) { return reader.segment == number && reader.part <= part; });
        if (waiting != readers_.end()) {
            PlacedReader taken = std::move(*waiting);
            readers_.erase(waiting);
            return Result<PlacedReader>(std::move(taken));
        }
        if (readers_.size() >= kWaitingReaders) readers_.clear(); // before the new one takes memory
    }
    const Segment& segment = parts_.index.segments[number];
    PlacedReader reader{.segment = number};
    VDISK_TRY(window, window_of(segment));
    reader.window = std::move(window);
    VDISK_TRY(made, parts_.codec.make_reader(*parts_.packed, segment, reader.window));
    reader.reader = std::move(made);
    std::vector<std::byte> dropped(static_cast<std::size_t>(std::min(segment.lead, kPart)));
    for (std::uint64_t left = segment.lead; left > 0;) {
        const auto piece = std::span(dropped).first(static_cast<std::size_t>(std::min<std::uint64_t>(left, dropped.size())));
        VDISK_CHECK(reader.reader->read(piece));
        left -= piece.size();
    }
    decoded_.fetch_add(segment.lead, std::memory_order_relaxed);
    return Result<PlacedReader>(std::move(reader));
}

Result<PlainBytes> IndexedStream::read_part(std::size_t number, std::uint64_t part) const {
    const Segment& segment = parts_.index.segments[number];
    auto found = reader_for(number, part);
    if (found.has_error()) return in_segment(std::move(found).error(), segment);
    PlacedReader reader = std::move(found).value();
    for (;;) {
        const std::uint64_t start = reader.part * kPart;
        auto plain = std::make_shared<std::vector<std::byte>>(static_cast<std::size_t>(std::min(kPart, segment.length - start)));
        if (auto done = reader.reader->read(*plain); done.has_error()) return in_segment(std::move(done).error(), segment);
        decoded_.fetch_add(plain->size(), std::memory_order_relaxed);
        const std::uint64_t made = reader.part++;
        if (made < part) {
            cache_.put({number, made}, std::move(plain));
            continue;
        }
        const std::lock_guard lock(readers_mutex_);
        if (readers_.size() >= kWaitingReaders) readers_.clear();
        readers_.push_back(std::move(reader));
        return PlainBytes(std::move(plain));
    }
}

} // namespace vdisk
