// SPDX-License-Identifier: Apache-2.0
#include "io/stream/indexed_stream.hpp"

#include "base/processors.hpp"

#include <algorithm>
#include <cstring>

namespace vdisk {
namespace {

// Decoders at work, if there are fewer threads than that: readers at random wait for the file too.
constexpr std::size_t kReaders = 3;
// A run that is no longer is decoded as one ahead of a reader.
constexpr std::uint64_t kShortRun = 16U << 20;
// Memory that each thread adds to Limits::stream_cache_bytes.
constexpr std::uint64_t kBytesByThread = 16U << 20;
// Blocks beside those ahead of the reader: what it reads, and what it has read, which goes first only when it is older.
constexpr std::uint64_t kBlocksBeside = 2;
// Windows that are too large to have several of them in memory.
constexpr std::uint32_t kLargeWindowLog = 24;
constexpr std::size_t kDropped = 1U << 20;

BlockKey segment_key(std::size_t number) {
    return {.owner = 0, .offset = number};
}

BlockKey run_key(std::size_t first) {
    return {.owner = 1, .offset = first};
}

// Whether nothing else is decoded from its start.
bool is_alone(const std::vector<Segment>& segments, std::size_t number) {
    return segments[number].lead == 0 &&
           (number + 1 == segments.size() || !one_start(segments[number], segments[number + 1]));
}

} // namespace

IndexedStream::IndexedStream(Parts parts)
    : parts_(std::move(parts)), room_(room_for(parts_.index, parts_.limits)),
      pool_(std::make_shared<BlockPool>(static_cast<std::size_t>(room_.unit), room_.helpers)),
      blocks_({.cache_bytes = std::max<std::size_t>(parts_.limits.stream_cache_bytes,
                                                    room_.ahead > 0 ? room_.ahead + kBlocksBeside * room_.unit : 0),
               .helpers = room_.helpers,
               .at_once = room_.at_once,
               .few = true}) {
    for (std::size_t policy = 0; policy < kUnverifiedPolicies; ++policy)
        for (std::size_t i = 0; i < parts_.index.segments.size(); ++i)
            if (refused(parts_.index.segments[i], static_cast<Unverified>(policy)) != nullptr)
                refused_numbers_[policy].push_back(i);
}

IndexedStream::Room IndexedStream::room_for(const StreamIndex& index, const Limits& limits) {
    Room room;
    for (std::size_t i = 0; i < index.segments.size(); ++i) {
        const Segment& segment = index.segments[i];
        if (segment.kind == Segment::Kind::lost) continue;
        const std::uint64_t run = segment.lead + segment.length; // in the last one of a run: of all
        room.unit = std::max({room.unit, segment.length, run <= kShortRun ? run : 0});
    }
    if (index.window_log > kLargeWindowLog || room.unit == 0) return room;
    const std::size_t threads = threads_of(limits);
    const std::uint64_t blocks = (limits.stream_cache_bytes + threads * kBytesByThread) / room.unit;
    const std::uint64_t spare = blocks > kBlocksBeside ? blocks - kBlocksBeside : 0;
    room.helpers = static_cast<std::size_t>(std::min<std::uint64_t>(threads - 1, spare));
    room.at_once =
        static_cast<std::size_t>(std::max<std::uint64_t>(kReaders, std::min<std::uint64_t>(threads, blocks / 2)));
    room.ahead = room.helpers == 0 ? 0 : (room.helpers + 1) * room.unit;
    return room;
}

void IndexedStream::prepare(std::uint64_t offset, std::uint64_t length) const {
    const StreamIndex& index = parts_.index;
    if (room_.ahead == 0 || offset >= index.size) return;
    const std::uint64_t end = offset + std::min(length, index.size - offset);
    for (std::size_t number = index.segment_at(offset);
         number < index.segments.size() && index.segments[number].plain < end;) {
        const auto run = short_run_at(number);
        number = run ? run->last + 1 : number + 1;
        if (!run || index.segments[run->first].kind == Segment::Kind::lost) continue;
        const Segment whole = as_segment(*run);
        const auto bytes = static_cast<std::size_t>(whole.length);
        const auto decode_segment = [this, at = run->first] { return expand(at); };
        const auto decode_run = [this, run = *run] { return expand_run(run); };
        if (is_alone(index.segments, run->first)) blocks_.prepare(segment_key(run->first), decode_segment, bytes);
        else if (!has_reader(whole)) blocks_.prepare(run_key(run->first), decode_run, bytes);
    }
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
        VDISK_TRY(bytes, decoded(number));
        std::memcpy(piece.data(), bytes.block->data() + (segment.plain + from - bytes.start), piece.size());
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

// The segment, in its run if that is in the making for a reader in order.
Result<IndexedStream::Decoded> IndexedStream::decoded(std::size_t number) const {
    const Segment& segment = parts_.index.segments[number];
    if (room_.ahead > 0 && !is_alone(parts_.index.segments, number))
        if (const auto run = short_run_at(number))
            if (const BlockPtr block = blocks_.find(run_key(run->first))) return Decoded{block, as_segment(*run).plain};
    const auto decode = [this, number] { return expand(number); };
    VDISK_TRY(block, blocks_.get(segment_key(number), decode, static_cast<std::size_t>(segment.length)));
    return Decoded{std::move(block), segment.plain};
}

Result<BlockPtr> IndexedStream::expand(std::size_t number) const {
    const std::vector<Segment>& segments = parts_.index.segments;
    auto made = is_alone(segments, number) ? expand_alone(segments[number]) : expand_in_run(number);
    return made.has_error() ? Result<BlockPtr>(in_segment(std::move(made).error(), segments[number])) : made;
}

// Whoever it fails for reads by segments, and gets the error of the one that is wrong.
Result<BlockPtr> IndexedStream::expand_run(const Run& run) const {
    const Segment whole = as_segment(run);
    VDISK_TRY(window, window_of(whole));
    VDISK_TRY(reader, parts_.codec.make_reader(*parts_.packed, whole, window));
    auto plain = pool_->take(static_cast<std::size_t>(whole.length));
    VDISK_CHECK(reader->read(plain->room()));
    for (std::size_t i = run.first; i <= run.last; ++i) {
        const Segment& segment = parts_.index.segments[i];
        VDISK_CHECK(verify(plain->room().subspan(static_cast<std::size_t>(segment.plain - whole.plain),
                                                 static_cast<std::size_t>(segment.length)),
                           segment));
    }
    return BlockPtr(std::move(plain));
}

Result<BlockPtr> IndexedStream::expand_alone(const Segment& segment) const {
    VDISK_TRY(window, window_of(segment));
    VDISK_TRY(packed, read_bytes(*parts_.packed, segment.packed, segment.packed_length, "compressed bytes"));
    auto plain = pool_->take(static_cast<std::size_t>(segment.length));
    VDISK_CHECK(parts_.codec.expand({segment, packed, window}, plain->room()));
    VDISK_CHECK(verify(plain->room(), segment));
    return BlockPtr(std::move(plain));
}

// Whatever may be wrong, with the index or with a file that has changed since: other bytes than the pass saw are not
// handed out.
Result<void> IndexedStream::verify(std::span<const std::byte> plain, const Segment& segment) const {
    decoded_.fetch_add(plain.size(), std::memory_order_relaxed);
    if (crc32_of(0, plain) != segment.crc)
        return fail(ErrorKind::corrupt, "the bytes are not those that the index was made of");
    return ok();
}

Result<BlockPtr> IndexedStream::expand_in_run(std::size_t number) const {
    auto taken = take_reader(parts_.index.segments[number]);
    if (!taken) {
        VDISK_TRY(made, make_reader(number));
        taken.emplace(std::move(made));
    }
    VDISK_TRY(bytes, advance_to(*taken, number));
    const std::lock_guard lock(readers_mutex_);
    if (readers_.size() >= room_.at_once) readers_.erase(readers_.begin());
    readers_.push_back(std::move(*taken));
    return Result<BlockPtr>(std::move(bytes));
}

// Whether a decoder waits inside the run: who goes on from there needs no other one.
bool IndexedStream::has_reader(const Segment& run) const {
    const std::lock_guard lock(readers_mutex_);
    return std::ranges::any_of(readers_, [&](const PlacedReader& reader) { return reader.run.plain == run.plain; });
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
    } else if (readers_.size() >= room_.at_once) readers_.erase(readers_.begin());
    return taken;
}

IndexedStream::Run IndexedStream::run_at(std::size_t number) const {
    const std::vector<Segment>& segments = parts_.index.segments;
    Run run{number, number};
    while (run.first > 0 && one_start(segments[number], segments[run.first - 1])) --run.first;
    while (run.last + 1 < segments.size() && one_start(segments[number], segments[run.last + 1])) ++run.last;
    return run;
}

// The same, if it is short enough to be decoded as one; long ones are not walked.
std::optional<IndexedStream::Run> IndexedStream::short_run_at(std::size_t number) const {
    const std::vector<Segment>& segments = parts_.index.segments;
    const auto is_short = [&](std::size_t i) { return segments[i].lead + segments[i].length <= kShortRun; };
    Run run{number, number};
    while (is_short(run.first) && run.first > 0 && one_start(segments[number], segments[run.first - 1])) --run.first;
    while (is_short(run.last) && run.last + 1 < segments.size() && one_start(segments[number], segments[run.last + 1]))
        ++run.last;
    return is_short(run.last) ? std::optional(run) : std::nullopt;
}

// All of it as one, from the start on, though its first bytes may belong to no segment of it.
Segment IndexedStream::as_segment(const Run& run) const {
    Segment whole = parts_.index.segments[run.last];
    whole.length += whole.lead;
    whole.plain -= whole.lead;
    whole.lead = 0;
    return whole;
}

Result<IndexedStream::PlacedReader> IndexedStream::make_reader(std::size_t number) const {
    PlacedReader reader{.run = as_segment(run_at(number))};
    reader.at = reader.run.plain;
    VDISK_TRY(window, window_of(reader.run));
    reader.window = std::move(window);
    VDISK_TRY(made, parts_.codec.make_reader(*parts_.packed, reader.run, reader.window));
    reader.reader = std::move(made);
    return Result<PlacedReader>(std::move(reader));
}

// Decodes up to the end of the segment; keeps the segments before it that come by the way, but those that are wrong.
Result<BlockPtr> IndexedStream::advance_to(PlacedReader& reader, std::size_t number) const {
    const Segment& segment = parts_.index.segments[number];
    while (reader.at < segment.plain) {
        const std::size_t next = parts_.index.segment_at(reader.at);
        const Segment& passed = parts_.index.segments[next];
        if (passed.plain == reader.at && one_start(passed, segment)) {
            VDISK_TRY(bytes, decode_next(reader, passed));
            if (verify(bytes->room(), passed).has_value()) blocks_.put(segment_key(next), std::move(bytes));
            continue;
        }
        std::vector<std::byte> dropped(
            static_cast<std::size_t>(std::min<std::uint64_t>(kDropped, passed.plain + passed.length - reader.at)));
        VDISK_CHECK(reader.reader->read(dropped));
        decoded_.fetch_add(dropped.size(), std::memory_order_relaxed);
        reader.at += dropped.size();
    }
    VDISK_TRY(bytes, decode_next(reader, segment));
    VDISK_CHECK(verify(bytes->room(), segment));
    return BlockPtr(std::move(bytes));
}

Result<std::shared_ptr<Block>> IndexedStream::decode_next(PlacedReader& reader, const Segment& segment) const {
    auto plain = pool_->take(static_cast<std::size_t>(segment.length));
    VDISK_CHECK(reader.reader->read(plain->room()));
    reader.at += plain->size();
    return plain;
}

} // namespace vdisk
