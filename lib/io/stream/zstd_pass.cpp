// SPDX-License-Identifier: Apache-2.0
#define XXH_STATIC_LINKING_ONLY // for the state as a member
#include "io/stream/index_builder.hpp"
#include "io/stream/stream_codec.hpp"
#include "io/stream/zstd_starts.hpp"

#include <xxhash.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <deque>

namespace vdisk {
namespace {

// More than decoders write behind what they decode.
constexpr std::uint64_t kOverwrite = 64;
constexpr std::size_t kChecksum = 4;
// Compressed bytes that one step looks through for the next frame.
constexpr std::size_t kZstdSearched = 1U << 20;
// Blocks that one step goes over by their headers.
constexpr int kWalked = 4096;
// Compressed bytes of a segment that is made of several pieces.
constexpr std::uint64_t kJoinedStored = 32U << 20;

// Blocks that stay together; a run can begin with the first of them.
struct Piece {
    std::uint64_t plain = 0;
    std::uint64_t packed = 0;
    std::uint64_t length = 0; ///< plain bytes
    std::uint32_t crc = 0;
};

struct Frame {
    ZstdFrameHeader header;
    std::uint64_t plain = 0; ///< where it starts
    std::uint64_t packed = 0;
    std::size_t first_segment = 0;
    std::uint64_t window = 0; ///< bytes that matches can reach back
    bool odd_end = false;     ///< its last block is not marked as such
    XXH64_state_t hash{};
};

// Where the stream can't be decoded, until it is known what comes behind.
struct Break {
    Error what;
    std::uint64_t at = 0;      ///< the next frame is looked for from here on
    bool by_blocks = true;     ///< by the headers of the broken frame's blocks; else by its magic
    std::uint64_t empty = 0;   ///< compressed bytes of blocks without content that were the last to be gone over
    std::uint64_t missing = 0; ///< all is known already: so many plain bytes are lost
    std::uint32_t reason = 0;  ///< for that
};

std::uint8_t log_of(std::uint64_t window) {
    return static_cast<std::uint8_t>(std::max<std::uint64_t>(
        10, static_cast<std::uint64_t>(std::bit_width(std::max<std::uint64_t>(window, 1) - 1))));
}

bool is_frame(std::span<const std::byte> bytes) {
    const auto header = parse_zstd_frame_header(bytes);
    return header.has_value() && header.value().kind != ZstdFrameHeader::Kind::other;
}

class ZstdPass final : public StreamPass {
public:
    ZstdPass(const ByteSource& packed, WindowStore& windows, const Limits& limits, PassKind kind)
        : input_(packed), windows_(windows), limits_(limits), kind_(kind),
          distances_(std::max<std::uint64_t>(limits.stream_decode_bytes, kZstdBlockMax)),
          index_(packed.name(), packed.size(), limits) {}

    Result<void> begin();
    Result<PlainChunk> next() override;
    std::uint64_t packed_position() const noexcept override {
        return std::min(break_ ? break_->at : packed_, input_.size());
    }
    Result<StreamIndex> finish() override { return index_.finish(windows_.size()); }

private:
    Result<void> check_frame(const ZstdFrameHeader& header) const;
    Result<void> start_frame();
    Result<bool> take_missed_checksum(std::span<const std::byte> bytes);
    Result<void> open_frame(const ZstdFrameHeader& header);
    Result<void> make_ring(std::uint64_t window);
    Result<PlainChunk> next_block();
    Result<bool> is_last(const ZstdBlock& block);
    Result<PlainChunk> took_block(const ZstdBlock& block, std::span<const std::byte> plain);

    Result<PlainChunk> finish_frame(std::span<const std::byte> plain);
    Result<std::optional<std::string>> wrong_with_frame();
    Result<void> judge_frame(const std::string& wrong);
    bool add_whole_frame(std::uint32_t reason, Segment::Cover cover);
    void end_frame(std::uint32_t reason, Segment::Cover cover);
    Result<bool> is_proven(std::uint64_t length, std::uint64_t next_frame);

    bool add_to_piece(std::span<const std::byte> plain);
    Result<void> take_starts();
    void flush_before(std::uint64_t plain);
    void flush(std::size_t count);
    void add_segment(const Piece& piece, std::uint64_t packed_end);
    Result<void> end_blocks();
    void make_room();

    Result<void> broken(Error what);
    Result<PlainChunk> go_over_break();
    Result<PlainChunk> walk_blocks();
    Result<PlainChunk> search_frame();
    Result<PlainChunk> go_on_at(std::uint64_t next, bool by_blocks);
    Result<PlainChunk> cut_off();

    std::string name() const { return std::string(input_.source().name()); }
    std::uint64_t frame_length() const noexcept { return plain_ - frame_->plain; }
    bool tells_size() const noexcept { return frame_->header.content_size != kUnknownSize; }
    /// What must be there still behind the bytes that matches reach.
    [[nodiscard]] std::uint64_t kept(std::uint64_t window) const noexcept {
        return window + distances_.keep + kZstdBlockMax;
    }

    PackedInput input_;
    WindowStore& windows_;
    Limits limits_;
    PassKind kind_;
    StartDistances distances_;
    std::uint64_t group_ = distances_.most / 16;  ///< small frames are one segment together up to this length
    std::uint64_t piece_ = distances_.most / 512; ///< the least length of a piece
    ZstdBlockDecoder decoder_;
    IndexBuilder index_;

    std::unique_ptr<std::byte[]> ring_memory_; ///< ring_bytes_, and room for a block behind them
    std::uint64_t ring_bytes_ = 0;
    std::optional<PlainRing> ring_;
    std::optional<StartFinder> finder_; ///< ends before what it reads from

    std::uint64_t plain_ = 0;  ///< next plain byte
    std::uint64_t packed_ = 0; ///< next compressed one
    std::optional<Frame> frame_;
    std::optional<Break> break_;
    bool ended_ = false;
    std::uint64_t last_length_ = kUnknownSize;  ///< plain bytes of the last frame of which they are sure
    std::optional<std::uint32_t> missed_check_; ///< what the checksum of the last frame would be, which has none

    std::deque<Piece> pieces_; ///< of the frame, those of which it is not known yet from where they are decoded
    RunBegin run_;             ///< from which the first piece is
    std::uint64_t joined_ = 0; ///< compressed bytes of the last segment's own pieces
};

Result<void> ZstdPass::begin() {
    VDISK_TRY(bytes, input_.at(0, kZstdFrameHeaderMax));
    const auto header = parse_zstd_frame_header(bytes);
    if (header.has_value() && header.value().kind == ZstdFrameHeader::Kind::frame)
        VDISK_CHECK(check_frame(header.value()));
    return ok();
}

// What can't be decoded here although it may be sound.
Result<void> ZstdPass::check_frame(const ZstdFrameHeader& header) const {
    if (header.dictionary != 0)
        return fail_at(packed_, ErrorKind::unsupported, "{}: zstd frame at offset {} needs dictionary {}", name(),
                       packed_, header.dictionary);
    if (std::min(header.window, header.content_size) > limits_.stream_window_bytes)
        return fail_at(packed_, ErrorKind::unsupported,
                       "{}: zstd frame at offset {} needs a window of {} bytes, more than the {} that are allowed",
                       name(), packed_, header.window, limits_.stream_window_bytes);
    return ok();
}

Result<PlainChunk> ZstdPass::next() {
    if (ended_ || (break_ && kind_ == PassKind::look)) return PlainChunk{.end = true};
    if (break_) return go_over_break();
    if (frame_) return next_block();
    VDISK_CHECK(start_frame());
    return PlainChunk{};
}

Result<void> ZstdPass::start_frame() {
    VDISK_TRY(bytes, input_.at(packed_, kZstdFrameHeaderMax));
    ended_ = bytes.empty();
    if (ended_) return ok();
    const auto header = parse_zstd_frame_header(bytes);
    if (header.has_error() || header.value().kind == ZstdFrameHeader::Kind::other) {
        VDISK_TRY(taken, take_missed_checksum(bytes));
        if (taken) return ok();
        const std::string what = header.has_error() ? fmt::format("{} at offset {}", header.error().what, packed_)
                                                    : fmt::format("{} bytes from offset {} on are no zstd frame",
                                                                  input_.size() - packed_, packed_);
        break_ = {.what = fail(ErrorKind::corrupt, "{}", what), .at = packed_ + 1, .by_blocks = false};
        return ok();
    }
    if (header.value().kind == ZstdFrameHeader::Kind::frame) return open_frame(header.value());
    if (header.value().length > input_.size() - packed_)
        break_ = {.what = fail(ErrorKind::truncated, "the skippable frame at offset {} is cut off", packed_),
                  .at = packed_ + 1,
                  .by_blocks = false};
    else packed_ += header.value().length;
    return ok();
}

// A damaged header may say that its frame has no checksum: then that lies between it and the next one.
Result<bool> ZstdPass::take_missed_checksum(std::span<const std::byte> bytes) {
    if (!missed_check_ || bytes.size() < kChecksum || little(bytes, 0, kChecksum) != *missed_check_) return false;
    VDISK_TRY(behind, input_.at(packed_ + kChecksum, kZstdFrameHeaderMax));
    if (!behind.empty() && !is_frame(behind)) return false;
    index_.find(fmt::format(
        "the header of the zstd frame before offset {} says that it has no checksum, but it has one", packed_));
    packed_ += kChecksum;
    missed_check_.reset();
    return true;
}

Result<void> ZstdPass::open_frame(const ZstdFrameHeader& header) {
    const std::uint64_t window = std::min(header.window, header.content_size);
    const auto good = check_frame(header);
    if (good.has_value()) {
        VDISK_CHECK(make_ring(window));
        index_.saw_window(log_of(window));
        VDISK_CHECK(decoder_.begin());
    }
    frame_.emplace(Frame{
        .header = header, .plain = plain_, .packed = packed_, .first_segment = index_.segments(), .window = window});
    XXH64_reset(&frame_->hash, 0);
    missed_check_.reset();
    packed_ += header.length;
    pieces_.assign(1, {.plain = plain_, .packed = packed_});
    run_ = {.from = plain_, .plain = plain_, .packed = packed_};
    if (good.has_error()) {
        break_ = {.what = good.error(), .at = packed_};
        return ok();
    }
    finder_->begin_frame({.plain = plain_, .packed = packed_, .window = window});
    return ok();
}

Result<void> ZstdPass::make_ring(std::uint64_t window) {
    const std::uint64_t wanted = kept(window) + distances_.ahead + 2 * kZstdBlockMax;
    if (wanted <= ring_bytes_) return ok();
    finder_.reset();
    ring_memory_.reset();
    ring_bytes_ = wanted;
    ring_memory_.reset(new (std::nothrow) std::byte[wanted + kZstdBlockMax]);
    if (!ring_memory_) return fail(ErrorKind::io, "no memory for a window of {} bytes", window);
    ring_.emplace(std::span<const std::byte>(ring_memory_.get(), wanted));
    finder_.emplace(FrameBytes{input_.source(), *ring_}, windows_, distances_, limits_);
    return ok();
}

Result<PlainChunk> ZstdPass::next_block() {
    VDISK_TRY(start, input_.at(packed_, kZstdBlockHeader));
    if (start.size() < kZstdBlockHeader) return cut_off();
    const ZstdBlock block = parse_zstd_block(start);
    std::optional<Error> what;
    if (block.kind == ZstdBlock::Kind::reserved || block.size > kZstdBlockMax)
        what = fail(ErrorKind::corrupt, "zstd block at offset {} has an impossible header", packed_);
    else if (packed_ - pieces_.back().packed > limits_.stream_empty_bytes)
        what = fail(ErrorKind::corrupt, "the zstd blocks before offset {} have next to no content", packed_);
    else if (!index_.room_for(plain_ - index_.size() + kZstdBlockMax))
        what = fail(ErrorKind::limit_exceeded, "zstd block at offset {} is beyond what a size can be", packed_);
    if (what) {
        VDISK_CHECK(broken(std::move(*what)));
        return PlainChunk{};
    }
    const std::size_t length = kZstdBlockHeader + block.packed;
    VDISK_TRY(framed, input_.at(packed_, length));
    if (framed.size() < length) return cut_off();

    make_room();
    std::byte* const out = ring_memory_.get() + plain_ % ring_bytes_;
    const auto got = decoder_.decode(framed, {out, kZstdBlockMax});
    if (got.has_value()) return took_block(block, {out, got.value()});
    if (got.error().kind == ErrorKind::io) return got.error();
    VDISK_CHECK(broken(fail(ErrorKind::corrupt, "block at offset {}: {}", packed_, got.error().what)));
    return PlainChunk{};
}

Result<PlainChunk> ZstdPass::took_block(const ZstdBlock& block, std::span<const std::byte> plain) {
    // The ring goes round: what was written behind its end belongs to its start.
    const std::uint64_t place = plain_ % ring_bytes_;
    if (place + plain.size() > ring_bytes_) {
        const auto over = static_cast<std::size_t>(place + plain.size() - ring_bytes_);
        std::memcpy(ring_memory_.get(), ring_memory_.get() + ring_bytes_, over);
    }
    const bool begins_piece = add_to_piece(plain);
    if (!plain.empty()) XXH64_update(&frame_->hash, plain.data(), plain.size());
    const auto packed_length = static_cast<std::uint32_t>(kZstdBlockHeader + block.packed);
    finder_->add({.plain = plain_,
                  .packed = packed_,
                  .plain_length = static_cast<std::uint32_t>(plain.size()),
                  .packed_length = packed_length,
                  .compressed = block.kind == ZstdBlock::Kind::compressed,
                  .begins_piece = begins_piece});
    plain_ += plain.size();
    packed_ += packed_length;
    VDISK_CHECK(take_starts());
    VDISK_TRY(last, is_last(block));
    return last ? finish_frame(plain) : PlainChunk{.bytes = plain};
}

// A block that is damaged may not say that it is the last: but if behind it is what must be behind the frame, it was.
Result<bool> ZstdPass::is_last(const ZstdBlock& block) {
    if (block.last) return true;
    const bool checksum = frame_->header.checksum;
    if (tells_size() ? frame_->header.content_size != frame_length() : !checksum || frame_length() == 0) return false;
    VDISK_TRY(bytes, input_.at(packed_, kChecksum + kZstdFrameHeaderMax));
    if (checksum && (bytes.size() < kChecksum ||
                     little(bytes, 0, kChecksum) != static_cast<std::uint32_t>(XXH64_digest(&frame_->hash))))
        return false;
    const auto behind = bytes.subspan(checksum ? kChecksum : 0);
    if (!behind.empty() && !is_frame(behind)) return false;
    index_.find(fmt::format("zstd frame at offset {}: its last block is not marked as the last", frame_->packed));
    frame_->odd_end = true;
    return true;
}

// Whether a new one begins with these bytes.
bool ZstdPass::add_to_piece(std::span<const std::byte> plain) {
    const bool begins = pieces_.back().length >= piece_;
    if (begins) pieces_.push_back({.plain = plain_, .packed = packed_});
    Piece& piece = pieces_.back();
    piece.crc = crc32_of(piece.crc, plain);
    piece.length += plain.size();
    return begins;
}

Result<void> ZstdPass::take_starts() {
    VDISK_TRY(found, finder_->take());
    for (const RunBegin& run : found.runs) {
        flush_before(run.from);
        run_ = run;
    }
    flush_before(found.decided);
    return ok();
}

// The pieces before a plain offset, but for the last one, which still grows.
void ZstdPass::flush_before(std::uint64_t plain) {
    const auto end = std::ranges::find_if(pieces_, [&](const Piece& piece) { return piece.plain >= plain; });
    flush(std::min(static_cast<std::size_t>(end - pieces_.begin()), pieces_.size() - 1));
}

// The first `count` pieces become segments.
void ZstdPass::flush(std::size_t count) {
    for (; count > 0; --count) {
        const Piece piece = pieces_.front();
        pieces_.pop_front();
        add_segment(piece, pieces_.empty() ? packed_ : pieces_.front().packed);
    }
}

void ZstdPass::add_segment(const Piece& piece, std::uint64_t packed_end) {
    if (piece.length == 0) return;
    const Segment* last = index_.last(frame_->first_segment);
    const std::uint64_t most = last != nullptr && last->lead > 0 ? distances_.segment : distances_.first_segment;
    const bool joins = last != nullptr && last->packed == run_.packed && last->plain - last->lead == run_.plain &&
                       last->length + piece.length <= grown(most, piece.plain) &&
                       packed_end - run_.packed - (last->packed_length - joined_) <= kJoinedStored;
    if (joins) {
        joined_ += packed_end - run_.packed - last->packed_length;
        return index_.grow(piece.length, piece.crc, packed_end - run_.packed);
    }
    joined_ = packed_end - piece.packed;
    index_.add({.kind = Segment::Kind::inner,
                .detail = log_of(frame_->window),
                .crc = piece.crc,
                .length = piece.length,
                .lead = piece.plain - run_.plain,
                .packed = run_.packed,
                .packed_length = packed_end - run_.packed,
                .window = run_.window});
}

// No more blocks come in this frame.
Result<void> ZstdPass::end_blocks() {
    finder_->end_frame();
    return take_starts();
}

// The next block must not be written over what is still to be looked at.
void ZstdPass::make_room() {
    const std::uint64_t end = plain_ + kZstdBlockMax + kOverwrite + kept(frame_->window);
    if (end > ring_bytes_) finder_->wait_until(end - ring_bytes_);
}

// Ends a frame whose last block, of these bytes, is decoded.
Result<PlainChunk> ZstdPass::finish_frame(std::span<const std::byte> plain) {
    VDISK_CHECK(end_blocks());
    const auto computed = static_cast<std::uint32_t>(XXH64_digest(&frame_->hash));
    if (!frame_->header.checksum) missed_check_ = computed;
    VDISK_TRY(wrong, wrong_with_frame());
    if (wrong) VDISK_CHECK(judge_frame(*wrong));
    return PlainChunk{.bytes = plain};
}

// Ends the frame if its bytes are sound as far as can be told, else says why not.
Result<std::optional<std::string>> ZstdPass::wrong_with_frame() {
    const std::string what = fmt::format("zstd frame at offset {}", frame_->packed);
    const bool agrees = !tells_size() || frame_->header.content_size == frame_length();
    const std::string sizes = fmt::format("its header says that it has {} bytes, but {} came out",
                                          frame_->header.content_size, frame_length());
    if (!frame_->header.checksum) {
        if (finder_->beyond_window()) return std::optional(what + ": a block copies from beyond its window");
        if (!agrees && last_length_ != frame_length()) return std::optional(fmt::format("{}: {}", what, sizes));
        if (!agrees) index_.find(fmt::format("{}: {}, as of the frame before", what, sizes));
        last_length_ = frame_length();
        end_frame(0, Segment::Cover::nothing);
        return std::optional<std::string>();
    }
    VDISK_TRY(stored, input_.at(packed_, kChecksum));
    if (stored.size() < kChecksum) {
        index_.find(
            fmt::format("the stream is cut off in the checksum of the zstd frame at offset {}", frame_->packed));
        ended_ = true;
        end_frame(0, Segment::Cover::nothing);
        return std::optional<std::string>();
    }
    packed_ += kChecksum;
    const auto computed = static_cast<std::uint32_t>(XXH64_digest(&frame_->hash));
    const auto told = static_cast<std::uint32_t>(little(stored, 0, kChecksum));
    const std::string checks = fmt::format("{}: its checksum is {:08x}, but that of its {} plain bytes is {:08x}", what,
                                           told, frame_length(), computed);
    if (told != computed && !(agrees && differ_in_one_byte(told, computed)))
        return std::optional(checks + ": something in them is altered");
    if (told != computed)
        index_.find(checks + "; they differ in one byte, so the checksum itself is damaged and the bytes are sound");
    else if (!agrees) index_.find(fmt::format("{}: {}, and their checksum is right", what, sizes));
    last_length_ = frame_length();
    end_frame(0, Segment::Cover::checksum);
    return std::optional<std::string>();
}

// Ends a frame in which something is altered. Where it may be a length, what follows is placed only if it is sure how
// long the frame was.
Result<void> ZstdPass::judge_frame(const std::string& wrong) {
    const std::uint64_t length = frame_length();
    const std::uint64_t told = frame_->header.content_size;
    if (told == length || (!tells_size() && last_length_ == length)) {
        end_frame(index_.doubt(Doubt::Kind::altered, fail(ErrorKind::corrupt, "{}", wrong)), Segment::Cover::nothing);
        return ok();
    }
    bool placed = tells_size() && told > length && index_.room_for(plain_ - index_.size() + told - length);
    if (placed) {
        VDISK_TRY(proven, is_proven(told, packed_));
        placed = proven;
    }
    const std::uint32_t reason = index_.doubt(
        Doubt::Kind::unplaced, fail(ErrorKind::corrupt, "{}; {}", wrong,
                                    placed ? fmt::format("it should have {}", told) : "what follows can't be placed"));
    end_frame(reason, Segment::Cover::nothing);
    if (!placed) index_.lose_place(reason);
    else break_ = {.what = {}, .at = packed_, .missing = told - length, .reason = reason};
    return ok();
}

// Whether a frame's length that stands beside damage is that of its neighbours: of the last sound one, or of the next
// as its header says.
Result<bool> ZstdPass::is_proven(std::uint64_t length, std::uint64_t next_frame) {
    if (length == last_length_) return true;
    VDISK_TRY(bytes, input_.at(next_frame, kZstdFrameHeaderMax));
    const auto header = parse_zstd_frame_header(bytes);
    return header.has_value() && header.value().kind == ZstdFrameHeader::Kind::frame &&
           header.value().content_size == length;
}

// With what was decoded of the frame.
void ZstdPass::end_frame(std::uint32_t reason, Segment::Cover cover) {
    if (!add_whole_frame(reason, cover)) {
        flush(pieces_.size());
        index_.judge(frame_->first_segment, reason, cover, group_);
    }
    frame_.reset();
}

// Small frames are decoded whole, those that follow one another together. Not if a header is damaged or blocks miss.
bool ZstdPass::add_whole_frame(std::uint32_t reason, Segment::Cover cover) {
    const std::uint64_t length = frame_length();
    const bool agrees = !tells_size() || frame_->header.content_size == length;
    if (break_ || ended_ || frame_->odd_end || !agrees || index_.segments() > frame_->first_segment || length == 0 ||
        length > group_ || packed_ - frame_->packed > limits_.stream_stored_bytes)
        return false;
    Segment whole{.cover = cover,
                  .detail = log_of(frame_->window),
                  .reason = reason,
                  .length = length,
                  .packed = frame_->packed,
                  .packed_length = packed_ - frame_->packed};
    for (const Piece& piece : pieces_) whole.crc = crc32_joined(whole.crc, piece.crc, piece.length);
    index_.add_part(whole, group_);
    return true;
}

// The end of the file inside a frame. What was decoded is as good as what has no checksum.
Result<PlainChunk> ZstdPass::cut_off() {
    const Error why = fail(ErrorKind::truncated,
                           "the stream is cut off at {} of its compressed bytes, in the zstd frame at offset {}",
                           input_.size(), frame_->packed);
    VDISK_CHECK(end_blocks());
    const std::uint64_t content = tells_size() ? frame_->header.content_size : 0;
    const std::uint64_t lost = content - std::min(content, frame_length());
    ended_ = true;
    end_frame(0, Segment::Cover::nothing);
    if (lost == 0 || !index_.room_for(lost)) {
        index_.find(why.what);
        return PlainChunk{};
    }
    const std::uint32_t reason = index_.doubt(Doubt::Kind::unplaced, why);
    index_.add_lost(lost, reason, group_);
    plain_ += lost;
    return PlainChunk{.lost = lost, .why = &index_.why(reason)};
}

// From here on the frame can't be decoded.
Result<void> ZstdPass::broken(Error what) {
    VDISK_CHECK(end_blocks());
    break_ = {.what = fail(what.kind, "zstd frame at offset {} is damaged: {}", frame_->packed, what.what),
              .at = packed_};
    return ok();
}

Result<PlainChunk> ZstdPass::go_over_break() {
    if (break_->missing > 0) {
        const Break filled = *std::exchange(break_, std::nullopt);
        index_.add_lost(filled.missing, filled.reason, group_);
        plain_ += filled.missing;
        return PlainChunk{.lost = filled.missing, .why = &index_.why(filled.reason)};
    }
    return break_->by_blocks ? walk_blocks() : search_frame();
}

// From the damaged block to the end of its frame by the blocks' headers. Where they lead nowhere, the next frame is
// searched for.
Result<PlainChunk> ZstdPass::walk_blocks() {
    for (int i = 0; i < kWalked; ++i) {
        std::uint64_t& at = break_->at;
        VDISK_TRY(start, input_.at(at, kZstdBlockHeader));
        const auto block = start.size() < kZstdBlockHeader ? ZstdBlock{} : parse_zstd_block(start);
        break_->empty = block.size > 0 ? 0 : break_->empty + kZstdBlockHeader;
        const bool leads_on = block.kind != ZstdBlock::Kind::reserved && block.size <= kZstdBlockMax &&
                              break_->empty <= limits_.stream_empty_bytes;
        at += kZstdBlockHeader + block.packed + (block.last && frame_->header.checksum ? kChecksum : 0);
        if (leads_on && !block.last) continue;
        VDISK_TRY(bytes, input_.at(at, kZstdFrameHeaderMax));
        if (leads_on && (at == input_.size() || is_frame(bytes))) return go_on_at(at, true);
        break_->by_blocks = false;
        at = packed_ + 1;
        break;
    }
    return PlainChunk{};
}

// The next place that looks like the beginning of a frame.
Result<PlainChunk> ZstdPass::search_frame() {
    VDISK_TRY(bytes, input_.at(break_->at, kZstdSearched + kZstdFrameHeaderMax));
    for (std::size_t i = 0; i < std::min(bytes.size(), kZstdSearched); ++i) {
        const void* const found = std::memchr(&bytes[i], 0x28, std::min(bytes.size(), kZstdSearched) - i);
        if (found == nullptr) break;
        i = static_cast<std::size_t>(static_cast<const std::byte*>(found) - bytes.data());
        const auto header = parse_zstd_frame_header(bytes.subspan(i));
        if (header.has_value() && header.value().kind == ZstdFrameHeader::Kind::frame &&
            check_frame(header.value()).has_value())
            return go_on_at(break_->at + i, false);
    }
    break_->at += std::min(bytes.size(), kZstdSearched);
    return bytes.size() <= kZstdSearched ? go_on_at(input_.size(), false) : PlainChunk{};
}

// The break is over: what was decoded of its frame can't be vouched for, the rest of it is lost, and what follows can
// be placed only if the frame's size is sure.
Result<PlainChunk> ZstdPass::go_on_at(std::uint64_t next, bool by_blocks) {
    const std::uint64_t content = frame_ && tells_size() ? frame_->header.content_size : 0;
    const std::uint64_t done = frame_ ? frame_length() : 0;
    const bool sized = content >= done && content > 0 && index_.room_for(plain_ - index_.size() + content - done);
    const bool follows = next < input_.size();
    bool placed = !follows;
    if (follows && by_blocks && sized) {
        VDISK_TRY(proven, is_proven(content, next));
        placed = proven;
    }
    packed_ = next;
    ended_ = !follows;
    if (!frame_ && !follows) {
        index_.find(std::exchange(break_, std::nullopt)->what.what);
        return PlainChunk{};
    }
    const Error& what = break_->what;
    const std::uint32_t reason = index_.doubt(
        Doubt::Kind::unplaced, fail(what.kind, "{}{}", what.what, placed ? "" : "; what follows can't be placed"));
    if (frame_) end_frame(reason, Segment::Cover::nothing);
    break_.reset();
    if (!placed) index_.lose_place(reason);
    const std::uint64_t lost = !placed ? kUnknownGap : sized ? content - done : 0;
    if (lost == 0) return PlainChunk{};
    index_.add_lost(lost, reason, group_);
    plain_ += lost;
    return PlainChunk{.lost = lost, .why = &index_.why(reason)};
}

// Decodes a run into a ring, which begins with the window; or all of it to where it is wanted.
class ZstdRunReader final : public SegmentReader {
public:
    ZstdRunReader(const ByteSource& packed, const Segment& run)
        : input_(packed), at_(run.packed), end_(run.packed + run.packed_length), left_(run.length),
          reach_(std::size_t{1} << std::min<unsigned>(run.detail, kReachLog)) {}

    Result<void> begin(std::span<const std::byte> window) {
        // Behind what matches reach there is room for one block before the ring's end and one behind its start.
        constexpr std::size_t kRoom = 2 * kZstdBlockMax + kOverwrite;
        if (window.empty()) {
            VDISK_TRY(memory, SparseBuffer::make(reach_ + kRoom));
            state_.emplace(DecoderState{std::move(memory), 0, {}});
            return decoder_.begin();
        }
        VDISK_TRY(unpacked, unpack_window(window, reach_, kRoom));
        state_.emplace(std::move(unpacked));
        place_ = state_->window;
        return decoder_.begin(state_->prefix(), state_->offsets);
    }

    Result<void> read(std::span<std::byte> out) override {
        if (!begun_ && out.size() == left_) return read_all(out);
        while (!out.empty()) {
            if (decoded_.empty()) VDISK_CHECK(decode_into_ring());
            const std::size_t count = std::min(out.size(), decoded_.size());
            std::memcpy(out.data(), decoded_.data(), count);
            out = out.subspan(count);
            decoded_ = decoded_.subspan(count);
        }
        return ok();
    }

private:
    // The decoder finds the window where it is, apart from these bytes.
    Result<void> read_all(std::span<std::byte> out) {
        while (!out.empty()) {
            VDISK_TRY(got, decode_block(out));
            out = out.subspan(got);
        }
        return ok();
    }

    Result<void> decode_into_ring() {
        const std::span<std::byte> ring = state_->memory.bytes();
        if (ring.size() - place_ < kZstdBlockMax + kOverwrite) place_ = 0;
        VDISK_TRY(got, decode_block(ring.subspan(place_, kZstdBlockMax)));
        decoded_ = ring.subspan(place_, got);
        place_ += got;
        return ok();
    }

    Result<std::size_t> decode_block(std::span<std::byte> out) {
        VDISK_TRY(header, input_.at(at_, std::min<std::uint64_t>(kZstdBlockHeader, end_ - at_)));
        if (header.size() < kZstdBlockHeader) return fail(ErrorKind::corrupt, "zstd data ends early");
        const std::uint64_t wanted = kZstdBlockHeader + std::uint64_t{parse_zstd_block(header).packed};
        VDISK_TRY(block, input_.at(at_, static_cast<std::size_t>(std::min(wanted, end_ - at_))));
        VDISK_TRY(length, ZstdBlockDecoder::length_of(block));
        begun_ = true;
        VDISK_TRY(got, decoder_.decode(block.first(length), out));
        if (got > left_) return fail(ErrorKind::corrupt, "zstd data expands to more than it did");
        left_ -= got;
        at_ += length;
        return got;
    }

    static constexpr unsigned kReachLog = 27; // no frame with a larger window is in an index

    PackedInput input_;
    ZstdBlockDecoder decoder_;
    std::optional<DecoderState> state_;
    std::span<const std::byte> decoded_; ///< and not given yet
    std::size_t place_ = 0;              ///< of the next block
    bool begun_ = false;                 ///< a block was decoded
    std::uint64_t at_;
    std::uint64_t end_;
    std::uint64_t left_; ///< plain bytes
    std::size_t reach_;  ///< of matches
};

Result<std::unique_ptr<StreamPass>> make_zstd_pass(const ByteSource& packed, WindowStore& windows, const Limits& limits,
                                                   PassKind kind) {
    auto pass = std::make_unique<ZstdPass>(packed, windows, limits, kind);
    VDISK_CHECK(pass->begin());
    return std::unique_ptr<StreamPass>(std::move(pass));
}

Result<void> expand_zstd(const SegmentBytes& bytes, std::span<std::byte> out) {
    if (bytes.segment.kind == Segment::Kind::whole) return expand_zstd_frames(bytes.packed, out);
    const SpanSource packed(bytes.packed);
    ZstdRunReader reader(packed,
                         {.detail = bytes.segment.detail, .length = out.size(), .packed_length = bytes.packed.size()});
    VDISK_CHECK(reader.begin(bytes.window));
    return reader.read(out);
}

Result<std::unique_ptr<SegmentReader>> make_zstd_reader(const ByteSource& packed, const Segment& run,
                                                        std::span<const std::byte> window) {
    auto reader = std::make_unique<ZstdRunReader>(packed, run);
    VDISK_CHECK(reader->begin(window));
    return std::unique_ptr<SegmentReader>(std::move(reader));
}

} // namespace

const StreamCodec kZstdCodec{"zstd", "stream-zstd-4", is_frame, make_zstd_pass, expand_zstd, make_zstd_reader};

} // namespace vdisk
