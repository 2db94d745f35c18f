// SPDX-License-Identifier: Apache-2.0
#include "io/stream/indexed_stream.hpp"

#include <algorithm>
#include <cstring>

namespace vdisk {
namespace {

// Decoders at work at most, and as many that wait in a run for the next read at most; each holds a window and a run.
constexpr std::size_t kReaders = 3;
// Windows that are too large to have several of them in memory.
constexpr std::uint32_t kLargeWindowLog = 24;
constexpr std::size_t kDropped = 1U << 20;

} // namespace

IndexedStream::IndexedStream(Parts parts)
    : parts_(std::move(parts)), readers_most_(parts_.index.window_log > kLargeWindowLog ? 1 : kReaders),
      cache_(parts_.limits.stream_cache_bytes, readers_most_) {
    for (std::size_t policy = 0; policy < kUnverifiedPolicies; ++policy)
        for (std::size_t i = 0; i < parts_.index.segments.size(); ++i)
            if (refused(parts_.index.segments[i], static_cast<Unverified>(policy)) != nullptr)
                refused_numbers_[policy].push_back(i);
}

Result<std::size_t> IndexedStream::read_at(std::uint64_t offset, std::span<std::byte> out,
                                           Unverified unverified) const {
    const StreamIndex& index = parts_.index;
    if (offset >= index.size) return std::size_t{0};
    out = out.first(static_cast<std::size_t>(std::min<std::uint64_t>(out.size(), index.size - offset)));
    std::size_t number = index.segment_at(offset);
    for (std::size_t done = 0; done < out.size(); ++number) {
        const Segment& segment = index.segments[number];
        const std::uint64_t from = offset + done - segment.plain;
        const auto piece = out.subspan(
            done, static_cast<std::size_t>(std::min<std::uint64_t>(out.size() - done, segment.length - from)));
        VDISK_CHECK(check_segment(segment, from, unverified));
        VDISK_TRY(bytes, cache_.get_or_make(number, [&] { return expand(number); }));
        std::memcpy(piece.data(), bytes->data() + from, piece.size());
        done += piece.size();
    }
    return out.size();
}

// Why the segment may not be read; nullptr if it may.
const Error* IndexedStream::refused(const Segment& segment, Unverified unverified) const {
    if (segment.reason == 0) return nullptr;
    const Doubt& doubt = parts_.index.doubts[segment.reason - 1];
    if (segment.kind == Segment::Kind::lost) return &doubt.why;
    switch (unverified) {
    case Unverified::refuse: return &doubt.why;
    case Unverified::placed: return doubt.kind == Doubt::Kind::altered ? nullptr : &doubt.why;
    case Unverified::read: return nullptr;
    }
    return &doubt.why;
}

RefusedRun IndexedStream::refused_at(std::uint64_t offset, std::uint64_t wanted, Unverified unverified) const {
    const StreamIndex& index = parts_.index;
    if (offset >= index.size || wanted == 0) return {};
    const std::uint64_t end = offset + std::min(wanted, index.size - offset);
    std::size_t number = index.segment_at(offset);
    const Error* const why = refused(index.segments[number], unverified);
    if (why == nullptr) {
        const std::vector<std::size_t>& numbers = refused_numbers_[static_cast<std::size_t>(unverified)];
        const auto next = std::ranges::lower_bound(numbers, number);
        return {std::min(end, next == numbers.end() ? end : index.segments[*next].plain) - offset, nullptr};
    }
    std::uint64_t at = offset;
    for (; at < end && refused(index.segments[number], unverified) == why; ++number)
        at = index.segments[number].plain + index.segments[number].length;
    return {std::min(at, end) - offset, why};
}

Result<void> IndexedStream::check_segment(const Segment& segment, std::uint64_t from, Unverified unverified) const {
    const Error* const refusal = refused(segment, unverified);
    if (refusal == nullptr) return ok();
    Error why = *refusal;
    why.offset = segment.plain + from;
    if (segment.kind != Segment::Kind::lost) why.what += " (VDISK_UNVERIFIED=read reads what there is)";
    return why;
}

Error IndexedStream::in_segment(Error error, const Segment& segment) const {
    error.offset = segment.plain;
    return std::move(error).in(
        fmt::format("{}: segment at offset {} of the decompressed bytes", parts_.packed->name(), segment.plain));
}

Result<std::vector<std::byte>> IndexedStream::window_of(const Segment& segment) const {
    auto window = read_bytes(*parts_.windows, segment.window.offset, segment.window.length, "decompression window");
    if (window.has_error()) spoilt_.store(true, std::memory_order_relaxed);
    return window;
}

Result<PlainBytes> IndexedStream::expand(std::size_t number) const {
    const std::vector<Segment>& segments = parts_.index.segments;
    const bool alone = segments[number].lead == 0 &&
                       (number + 1 == segments.size() || !one_start(segments[number], segments[number + 1]));
    auto made = alone ? expand_alone(segments[number]) : expand_in_run(number);
    return made.has_error() ? Result<PlainBytes>(in_segment(std::move(made).error(), segments[number])) : made;
}

Result<PlainBytes> IndexedStream::expand_alone(const Segment& segment) const {
    VDISK_TRY(window, window_of(segment));
    VDISK_TRY(packed, read_bytes(*parts_.packed, segment.packed, segment.packed_length, "compressed bytes"));
    std::vector<std::byte> plain(static_cast<std::size_t>(segment.length));
    VDISK_CHECK(parts_.codec.expand({segment, packed, window}, plain));
    return verified(std::move(plain), segment);
}

// Whatever may be wrong, with the index or with a file that has changed since: other bytes than the pass saw are not
// handed out.
Result<PlainBytes> IndexedStream::verified(std::vector<std::byte> plain, const Segment& segment) const {
    decoded_.fetch_add(plain.size(), std::memory_order_relaxed);
    if (crc32_of(0, plain) != segment.crc)
        return fail(ErrorKind::corrupt, "the bytes are not those that the index was made of");
    return PlainBytes(std::make_shared<const std::vector<std::byte>>(std::move(plain)));
}

Result<PlainBytes> IndexedStream::expand_in_run(std::size_t number) const {
    auto taken = take_reader(parts_.index.segments[number]);
    if (!taken) {
        VDISK_TRY(made, make_reader(number));
        taken.emplace(std::move(made));
    }
    VDISK_TRY(bytes, advance_to(*taken, number));
    const std::lock_guard lock(readers_mutex_);
    if (readers_.size() >= readers_most_) readers_.erase(readers_.begin());
    readers_.push_back(std::move(*taken));
    return Result<PlainBytes>(std::move(bytes));
}

// One that waits at the segment or before it in the same run. If there is none, makes room for a new one.
std::optional<IndexedStream::PlacedReader> IndexedStream::take_reader(const Segment& segment) const {
    const std::lock_guard lock(readers_mutex_);
    const auto waiting = std::ranges::find_if(readers_, [&](const PlacedReader& reader) {
        return one_start(reader.run, segment) && reader.at <= segment.plain &&
               segment.plain + segment.length <= reader.run.plain + reader.run.length;
    });
    std::optional<PlacedReader> taken;
    if (waiting != readers_.end()) {
        taken.emplace(std::move(*waiting));
        readers_.erase(waiting);
    } else if (readers_.size() >= readers_most_) readers_.erase(readers_.begin());
    return taken;
}

// From the start to the last segment behind `number` that is decoded from there too.
Segment IndexedStream::run_of(std::size_t number) const {
    const std::vector<Segment>& segments = parts_.index.segments;
    std::size_t last = number;
    while (last + 1 < segments.size() && one_start(segments[number], segments[last + 1])) ++last;
    Segment run = segments[last];
    run.length += run.lead;
    run.plain -= run.lead;
    run.lead = 0;
    return run;
}

Result<IndexedStream::PlacedReader> IndexedStream::make_reader(std::size_t number) const {
    PlacedReader reader{.run = run_of(number)};
    reader.at = reader.run.plain;
    VDISK_TRY(window, window_of(reader.run));
    reader.window = std::move(window);
    VDISK_TRY(made, parts_.codec.make_reader(*parts_.packed, reader.run, reader.window));
    reader.reader = std::move(made);
    return Result<PlacedReader>(std::move(reader));
}

// Decodes up to the end of the segment; keeps the segments before it that come by the way.
Result<PlainBytes> IndexedStream::advance_to(PlacedReader& reader, std::size_t number) const {
    const Segment& segment = parts_.index.segments[number];
    while (reader.at < segment.plain) {
        const std::size_t next = parts_.index.segment_at(reader.at);
        const Segment& passed = parts_.index.segments[next];
        if (passed.plain == reader.at && one_start(passed, segment)) {
            VDISK_TRY(bytes, read_next(reader, passed));
            cache_.put(next, std::move(bytes));
            continue;
        }
        std::vector<std::byte> dropped(
            static_cast<std::size_t>(std::min<std::uint64_t>(kDropped, passed.plain + passed.length - reader.at)));
        VDISK_CHECK(reader.reader->read(dropped));
        decoded_.fetch_add(dropped.size(), std::memory_order_relaxed);
        reader.at += dropped.size();
    }
    return read_next(reader, segment);
}

Result<PlainBytes> IndexedStream::read_next(PlacedReader& reader, const Segment& segment) const {
    std::vector<std::byte> plain(static_cast<std::size_t>(segment.length));
    VDISK_CHECK(reader.reader->read(plain));
    reader.at += plain.size();
    return verified(std::move(plain), segment);
}

} // namespace vdisk
