// SPDX-License-Identifier: Apache-2.0
#include "io/memory_source.hpp"
#include "io/stream/stream_codec.hpp"

#include <zlib.h>
#include <zstd.h>

#include <algorithm>
#include <cstring>

namespace vdisk {
namespace {

// zlib takes some 20 ms for as much.
constexpr std::uint64_t kSpacing = 4U << 20;
// Small members are one segment together up to this length.
constexpr std::uint64_t kGroup = 1U << 20;
// A block that goes on and on is cut into segments that are decoded from one start.
constexpr std::uint64_t kSegment = 8U << 20;
constexpr std::size_t kWindow = 32U << 10;
constexpr std::size_t kChunk = 256U << 10;
constexpr std::size_t kTrailer = 8;
// Header with extra field, name and comment. RFC 1952 bounds only the first.
constexpr std::size_t kHeaderMax = 256U << 10;
constexpr int kWindowLevel = 3;

std::uint64_t little(std::span<const std::byte> bytes, std::size_t at, std::size_t count) noexcept {
    std::uint64_t value = 0;
    for (std::size_t i = count; i-- > 0;) value = value << 8 | std::to_integer<std::uint64_t>(bytes[at + i]);
    return value;
}

struct MemberHeader {
    std::size_t length = 0;
    std::uint64_t blocked_size = 0; ///< of the whole member, if it tells as bgzip's do
};

bool is_member(std::span<const std::byte> head) noexcept {
    return head.size() >= 4 && head[0] == std::byte{0x1F} && head[1] == std::byte{0x8B} && head[2] == std::byte{8} &&
           (head[3] & std::byte{0xE0}) == std::byte{0};
}

// bgzip's field in the extra field: 'B', 'C', 2, 0, the member's size less one.
std::uint64_t blocked_size(std::span<const std::byte> extra) noexcept {
    while (extra.size() >= 4) {
        const auto length = static_cast<std::size_t>(little(extra, 2, 2));
        if (length > extra.size() - 4) break;
        if (extra[0] == std::byte{'B'} && extra[1] == std::byte{'C'} && length == 2) return little(extra, 4, 2) + 1;
        extra = extra.subspan(4 + length);
    }
    return 0;
}

// RFC 1952, 2.3. Nothing if `bytes` end before the header does.
std::optional<MemberHeader> parse_member(std::span<const std::byte> bytes) {
    enum : unsigned { kHeaderCrc = 2, kExtra = 4, kName = 8, kComment = 16 };
    if (bytes.size() < 10) return std::nullopt;
    const auto flags = std::to_integer<unsigned>(bytes[3]);
    MemberHeader header{.length = 10};
    if ((flags & kExtra) != 0) {
        if (bytes.size() < 12) return std::nullopt;
        const auto extra = static_cast<std::size_t>(little(bytes, 10, 2));
        if (bytes.size() < 12 + extra) return std::nullopt;
        header.blocked_size = blocked_size(bytes.subspan(12, extra));
        header.length = 12 + extra;
    }
    for (const unsigned text : {unsigned{kName}, unsigned{kComment}}) {
        if ((flags & text) == 0) continue;
        const auto end =
            std::find(bytes.begin() + static_cast<std::ptrdiff_t>(header.length), bytes.end(), std::byte{0});
        if (end == bytes.end()) return std::nullopt;
        header.length = static_cast<std::size_t>(end - bytes.begin()) + 1;
    }
    if ((flags & kHeaderCrc) != 0) header.length += 2;
    if (header.length > bytes.size()) return std::nullopt;
    return header;
}

// The deflate data of a member, from its start or from inside.
class Inflater {
public:
    enum class Stop : std::uint8_t { output_full, block_end, member_end, input_end };

    explicit Inflater(const ByteSource& source) : input_(source) {}
    ~Inflater() {
        if (ready_) inflateEnd(&stream_);
    }
    Inflater(const Inflater&) = delete;
    Inflater& operator=(const Inflater&) = delete;

    /// From the byte at `offset`, of the byte before which `bits` belong to it too.
    Result<void> start(std::uint64_t offset, unsigned bits, std::span<const std::byte> window) {
        if (ready_ ? inflateReset(&stream_) != Z_OK : inflateInit2(&stream_, -MAX_WBITS) != Z_OK)
            return fail(ErrorKind::io, "no memory for a decompressor");
        ready_ = true;
        at_ = offset;
        if (bits > 0) {
            VDISK_TRY(byte, input_.at(offset - 1, 1));
            inflatePrime(&stream_, static_cast<int>(bits), std::to_integer<int>(byte[0]) >> (8 - bits));
        }
        if (!window.empty())
            inflateSetDictionary(&stream_, reinterpret_cast<const Bytef*>(window.data()),
                                 static_cast<uInt>(window.size()));
        return ok();
    }

    /// Fills the rest of `out` behind `filled`, unless something else stops it first.
    Result<Stop> run(std::span<std::byte> out, std::size_t& filled) {
        for (;;) {
            VDISK_TRY(some, input_.some(at_));
            const std::size_t given = std::min<std::size_t>(some.size(), 1U << 20);
            stream_.next_in = const_cast<Bytef*>(reinterpret_cast<const Bytef*>(some.data()));
            stream_.avail_in = static_cast<uInt>(given);
            stream_.next_out = reinterpret_cast<Bytef*>(out.data() + filled);
            stream_.avail_out = static_cast<uInt>(out.size() - filled);
            const int status = inflate(&stream_, Z_BLOCK);
            at_ += given - stream_.avail_in;
            filled = out.size() - stream_.avail_out;
            if (status == Z_STREAM_END) return Stop::member_end;
            if (status == Z_MEM_ERROR) return fail(ErrorKind::io, "no memory for a decompressor");
            if (status != Z_OK && status != Z_BUF_ERROR)
                return fail(ErrorKind::corrupt, "deflate data before offset {}: {}", at_,
                            stream_.msg != nullptr ? stream_.msg : "bad");
            if ((stream_.data_type & 128) != 0 && (stream_.data_type & 64) == 0) return Stop::block_end;
            if (filled == out.size()) return Stop::output_full;
            if (some.empty()) return Stop::input_end;
        }
    }

    /// The next byte of the file, and how many bits of the one before are still to come.
    std::uint64_t position() const noexcept { return at_; }
    unsigned bits() const noexcept { return static_cast<unsigned>(stream_.data_type & 7); }
    PackedInput& input() noexcept { return input_; }

private:
    PackedInput input_;
    z_stream stream_{};
    bool ready_ = false;
    std::uint64_t at_ = 0;
};

class GzipPass final : public StreamPass {
public:
    GzipPass(const ByteSource& packed, WindowStore& windows)
        : inflater_(packed), windows_(windows), buffer_(kWindow + kChunk) {}

    Result<PlainChunk> next() override;
    std::uint64_t packed_position() const noexcept override { return at_; }
    Result<StreamIndex> finish() override;

private:
    struct Member {
        std::uint64_t packed = 0;
        std::uint64_t plain = 0;
        std::uint64_t blocked_size = 0;
        std::size_t first_segment = 0;
        std::uint32_t crc = 0;
    };

    Result<void> start_member();
    Result<PlainChunk> next_bytes();
    void take(std::span<const std::byte> plain);
    void add_point();
    void go_on_with_segment();
    Result<void> finish_member();
    void check_trailer(std::uint32_t crc, std::uint32_t length);
    void merge_group();
    void end_member(std::uint32_t reason, std::uint64_t packed_end);
    Result<PlainChunk> damaged(const Error& why);
    std::uint64_t blocked_rest(std::uint64_t done);
    Result<void> look_at_tail();
    std::uint32_t add_reason(Error why);
    std::uint64_t member_length() const noexcept { return plain_ - member_->plain; }

    Inflater inflater_;
    WindowStore& windows_;
    std::vector<std::byte> buffer_; ///< kWindow bytes, and behind them the latest ones
    std::size_t filled_ = 0;        ///< how many those are
    std::uint64_t size_ = inflater_.input().size();
    std::uint64_t at_ = 0; ///< between members: where the next one starts
    std::uint64_t plain_ = 0;
    std::optional<Member> member_;
    bool ended_ = false;
    StreamIndex index_;
};

Result<PlainChunk> GzipPass::next() {
    while (!ended_) {
        if (!member_) {
            VDISK_CHECK(start_member());
            continue;
        }
        VDISK_TRY(chunk, next_bytes());
        if (!chunk.bytes.empty() || chunk.lost > 0) return chunk;
    }
    return PlainChunk{};
}

Result<void> GzipPass::start_member() {
    VDISK_TRY(bytes, inflater_.input().at(at_, kHeaderMax));
    ended_ = true;
    if (bytes.empty()) return ok();
    if (!is_member(bytes)) return look_at_tail();
    const auto header = parse_member(bytes);
    if (!header) {
        index_.findings.push_back(fmt::format("the header of the gzip member at offset {} is cut off", at_));
        return ok();
    }
    ended_ = false;
    member_.emplace(Member{
        .packed = at_, .plain = plain_, .blocked_size = header->blocked_size, .first_segment = index_.segments.size()});
    index_.segments.push_back({.plain = plain_, .packed = at_});
    return inflater_.start(at_ + header->length, 0, {});
}

// Padding with zeros is common and means nothing; all else is told.
Result<void> GzipPass::look_at_tail() {
    for (std::uint64_t at = at_; at < size_;) {
        VDISK_TRY(bytes, inflater_.input().some(at));
        if (std::ranges::any_of(bytes, [](std::byte byte) { return byte != std::byte{0}; })) {
            index_.findings.push_back(fmt::format("{} bytes from offset {} on are no gzip member", size_ - at_, at_));
            break;
        }
        at += bytes.size();
    }
    return ok();
}

Result<PlainChunk> GzipPass::next_bytes() {
    std::memmove(buffer_.data(), buffer_.data() + filled_, kWindow);
    const std::span out(buffer_.data() + kWindow, kChunk);
    filled_ = 0;
    const auto stop = inflater_.run(out, filled_);
    at_ = inflater_.position();
    const auto plain = out.first(filled_);
    take(plain);
    if (stop.has_error() && stop.error().kind == ErrorKind::io) return stop.error();
    if (stop.has_error()) {
        if (!plain.empty()) return PlainChunk{.bytes = plain}; // the error comes again
        return damaged(stop.error());
    }
    switch (stop.value()) {
    case Inflater::Stop::output_full: break;
    case Inflater::Stop::block_end:
        if (index_.segments.back().lead + index_.segments.back().length >= kSpacing) add_point();
        break;
    case Inflater::Stop::member_end: VDISK_CHECK(finish_member()); break;
    case Inflater::Stop::input_end:
        index_.findings.push_back(
            fmt::format("the stream is cut off at {} of its compressed bytes, in the gzip member at offset {}", size_,
                        member_->packed));
        end_member(0, size_);
        ended_ = true;
        break;
    }
    return PlainChunk{.bytes = plain};
}

void GzipPass::take(std::span<const std::byte> plain) {
    if (index_.segments.back().length >= kSegment) go_on_with_segment();
    Segment& segment = index_.segments.back();
    segment.crc = crc32_of(segment.crc, plain);
    segment.length += plain.size();
    member_->crc = crc32_of(member_->crc, plain);
    plain_ += plain.size();
}

// The next block can be decoded by the bits that it starts with and what matches can reach.
void GzipPass::add_point() {
    const auto length = static_cast<std::size_t>(std::min<std::uint64_t>(kWindow, member_length()));
    const std::span window = std::span(buffer_).subspan(kWindow + filled_ - length, length);
    std::vector<std::byte> kept(ZSTD_compressBound(length));
    const std::size_t size = ZSTD_compress(kept.data(), kept.size(), window.data(), window.size(), kWindowLevel);
    if (ZSTD_isError(size)) return; // no memory: a longer segment
    const auto range = windows_.add(std::span(kept).first(size));
    if (range.has_error()) return;
    const unsigned bits = inflater_.bits();
    Segment& before = index_.segments.back();
    before.packed_length = at_ - before.packed;
    index_.segments.push_back({.kind = Segment::Kind::inner,
                               .detail = static_cast<std::uint8_t>(bits),
                               .plain = plain_,
                               .packed = at_ - (bits > 0 ? 1 : 0),
                               .window = range.value()});
}

void GzipPass::go_on_with_segment() {
    Segment next = index_.segments.back();
    index_.segments.back().packed_length = at_ - next.packed;
    next.lead += next.length;
    next.plain += next.length;
    next.length = 0;
    next.crc = 0;
    index_.segments.push_back(next);
}

Result<void> GzipPass::finish_member() {
    VDISK_TRY(trailer, inflater_.input().at(at_, kTrailer));
    if (trailer.size() < kTrailer) {
        index_.findings.push_back(
            fmt::format("the stream is cut off in the trailer of the gzip member at offset {}", member_->packed));
        end_member(0, size_);
        ended_ = true;
        return ok();
    }
    at_ += kTrailer;
    check_trailer(static_cast<std::uint32_t>(little(trailer, 0, 4)), static_cast<std::uint32_t>(little(trailer, 4, 4)));
    return ok();
}

void GzipPass::check_trailer(std::uint32_t crc, std::uint32_t length) {
    const auto computed_length = static_cast<std::uint32_t>(member_length());
    std::uint32_t reason = 0;
    if (crc != member_->crc) {
        const std::string what = fmt::format(
            "gzip member at offset {}: its CRC is {:08x} for {} bytes, but that of its {} plain bytes is {:08x}",
            member_->packed, crc, length, member_length(), member_->crc);
        if (length == computed_length && differ_in_one_byte(crc, member_->crc))
            index_.findings.push_back(
                what + "; they differ in one byte, so the CRC itself is damaged and the bytes are sound");
        else if (length == computed_length)
            reason = add_reason(fail(ErrorKind::corrupt, "{}: something in them is altered", what));
        else {
            reason = add_reason(
                fail(ErrorKind::corrupt, "{}: something in them is altered; what follows can't be placed", what));
            ended_ = true;
        }
    } else if (length != computed_length)
        index_.findings.push_back(
            fmt::format("gzip member at offset {}: its length is {}, but it has {} plain bytes, and their CRC is right",
                        member_->packed, length, member_length()));
    end_member(reason, at_);
}

void GzipPass::end_member(std::uint32_t reason, std::uint64_t packed_end) {
    Segment& last = index_.segments.back();
    last.packed_length = packed_end - last.packed;
    if (last.length == 0) index_.segments.pop_back();
    for (std::size_t i = member_->first_segment; i < index_.segments.size(); ++i) index_.segments[i].reason = reason;
    if (index_.segments.size() == member_->first_segment + 1) merge_group();
    member_.reset();
}

// Joins the member that ended with the small ones before it.
void GzipPass::merge_group() {
    if (index_.segments.size() < 2) return;
    const Segment& last = index_.segments.back();
    Segment& before = index_.segments[index_.segments.size() - 2];
    const bool joins = before.kind == Segment::Kind::whole && before.lead == 0 && last.reason == 0 &&
                       before.reason == 0 && before.length + last.length <= kGroup &&
                       before.packed + before.packed_length == last.packed;
    if (!joins) return;
    before.crc = crc32_joined(before.crc, last.crc, last.length);
    before.length += last.length;
    before.packed_length += last.packed_length;
    index_.segments.pop_back();
}

// What was decoded of a damaged member can't be vouched for; what follows can be placed only behind a member that tells
// both its lengths.
Result<PlainChunk> GzipPass::damaged(const Error& why) {
    const Member member = *member_;
    const std::uint64_t rest = blocked_rest(member_length());
    const std::uint32_t reason =
        add_reason(fail(ErrorKind::corrupt, "gzip member at offset {} is damaged: {}{}", member.packed, why.what,
                        rest > 0 ? "" : "; what follows can't be placed"));
    end_member(reason, at_);
    ended_ = rest == 0;
    if (rest == 0) return PlainChunk{};
    at_ = member.packed + member.blocked_size;
    index_.segments.push_back({.kind = Segment::Kind::lost, .reason = reason, .plain = plain_, .length = rest});
    plain_ += rest;
    return PlainChunk{.lost = rest, .why = &index_.reasons[reason - 1]};
}

// How many plain bytes are still to come in a member of bgzip's, where another one follows it; 0 if that is not known.
std::uint64_t GzipPass::blocked_rest(std::uint64_t done) {
    constexpr std::uint64_t kBlockMost = 64U << 10;
    const std::uint64_t end = member_->packed + member_->blocked_size;
    if (member_->blocked_size < kTrailer || end > size_) return 0;
    const auto length = inflater_.input().at(end - 4, 4 + 4);
    if (length.has_error() || length.value().size() < 8 || !is_member(length.value().subspan(4))) return 0;
    const std::uint64_t whole = little(length.value(), 0, 4);
    return whole > done && whole <= kBlockMost ? whole - done : 0;
}

std::uint32_t GzipPass::add_reason(Error why) {
    index_.findings.push_back(why.what);
    index_.reasons.push_back(std::move(why).in(inflater_.input().source().name()));
    return static_cast<std::uint32_t>(index_.reasons.size());
}

Result<StreamIndex> GzipPass::finish() {
    index_.size = plain_;
    return std::move(index_);
}

// A segment's bytes, through as many members as there are in it. What their trailers say was looked at in the pass.
class GzipReader final : public SegmentReader {
public:
    explicit GzipReader(const ByteSource& packed) : inflater_(packed) {}

    Result<void> begin(const Segment& segment, std::span<const std::byte> window, std::uint64_t at) {
        if (segment.kind == Segment::Kind::whole) return start_member(at);
        std::vector<std::byte> plain(kWindow);
        const std::size_t size =
            window.empty() ? 0 : ZSTD_decompress(plain.data(), plain.size(), window.data(), window.size());
        if (ZSTD_isError(size)) return fail(ErrorKind::corrupt, "stream index: a window is damaged");
        return inflater_.start(at + (segment.detail > 0 ? 1 : 0), segment.detail & 7U, std::span(plain).first(size));
    }

    Result<void> read(std::span<std::byte> out) override {
        for (std::size_t filled = 0; filled < out.size();) {
            VDISK_TRY(stop, inflater_.run(out, filled));
            if (stop == Inflater::Stop::input_end) return fail(ErrorKind::corrupt, "deflate data ends early");
            if (stop == Inflater::Stop::member_end && filled < out.size())
                VDISK_CHECK(start_member(inflater_.position() + kTrailer));
        }
        return ok();
    }

private:
    Result<void> start_member(std::uint64_t at) {
        VDISK_TRY(bytes, inflater_.input().at(at, kHeaderMax));
        const auto header = is_member(bytes) ? parse_member(bytes) : std::nullopt;
        if (!header) return fail(ErrorKind::corrupt, "no gzip member where one should be");
        return inflater_.start(at + header->length, 0, {});
    }

    Inflater inflater_;
};

Result<std::unique_ptr<StreamPass>> make_pass(const ByteSource& packed, WindowStore& windows,
                                              const Limits& /*limits*/) {
    return std::unique_ptr<StreamPass>(std::make_unique<GzipPass>(packed, windows));
}

Result<void> expand(const SegmentBytes& bytes, std::span<std::byte> out) {
    const SpanSource packed(bytes.packed);
    GzipReader reader(packed);
    VDISK_CHECK(reader.begin(bytes.segment, bytes.window, 0));
    return reader.read(out);
}

Result<std::unique_ptr<SegmentReader>> make_reader(const ByteSource& packed, const Segment& segment,
                                                   std::span<const std::byte> window) {
    auto reader = std::make_unique<GzipReader>(packed);
    VDISK_CHECK(reader->begin(segment, window, segment.packed));
    return std::unique_ptr<SegmentReader>(std::move(reader));
}

} // namespace

const StreamCodec kGzipCodec{"gzip", "stream-gzip-2", is_member, make_pass, expand, make_reader};

} // namespace vdisk
