// SPDX-License-Identifier: Apache-2.0
#include "io/memory_source.hpp"
#include "io/stream/index_builder.hpp"
#include "io/stream/stream_codec.hpp"

#include <zlib.h>
#include <zstd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <optional>

namespace vdisk {
namespace {

// zlib takes some 20 ms for as much.
constexpr std::uint64_t kSpacing = 4U << 20;
// Small members are one segment together up to this length.
constexpr std::uint64_t kGzipGroup = 1U << 20;
// Compressed bytes between two places to start from, where few plain bytes lie between them.
constexpr std::uint64_t kStoredSpacing = 2 * kSpacing;
// A segment starts so many compressed bytes before its first plain byte, at most.
constexpr std::uint64_t kStoredBefore = 64U << 10;
// A block that goes on and on is cut into segments that are decoded from one start.
constexpr std::uint64_t kSegment = 8U << 20;
constexpr std::size_t kWindow = 32U << 10;
constexpr std::size_t kChunk = 256U << 10;
constexpr std::size_t kTrailer = 8;
// What inflate takes for the end of a block so near the end of the file may be made of a trailer.
constexpr std::size_t kOverrun = 64;
// Header with extra field, name and comment. RFC 1952 bounds only the first.
constexpr std::size_t kGzipHeaderMax = 256U << 10;
constexpr int kWindowLevel = 3;
// Behind a break: compressed bytes in which the next deflate block is looked for (encoders end one every 100 KB or so),
// that one step goes over, and plain bytes after which a block that is tried must have made its window known; and such
// bytes of all tries that lead nowhere.
constexpr std::uint64_t kBlockSearched = 1U << 20;
constexpr std::size_t kGzipSearched = 64U << 10;
constexpr std::size_t kTried = 16U << 20;
constexpr std::size_t kTriedInAll = 512U << 20;
constexpr std::size_t kBlockHeaderMost = 16;

constexpr std::string_view kNotPlaced = "; what follows can't be placed";

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

// kBlockHeaderMost bytes.
struct BlockStart {
    std::uint64_t low;
    std::uint64_t high;
};

// Whether a deflate block may begin `bit` bits into them: one with tables of its own, or a stored one. Of other
// bytes one in some thousands looks so.
bool may_be_block(const BlockStart& bits, unsigned bit) noexcept {
    const auto at = [&](unsigned from, unsigned count) {
        from += bit;
        const std::uint64_t value = from >= 64  ? bits.high >> (from - 64)
                                    : from == 0 ? bits.low
                                                : bits.low >> from | bits.high << (64 - from);
        return static_cast<unsigned>(value & ((1U << count) - 1));
    };
    constexpr unsigned kStored = 0;
    constexpr unsigned kOwnTables = 2;
    if (at(1, 2) == kStored) {
        const unsigned start = 8 * ((bit + 3 + 7) / 8) - bit;
        return at(start, 16) != 0 && at(start, 16) == (at(start + 16, 16) ^ 0xFFFFU);
    }
    if (at(1, 2) != kOwnTables || at(3, 5) > 29 || at(8, 5) > 29) return false;
    unsigned sum = 0; // of what the codes of code lengths take of all 128
    for (unsigned i = 0; i < at(13, 4) + 4; ++i)
        if (const unsigned length = at(17 + 3 * i, 3); length > 0) sum += 128U >> length;
    return sum == 128;
}

// Where decoding can go on behind a break: all that is decoded from there on is known.
struct Resumption {
    std::uint64_t packed = 0;
    unsigned bits = 0;
    std::vector<std::byte> window;
};

// Decodes from a block on of which nobody knows what was before it: twice, over two windows that differ in every byte.
// What comes out the same both times is not copied from there.
class BlindInflater {
public:
    explicit BlindInflater(const ByteSource& source) : sides_{Side(source), Side(source)} {}

    /// The first end of a block behind `offset` and `bits` before which a whole window is known; nothing if what is
    /// there is no deflate block, or leads to none.
    Result<std::optional<Resumption>> try_from(std::uint64_t offset, unsigned bits) {
        for (std::size_t i = 0; i < sides_.size(); ++i) {
            sides_[i].window.assign(kWindow, i == 0 ? std::byte{0} : std::byte{0xFF});
            VDISK_CHECK(sides_[i].inflater.start(offset, bits, sides_[i].window));
        }
        for (std::size_t done = 0; done < kTried && tried_ < kTriedInAll;) {
            std::array<Inflater::Stop, 2> stops{};
            std::size_t filled = 0;
            for (std::size_t i = 0; i < sides_.size(); ++i) {
                filled = 0;
                auto stop = sides_[i].step(filled);
                if (stop.has_error() && stop.error().kind == ErrorKind::io) return std::move(stop).error();
                if (stop.has_error()) return std::optional<Resumption>();
                stops[i] = stop.value();
            }
            done += filled;
            tried_ += filled;
            if (stops[0] == Inflater::Stop::input_end || stops[0] == Inflater::Stop::member_end)
                return std::optional<Resumption>();
            if (stops[0] != Inflater::Stop::block_end || sides_[0].window != sides_[1].window) continue;
            tried_ -= done; // no loss
            const Inflater& inflater = sides_[0].inflater;
            return std::optional(Resumption{inflater.position(), inflater.bits(), sides_[0].window});
        }
        return std::optional<Resumption>();
    }

private:
    struct Side {
        explicit Side(const ByteSource& source)
            : inflater(source), buffer(std::make_unique_for_overwrite<std::byte[]>(kChunk)) {}
        Inflater inflater;
        std::unique_ptr<std::byte[]> buffer; ///< kChunk bytes
        std::vector<std::byte> window;       ///< the last kWindow bytes

        Result<Inflater::Stop> step(std::size_t& filled) {
            VDISK_TRY(stop, inflater.run({buffer.get(), kChunk}, filled));
            const std::size_t kept = kWindow - std::min(kWindow, filled);
            std::memmove(window.data(), window.data() + kWindow - kept, kept);
            std::copy_n(buffer.get() + filled - (kWindow - kept), kWindow - kept,
                        window.begin() + static_cast<std::ptrdiff_t>(kept));
            return stop;
        }
    };
    std::array<Side, 2> sides_;
    std::size_t tried_ = 0; ///< plain bytes that led nowhere
};

class GzipPass final : public StreamPass {
public:
    GzipPass(const ByteSource& packed, WindowStore& windows, const Limits& limits, PassKind kind)
        : inflater_(packed), windows_(windows), kind_(kind), index_(packed.name(), packed.size(), limits),
          buffer_(std::make_unique_for_overwrite<std::byte[]>(kWindow + kChunk)) {
        std::memset(buffer_.get(), 0, kWindow); // pages of the rest are not touched before there is something for them
    }

    Result<PlainChunk> next() override;
    std::uint64_t packed_position() const noexcept override { return std::min(search_ ? search_->at : at_, size_); }
    Result<StreamIndex> finish() override { return index_.finish(windows_.size()); }

private:
    struct Member {
        std::uint64_t packed = 0;
        std::uint64_t data = 0; ///< behind its header
        std::uint64_t plain = 0;
        std::uint64_t blocked_size = 0;
        std::size_t first_segment = 0;
        std::uint32_t crc = 0;
        bool resumed = false; ///< its beginning is missing
    };

    // The last end of a block: as far as open_ went there, and the segments before it.
    struct BlockEnd {
        std::size_t segments = 0;
        std::uint64_t length = 0;
        std::uint32_t crc = 0;
        std::uint64_t packed_length = 0;
    };

    // For where the stream goes on.
    struct Search {
        std::uint64_t from = 0;
        std::uint64_t at = 0;
        bool padding = false; ///< between members: only zeros until now
        Error what;
    };

    Result<void> start_member();
    Result<PlainChunk> next_bytes();
    void take(std::span<const std::byte> plain);
    Result<void> end_block();
    Result<bool> trailer_follows();
    void mark_block();
    void add_point();
    bool start_inside(unsigned bits, std::span<const std::byte> window);
    void go_on_with_segment();
    Result<void> finish_member();
    void cut_off(const std::string& what);
    Result<void> check_trailer(std::uint32_t crc, std::uint32_t length);
    Result<void> judge_length(std::string what);
    void end_member(std::uint32_t reason, Segment::Cover cover, std::uint64_t packed_end);
    Result<PlainChunk> damaged(const Error& why);
    Result<std::uint64_t> blocked_rest();
    Result<std::optional<std::uint64_t>> blocked_length(std::uint64_t member, std::uint64_t size);

    Result<PlainChunk> search();
    Result<PlainChunk> skip_padding();
    Result<bool> resume_at(std::span<const std::byte> bytes, std::uint64_t offset);
    Result<bool> resume_member(std::uint64_t offset, std::span<const std::byte> bytes);
    Result<bool> resume_block(std::uint64_t offset, unsigned bit);
    void break_off();
    PlainChunk lost(std::uint64_t length, std::uint32_t reason);
    std::uint64_t member_length() const noexcept { return plain_ - member_->plain; }

    Inflater inflater_;
    std::optional<BlindInflater> blind_;
    WindowStore& windows_;
    PassKind kind_;
    IndexBuilder index_;
    std::unique_ptr<std::byte[]> buffer_; ///< kWindow bytes, and behind them kChunk for the latest ones
    std::size_t filled_ = 0;              ///< how many those are
    std::uint64_t size_ = inflater_.input().size();
    std::uint64_t at_ = 0; ///< between members: where the next one starts
    std::uint64_t plain_ = 0;
    std::optional<Member> member_;
    Segment open_{}; ///< of the member, its last, which still grows
    BlockEnd block_; ///< of the member
    std::optional<Search> search_;
    std::uint64_t missing_ = 0;     ///< plain bytes that the last member should have had
    std::uint32_t missing_why_ = 0; ///< Segment::reason for them
    std::uint64_t last_length_ = 0; ///< of the last member of which it is sure
    bool ended_ = false;
};

Result<PlainChunk> GzipPass::next() {
    if (missing_ > 0) return lost(std::exchange(missing_, 0), missing_why_);
    if (ended_ || (search_ && kind_ == PassKind::look)) return PlainChunk{.end = true};
    if (search_) return search_->padding ? skip_padding() : search();
    if (member_) return next_bytes();
    VDISK_CHECK(start_member());
    return PlainChunk{};
}

Result<void> GzipPass::start_member() {
    VDISK_TRY(bytes, inflater_.input().at(at_, kGzipHeaderMax));
    ended_ = bytes.empty();
    if (ended_) return ok();
    if (!is_member(bytes)) {
        search_ = {.from = at_, .at = at_, .padding = true, .what = {}};
        return ok();
    }
    const auto header = parse_member(bytes);
    if (!header) {
        index_.find(fmt::format("the header of the gzip member at offset {} is cut off", at_));
        ended_ = true;
        return ok();
    }
    member_.emplace(Member{.packed = at_,
                           .data = at_ + header->length,
                           .plain = plain_,
                           .blocked_size = header->blocked_size,
                           .first_segment = index_.segments()});
    open_ = {.packed = at_};
    mark_block();
    return inflater_.start(at_ + header->length, 0, {});
}

// Padding with zeros is common and means nothing; all else is told.
Result<PlainChunk> GzipPass::skip_padding() {
    VDISK_TRY(bytes, inflater_.input().some(search_->at));
    const auto other = std::ranges::find_if(bytes, [](std::byte byte) { return byte != std::byte{0}; });
    search_->at += static_cast<std::uint64_t>(other - bytes.begin());
    if (bytes.empty()) ended_ = true;
    if (other == bytes.end()) return PlainChunk{};
    search_->padding = false;
    search_->at = at_;
    search_->what = fail(ErrorKind::corrupt, "{} bytes from offset {} on are no gzip member", size_ - at_, at_);
    return PlainChunk{};
}

Result<PlainChunk> GzipPass::next_bytes() {
    std::memmove(buffer_.get(), buffer_.get() + filled_, kWindow);
    const std::span out(buffer_.get() + kWindow, kChunk);
    filled_ = 0;
    const auto stop = inflater_.run(out, filled_);
    at_ = inflater_.position();
    const auto plain = out.first(filled_);
    if (!plain.empty()) take(plain);
    if (stop.has_error() && stop.error().kind == ErrorKind::io) return stop.error();
    if (stop.has_error()) {
        if (!plain.empty()) return PlainChunk{.bytes = plain}; // the error comes again
        return damaged(stop.error());
    }
    switch (stop.value()) {
    case Inflater::Stop::output_full: break;
    case Inflater::Stop::block_end: VDISK_CHECK(end_block()); break;
    case Inflater::Stop::member_end: VDISK_CHECK(finish_member()); break;
    case Inflater::Stop::input_end:
        cut_off(fmt::format("the stream is cut off at {} of its compressed bytes, in the gzip member at offset {}",
                            size_, member_->packed));
        break;
    }
    return PlainChunk{.bytes = plain};
}

void GzipPass::take(std::span<const std::byte> plain) {
    if (open_.length >= grown(kSegment, plain_)) go_on_with_segment();
    open_.crc = crc32_of(open_.crc, plain);
    open_.length += plain.size();
    open_.packed_length = at_ - open_.packed;
    member_->crc = crc32_of(member_->crc, plain);
    plain_ += plain.size();
}

// A block that is damaged may not say that it is the last: but if both numbers behind it are right, it was.
Result<bool> GzipPass::trailer_follows() {
    VDISK_TRY(trailer, inflater_.input().at(at_, kTrailer));
    return trailer.size() == kTrailer && !member_->resumed && little(trailer, 0, 4) == member_->crc &&
           little(trailer, 4, 4) == static_cast<std::uint32_t>(member_length()) && member_length() > 0;
}

Result<void> GzipPass::end_block() {
    VDISK_TRY(last, trailer_follows());
    if (last) {
        index_.find(fmt::format("gzip member at offset {}: its last block is not marked as the last", member_->packed));
        if (open_.kind == Segment::Kind::whole && open_.lead == 0) { // not to be joined: its end can't be seen
            open_.kind = Segment::Kind::inner;
            open_.packed_length -= member_->data - open_.packed;
            open_.packed = member_->data;
        }
        return finish_member();
    }
    const std::uint64_t stored = at_ - open_.packed;
    if (open_.lead + open_.length >= grown(kSpacing, plain_) || (open_.length > 0 && stored >= kStoredSpacing))
        add_point();
    if (at_ + kOverrun <= size_) mark_block();
    if (open_.lead + open_.length > 0 || at_ - open_.packed < kStoredBefore) return ok();
    // Blocks without content, which nobody has to decode.
    const unsigned bits = inflater_.bits();
    open_ = {.kind = Segment::Kind::inner,
             .detail = static_cast<std::uint8_t>(bits),
             .packed = at_ - (bits > 0 ? 1 : 0),
             .window = open_.window};
    return ok();
}

void GzipPass::mark_block() {
    block_ = {
        .segments = index_.segments(), .length = open_.length, .crc = open_.crc, .packed_length = open_.packed_length};
}

void GzipPass::add_point() {
    const auto length =
        static_cast<std::size_t>(std::min<std::uint64_t>(kWindow, member_->resumed ? kWindow : member_length()));
    const Segment before = open_;
    if (start_inside(inflater_.bits(), std::span(buffer_.get() + kWindow + filled_ - length, length)))
        if (before.length > 0) index_.add(before);
}

// The next block can be decoded by the bits that it starts with and what matches can reach. False if that can't be
// kept: then the segment goes on.
bool GzipPass::start_inside(unsigned bits, std::span<const std::byte> window) {
    std::vector<std::byte> kept(ZSTD_compressBound(window.size()));
    const std::size_t size = ZSTD_compress(kept.data(), kept.size(), window.data(), window.size(), kWindowLevel);
    if (ZSTD_isError(size)) return false;
    const auto range = windows_.add(std::span(kept).first(size));
    if (range.has_error()) return false;
    open_ = {.kind = Segment::Kind::inner,
             .detail = static_cast<std::uint8_t>(bits),
             .packed = at_ - (bits > 0 ? 1 : 0),
             .window = range.value()};
    return true;
}

void GzipPass::go_on_with_segment() {
    index_.add(open_);
    open_.lead += open_.length;
    open_.length = 0;
    open_.crc = 0;
}

Result<void> GzipPass::finish_member() {
    VDISK_TRY(trailer, inflater_.input().at(at_, kTrailer));
    if (trailer.size() < kTrailer) {
        if (!member_->resumed && trailer.size() >= 4 && little(trailer, 0, 4) == member_->crc) {
            index_.find(
                fmt::format("the stream is cut off behind the CRC of the gzip member at offset {}", member_->packed));
            ended_ = true;
            end_member(0, Segment::Cover::checksum, size_);
        } else
            cut_off(
                fmt::format("the stream is cut off in the trailer of the gzip member at offset {}", member_->packed));
        return ok();
    }
    at_ += kTrailer;
    if (member_->resumed) {
        end_member(0, Segment::Cover::nothing, at_);
        return ok();
    }
    return check_trailer(static_cast<std::uint32_t>(little(trailer, 0, 4)),
                         static_cast<std::uint32_t>(little(trailer, 4, 4)));
}

// The end of the file inside a member. Where its header or its last block is damaged, inflate takes what is behind for
// data and gets there too: so what comes behind the last end of a block is doubtful. What is before it is as good as
// what has no checksum.
void GzipPass::cut_off(const std::string& what) {
    const std::uint32_t reason = index_.doubt(
        Doubt::Kind::altered,
        fail(ErrorKind::truncated, "{}, or damaged there: nothing vouches for what is in its last block", what));
    ended_ = true;
    if (index_.segments() > block_.segments) index_.judge(block_.segments, reason, Segment::Cover::nothing, kGzipGroup);
    else if (block_.length > 0 && block_.length < open_.length) {
        Segment before = open_;
        before.length = block_.length;
        before.crc = block_.crc;
        before.packed_length = block_.packed_length;
        index_.add(before);
        open_.lead += before.length;
        open_.length -= before.length;
        open_.crc ^= crc32_joined(before.crc, 0, open_.length);
    }
    if (index_.segments() == member_->first_segment) return end_member(reason, Segment::Cover::nothing, size_);
    open_.reason = reason;
    end_member(0, Segment::Cover::nothing, size_);
}

Result<void> GzipPass::check_trailer(std::uint32_t crc, std::uint32_t length) {
    const auto computed_length = static_cast<std::uint32_t>(member_length());
    const std::string what = fmt::format(
        "gzip member at offset {}: its CRC is {:08x} for {} bytes, but that of its {} plain bytes is {:08x}",
        member_->packed, crc, length, member_length(), member_->crc);
    if (crc != member_->crc && length != computed_length) return judge_length(what);
    if (crc == member_->crc && length != computed_length)
        index_.find(fmt::format("gzip member at offset {}: its length is {}, but it has {} plain bytes, and their CRC "
                                "is right",
                                member_->packed, length, member_length()));
    if (crc == member_->crc || differ_in_one_byte(crc, member_->crc)) {
        if (crc != member_->crc)
            index_.find(what + "; they differ in one byte, so the CRC itself is damaged and the bytes are sound");
        last_length_ = member_length();
        end_member(0, Segment::Cover::checksum, at_);
        return ok();
    }
    const std::uint32_t reason =
        index_.doubt(Doubt::Kind::altered, fail(ErrorKind::corrupt, "{}: something in them is altered", what));
    end_member(reason, Segment::Cover::nothing, at_);
    return ok();
}

// Bytes are altered and there are more or less of them than there were.
Result<void> GzipPass::judge_length(std::string what) {
    VDISK_TRY(rest, blocked_rest());
    const bool placed = rest > 0 && at_ == member_->packed + member_->blocked_size;
    what += placed ? fmt::format(": something in them is altered, and {} are missing", rest)
                   : fmt::format(": something in them is altered{}", kNotPlaced);
    missing_why_ = index_.doubt(Doubt::Kind::unplaced, fail(ErrorKind::corrupt, "{}", what));
    missing_ = placed ? rest : 0;
    end_member(missing_why_, Segment::Cover::nothing, at_);
    if (!placed) index_.lose_place(missing_why_);
    return ok();
}

void GzipPass::end_member(std::uint32_t reason, Segment::Cover cover, std::uint64_t packed_end) {
    const Segment last = std::exchange(open_, {});
    const Member member = *member_;
    member_.reset();
    if (last.kind == Segment::Kind::whole && last.lead == 0 && index_.segments() == member.first_segment &&
        last.length <= kGzipGroup) {
        Segment part = last;
        part.reason = reason;
        part.cover = cover;
        part.packed_length = packed_end - part.packed;
        return index_.add_part(part, kGzipGroup);
    }
    if (last.length > 0) index_.add(last);
    index_.judge(member.first_segment, reason, cover, kGzipGroup);
}

PlainChunk GzipPass::lost(std::uint64_t length, std::uint32_t reason) {
    index_.add_lost(length, reason, kGzipGroup);
    plain_ += length;
    return {.lost = length, .why = &index_.why(reason)};
}

// What was decoded of a damaged member can't be vouched for; what follows can be placed only behind a member that tells
// both its lengths.
Result<PlainChunk> GzipPass::damaged(const Error& why) {
    const Member member = *member_;
    VDISK_TRY(rest, blocked_rest());
    const Error what = fail(ErrorKind::corrupt, "gzip member at offset {} is damaged: {}", member.packed, why.what);
    if (rest == 0) {
        search_ = {.from = at_, .at = at_, .what = what};
        return PlainChunk{};
    }
    const std::uint32_t reason = index_.doubt(Doubt::Kind::unplaced, what);
    end_member(reason, Segment::Cover::nothing, at_);
    at_ = member.packed + member.blocked_size;
    return lost(rest, reason);
}

// The plain bytes of a member that says how long it is as bgzip's do, where another one follows it.
Result<std::optional<std::uint64_t>> GzipPass::blocked_length(std::uint64_t member, std::uint64_t size) {
    constexpr std::uint64_t kBlockMost = 64U << 10;
    const std::uint64_t end = member + size;
    if (size < kTrailer || end > size_) return std::optional<std::uint64_t>();
    VDISK_TRY(bytes, inflater_.input().at(end - 4, 4 + 4));
    if (bytes.size() < 8 || !is_member(bytes.subspan(4))) return std::optional<std::uint64_t>();
    const std::uint64_t length = little(bytes, 0, 4);
    return length <= kBlockMost ? std::optional(length) : std::nullopt;
}

// How many plain bytes are still to come in a member of bgzip's; 0 if that is not sure: it is if the member is as long
// as the last sound one, or the next.
Result<std::uint64_t> GzipPass::blocked_rest() {
    const std::uint64_t end = member_->packed + member_->blocked_size;
    VDISK_TRY(length, blocked_length(member_->packed, member_->blocked_size));
    if (!length || *length <= member_length()) return std::uint64_t{0};
    const std::uint64_t rest = *length - member_length();
    if (*length == last_length_) return rest;
    VDISK_TRY(bytes, inflater_.input().at(end, kGzipHeaderMax));
    const auto header = parse_member(bytes);
    if (!header) return std::uint64_t{0};
    VDISK_TRY(next, blocked_length(end, header->blocked_size));
    return next == length ? rest : 0;
}

// For the next member, and behind a break in one also for a deflate block that leads on.
Result<PlainChunk> GzipPass::search() {
    const std::uint64_t from = search_->at;
    VDISK_TRY(found, inflater_.input().at(from, kGzipSearched + kBlockHeaderMost));
    const std::vector<std::byte> bytes(found.begin(), found.end()); // trying reads elsewhere
    const std::size_t count = std::min(bytes.size(), kGzipSearched);
    for (std::size_t i = 0; i < count; ++i) {
        VDISK_TRY(resumed, resume_at(std::span(bytes).subspan(i), from + i));
        if (resumed) return PlainChunk{.lost = kUnknownGap, .why = &index_.why(missing_why_)};
    }
    search_->at += count;
    if (bytes.size() > kGzipSearched) return PlainChunk{};
    ended_ = true;
    if (!member_) index_.find(search_->what.what);
    else
        end_member(
            index_.doubt(Doubt::Kind::unplaced, fail(ErrorKind::corrupt, "{}{}", search_->what.what, kNotPlaced)),
            Segment::Cover::nothing, search_->from);
    return PlainChunk{};
}

// The member, if there is one, ends where the search began; what is lost there nobody knows.
void GzipPass::break_off() {
    missing_why_ =
        index_.doubt(Doubt::Kind::unplaced, fail(ErrorKind::corrupt, "{}{}", search_->what.what, kNotPlaced));
    if (member_) end_member(missing_why_, Segment::Cover::nothing, search_->from);
    index_.lose_place(missing_why_);
    index_.add_lost(kUnknownGap, missing_why_, kGzipGroup);
    plain_ += kUnknownGap;
    search_.reset();
}

// Whether the stream goes on there.
Result<bool> GzipPass::resume_at(std::span<const std::byte> bytes, std::uint64_t offset) {
    if (is_member(bytes) && offset > search_->from) return resume_member(offset, bytes);
    if (!member_ || offset == 0 || offset >= search_->from + kBlockSearched || bytes.size() < kBlockHeaderMost)
        return false;
    const BlockStart start{little(bytes, 0, 8), little(bytes, 8, 8)};
    for (unsigned bit = 0; bit < 8; ++bit) {
        if (!may_be_block(start, bit)) continue;
        VDISK_TRY(resumed, resume_block(offset, bit));
        if (resumed) return true;
    }
    return false;
}

Result<bool> GzipPass::resume_member(std::uint64_t offset, std::span<const std::byte> bytes) {
    constexpr std::size_t kBelieved = 4096;
    const auto header = parse_member(bytes);
    if (!header) return false;
    VDISK_CHECK(inflater_.start(offset + header->length, 0, {}));
    std::size_t filled = 0;
    const std::span out(buffer_.get() + kWindow, kBelieved);
    for (bool more = true; more && filled < kBelieved;) {
        const auto stop = inflater_.run(out, filled);
        if (stop.has_error() && stop.error().kind == ErrorKind::io) return stop.error();
        if (stop.has_error()) return false;
        more = stop.value() == Inflater::Stop::block_end;
    }
    break_off();
    at_ = offset;
    return true;
}

Result<bool> GzipPass::resume_block(std::uint64_t offset, unsigned bit) {
    if (!blind_) blind_.emplace(inflater_.input().source());
    // Bits of the byte at `offset` that belong to the block: all, or those behind the first ones.
    VDISK_TRY(found, blind_->try_from(bit == 0 ? offset : offset + 1, bit == 0 ? 0 : 8 - bit));
    if (!found) return false;
    const Segment broken = open_;
    at_ = found->packed;
    if (!start_inside(found->bits, found->window)) return false;
    const Segment resumed = std::exchange(open_, broken);
    break_off();
    member_.emplace(Member{.packed = at_, .plain = plain_, .first_segment = index_.segments(), .resumed = true});
    open_ = resumed;
    mark_block();
    std::ranges::copy(found->window, buffer_.get());
    filled_ = 0;
    VDISK_CHECK(inflater_.start(at_, found->bits, found->window));
    return true;
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
            const auto stop = inflater_.run(out, filled);
            if (filled == out.size()) break; // what is wrong behind them is not asked
            if (stop.has_error()) return stop.error();
            if (stop.value() == Inflater::Stop::input_end) return fail(ErrorKind::corrupt, "deflate data ends early");
            if (stop.value() == Inflater::Stop::member_end) VDISK_CHECK(start_member(inflater_.position() + kTrailer));
        }
        return ok();
    }

private:
    Result<void> start_member(std::uint64_t at) {
        VDISK_TRY(bytes, inflater_.input().at(at, kGzipHeaderMax));
        const auto header = is_member(bytes) ? parse_member(bytes) : std::nullopt;
        if (!header) return fail(ErrorKind::corrupt, "no gzip member where one should be");
        return inflater_.start(at + header->length, 0, {});
    }

    Inflater inflater_;
};

Result<std::unique_ptr<StreamPass>> make_gzip_pass(const ByteSource& packed, WindowStore& windows, const Limits& limits,
                                                   PassKind kind) {
    return std::unique_ptr<StreamPass>(std::make_unique<GzipPass>(packed, windows, limits, kind));
}

Result<void> expand_gzip(const SegmentBytes& bytes, std::span<std::byte> out) {
    const SpanSource packed(bytes.packed);
    GzipReader reader(packed);
    VDISK_CHECK(reader.begin(bytes.segment, bytes.window, 0));
    return reader.read(out);
}

Result<std::unique_ptr<SegmentReader>> make_gzip_reader(const ByteSource& packed, const Segment& segment,
                                                        std::span<const std::byte> window) {
    auto reader = std::make_unique<GzipReader>(packed);
    VDISK_CHECK(reader->begin(segment, window, segment.packed));
    return std::unique_ptr<SegmentReader>(std::move(reader));
}

} // namespace

const StreamCodec kGzipCodec{"gzip", "stream-gzip-3", is_member, make_gzip_pass, expand_gzip, make_gzip_reader};

} // namespace vdisk
