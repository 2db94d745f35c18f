// SPDX-License-Identifier: Apache-2.0
#define ZSTD_STATIC_LINKING_ONLY // for decoding block by block into our own ring, so that the window is in memory once
#define XXH_STATIC_LINKING_ONLY  // for the state as a member
#include "io/stream/stream_codec.hpp"
#include "io/stream/zstd_trial.hpp"

#include <xxhash.h>
#include <zstd.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <deque>

namespace vdisk {
namespace {

// Plain bytes from one thing to the next, in parts of what a read may have to decode.
struct Spacing {
    explicit Spacing(const Limits& limits) : most(std::max<std::uint64_t>(limits.stream_decode_bytes, kZstdBlockMax)) {}

    std::uint64_t most;
    // Of the places this far from a start the last that can be one is the next. A read may have to decode all before it and the first segment
    // behind it.
    std::uint64_t far = most - most / 16 - most / 64;
    std::uint64_t near = most / 2;
    std::uint64_t near_wide = most / 16 * 11; ///< the ring that the search needs is that much smaller
    // Once a search found none, the first that can be one is taken, among so many bytes at a time.
    std::uint64_t late_step = most / 16;
    // Small frames are one segment together up to this length.
    std::uint64_t group = most / 16;
    // A run of plain bytes that is decoded from one start is cut into segments, each with its own checksum, so that a read need not decode
    // to its end. The first one is short for reads that go over from the run before.
    std::uint64_t first_segment = most / 16;
    std::uint64_t segment = most / 4;
    std::uint64_t piece = most / 64;
    // A start is tried so far behind the window's length: from there on the decoder has no memory of what was before. But where the window is
    // longer than `most` no further than that, and then what is decoded from it may not go on behind that either.
    std::uint64_t behind_window = most / 64;
    // How far the pass may be ahead of a search.
    std::uint64_t ahead = most * 3;
    std::uint64_t ahead_wide = most / 4;
};

// So many candidates at most are tried for one start.
constexpr std::size_t kCandidatesMost = 48;
// More than decoders write behind what they decode.
constexpr std::uint64_t kOverwrite = 64;
// No frame with a larger window is in an index.
constexpr int kReaderWindowLog = 27;
// Runs up to this length are decoded into memory of that length; longer ones, which are rare, through a window.
constexpr std::uint64_t kRunInMemory = 24U << 20;

struct FreeDecoder {
    void operator()(ZSTD_DCtx* decoder) const noexcept { ZSTD_freeDCtx(decoder); }
};
using DecoderPtr = std::unique_ptr<ZSTD_DCtx, FreeDecoder>;

// Blocks that stay together; with the first of them decoding may be able to start.
struct Piece {
    std::uint64_t plain = 0;
    std::uint64_t packed = 0;
    std::uint64_t length = 0; ///< plain bytes
    std::uint32_t crc = 0;
    StartQuality quality = StartQuality::none;
};

// A place from which on decoding works.
struct Start {
    std::uint64_t plain = 0;
    std::uint64_t packed = 0;
    WindowRange window{};
    std::uint64_t proven_end = kUnknownSize; ///< up to which plain byte
    bool free = false;                       ///< only raw and RLE blocks follow: nothing is needed, but it leads nowhere

    [[nodiscard]] bool leads_on() const noexcept { return !free && proven_end == kUnknownSize; }
};

struct Frame {
    ZstdFrameHeader header;
    std::uint64_t plain = 0;       ///< where it starts
    std::uint64_t packed = 0;
    std::uint64_t first_block = 0;
    std::size_t first_segment = 0;
    std::uint64_t window = 0;      ///< bytes that matches can reach back
    XXH64_state_t hash{};
};

std::uint8_t log_of(std::uint64_t window) {
    return static_cast<std::uint8_t>(std::max<std::uint64_t>(10, static_cast<std::uint64_t>(std::bit_width(std::max<std::uint64_t>(window, 1) - 1))));
}

class ZstdPass final : public StreamPass {
public:
    ZstdPass(const ByteSource& packed, WindowStore& windows, const Limits& limits)
        : input_(packed), windows_(windows), limits_(limits), spacing_(limits), decoder_(ZSTD_createDCtx()) {}

    Result<void> begin();
    Result<PlainChunk> next() override;
    std::uint64_t packed_position() const noexcept override { return std::min(packed_, input_.size()); }
    Result<StreamIndex> finish() override;

private:
    Result<void> check_frame(const ZstdFrameHeader& header) const;
    Result<void> start_frame();
    Result<void> open_frame(const ZstdFrameHeader& header);
    Result<void> make_ring(std::uint64_t window);
    bool can_search();
    Result<void> feed_header(const ZstdFrameHeader& header);
    Result<PlainChunk> next_block();
    Result<std::size_t> decode_block(std::span<const std::byte> framed, std::span<std::byte> out);
    Result<PlainChunk> took_block(const ZstdBlock& block, std::span<const std::byte> plain);
    Result<void> finish_frame();
    void check_hash(std::uint32_t stored);
    void add_whole_frame();

    void consider_start(const ZstdBlock& block, std::span<const std::byte> body);
    void begin_piece(StartQuality quality);
    void add_to_piece(std::span<const std::byte> plain);
    void begin_free_run();
    void leave_free_run();
    [[nodiscard]] bool collects(const Piece& piece) const noexcept;
    [[nodiscard]] bool any_candidate() const noexcept;
    void search_if_ready();
    void search();
    BlockStretch stretch_of(const Piece& piece) const;
    void settle();
    void begin_run(const Start& start);
    void flush(std::size_t count);
    void flush_decided();
    void add_segment(const Piece& piece, std::uint64_t packed_end);
    void end_blocks();
    void make_room();

    PlainChunk damaged(Error why);
    PlainChunk cut_off();
    bool walk_blocks(bool checksum);
    void end_frame(std::uint32_t reason);
    void end_with(std::string finding);
    std::uint32_t add_reason(Error why);

    std::string name() const { return std::string(input_.source().name()); }
    [[nodiscard]] bool wide(std::uint64_t window) const noexcept { return window > spacing_.most; }
    /// How far matches behind `plain` can reach back.
    [[nodiscard]] std::uint64_t reach_of(std::uint64_t plain) const noexcept { return std::min(frame_->window, plain - frame_->plain); }
    [[nodiscard]] std::uint64_t near() const noexcept { return wide(frame_->window) ? spacing_.near_wide : spacing_.near; }
    [[nodiscard]] std::uint64_t proven_length() const noexcept { return std::min(frame_->window, spacing_.most) + spacing_.behind_window; }

    PackedInput input_;
    WindowStore& windows_;
    Limits limits_;
    Spacing spacing_;
    DecoderPtr decoder_;

    std::unique_ptr<std::byte[]> ring_memory_; ///< ring_bytes_, and room for a block behind them
    std::uint64_t ring_bytes_ = 0;
    std::uint64_t ring_window_ = 0; ///< the longest for which it does
    std::optional<PlainRing> ring_;
    std::optional<WindowPattern> pattern_;
    std::optional<StartSearcher> searcher_; ///< ends before what it reads from

    std::uint64_t plain_ = 0;  ///< next plain byte
    std::uint64_t packed_ = 0; ///< next compressed one
    std::optional<Frame> frame_;
    bool ended_ = false;

    std::deque<Piece> pieces_;        ///< of the frame, those of which it is not known yet from where they are decoded
    Start start_;                     ///< from which the first piece is
    Start far_;                       ///< the latest that leads to the end of the frame
    SearchPtr search_;                ///< under way
    std::uint64_t collect_from_ = 0;  ///< the next start is sought among the candidates from here ...
    std::uint64_t collect_to_ = 0;    ///< ... to here
    bool late_ = false;               ///< the first one will do
    StreamIndex index_;
};

Result<void> ZstdPass::begin() {
    if (!decoder_) return fail(ErrorKind::io, "no memory for a decompressor");
    VDISK_TRY(bytes, input_.at(0, kZstdFrameHeaderMax));
    const auto header = parse_zstd_frame_header(bytes);
    if (header.has_value() && header.value().kind == ZstdFrameHeader::Kind::frame) VDISK_CHECK(check_frame(header.value()));
    return ok();
}

// What can't be decoded here although it may be sound.
Result<void> ZstdPass::check_frame(const ZstdFrameHeader& header) const {
    if (header.dictionary != 0)
        return fail_at(packed_, ErrorKind::unsupported, "{}: zstd frame at offset {} needs dictionary {}", name(), packed_, header.dictionary);
    if (std::min(header.window, header.content_size) > limits_.stream_window_bytes)
        return fail_at(packed_, ErrorKind::unsupported, "{}: zstd frame at offset {} needs a window of {} bytes, more than the {} that are allowed",
                       name(), packed_, header.window, limits_.stream_window_bytes);
    return ok();
}

Result<PlainChunk> ZstdPass::next() {
    while (!ended_) {
        if (!frame_) {
            VDISK_CHECK(start_frame());
            continue;
        }
        VDISK_TRY(chunk, next_block());
        if (!chunk.bytes.empty() || chunk.lost > 0) return chunk;
    }
    return PlainChunk{};
}

Result<void> ZstdPass::start_frame() {
    VDISK_TRY(bytes, input_.at(packed_, kZstdFrameHeaderMax));
    if (bytes.empty()) {
        ended_ = true;
        return ok();
    }
    const auto header = parse_zstd_frame_header(bytes);
    if (header.has_error()) end_with(fmt::format("{} at offset {}", header.error().what, packed_));
    else if (header.value().kind == ZstdFrameHeader::Kind::other)
        end_with(fmt::format("{} bytes from offset {} on are no zstd frame", input_.size() - packed_, packed_));
    else if (header.value().kind == ZstdFrameHeader::Kind::skippable) {
        packed_ += header.value().length;
        if (packed_ > input_.size()) end_with("the last skippable frame is cut off");
    } else if (const auto good = check_frame(header.value()); good.has_error()) end_with(good.error().what);
    else return open_frame(header.value());
    return ok();
}

void ZstdPass::end_with(std::string finding) {
    index_.findings.push_back(std::move(finding));
    ended_ = true;
}

Result<void> ZstdPass::open_frame(const ZstdFrameHeader& header) {
    const std::uint64_t window = std::min(header.window, header.content_size);
    VDISK_CHECK(make_ring(window));
    index_.window_log = std::max<std::uint32_t>(index_.window_log, log_of(window));
    frame_.emplace(Frame{.header = header, .plain = plain_, .packed = packed_, .first_block = packed_ + header.length,
                         .first_segment = index_.segments.size(), .window = window});
    XXH64_reset(&frame_->hash, 0);
    VDISK_CHECK(feed_header(header));
    packed_ = frame_->first_block;
    pieces_.clear();
    begin_piece(StartQuality::none);
    far_ = {.plain = plain_, .packed = packed_};
    begin_run(far_);
    return ok();
}

Result<void> ZstdPass::make_ring(std::uint64_t window) {
    const std::uint64_t wanted = window + std::min(window, spacing_.most) + spacing_.behind_window + spacing_.far +
                                 (wide(window) ? spacing_.ahead_wide - spacing_.near_wide : spacing_.ahead - spacing_.near) + kZstdBlockMax;
    if (wanted <= ring_bytes_) return ok();
    searcher_.reset();
    ring_memory_.reset();
    pattern_.reset();
    ring_bytes_ = wanted;
    ring_window_ = window;
    ring_memory_.reset(new (std::nothrow) std::byte[wanted + kZstdBlockMax]);
    if (!ring_memory_) return fail(ErrorKind::io, "no memory for a window of {} bytes", window);
    ring_.emplace(std::span<const std::byte>(ring_memory_.get(), wanted));
    return ok();
}

// Only when the first search comes: most small streams need none.
bool ZstdPass::can_search() {
    if (searcher_) return true;
    auto pattern = WindowPattern::make(static_cast<std::size_t>(ring_window_));
    if (pattern.has_error()) return false;
    pattern_.emplace(std::move(pattern).value());
    searcher_.emplace(TrialContext{input_.source(), *ring_, *pattern_}, windows_);
    return true;
}

Result<void> ZstdPass::feed_header(const ZstdFrameHeader& header) {
    VDISK_TRY(bytes, input_.at(frame_->packed, static_cast<std::size_t>(header.length)));
    ZSTD_decompressBegin(decoder_.get());
    ZSTD_DCtx_setParameter(decoder_.get(), ZSTD_d_forceIgnoreChecksum, ZSTD_d_ignoreChecksum); // it is computed here
    for (std::size_t at = 0; at < bytes.size();) {
        const std::size_t wanted = ZSTD_nextSrcSizeToDecompress(decoder_.get());
        if (wanted == 0 || wanted > bytes.size() - at) return fail(ErrorKind::io, "{}: zstd frame header at offset {} is not taken", name(), frame_->packed);
        const std::size_t status = ZSTD_decompressContinue(decoder_.get(), nullptr, 0, &bytes[at], wanted);
        if (ZSTD_isError(status)) return fail(ErrorKind::io, "{}: zstd frame header at offset {}: {}", name(), frame_->packed, ZSTD_getErrorName(status));
        at += wanted;
    }
    return ok();
}

Result<PlainChunk> ZstdPass::next_block() {
    VDISK_TRY(start, input_.at(packed_, kZstdBlockHeader));
    if (start.size() < kZstdBlockHeader) return cut_off();
    const ZstdBlock block = parse_zstd_block(start);
    if (block.kind == ZstdBlock::Kind::reserved || block.size > kZstdBlockMax)
        return damaged(fail(ErrorKind::corrupt, "zstd block at offset {} has an impossible header", packed_));
    VDISK_TRY(framed, input_.at(packed_, kZstdBlockHeader + block.packed));
    if (framed.size() < kZstdBlockHeader + block.packed) return cut_off();

    consider_start(block, framed.subspan(kZstdBlockHeader));
    make_room();
    const std::span out(ring_memory_.get() + plain_ % ring_bytes_, kZstdBlockMax);
    const auto length = decode_block(framed, out);
    if (length.has_error()) return damaged(length.error());
    return took_block(block, out.first(length.value()));
}

Result<std::size_t> ZstdPass::decode_block(std::span<const std::byte> framed, std::span<std::byte> out) {
    std::size_t status = ZSTD_decompressContinue(decoder_.get(), nullptr, 0, framed.data(), kZstdBlockHeader);
    if (!ZSTD_isError(status) && framed.size() > kZstdBlockHeader)
        status = ZSTD_decompressContinue(decoder_.get(), out.data(), out.size(), &framed[kZstdBlockHeader], framed.size() - kZstdBlockHeader);
    if (ZSTD_isError(status)) return fail(ErrorKind::corrupt, "zstd block at offset {}: {}", packed_, ZSTD_getErrorName(status));
    return status;
}

Result<PlainChunk> ZstdPass::took_block(const ZstdBlock& block, std::span<const std::byte> plain) {
    // The ring goes round: what was written behind its end belongs to its start.
    const std::uint64_t place = plain_ % ring_bytes_;
    if (place + plain.size() > ring_bytes_) {
        const auto over = static_cast<std::size_t>(place + plain.size() - ring_bytes_);
        std::memcpy(ring_memory_.get(), ring_memory_.get() + ring_bytes_, over);
    }
    const std::uint64_t end = packed_ + kZstdBlockHeader + block.packed;
    add_to_piece(plain);
    if (frame_->header.checksum) XXH64_update(&frame_->hash, plain.data(), plain.size());
    plain_ += plain.size();
    packed_ = end;
    search_if_ready();
    if (block.last) VDISK_CHECK(finish_frame());
    return PlainChunk{.bytes = plain};
}

void ZstdPass::begin_piece(StartQuality quality) {
    if (!pieces_.empty() && pieces_.back().length == 0) pieces_.pop_back();
    pieces_.push_back({.plain = plain_, .packed = packed_, .quality = quality});
}

void ZstdPass::add_to_piece(std::span<const std::byte> plain) {
    if (pieces_.back().length >= spacing_.piece) begin_piece(StartQuality::none);
    Piece& piece = pieces_.back();
    piece.crc = crc32_of(piece.crc, plain);
    piece.length += plain.size();
}

// Whether decoding may be able to start with the block that comes now.
void ZstdPass::consider_start(const ZstdBlock& block, std::span<const std::byte> body) {
    if (search_ && searcher_->done(*search_)) settle();
    if (block.kind != ZstdBlock::Kind::compressed) {
        if (!search_ && plain_ - start_.plain >= near() && !any_candidate()) begin_free_run();
        return;
    }
    if (start_.free) leave_free_run();
    if (!search_ && plain_ < collect_from_) return;
    if (reach_of(plain_) < kZstdWindowLeast) return;
    if (const StartQuality quality = zstd_start_quality(body); quality != StartQuality::none) begin_piece(quality);
}

void ZstdPass::begin_free_run() {
    begin_piece(StartQuality::none);
    flush(pieces_.size() - 1);
    begin_run({.plain = plain_, .packed = packed_, .free = true});
}

// Behind raw and RLE blocks comes one that needs what was before, unless decoding can start there.
void ZstdPass::leave_free_run() {
    begin_piece(StartQuality::none);
    flush(pieces_.size() - 1);
    start_ = far_;
    collect_from_ = plain_;
    collect_to_ = plain_ + spacing_.late_step;
    late_ = true;
}

// What is decoded from now on is so from `start`.
void ZstdPass::begin_run(const Start& start) {
    start_ = start;
    if (start.leads_on()) far_ = start;
    collect_from_ = start.plain + near();
    collect_to_ = start.plain + spacing_.far;
    late_ = false;
}

bool ZstdPass::collects(const Piece& piece) const noexcept {
    return piece.quality != StartQuality::none && piece.length > 0 && piece.plain >= collect_from_ && piece.plain < collect_to_;
}

bool ZstdPass::any_candidate() const noexcept {
    return std::ranges::any_of(pieces_, [this](const Piece& piece) { return collects(piece); });
}

void ZstdPass::search_if_ready() {
    if (search_ || plain_ < collect_to_) return;
    const auto last = std::find_if(pieces_.rbegin(), pieces_.rend(), [this](const Piece& piece) { return collects(piece); });
    if (last == pieces_.rend()) {
        late_ = true;
        collect_from_ = collect_to_;
        collect_to_ = plain_ + spacing_.late_step;
        flush_decided();
    } else if (plain_ >= last->plain + proven_length()) search();
}

// All of its blocks that the proof needs, as far as they are there.
BlockStretch ZstdPass::stretch_of(const Piece& piece) const {
    const auto end = std::ranges::find_if(pieces_, [&](const Piece& other) { return other.plain >= piece.plain + proven_length(); });
    return {.plain = piece.plain, .plain_length = (end == pieces_.end() ? plain_ : end->plain) - piece.plain, .packed = piece.packed,
            .packed_length = (end == pieces_.end() ? packed_ : end->packed) - piece.packed,
            .window = static_cast<std::size_t>(reach_of(piece.plain))};
}

// The last of the candidates first, or the first where every byte without a start costs.
void ZstdPass::search() {
    const auto made = std::make_shared<StartSearch>();
    for (const Piece& piece : pieces_)
        if (collects(piece)) made->candidates.push_back(stretch_of(piece));
    if (!late_) std::ranges::reverse(made->candidates);
    // Not std::ranges::stable_partition(), which returns what clang 14 can't compile.
    std::stable_partition(made->candidates.begin(), made->candidates.end(), [this](const BlockStretch& candidate) {
        return std::ranges::find(pieces_, candidate.plain, &Piece::plain)->quality == StartQuality::good;
    });
    if (made->candidates.size() > kCandidatesMost) made->candidates.resize(kCandidatesMost);
    if (!can_search()) made->candidates.clear();
    search_ = made;
    if (!made->candidates.empty()) searcher_->start(made);
    if (made->candidates.empty() || searcher_->done(*made)) settle();
}

// Goes on with what the search, which is done, has found.
void ZstdPass::settle() {
    const SearchPtr search = std::exchange(search_, nullptr);
    if (!search->found) {
        late_ = true;
        collect_from_ = collect_to_;
        collect_to_ = std::max(plain_, collect_from_ + spacing_.late_step);
        flush_decided();
        return;
    }
    const BlockStretch& found = search->candidates[*search->found];
    const auto piece = std::ranges::find(pieces_, found.plain, &Piece::plain);
    flush(static_cast<std::size_t>(piece - pieces_.begin()));
    begin_run({.plain = found.plain, .packed = found.packed, .window = search->window,
               .proven_end = found.plain_length >= frame_->window ? kUnknownSize : found.plain + found.plain_length});
}

// The pieces in front of which no start can come any more.
void ZstdPass::flush_decided() {
    const auto open = std::ranges::find_if(pieces_, [this](const Piece& piece) { return piece.plain >= collect_from_; });
    const auto count = static_cast<std::size_t>(open - pieces_.begin());
    flush(std::min(count, pieces_.size() - 1)); // the last one still grows
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
    const Start& start = piece.plain + piece.length <= start_.proven_end ? start_ : far_;
    Segment segment{.kind = Segment::Kind::inner, .detail = log_of(frame_->window), .crc = piece.crc, .plain = piece.plain, .length = piece.length,
                    .lead = piece.plain - start.plain, .packed = start.packed, .packed_length = packed_end - start.packed, .window = start.window};
    Segment* last = index_.segments.size() > frame_->first_segment ? &index_.segments.back() : nullptr;
    const bool joins = last != nullptr && last->packed == segment.packed && last->length + segment.length <= (last->lead == 0 ? spacing_.first_segment : spacing_.segment);
    if (!joins) {
        index_.segments.push_back(segment);
        return;
    }
    last->crc = crc32_joined(last->crc, segment.crc, segment.length);
    last->length += segment.length;
    last->packed_length = segment.packed_length;
}

// No more blocks come in this frame. What was not looked at yet is, where it is far from a start.
void ZstdPass::end_blocks() {
    while (search_ || (plain_ - start_.plain > spacing_.far && collect_from_ < plain_)) {
        if (!search_) {
            collect_to_ = std::max(collect_to_, collect_from_ + 1);
            if (any_candidate()) search();
            else if (collect_to_ < plain_) collect_to_ = plain_;
            else break;
            continue;
        }
        searcher_->wait(*search_);
        settle();
    }
}

// The next block must not be written over what is still to be looked at: a search may be behind by what the ring is longer than the window.
void ZstdPass::make_room() {
    const std::uint64_t end = plain_ + kZstdBlockMax + kOverwrite;
    const std::uint64_t behind = ring_bytes_ - frame_->window;
    if (end <= behind) return;
    const std::uint64_t gone = end - behind;
    if (search_ && std::ranges::any_of(search_->candidates, [&](const BlockStretch& candidate) { return candidate.plain < gone; })) {
        searcher_->wait(*search_);
        settle();
    }
    for (Piece& piece : pieces_)
        if (piece.plain < gone) piece.quality = StartQuality::none;
}

Result<void> ZstdPass::finish_frame() {
    end_blocks();
    if (frame_->header.checksum) {
        VDISK_TRY(stored, input_.at(packed_, 4));
        if (stored.size() < 4) {
            index_.findings.push_back(fmt::format("the stream is cut off in the checksum of the zstd frame at offset {}", frame_->packed));
            end_frame(0);
            ended_ = true;
            return ok();
        }
        std::uint32_t value = 0;
        for (std::size_t i = 4; i-- > 0;) value = value << 8 | std::to_integer<std::uint32_t>(stored[i]);
        check_hash(value);
        packed_ += 4;
    } else add_whole_frame();
    return ok();
}

void ZstdPass::check_hash(std::uint32_t stored) {
    const auto computed = static_cast<std::uint32_t>(XXH64_digest(&frame_->hash));
    if (stored == computed) return add_whole_frame();
    const std::string what = fmt::format("zstd frame at offset {}: its checksum is {:08x}, but that of its {} plain bytes is {:08x}", frame_->packed, stored,
                                         plain_ - frame_->plain, computed);
    if (!differ_in_one_byte(stored, computed)) return end_frame(add_reason(fail(ErrorKind::corrupt, "{}: something in them is altered", what)));
    index_.findings.push_back(what + "; they differ in one byte, so the checksum itself is damaged and the bytes are sound");
    end_frame(0);
}

// Ends a frame whose blocks are decoded without its header and checksum, with what was decoded of it. `reason` 0: it is sound.
void ZstdPass::end_frame(std::uint32_t reason) {
    flush(pieces_.size());
    for (std::size_t i = frame_->first_segment; i < index_.segments.size(); ++i) index_.segments[i].reason = reason;
    frame_.reset();
}

std::uint32_t ZstdPass::add_reason(Error why) {
    index_.findings.push_back(why.what);
    index_.reasons.push_back(std::move(why).in(name()));
    return static_cast<std::uint32_t>(index_.reasons.size());
}

// Ends a sound frame. Small ones are decoded whole, those that follow one another together.
void ZstdPass::add_whole_frame() {
    const std::uint64_t length = plain_ - frame_->plain;
    if (length == 0 || length > spacing_.group) return end_frame(0);
    const std::uint64_t packed_end = packed_ + (frame_->header.checksum ? 4 : 0);
    Segment whole{.detail = log_of(frame_->window), .plain = frame_->plain, .length = length, .packed = frame_->packed, .packed_length = packed_end - frame_->packed};
    for (const Piece& piece : pieces_) whole.crc = crc32_joined(whole.crc, piece.crc, piece.length);
    Segment* before = index_.segments.empty() ? nullptr : &index_.segments.back();
    if (before != nullptr && before->kind == Segment::Kind::whole && before->reason == 0 && before->length + length <= spacing_.group) {
        before->crc = crc32_joined(before->crc, whole.crc, length);
        before->length += length;
        before->packed_length = packed_end - before->packed;
    } else index_.segments.push_back(whole);
    frame_.reset();
}

PlainChunk ZstdPass::cut_off() {
    const Error why = fail(ErrorKind::truncated, "the stream is cut off at {} of its compressed bytes, in the zstd frame at offset {}", input_.size(), frame_->packed);
    end_blocks();
    const std::uint64_t content_end = frame_->header.content_size == kUnknownSize ? plain_ : frame_->plain + frame_->header.content_size;
    end_frame(0);
    ended_ = true;
    if (content_end <= plain_) {
        index_.findings.push_back(why.what);
        return {};
    }
    const std::uint32_t reason = add_reason(why);
    const std::uint64_t lost = content_end - plain_;
    index_.segments.push_back({.kind = Segment::Kind::lost, .reason = reason, .plain = plain_, .length = lost, .packed = packed_});
    plain_ += lost;
    return {.lost = lost, .why = &index_.reasons[reason - 1]};
}

// What was decoded of a damaged frame can't be vouched for; the rest of it is lost, and what follows too unless the frame's
// size is known.
PlainChunk ZstdPass::damaged(Error why) {
    end_blocks();
    const std::uint64_t content = frame_->header.content_size;
    const std::uint64_t done = plain_ - frame_->plain;
    const bool placed = content != kUnknownSize && content >= done;
    const bool checksum = frame_->header.checksum;
    const std::uint32_t reason = add_reason(fail(ErrorKind::corrupt, "zstd frame at offset {} is damaged: {}{}", frame_->packed, why.what,
                                                 placed ? "" : "; what follows can't be placed"));
    end_frame(reason);
    ended_ = !placed || !walk_blocks(checksum);
    const std::uint64_t lost = placed ? content - done : 0;
    if (lost > 0) index_.segments.push_back({.kind = Segment::Kind::lost, .reason = reason, .plain = plain_, .length = lost});
    plain_ += lost;
    return {.lost = lost, .why = &index_.reasons[reason - 1]};
}

// From the damaged block to the end of its frame by the blocks' headers; false if they lead nowhere.
bool ZstdPass::walk_blocks(bool checksum) {
    std::uint64_t at = packed_;
    for (bool last = false; !last;) {
        const auto start = input_.at(at, kZstdBlockHeader);
        if (start.has_error() || start.value().size() < kZstdBlockHeader) return false;
        const ZstdBlock block = parse_zstd_block(start.value());
        if (block.kind == ZstdBlock::Kind::reserved) return false;
        at += kZstdBlockHeader + block.packed;
        last = block.last;
    }
    at += checksum ? 4 : 0;
    if (at > input_.size()) return false;
    packed_ = at;
    const auto bytes = input_.at(at, kZstdFrameHeaderMax);
    if (bytes.has_error() || bytes.value().empty()) return true;
    const auto header = parse_zstd_frame_header(bytes.value());
    return header.has_value() && header.value().kind != ZstdFrameHeader::Kind::other;
}

Result<StreamIndex> ZstdPass::finish() {
    index_.size = plain_;
    return std::move(index_);
}

// Decodes a run into memory as long as it, so that the run itself is the window.
class ZstdRunReader final : public SegmentReader {
public:
    ZstdRunReader(const ByteSource& packed, const Segment& run) : input_(packed), at_(run.packed), end_(run.packed + run.packed_length), length_(run.length) {}

    Result<void> begin(std::span<const std::byte> window) {
        VDISK_TRY(plain, SparseBuffer::make(static_cast<std::size_t>(length_) + kZstdBlockMax));
        plain_.emplace(std::move(plain));
        if (window.empty()) return decoder_.begin();
        VDISK_TRY(unpacked, unpack_window(window));
        window_.emplace(std::move(unpacked));
        return decoder_.begin(window_->window.prefix(), window_->offsets);
    }

    Result<void> read(std::span<std::byte> out) override {
        while (decoded_ - given_ < out.size()) VDISK_CHECK(decode_block());
        std::memcpy(out.data(), plain_->bytes().data() + given_, out.size());
        given_ += out.size();
        return ok();
    }

private:
    Result<void> decode_block() {
        VDISK_TRY(header, input_.at(at_, std::min<std::uint64_t>(kZstdBlockHeader, end_ - at_)));
        if (header.size() < kZstdBlockHeader) return fail(ErrorKind::corrupt, "zstd data ends early");
        const std::uint64_t wanted = kZstdBlockHeader + std::uint64_t{parse_zstd_block(header).packed};
        VDISK_TRY(block, input_.at(at_, static_cast<std::size_t>(std::min(wanted, end_ - at_))));
        VDISK_TRY(length, ZstdBlockDecoder::length_of(block));
        VDISK_TRY(got, decoder_.decode(block.first(length), plain_->bytes().data() + decoded_));
        if (got > length_ - decoded_) return fail(ErrorKind::corrupt, "zstd data expands to more than it did");
        decoded_ += got;
        at_ += length;
        return ok();
    }

    PackedInput input_;
    ZstdBlockDecoder decoder_;
    std::optional<DecoderState> window_;
    std::optional<SparseBuffer> plain_;
    std::uint64_t at_;
    std::uint64_t end_;
    std::uint64_t length_;
    std::size_t decoded_ = 0;
    std::size_t given_ = 0;
};

class ZstdReader final : public SegmentReader {
public:
    ZstdReader(const ByteSource& packed, const Segment& segment)
        : input_(packed), decoder_(ZSTD_createDCtx()), at_(segment.packed), end_(segment.packed + segment.packed_length) {}

    Result<void> begin(const Segment& segment, std::span<const std::byte> window) {
        if (!decoder_) return fail(ErrorKind::io, "no memory for a decompressor");
        ZSTD_DCtx_setParameter(decoder_.get(), ZSTD_d_windowLogMax, kReaderWindowLog);
        if (!window.empty()) {
            VDISK_TRY(unpacked, unpack_window(window));
            window_.emplace(std::move(unpacked));
            VDISK_TRY(dictionary, zstd_dictionary(window_->window.prefix(), window_->offsets));
            ZSTD_DCtx_loadDictionary_advanced(decoder_.get(), dictionary.data(), dictionary.size(), ZSTD_dlm_byRef, ZSTD_dct_fullDict);
        }
        if (segment.kind == Segment::Kind::whole) return ok();
        const auto header = made_up_zstd_header(std::clamp<unsigned>(segment.detail, 10, kReaderWindowLog));
        ZSTD_inBuffer in{header.data(), header.size(), 0};
        ZSTD_outBuffer none{nullptr, 0, 0};
        const std::size_t status = ZSTD_decompressStream(decoder_.get(), &none, &in);
        if (ZSTD_isError(status)) return fail(ErrorKind::corrupt, "zstd data: {}", ZSTD_getErrorName(status));
        return ok();
    }

    Result<void> read(std::span<std::byte> out) override {
        ZSTD_outBuffer filled{out.data(), out.size(), 0};
        while (filled.pos < filled.size) {
            VDISK_TRY(some, input_.some(at_));
            const auto left = static_cast<std::size_t>(std::min<std::uint64_t>(some.size(), end_ - at_));
            ZSTD_inBuffer in{some.data(), left, 0};
            const std::size_t before = filled.pos;
            const std::size_t status = ZSTD_decompressStream(decoder_.get(), &filled, &in);
            if (ZSTD_isError(status)) return fail(ErrorKind::corrupt, "zstd data: {}", ZSTD_getErrorName(status));
            at_ += in.pos;
            if (in.pos == 0 && filled.pos == before) return fail(ErrorKind::corrupt, "zstd data ends early");
        }
        return ok();
    }

private:
    PackedInput input_;
    DecoderPtr decoder_;
    std::optional<DecoderState> window_;
    std::uint64_t at_;
    std::uint64_t end_;
};

bool detect(std::span<const std::byte> head) {
    const auto header = parse_zstd_frame_header(head);
    return header.has_value() && header.value().kind != ZstdFrameHeader::Kind::other;
}

Result<std::unique_ptr<StreamPass>> make_pass(const ByteSource& packed, WindowStore& windows, const Limits& limits) {
    auto pass = std::make_unique<ZstdPass>(packed, windows, limits);
    VDISK_CHECK(pass->begin());
    return std::unique_ptr<StreamPass>(std::move(pass));
}

Result<void> expand(const SegmentBytes& bytes, std::span<std::byte> out) {
    if (bytes.segment.kind == Segment::Kind::whole) return expand_zstd_frames(bytes.packed, out);
    const SpanSource packed(bytes.packed);
    ZstdRunReader reader(packed, {.length = out.size(), .packed_length = bytes.packed.size()});
    VDISK_CHECK(reader.begin(bytes.window));
    return reader.read(out);
}

Result<std::unique_ptr<SegmentReader>> make_reader(const ByteSource& packed, const Segment& run, std::span<const std::byte> window) {
    if (run.kind == Segment::Kind::inner && run.length <= kRunInMemory) {
        auto reader = std::make_unique<ZstdRunReader>(packed, run);
        VDISK_CHECK(reader->begin(window));
        return std::unique_ptr<SegmentReader>(std::move(reader));
    }
    auto reader = std::make_unique<ZstdReader>(packed, run);
    VDISK_CHECK(reader->begin(run, window));
    return std::unique_ptr<SegmentReader>(std::move(reader));
}

} // namespace

const StreamCodec kZstdCodec{"zstd", "stream-zstd-2", detect, make_pass, expand, make_reader};

} // namespace vdisk
