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

namespace vdisk {
namespace {

// Restart points are sought this far from one another. Windows that are as long cost more to look through, so they get some
// more room; still no segment should exceed 16 MiB.
constexpr std::uint64_t kSpacing = 8U << 20;
constexpr std::uint64_t kWideSpacing = 11U << 20;
constexpr std::uint64_t kWideWindow = 4U << 20;
// How far behind the window's length a start is tried: from there on the decoder has no memory of what was before.
constexpr std::uint64_t kTryBehindWindow = 256U << 10;
// Small frames are one segment together up to this length.
constexpr std::uint64_t kGroup = 1U << 20;
// Plain bytes that are kept besides the window, for the trials.
constexpr std::uint64_t kRingSlack = 24U << 20;
// More than decoders write behind what they decode.
constexpr std::uint64_t kOverwrite = 64;
// No frame with a larger window is in an index.
constexpr int kReaderWindowLog = 27;

struct FreeDecoder {
    void operator()(ZSTD_DCtx* decoder) const noexcept { ZSTD_freeDCtx(decoder); }
};
using DecoderPtr = std::unique_ptr<ZSTD_DCtx, FreeDecoder>;

struct Piece {
    Segment segment;
    TrialPtr trial{};    ///< set if it starts at a place that has to be tried
    bool free = false;   ///< only raw and RLE blocks: can be decoded without anything, but leads nowhere
    bool failed = false;
};

struct Frame {
    ZstdFrameHeader header;
    std::uint64_t plain = 0;       ///< where it starts
    std::uint64_t packed = 0;
    std::uint64_t first_block = 0;
    std::size_t first_piece = 0;
    std::uint64_t window = 0;      ///< bytes that matches can reach back
    XXH64_state_t hash{};
};

std::uint8_t log_of(std::uint64_t window) {
    return static_cast<std::uint8_t>(std::max<std::uint64_t>(10, static_cast<std::uint64_t>(std::bit_width(std::max<std::uint64_t>(window, 1) - 1))));
}

class ZstdPass final : public StreamPass {
public:
    ZstdPass(const ByteSource& packed, WindowStore& windows, const Limits& limits)
        : input_(packed), windows_(windows), limits_(limits), decoder_(ZSTD_createDCtx()) {}

    Result<void> begin();
    Result<PlainChunk> next() override;
    std::uint64_t packed_position() const noexcept override { return std::min(packed_, input_.size()); }
    Result<StreamIndex> finish() override;

private:
    Result<void> check_frame(const ZstdFrameHeader& header) const;
    Result<void> start_frame();
    Result<void> open_frame(const ZstdFrameHeader& header);
    Result<void> make_ring(std::uint64_t window);
    bool have_trials();
    Result<void> feed_header(const ZstdFrameHeader& header);
    Result<PlainChunk> next_block();
    Result<std::size_t> decode_block(std::span<const std::byte> framed, std::span<std::byte> out);
    Result<PlainChunk> took_block(const ZstdBlock& block, std::span<const std::byte> plain);
    Result<void> finish_frame();
    void check_hash(std::uint32_t stored);
    void merge_group();

    void consider_start(const ZstdBlock& block, std::span<const std::byte> body);
    void try_candidate(std::uint64_t packed_end, std::size_t length);
    void begin_piece(std::uint64_t plain, std::uint64_t packed);
    void close_piece(std::uint64_t packed_end);
    void begin_failed_piece();
    void post_trial();
    void make_room();

    PlainChunk damaged(Error why);
    PlainChunk cut_off();
    bool walk_blocks(bool checksum);
    void end_frame_pieces(std::uint32_t reason);
    void end_with(std::string finding);
    std::uint32_t add_reason(Error why);

    void resolve_pieces();
    static bool leads_on(const Piece& piece);
    static bool extends(const Piece& before, const Piece& next);
    static Segment starting_at(const Segment& start, Segment segment);
    std::string name() const { return std::string(input_.source().name()); }
    std::uint64_t spacing() const { return frame_->window > kWideWindow ? kWideSpacing : kSpacing; }

    PackedInput input_;
    WindowStore& windows_;
    Limits limits_;
    DecoderPtr decoder_;

    std::unique_ptr<std::byte[]> ring_memory_; ///< ring_bytes_, and room for a block behind them
    std::uint64_t ring_bytes_ = 0;
    std::optional<PlainRing> ring_;
    std::optional<WindowPattern> pattern_;
    std::unique_ptr<TrialRunner> trials_; ///< ends before what it reads from

    std::uint64_t plain_ = 0;  ///< next plain byte
    std::uint64_t packed_ = 0; ///< next compressed one
    std::optional<Frame> frame_;
    bool ended_ = false;
    std::vector<Piece> pieces_;
    std::optional<std::size_t> open_trial_;  ///< the piece whose trial still grows
    std::optional<std::uint64_t> candidate_; ///< where the block that is now decoded starts in the file, if that may be a start
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
                         .first_piece = pieces_.size(), .window = window});
    XXH64_reset(&frame_->hash, 0);
    pieces_.push_back(Piece{.segment = {.detail = log_of(window), .plain = plain_, .packed = packed_}});
    VDISK_CHECK(feed_header(header));
    packed_ = frame_->first_block;
    return ok();
}

Result<void> ZstdPass::make_ring(std::uint64_t window) {
    const std::uint64_t wanted = window + kRingSlack;
    if (wanted <= ring_bytes_) return ok();
    trials_.reset();
    ring_memory_.reset();
    pattern_.reset();
    ring_bytes_ = wanted;
    ring_memory_.reset(new (std::nothrow) std::byte[wanted + kZstdBlockMax]);
    if (!ring_memory_) return fail(ErrorKind::io, "no memory for a window of {} bytes", window);
    ring_.emplace(std::span<const std::byte>(ring_memory_.get(), wanted));
    return ok();
}

// Only when the first trial comes: most small streams need none.
bool ZstdPass::have_trials() {
    if (trials_) return true;
    auto pattern = WindowPattern::make(static_cast<std::size_t>(ring_bytes_ - kRingSlack));
    if (pattern.has_error()) return false;
    pattern_.emplace(std::move(pattern).value());
    trials_ = std::make_unique<TrialRunner>(TrialContext{input_.source(), *ring_, *pattern_}, windows_);
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
    if (candidate_) try_candidate(end, plain.size());
    candidate_.reset();

    Segment& segment = pieces_.back().segment;
    segment.crc = crc32_of(segment.crc, plain);
    segment.length += plain.size();
    if (frame_->header.checksum) XXH64_update(&frame_->hash, plain.data(), plain.size());
    plain_ += plain.size();
    packed_ = end;
    if (open_trial_) {
        const BlockStretch& stretch = pieces_[*open_trial_].trial->stretch;
        if (plain_ - stretch.plain >= stretch.window + kTryBehindWindow) post_trial();
    }
    if (block.last) VDISK_CHECK(finish_frame());
    return PlainChunk{.bytes = plain};
}

// Whether decoding may be able to start with the block that comes now.
void ZstdPass::consider_start(const ZstdBlock& block, std::span<const std::byte> body) {
    const auto last = std::find_if(pieces_.rbegin(), pieces_.rend(), [](const Piece& piece) { return !piece.failed; });
    const std::uint64_t since = plain_ - last->segment.plain;
    if (block.kind != ZstdBlock::Kind::compressed) {
        if (since < spacing()) return;
        begin_piece(plain_, packed_);
        pieces_.back().free = true;
        return;
    }
    const bool needed = last->free;
    if (!needed && since < spacing()) return;
    const StartQuality quality = zstd_start_quality(body);
    if (quality == StartQuality::good || (quality == StartQuality::weak && (needed || since >= spacing() + spacing() / 4))) candidate_ = packed_;
    else if (needed) begin_failed_piece();
}

// A try over the block alone: most of the places that are none show there.
void ZstdPass::try_candidate(std::uint64_t packed_end, std::size_t length) {
    const std::uint64_t reach = std::min(frame_->window, plain_ - frame_->plain);
    const BlockStretch stretch{.plain = plain_, .plain_length = length, .packed = *candidate_, .packed_length = packed_end - *candidate_,
                               .window = static_cast<std::size_t>(reach)};
    if (length == 0 || !have_trials() || !trials_->trier().can_start(stretch)) {
        begin_failed_piece();
        return;
    }
    post_trial();
    begin_piece(plain_, *candidate_);
    pieces_.back().trial = std::make_shared<Trial>();
    pieces_.back().trial->stretch = stretch;
    open_trial_ = pieces_.size() - 1;
}

void ZstdPass::begin_piece(std::uint64_t plain, std::uint64_t packed) {
    close_piece(packed);
    // A frame that is cut into segments is decoded without its header, so without its checksum too.
    Segment& first = pieces_[frame_->first_piece].segment;
    if (first.kind == Segment::Kind::whole) {
        first.kind = Segment::Kind::inner;
        first.packed_length -= frame_->first_block - first.packed;
        first.packed = frame_->first_block;
    }
    pieces_.push_back(Piece{.segment = {.kind = Segment::Kind::inner, .detail = log_of(frame_->window), .plain = plain, .packed = packed}});
}

void ZstdPass::close_piece(std::uint64_t packed_end) {
    Segment& segment = pieces_.back().segment;
    segment.packed_length = packed_end - segment.packed;
}

// Behind raw and RLE blocks comes one with which decoding can't start: they remain a piece of their own.
void ZstdPass::begin_failed_piece() {
    if (!pieces_.back().free) return;
    begin_piece(plain_, packed_);
    pieces_.back().failed = true;
}

void ZstdPass::post_trial() {
    if (!open_trial_) return;
    Piece& piece = pieces_[*open_trial_];
    piece.trial->stretch.plain_length = plain_ - piece.trial->stretch.plain;
    piece.trial->stretch.packed_length = packed_ - piece.trial->stretch.packed;
    trials_->add(piece.trial);
    open_trial_.reset();
}

// The next block must not be written over what a trial still needs.
void ZstdPass::make_room() {
    const std::uint64_t end = plain_ + kZstdBlockMax + kOverwrite;
    if (end <= ring_bytes_) return;
    const std::uint64_t overwritten = end - ring_bytes_;
    if (open_trial_) {
        const BlockStretch& stretch = pieces_[*open_trial_].trial->stretch;
        if (stretch.plain - stretch.window < overwritten) post_trial();
    }
    if (trials_) trials_->wait_until_free(overwritten);
}

Result<void> ZstdPass::finish_frame() {
    post_trial();
    const std::uint64_t blocks_end = packed_;
    if (frame_->header.checksum) {
        VDISK_TRY(stored, input_.at(packed_, 4));
        if (stored.size() < 4) {
            index_.findings.push_back(fmt::format("the stream is cut off in the checksum of the zstd frame at offset {}", frame_->packed));
            end_frame_pieces(0);
            ended_ = true;
            return ok();
        }
        std::uint32_t value = 0;
        for (std::size_t i = 4; i-- > 0;) value = value << 8 | std::to_integer<std::uint32_t>(stored[i]);
        packed_ += 4;
        check_hash(value);
    }
    if (!frame_) return ok();
    close_piece(pieces_.back().segment.kind == Segment::Kind::whole ? packed_ : blocks_end);
    if (pieces_.back().segment.length == 0) pieces_.pop_back();
    else merge_group();
    frame_.reset();
    return ok();
}

void ZstdPass::check_hash(std::uint32_t stored) {
    const auto computed = static_cast<std::uint32_t>(XXH64_digest(&frame_->hash));
    if (stored == computed) return;
    const std::string what = fmt::format("zstd frame at offset {}: its checksum is {:08x}, but that of its {} plain bytes is {:08x}", frame_->packed, stored,
                                         plain_ - frame_->plain, computed);
    if (differ_in_one_byte(stored, computed)) {
        index_.findings.push_back(what + "; they differ in one byte, so the checksum itself is damaged and the bytes are sound");
        const std::uint64_t end = packed_;
        packed_ = end - 4;
        end_frame_pieces(0);
        packed_ = end;
        return;
    }
    packed_ -= 4;
    end_frame_pieces(add_reason(fail(ErrorKind::corrupt, "{}: something in them is altered", what)));
    packed_ += 4;
}

// Ends a frame that can't be decoded as a whole frame is, with what was decoded of it. `reason` 0: it is sound.
void ZstdPass::end_frame_pieces(std::uint32_t reason) {
    open_trial_.reset();
    close_piece(packed_);
    Segment& first = pieces_[frame_->first_piece].segment;
    if (first.kind == Segment::Kind::whole) {
        first.kind = Segment::Kind::inner;
        first.packed_length -= frame_->first_block - first.packed;
        first.packed = frame_->first_block;
    }
    if (pieces_.back().segment.length == 0) pieces_.pop_back();
    for (std::size_t i = frame_->first_piece; i < pieces_.size(); ++i) pieces_[i].segment.reason = reason;
    frame_.reset();
}

std::uint32_t ZstdPass::add_reason(Error why) {
    index_.findings.push_back(why.what);
    index_.reasons.push_back(std::move(why).in(name()));
    return static_cast<std::uint32_t>(index_.reasons.size());
}

// Joins the frame that ended with the small ones before it.
void ZstdPass::merge_group() {
    if (pieces_.size() < 2) return;
    Segment& last = pieces_.back().segment;
    Segment& before = pieces_[pieces_.size() - 2].segment;
    const bool joins = last.kind == Segment::Kind::whole && before.kind == Segment::Kind::whole && last.reason == 0 && before.reason == 0 &&
                       before.length + last.length <= kGroup;
    if (!joins) return;
    before.crc = crc32_joined(before.crc, last.crc, last.length);
    before.length += last.length;
    before.packed_length = last.packed + last.packed_length - before.packed;
    pieces_.pop_back();
}

PlainChunk ZstdPass::cut_off() {
    const Error why = fail(ErrorKind::truncated, "the stream is cut off at {} of its compressed bytes, in the zstd frame at offset {}", input_.size(), frame_->packed);
    post_trial();
    const std::uint64_t content_end = frame_->header.content_size == kUnknownSize ? plain_ : frame_->plain + frame_->header.content_size;
    end_frame_pieces(0);
    ended_ = true;
    if (content_end <= plain_) {
        index_.findings.push_back(why.what);
        return {};
    }
    const std::uint32_t reason = add_reason(why);
    const std::uint64_t lost = content_end - plain_;
    pieces_.push_back(Piece{.segment = {.kind = Segment::Kind::lost, .reason = reason, .plain = plain_, .length = lost, .packed = packed_}});
    plain_ += lost;
    return {.lost = lost, .why = &index_.reasons[reason - 1]};
}

// What was decoded of a damaged frame can't be vouched for; the rest of it is lost, and what follows too unless the frame's
// size is known.
PlainChunk ZstdPass::damaged(Error why) {
    post_trial();
    const std::uint64_t content = frame_->header.content_size;
    const std::uint64_t done = plain_ - frame_->plain;
    const bool placed = content != kUnknownSize && content >= done;
    const bool checksum = frame_->header.checksum;
    const std::uint32_t reason = add_reason(fail(ErrorKind::corrupt, "zstd frame at offset {} is damaged: {}{}", frame_->packed, why.what,
                                                 placed ? "" : "; what follows can't be placed"));
    end_frame_pieces(reason);
    ended_ = !placed || !walk_blocks(checksum);
    const std::uint64_t lost = placed ? content - done : 0;
    if (lost > 0) pieces_.push_back(Piece{.segment = {.kind = Segment::Kind::lost, .reason = reason, .plain = plain_, .length = lost}});
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
    if (trials_) trials_->wait_for_all();
    for (Piece& piece : pieces_) {
        if (!piece.trial) continue;
        piece.failed = piece.trial->state != Trial::State::good;
        piece.segment.window = piece.trial->window;
    }
    resolve_pieces();
    index_.size = plain_;
    return std::move(index_);
}

// Joins pieces that turned out to be no start to what is before them, or where that leads nowhere, lets them start far before themselves.
void ZstdPass::resolve_pieces() {
    const Piece* before = nullptr;
    std::size_t far_start = 0; // the latest segment from which all of the frame behind it can be decoded
    for (const Piece& piece : pieces_) {
        if (!piece.failed) {
            if (leads_on(piece)) far_start = index_.segments.size();
            index_.segments.push_back(piece.segment);
        } else if (extends(*before, piece)) {
            Segment& last = index_.segments.back();
            last.crc = crc32_joined(last.crc, piece.segment.crc, piece.segment.length);
            last.length += piece.segment.length;
            last.packed_length = piece.segment.packed + piece.segment.packed_length - last.packed;
            continue;
        } else index_.segments.push_back(starting_at(index_.segments[far_start], piece.segment));
        before = &piece;
    }
}

// Whether decoding from a sound piece on leads to the end of its frame: its window is known as far as matches reach.
bool ZstdPass::leads_on(const Piece& piece) {
    if (piece.free) return false;
    return !piece.trial || piece.trial->stretch.plain_length >= piece.trial->stretch.window;
}

// Whether decoding from the start of the segment of `before` on may go on with `next`.
bool ZstdPass::extends(const Piece& before, const Piece& next) {
    if (before.failed || leads_on(before)) return true;
    if (before.free) return false;
    const BlockStretch& tried = before.trial->stretch;
    return next.segment.plain + next.segment.length <= tried.plain + tried.plain_length;
}

// `segment`, decoded from the start of an earlier one on.
Segment ZstdPass::starting_at(const Segment& start, Segment segment) {
    segment.lead = segment.plain - start.plain;
    segment.packed_length = segment.packed + segment.packed_length - start.packed;
    segment.packed = start.packed;
    segment.window = start.window;
    return segment;
}

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
            ZSTD_DCtx_refPrefix(decoder_.get(), window_->bytes().data(), window_->bytes().size());
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
    std::optional<SparseBuffer> window_;
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
    static_assert(kSegmentRoom == kZstdHeaderRoom);
    if (bytes.segment.kind == Segment::Kind::whole) return expand_zstd_frames(bytes.packed.subspan(kSegmentRoom), out);
    if (bytes.window.empty()) return expand_zstd_blocks(bytes.packed, {}, out);
    VDISK_TRY(window, unpack_window(bytes.window));
    return expand_zstd_blocks(bytes.packed, window.bytes(), out);
}

Result<std::unique_ptr<SegmentReader>> make_reader(const ByteSource& packed, const Segment& segment, std::span<const std::byte> window) {
    auto reader = std::make_unique<ZstdReader>(packed, segment);
    VDISK_CHECK(reader->begin(segment, window));
    return std::unique_ptr<SegmentReader>(std::move(reader));
}

} // namespace

const StreamCodec kZstdCodec{"zstd", "stream-zstd-1", detect, make_pass, expand, make_reader};

} // namespace vdisk
