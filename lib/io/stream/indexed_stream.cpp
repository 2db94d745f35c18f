// SPDX-License-Identifier: Apache-2.0
#include "io/stream/indexed_stream.hpp"

#include "base/processors.hpp"

#include <algorithm>
#include <cstring>

namespace vdisk {
namespace {

// Decoders at work, if there are fewer threads than that: readers at random wait for the file too. And so many, or a
// quarter of those at work, wait in a run for the next read.
constexpr std::size_t kReaders = 3;
// Blocks beside those ahead of the reader: what it reads, and that of which the last bytes ahead are the first ones.
constexpr std::uint64_t kBlocksBeside = 2;
// Of blocks that are no larger there is always room for those ahead of the reader too.
constexpr std::size_t kSmallBlock = 256U << 10;
// Windows that are too large to have several of them in memory.
constexpr std::uint32_t kLargeWindowLog = 24;
constexpr std::size_t kDropped = 1U << 20;
// Of a decoder, but for its window.
constexpr std::uint64_t kDecoderBytes = 256U << 10;

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
    : parts_(std::move(parts)), room_(find_room()),
      blocks_({.cache_bytes = room_.memory, .helpers = room_.helpers, .at_once = room_.at_once, .few = true}) {
    pool_ = std::make_shared<BlockPool>(room_.memory); // its guard is locked while the cache's is
    for (std::size_t policy = 0; policy < kUnverifiedPolicies; ++policy)
        for (std::size_t i = 0; i < parts_.index.segments.size(); ++i)
            if (refused(parts_.index.segments[i], static_cast<Unverified>(policy)) != nullptr)
                refused_numbers_[policy].push_back(i);
}

// What decoding a segment, or a run, takes besides its bytes: a decoder, its window, and what was read of the file.
// Into a ring of its own decodes who goes through a long run.
std::size_t IndexedStream::work_for(const Segment& segment, bool alone) const {
    const bool whole = segment.kind == Segment::Kind::whole;
    if (whole && alone) return static_cast<std::size_t>(kDecoderBytes + segment.packed_length);
    const std::uint64_t window =
        whole ? 0 : std::uint64_t{1} << std::min<std::uint32_t>(segment.detail, kLargeWindowLog);
    const bool is_short = segment.lead + segment.length <= parts_.limits.stream_decode_bytes;
    return static_cast<std::size_t>(kDecoderBytes + (is_short ? window : 2 * window) +
                                    std::min<std::uint64_t>(segment.packed_length, kPackedReadAhead));
}

IndexedStream::Room IndexedStream::find_room() const {
    const StreamIndex& index = parts_.index;
    const Limits& limits = parts_.limits;
    Room room{.memory = limits.stream_cache_bytes};
    std::uint64_t work = 0; // of one decoder
    for (std::size_t i = 0; i < index.segments.size(); ++i) {
        const Segment& segment = index.segments[i];
        if (segment.kind == Segment::Kind::lost) continue;
        const std::uint64_t run = segment.lead + segment.length; // in the last one of a run: of all
        room.unit = std::max({room.unit, segment.length, run <= limits.stream_decode_bytes ? run : 0});
        work = std::max<std::uint64_t>(work, work_for(segment, is_alone(index.segments, i)));
    }
    if (index.window_log > kLargeWindowLog || room.unit == 0) return room;
    const std::uint64_t threads = threads_of(limits);
    const std::uint64_t memory = limits.stream_cache_bytes + threads * limits.stream_thread_bytes;
    const std::uint64_t beside = kBlocksBeside * room.unit;
    const std::uint64_t decoders = std::min(threads, (memory - std::min(memory, beside)) / (room.unit + work));
    room.at_once = static_cast<std::size_t>(std::max<std::uint64_t>(kReaders, decoders));
    if (decoders < 2) return room;
    room.helpers = static_cast<std::size_t>(decoders - 1);
    const std::uint64_t blocks = (decoders + kBlocksBeside) * room.unit;
    room.ahead = decoders * room.unit;
    room.memory = std::max(room.memory, static_cast<std::size_t>(blocks + decoders * work));
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
        const bool alone = is_alone(index.segments, run->first);
        const std::size_t bytes = static_cast<std::size_t>(whole.length) + work_for(whole, alone);
        const auto decode_segment = [this, at = run->first] { return expand(at); };
        const auto decode_run = [this, run = *run, work = work_for(whole, alone)] {
            const BlockPool::Beside decoder(pool_, work);
            return expand_run(run);
        };
        if (alone) blocks_.prepare(segment_key(run->first), decode_segment, bytes);
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
        const auto skipped = static_cast<std::size_t>(segment.plain + from - bytes.start);
        std::memcpy(piece.data(), bytes.block->data() + skipped, piece.size());
        done += piece.size();
        const bool read_to_end = skipped + piece.size() == bytes.block->size();
        if (!read_to_end || bytes.block->size() <= kSmallBlock) continue;
        bytes.block.reset(); // who makes room for another one counts on it
        blocks_.demote(bytes.key);
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
            if (BlockPtr block = blocks_.find(run_key(run->first)))
                return Decoded{std::move(block), as_segment(*run).plain, run_key(run->first)};
    const auto decode = [this, number] { return expand(number); };
    const std::size_t bytes =
        static_cast<std::size_t>(segment.length) + work_for(segment, is_alone(parts_.index.segments, number));
    VDISK_TRY(block, blocks_.get(segment_key(number), decode, bytes));
    return Decoded{std::move(block), segment.plain, segment_key(number)};
}

Result<BlockPtr> IndexedStream::expand(std::size_t number) const {
    const std::vector<Segment>& segments = parts_.index.segments;
    const BlockPool::Beside decoder(pool_, work_for(segments[number], is_alone(segments, number)));
    auto made = !is_alone(segments, number)                     ? expand_in_run(number)
                : segments[number].kind == Segment::Kind::whole ? expand_whole(segments[number])
                                                                : expand_run({number, number});
    return made.has_error() ? Result<BlockPtr>(in_segment(std::move(made).error(), segments[number])) : made;
}

// Whoever it fails for reads by segments, and gets the error of the one that is wrong.
Result<BlockPtr> IndexedStream::expand_run(const Run& run) const {
    const Segment whole = as_segment(run);
    {
        const std::size_t others = decoders_beside();
        const std::lock_guard lock(readers_mutex_);
        drop_readers(others);
    }
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

Result<BlockPtr> IndexedStream::expand_whole(const Segment& segment) const {
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
    const std::size_t others = decoders_beside();
    const std::lock_guard lock(readers_mutex_);
    drop_readers(others);
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
    const std::size_t others = decoders_beside();
    const std::lock_guard lock(readers_mutex_);
    const auto waiting = std::ranges::find_if(readers_, [&](const PlacedReader& reader) {
        return one_start(reader.run, segment) && reader.at <= segment.plain &&
               segment.plain + segment.length <= reader.run.plain + reader.run.length;
    });
    std::optional<PlacedReader> taken;
    if (waiting != readers_.end()) {
        taken.emplace(std::move(*waiting));
        readers_.erase(waiting);
    } else drop_readers(others);
    return taken;
}

// Decoders at work, the caller's not counted.
std::size_t IndexedStream::decoders_beside() const {
    return std::max<std::size_t>(1, blocks_.running()) - 1;
}

// Drops the oldest decoders that wait, until with `others` at work there is room for one more. The caller has the lock.
void IndexedStream::drop_readers(std::size_t others) const {
    const std::size_t most = std::max(kReaders, room_.at_once / 4);
    while (!readers_.empty() && (readers_.size() >= most || readers_.size() + others >= room_.at_once))
        readers_.erase(readers_.begin());
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
    const auto is_short = [&](std::size_t i) {
        return segments[i].lead + segments[i].length <= parts_.limits.stream_decode_bytes;
    };
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
