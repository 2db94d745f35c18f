// SPDX-License-Identifier: Apache-2.0
#include "io/stream/stream_codec.hpp"

#include "config.h"

#include <array>

#ifdef HAVE_LZO
#include <libdeflate.h>
#include <lzo/lzo1x.h>

#include <algorithm>
#include <cstring>
#endif

namespace vdisk {
namespace {

constexpr std::array<std::uint8_t, 9> kMagic{0x89, 'L', 'Z', 'O', 0x00, 0x0D, 0x0A, 0x1A, 0x0A};

bool detect(std::span<const std::byte> head) {
    if (head.size() < kMagic.size()) return false;
    for (std::size_t i = 0; i < kMagic.size(); ++i)
        if (std::to_integer<std::uint8_t>(head[i]) != kMagic[i]) return false;
    return true;
}

#ifdef HAVE_LZO

// lzop's own limit.
constexpr std::uint32_t kBlockMax = 64U << 20;
constexpr std::uint64_t kGroup = 1U << 20;
constexpr std::size_t kHeaderMax = 64U << 10;
constexpr std::size_t kBlockHeaderMax = 24;

// The checks that blocks have: the header's flags, as a segment keeps them.
enum : std::uint8_t { kPlainAdler = 1, kPlainCrc = 2, kPackedAdler = 4, kPackedCrc = 8 };

struct Header {
    std::size_t length = 0;
    std::uint8_t checks = 0;
    bool filtered = false;
    bool many_parts = false;
};

// Numbers of a header, one after the other; zeros behind its end, which good() tells.
class Numbers {
public:
    explicit Numbers(std::span<const std::byte> bytes) : bytes_(bytes) {}
    std::uint32_t get(std::size_t count) {
        std::uint32_t value = 0;
        for (std::size_t i = 0; i < count; ++i, ++at_)
            value = value << 8 | (at_ < bytes_.size() ? std::to_integer<std::uint32_t>(bytes_[at_]) : 0);
        return value;
    }
    void skip(std::size_t count) { at_ += count; }
    std::size_t position() const { return at_; }
    bool good() const { return at_ <= bytes_.size(); }

private:
    std::span<const std::byte> bytes_;
    std::size_t at_ = 0;
};

// As lzop writes it; nothing if `bytes` end before it does.
std::optional<Header> parse_header(std::span<const std::byte> bytes) {
    constexpr std::uint32_t kHasMoreFields = 0x0940;
    Numbers numbers(bytes);
    numbers.skip(kMagic.size());
    const std::uint32_t version = numbers.get(2);
    numbers.skip(2); // the library's version
    if (version >= kHasMoreFields) numbers.skip(2);
    numbers.skip(version >= kHasMoreFields ? 2 : 1); // method, level: the decoder is the same for all
    const std::uint32_t flags = numbers.get(4);
    Header header;
    header.filtered = (flags & 0x800) != 0;
    header.many_parts = (flags & 0x400) != 0;
    numbers.skip(header.filtered ? 4 : 0);
    numbers.skip(version >= kHasMoreFields ? 12 : 8); // mode, time
    numbers.skip(numbers.get(1));                     // name
    numbers.skip(4);                                  // checksum
    if ((flags & 0x40) != 0) numbers.skip(std::size_t{numbers.get(4)} + 4);
    header.length = numbers.position();
    header.checks =
        static_cast<std::uint8_t>(((flags & 0x1) != 0 ? kPlainAdler : 0) | ((flags & 0x100) != 0 ? kPlainCrc : 0) |
                                  ((flags & 0x2) != 0 ? kPackedAdler : 0) | ((flags & 0x200) != 0 ? kPackedCrc : 0));
    return numbers.good() ? std::optional(header) : std::nullopt;
}

struct Block {
    std::uint32_t plain_length = 0; ///< 0: the end of the blocks
    std::uint32_t packed_length = 0;
    std::uint32_t plain_adler = 0, plain_crc = 0, packed_adler = 0, packed_crc = 0;
    std::size_t header = 0; ///< bytes of it
};

// Nothing if `bytes` end before the block's header does.
std::optional<Block> parse_block(std::span<const std::byte> bytes, std::uint8_t checks) {
    Numbers numbers(bytes);
    Block block;
    block.plain_length = numbers.get(4);
    if (block.plain_length != 0) {
        block.packed_length = numbers.get(4);
        const bool stored = block.packed_length >= block.plain_length;
        if ((checks & kPlainAdler) != 0) block.plain_adler = numbers.get(4);
        if ((checks & kPlainCrc) != 0) block.plain_crc = numbers.get(4);
        if ((checks & kPackedAdler) != 0 && !stored) block.packed_adler = numbers.get(4);
        if ((checks & kPackedCrc) != 0 && !stored) block.packed_crc = numbers.get(4);
    }
    block.header = numbers.position();
    return numbers.good() ? std::optional(block) : std::nullopt;
}

bool plausible(const Block& block) {
    return block.plain_length <= kBlockMax && block.packed_length > 0 && block.packed_length <= block.plain_length;
}

bool expand_block(std::span<const std::byte> packed, std::span<std::byte> out) {
    if (packed.size() == out.size()) {
        std::ranges::copy(packed, out.begin());
        return true;
    }
    lzo_uint length = out.size();
    const int status = lzo1x_decompress_safe(reinterpret_cast<const unsigned char*>(packed.data()), packed.size(),
                                             reinterpret_cast<unsigned char*>(out.data()), &length, nullptr);
    return status == LZO_E_OK && length == out.size();
}

struct Difference {
    std::string what;
    bool in_check_alone = false;
};

std::optional<Difference> compare(std::string_view name, std::uint32_t stored, std::uint32_t computed) {
    if (stored == computed) return std::nullopt;
    return Difference{fmt::format("its {} is {:08x}, but that of its bytes is {:08x}", name, stored, computed),
                      differ_in_one_byte(stored, computed)};
}

// What the checks of the plain bytes say against them.
std::optional<Difference> plain_difference(const Block& block, std::span<const std::byte> plain, std::uint8_t checks) {
    std::optional<Difference> found;
    if ((checks & kPlainAdler) != 0)
        found = compare("Adler-32", block.plain_adler, libdeflate_adler32(1, plain.data(), plain.size()));
    if (!found && (checks & kPlainCrc) != 0) found = compare("CRC", block.plain_crc, crc32_of(0, plain));
    return found;
}

// What the checks of the compressed bytes say against them. A block that is stored as it is has none.
std::optional<Difference> packed_difference(const Block& block, std::span<const std::byte> packed,
                                            std::uint8_t checks) {
    if (block.packed_length == block.plain_length) return std::nullopt;
    std::optional<Difference> found;
    if ((checks & kPackedAdler) != 0)
        found = compare("Adler-32 of compressed bytes", block.packed_adler,
                        libdeflate_adler32(1, packed.data(), packed.size()));
    if (!found && (checks & kPackedCrc) != 0)
        found = compare("CRC of compressed bytes", block.packed_crc, crc32_of(0, packed));
    return found;
}

// What all checks say. Where those of the plain bytes are right the bytes are, whatever another check says.
std::optional<Difference> difference(const Block& block, std::span<const std::byte> packed,
                                     std::span<const std::byte> plain, std::uint8_t checks) {
    if (auto found = plain_difference(block, plain, checks)) return found;
    auto found = packed_difference(block, packed, checks);
    if (found && (checks & (kPlainAdler | kPlainCrc)) != 0) found->in_check_alone = true;
    return found;
}

class LzopPass final : public StreamPass {
public:
    explicit LzopPass(const ByteSource& packed) : input_(packed) {}

    Result<void> begin();
    Result<PlainChunk> next() override;
    std::uint64_t packed_position() const noexcept override { return std::min(at_, input_.size()); }
    Result<StreamIndex> finish() override;

private:
    Result<void> start_part();
    Result<PlainChunk> next_block();
    PlainChunk take(const Block& block, std::span<const std::byte> packed);
    void add_segment(const Segment& segment);
    void end_with(std::string finding);
    std::uint32_t add_reason(Error why);

    PackedInput input_;
    std::uint64_t at_ = 0;
    std::uint64_t plain_ = 0;
    std::optional<Header> part_; ///< lzop writes one for each file it was given
    bool ended_ = false;
    std::vector<std::byte> buffer_;
    StreamIndex index_;
};

Result<void> LzopPass::begin() {
    VDISK_TRY(bytes, input_.at(0, kHeaderMax));
    const auto header = parse_header(bytes);
    if (!header) return fail(ErrorKind::truncated, "{}: the lzop header is cut off", input_.source().name());
    if (header->filtered) return fail(ErrorKind::unsupported, "{}: lzop stream with a filter", input_.source().name());
    if (header->many_parts)
        return fail(ErrorKind::unsupported, "{}: one of several parts of an lzop stream", input_.source().name());
    return ok();
}

Result<PlainChunk> LzopPass::next() {
    while (!ended_) {
        if (!part_) {
            VDISK_CHECK(start_part());
            continue;
        }
        VDISK_TRY(chunk, next_block());
        if (!chunk.bytes.empty() || chunk.lost > 0) return chunk;
    }
    return PlainChunk{};
}

void LzopPass::end_with(std::string finding) {
    index_.findings.push_back(std::move(finding));
    ended_ = true;
}

Result<void> LzopPass::start_part() {
    VDISK_TRY(bytes, input_.at(at_, kHeaderMax));
    if (bytes.empty()) {
        ended_ = true;
        return ok();
    }
    const auto header = detect(bytes) ? parse_header(bytes) : std::nullopt;
    if (!header || header->filtered || header->many_parts)
        end_with(
            fmt::format("{} bytes from offset {} on are no lzop stream that can be read", input_.size() - at_, at_));
    else {
        part_ = header;
        at_ += header->length;
    }
    return ok();
}

Result<PlainChunk> LzopPass::next_block() {
    VDISK_TRY(start, input_.at(at_, kBlockHeaderMax));
    const auto block = parse_block(start, part_->checks);
    if (!block) {
        end_with(fmt::format("the stream is cut off at {} of its compressed bytes, before the end of its blocks",
                             input_.size()));
        return PlainChunk{};
    }
    if (block->plain_length == 0) {
        at_ += block->header;
        part_.reset();
        return PlainChunk{};
    }
    if (!plausible(*block)) {
        end_with(fmt::format(
            "lzop block at offset {} has impossible lengths: {} bytes from {}; what follows can't be placed", at_,
            block->plain_length, block->packed_length));
        return PlainChunk{};
    }
    VDISK_TRY(whole, input_.at(at_, block->header + block->packed_length));
    if (whole.size() < block->header + block->packed_length) {
        ended_ = true;
        const std::uint32_t reason = add_reason(fail(
            ErrorKind::truncated, "the stream is cut off at {} of its compressed bytes, in the lzop block at offset {}",
            input_.size(), at_));
        add_segment({.kind = Segment::Kind::lost, .reason = reason, .plain = plain_, .length = block->plain_length});
        return PlainChunk{.lost = block->plain_length, .why = &index_.reasons[reason - 1]};
    }
    buffer_.resize(block->plain_length);
    return take(*block, whole.subspan(block->header));
}

// A block is sound, or its bytes are doubtful, or there are none; the next one is found in any case.
PlainChunk LzopPass::take(const Block& block, std::span<const std::byte> packed) {
    const bool decoded = expand_block(packed, buffer_);
    Segment segment{.detail = part_->checks,
                    .plain = plain_,
                    .length = block.plain_length,
                    .packed = at_,
                    .packed_length = block.header + block.packed_length};
    const auto wrong =
        decoded ? difference(block, packed, buffer_, part_->checks) : Difference{"it can't be decompressed"};
    if (wrong && wrong->in_check_alone)
        index_.findings.push_back(fmt::format(
            "lzop block at offset {}: {}, so the check itself is damaged and the bytes are sound", at_, wrong->what));
    else if (wrong)
        segment.reason = add_reason(fail(ErrorKind::corrupt, "lzop block at offset {}: {}", at_, wrong->what));
    if (!decoded) segment.kind = Segment::Kind::lost;
    else segment.crc = crc32_of(0, buffer_);
    at_ += segment.packed_length;
    add_segment(segment);
    if (!decoded) return {.lost = segment.length, .why = &index_.reasons[segment.reason - 1]};
    return {.bytes = buffer_};
}

// Small blocks that follow one another are one segment.
void LzopPass::add_segment(const Segment& segment) {
    plain_ += segment.length;
    Segment* before = index_.segments.empty() ? nullptr : &index_.segments.back();
    const bool joins = before != nullptr && before->kind == Segment::Kind::whole &&
                       segment.kind == Segment::Kind::whole && before->reason == 0 && segment.reason == 0 &&
                       before->detail == segment.detail && before->packed + before->packed_length == segment.packed &&
                       before->length + segment.length <= kGroup;
    if (!joins) {
        index_.segments.push_back(segment);
        return;
    }
    before->crc = crc32_joined(before->crc, segment.crc, segment.length);
    before->length += segment.length;
    before->packed_length += segment.packed_length;
}

std::uint32_t LzopPass::add_reason(Error why) {
    index_.findings.push_back(why.what);
    index_.reasons.push_back(std::move(why).in(input_.source().name()));
    return static_cast<std::uint32_t>(index_.reasons.size());
}

Result<StreamIndex> LzopPass::finish() {
    index_.size = plain_;
    return std::move(index_);
}

Result<std::unique_ptr<StreamPass>> make_pass(const ByteSource& packed, WindowStore& /*windows*/,
                                              const Limits& /*limits*/) {
    auto pass = std::make_unique<LzopPass>(packed);
    VDISK_CHECK(pass->begin());
    return std::unique_ptr<StreamPass>(std::move(pass));
}

Result<void> expand(const SegmentBytes& bytes, std::span<std::byte> out) {
    std::span<const std::byte> packed = bytes.packed;
    while (!out.empty()) {
        const auto block = parse_block(packed, bytes.segment.detail);
        if (!block || !plausible(*block) || block->plain_length > out.size() ||
            packed.size() - block->header < block->packed_length ||
            !expand_block(packed.subspan(block->header, block->packed_length), out.first(block->plain_length)))
            return fail(ErrorKind::corrupt, "lzop blocks are not what they were");
        packed = packed.subspan(block->header + block->packed_length);
        out = out.subspan(block->plain_length);
    }
    return ok();
}

// A single block longer than what is decoded as one.
class LzopReader final : public SegmentReader {
public:
    explicit LzopReader(std::vector<std::byte> plain) : plain_(std::move(plain)) {}
    Result<void> read(std::span<std::byte> out) override {
        if (out.size() > plain_.size() - at_) return fail(ErrorKind::corrupt, "lzop blocks are not what they were");
        std::copy_n(plain_.begin() + static_cast<std::ptrdiff_t>(at_), out.size(), out.begin());
        at_ += out.size();
        return ok();
    }

private:
    std::vector<std::byte> plain_;
    std::size_t at_ = 0;
};

Result<std::unique_ptr<SegmentReader>> make_reader(const ByteSource& packed, const Segment& segment,
                                                   std::span<const std::byte> window) {
    if (segment.length > kBlockMax || segment.packed_length > 2 * std::uint64_t{kBlockMax})
        return fail(ErrorKind::corrupt, "stream index: no lzop block is as long");
    std::vector<std::byte> bytes(static_cast<std::size_t>(segment.packed_length));
    VDISK_CHECK(read_exact(packed, segment.packed, bytes));
    std::vector<std::byte> plain(static_cast<std::size_t>(segment.length));
    VDISK_CHECK(expand({segment, bytes, window}, plain));
    return std::unique_ptr<SegmentReader>(std::make_unique<LzopReader>(std::move(plain)));
}

#else

Result<std::unique_ptr<StreamPass>> make_pass(const ByteSource& packed, WindowStore& /*windows*/,
                                              const Limits& /*limits*/) {
    return fail(ErrorKind::unsupported, "{}: this build can't read lzop streams: it was made without liblzo2",
                packed.name());
}

Result<void> expand(const SegmentBytes& /*bytes*/, std::span<std::byte> /*out*/) {
    return fail(ErrorKind::unsupported, "this build can't read lzop streams");
}

Result<std::unique_ptr<SegmentReader>> make_reader(const ByteSource& /*packed*/, const Segment& /*segment*/,
                                                   std::span<const std::byte> /*window*/) {
    return fail(ErrorKind::unsupported, "this build can't read lzop streams");
}

#endif

} // namespace

const StreamCodec kLzopCodec{"lzop", "stream-lzop-2", detect, make_pass, expand, make_reader};

} // namespace vdisk
