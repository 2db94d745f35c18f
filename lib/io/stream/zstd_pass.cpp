// SPDX-License-Identifier: Apache-2.0
#define ZSTD_STATIC_LINKING_ONLY // for decoding block by block into our own ring, so that the window is in memory once
#define XXH_STATIC_LINKING_ONLY  // for the state as a member
#include "io/stream/stream_codec.hpp"
#include "io/stream/zstd_starts.hpp"

#include <xxhash.h>
#include <zstd.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <deque>

namespace vdisk {
namespace {

// More than decoders write behind what they decode.
constexpr std::uint64_t kOverwrite = 64;

struct FreeDecoder {
    void operator()(ZSTD_DCtx* decoder) const noexcept { ZSTD_freeDCtx(decoder); }
};
using DecoderPtr = std::unique_ptr<ZSTD_DCtx, FreeDecoder>;

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
    std::uint64_t first_block = 0;
    std::size_t first_segment = 0;
    std::uint64_t window = 0; ///< bytes that matches can reach back
    XXH64_state_t hash{};
};

std::uint8_t log_of(std::uint64_t window) {
    return static_cast<std::uint8_t>(std::max<std::uint64_t>(
        10, static_cast<std::uint64_t>(std::bit_width(std::max<std::uint64_t>(window, 1) - 1))));
}

class ZstdPass final : public StreamPass {
public:
    ZstdPass(const ByteSource& packed, WindowStore& windows, const Limits& limits)
        : input_(packed), windows_(windows), limits_(limits),
          distances_(std::max<std::uint64_t>(limits.stream_decode_bytes, kZstdBlockMax)), decoder_(ZSTD_createDCtx()) {}

    Result<void> begin();
    Result<PlainChunk> next() override;
    std::uint64_t packed_position() const noexcept override { return std::min(packed_, input_.size()); }
    Result<StreamIndex> finish() override;

private:
    Result<void> check_frame(const ZstdFrameHeader& header) const;
    Result<void> start_frame();
    Result<void> open_frame(const ZstdFrameHeader& header);
    Result<void> make_ring(std::uint64_t window);
    Result<void> feed_header(const ZstdFrameHeader& header);
    Result<PlainChunk> next_block();
    Result<std::size_t> decode_block(std::span<const std::byte> framed, std::span<std::byte> out);
    Result<PlainChunk> took_block(const ZstdBlock& block, std::span<const std::byte> plain);
    Result<void> finish_frame();
    void check_hash(std::uint32_t stored);
    void add_whole_frame();

    bool add_to_piece(std::span<const std::byte> plain);
    Result<void> take_starts();
    void flush_before(std::uint64_t plain);
    void flush(std::size_t count);
    void add_segment(const Piece& piece, std::uint64_t packed_end);
    Result<void> end_blocks();
    void make_room();

    Result<PlainChunk> damaged(Error why);
    Result<PlainChunk> cut_off();
    bool walk_blocks(bool checksum);
    void end_frame(std::uint32_t reason);
    void end_with(std::string finding);
    std::uint32_t add_reason(Error why);

    std::string name() const { return std::string(input_.source().name()); }
    /// What must be there still behind the bytes that matches reach.
    [[nodiscard]] std::uint64_t kept(std::uint64_t window) const noexcept {
        return window + distances_.keep + kZstdBlockMax;
    }

    PackedInput input_;
    WindowStore& windows_;
    Limits limits_;
    StartDistances distances_;
    std::uint64_t group_ = distances_.most / 16;  ///< small frames are one segment together up to this length
    std::uint64_t piece_ = distances_.most / 512; ///< the least length of a piece
    DecoderPtr decoder_;

    std::unique_ptr<std::byte[]> ring_memory_; ///< ring_bytes_, and room for a block behind them
    std::uint64_t ring_bytes_ = 0;
    std::optional<PlainRing> ring_;
    std::optional<StartFinder> finder_; ///< ends before what it reads from

    std::uint64_t plain_ = 0;  ///< next plain byte
    std::uint64_t packed_ = 0; ///< next compressed one
    std::optional<Frame> frame_;
    bool ended_ = false;

    std::deque<Piece> pieces_; ///< of the frame, those of which it is not known yet from where they are decoded
    RunBegin run_;             ///< from which the first piece is
    StreamIndex index_;
};

Result<void> ZstdPass::begin() {
    if (!decoder_) return fail(ErrorKind::io, "no memory for a decompressor");
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
    frame_.emplace(Frame{.header = header,
                         .plain = plain_,
                         .packed = packed_,
                         .first_block = packed_ + header.length,
                         .first_segment = index_.segments.size(),
                         .window = window});
    XXH64_reset(&frame_->hash, 0);
    VDISK_CHECK(feed_header(header));
    packed_ = frame_->first_block;
    pieces_.assign(1, {.plain = plain_, .packed = packed_});
    run_ = {.from = plain_, .plain = plain_, .packed = packed_};
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
    finder_.emplace(FrameBytes{input_.source(), *ring_}, windows_, distances_);
    return ok();
}

Result<void> ZstdPass::feed_header(const ZstdFrameHeader& header) {
    VDISK_TRY(bytes, input_.at(frame_->packed, static_cast<std::size_t>(header.length)));
    ZSTD_decompressBegin(decoder_.get());
    ZSTD_DCtx_setParameter(decoder_.get(), ZSTD_d_forceIgnoreChecksum, ZSTD_d_ignoreChecksum); // it is computed here
    for (std::size_t at = 0; at < bytes.size();) {
        const std::size_t wanted = ZSTD_nextSrcSizeToDecompress(decoder_.get());
        if (wanted == 0 || wanted > bytes.size() - at)
            return fail(ErrorKind::io, "{}: zstd frame header at offset {} is not taken", name(), frame_->packed);
        const std::size_t status = ZSTD_decompressContinue(decoder_.get(), nullptr, 0, &bytes[at], wanted);
        if (ZSTD_isError(status))
            return fail(ErrorKind::io, "{}: zstd frame header at offset {}: {}", name(), frame_->packed,
                        ZSTD_getErrorName(status));
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

    make_room();
    const std::span out(ring_memory_.get() + plain_ % ring_bytes_, kZstdBlockMax);
    const auto length = decode_block(framed, out);
    if (length.has_error()) return damaged(length.error());
    return took_block(block, out.first(length.value()));
}

Result<std::size_t> ZstdPass::decode_block(std::span<const std::byte> framed, std::span<std::byte> out) {
    std::size_t status = ZSTD_decompressContinue(decoder_.get(), nullptr, 0, framed.data(), kZstdBlockHeader);
    if (!ZSTD_isError(status) && framed.size() > kZstdBlockHeader)
        status = ZSTD_decompressContinue(decoder_.get(), out.data(), out.size(), &framed[kZstdBlockHeader],
                                         framed.size() - kZstdBlockHeader);
    if (ZSTD_isError(status))
        return fail(ErrorKind::corrupt, "zstd block at offset {}: {}", packed_, ZSTD_getErrorName(status));
    return status;
}

Result<PlainChunk> ZstdPass::took_block(const ZstdBlock& block, std::span<const std::byte> plain) {
    // The ring goes round: what was written behind its end belongs to its start.
    const std::uint64_t place = plain_ % ring_bytes_;
    if (place + plain.size() > ring_bytes_) {
        const auto over = static_cast<std::size_t>(place + plain.size() - ring_bytes_);
        std::memcpy(ring_memory_.get(), ring_memory_.get() + ring_bytes_, over);
    }
    const bool begins_piece = add_to_piece(plain);
    if (frame_->header.checksum) XXH64_update(&frame_->hash, plain.data(), plain.size());
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
    if (block.last) VDISK_CHECK(finish_frame());
    return PlainChunk{.bytes = plain};
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
    Segment segment{.kind = Segment::Kind::inner,
                    .detail = log_of(frame_->window),
                    .crc = piece.crc,
                    .plain = piece.plain,
                    .length = piece.length,
                    .lead = piece.plain - run_.plain,
                    .packed = run_.packed,
                    .packed_length = packed_end - run_.packed,
                    .window = run_.window};
    Segment* last = index_.segments.size() > frame_->first_segment ? &index_.segments.back() : nullptr;
    const bool joins =
        last != nullptr && last->packed == segment.packed &&
        last->length + segment.length <= (last->lead == 0 ? distances_.first_segment : distances_.segment);
    if (!joins) {
        index_.segments.push_back(segment);
        return;
    }
    last->crc = crc32_joined(last->crc, segment.crc, segment.length);
    last->length += segment.length;
    last->packed_length = segment.packed_length;
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

Result<void> ZstdPass::finish_frame() {
    VDISK_CHECK(end_blocks());
    if (frame_->header.checksum) {
        VDISK_TRY(stored, input_.at(packed_, 4));
        if (stored.size() < 4) {
            index_.findings.push_back(
                fmt::format("the stream is cut off in the checksum of the zstd frame at offset {}", frame_->packed));
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
    const std::string what =
        fmt::format("zstd frame at offset {}: its checksum is {:08x}, but that of its {} plain bytes is {:08x}",
                    frame_->packed, stored, plain_ - frame_->plain, computed);
    if (!differ_in_one_byte(stored, computed))
        return end_frame(add_reason(fail(ErrorKind::corrupt, "{}: something in them is altered", what)));
    index_.findings.push_back(what +
                              "; they differ in one byte, so the checksum itself is damaged and the bytes are sound");
    end_frame(0);
}

// Ends a frame whose blocks are decoded without its header and checksum, with what was decoded of it. `reason` 0: it is
// sound.
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
    if (length == 0 || length > group_) return end_frame(0);
    const std::uint64_t packed_end = packed_ + (frame_->header.checksum ? 4 : 0);
    Segment whole{.detail = log_of(frame_->window),
                  .plain = frame_->plain,
                  .length = length,
                  .packed = frame_->packed,
                  .packed_length = packed_end - frame_->packed};
    for (const Piece& piece : pieces_) whole.crc = crc32_joined(whole.crc, piece.crc, piece.length);
    Segment* before = index_.segments.empty() ? nullptr : &index_.segments.back();
    if (before != nullptr && before->kind == Segment::Kind::whole && before->reason == 0 &&
        before->length + length <= group_) {
        before->crc = crc32_joined(before->crc, whole.crc, length);
        before->length += length;
        before->packed_length = packed_end - before->packed;
    } else index_.segments.push_back(whole);
    frame_.reset();
}

Result<PlainChunk> ZstdPass::cut_off() {
    const Error why = fail(ErrorKind::truncated,
                           "the stream is cut off at {} of its compressed bytes, in the zstd frame at offset {}",
                           input_.size(), frame_->packed);
    VDISK_CHECK(end_blocks());
    const std::uint64_t content_end =
        frame_->header.content_size == kUnknownSize ? plain_ : frame_->plain + frame_->header.content_size;
    end_frame(0);
    ended_ = true;
    if (content_end <= plain_) {
        index_.findings.push_back(why.what);
        return PlainChunk{};
    }
    const std::uint32_t reason = add_reason(why);
    const std::uint64_t lost = content_end - plain_;
    index_.segments.push_back(
        {.kind = Segment::Kind::lost, .reason = reason, .plain = plain_, .length = lost, .packed = packed_});
    plain_ += lost;
    return PlainChunk{.lost = lost, .why = &index_.reasons[reason - 1]};
}

// What was decoded of a damaged frame can't be vouched for; the rest of it is lost, and what follows too unless the
// frame's size is known.
Result<PlainChunk> ZstdPass::damaged(Error why) {
    VDISK_CHECK(end_blocks());
    const std::uint64_t content = frame_->header.content_size;
    const std::uint64_t done = plain_ - frame_->plain;
    const bool placed = content != kUnknownSize && content >= done;
    const bool checksum = frame_->header.checksum;
    const std::uint32_t reason =
        add_reason(fail(ErrorKind::corrupt, "zstd frame at offset {} is damaged: {}{}", frame_->packed, why.what,
                        placed ? "" : "; what follows can't be placed"));
    end_frame(reason);
    ended_ = !placed || !walk_blocks(checksum);
    const std::uint64_t lost = placed ? content - done : 0;
    if (lost > 0)
        index_.segments.push_back({.kind = Segment::Kind::lost, .reason = reason, .plain = plain_, .length = lost});
    plain_ += lost;
    return PlainChunk{.lost = lost, .why = &index_.reasons[reason - 1]};
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

// Decodes a run into a ring, which begins with the window.
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
        while (!out.empty()) {
            if (decoded_.empty()) VDISK_CHECK(decode_block());
            const std::size_t count = std::min(out.size(), decoded_.size());
            std::memcpy(out.data(), decoded_.data(), count);
            out = out.subspan(count);
            decoded_ = decoded_.subspan(count);
        }
        return ok();
    }

private:
    Result<void> decode_block() {
        VDISK_TRY(header, input_.at(at_, std::min<std::uint64_t>(kZstdBlockHeader, end_ - at_)));
        if (header.size() < kZstdBlockHeader) return fail(ErrorKind::corrupt, "zstd data ends early");
        const std::uint64_t wanted = kZstdBlockHeader + std::uint64_t{parse_zstd_block(header).packed};
        VDISK_TRY(block, input_.at(at_, static_cast<std::size_t>(std::min(wanted, end_ - at_))));
        VDISK_TRY(length, ZstdBlockDecoder::length_of(block));
        const std::span<std::byte> ring = state_->memory.bytes();
        if (ring.size() - place_ < kZstdBlockMax + kOverwrite) place_ = 0;
        VDISK_TRY(got, decoder_.decode(block.first(length), &ring[place_]));
        if (got > left_) return fail(ErrorKind::corrupt, "zstd data expands to more than it did");
        decoded_ = ring.subspan(place_, got);
        place_ += got;
        left_ -= got;
        at_ += length;
        return ok();
    }

    static constexpr unsigned kReachLog = 27; // no frame with a larger window is in an index

    PackedInput input_;
    ZstdBlockDecoder decoder_;
    std::optional<DecoderState> state_;
    std::span<const std::byte> decoded_; ///< and not given yet
    std::size_t place_ = 0;              ///< of the next block
    std::uint64_t at_;
    std::uint64_t end_;
    std::uint64_t left_; ///< plain bytes
    std::size_t reach_;  ///< of matches
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
    ZstdRunReader reader(packed,
                         {.detail = bytes.segment.detail, .length = out.size(), .packed_length = bytes.packed.size()});
    VDISK_CHECK(reader.begin(bytes.window));
    return reader.read(out);
}

Result<std::unique_ptr<SegmentReader>> make_reader(const ByteSource& packed, const Segment& run,
                                                   std::span<const std::byte> window) {
    auto reader = std::make_unique<ZstdRunReader>(packed, run);
    VDISK_CHECK(reader->begin(window));
    return std::unique_ptr<SegmentReader>(std::move(reader));
}

} // namespace

const StreamCodec kZstdCodec{"zstd", "stream-zstd-3", detect, make_pass, expand, make_reader};

} // namespace vdisk
