// SPDX-License-Identifier: Apache-2.0
#include "io/stream/index_builder.hpp"
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
constexpr std::uint64_t kLzopGroup = 1U << 20;
constexpr std::size_t kLzopHeaderMax = 64U << 10;
constexpr std::size_t kBlockHeaderMax = 24;
// Plain bytes of damaged blocks whose true lengths are looked for: a thousand of the usual ones.
constexpr std::uint64_t kTriesMost = 256U << 20;

// The checks that blocks have: the header's flags, as a segment keeps them.
enum : std::uint8_t { kPlainAdler = 1, kPlainCrc = 2, kPackedAdler = 4, kPackedCrc = 8 };

struct Header {
    std::size_t length = 0;
    std::uint8_t checks = 0;
    bool filtered = false;
    bool many_parts = false;
    bool sound = false;      ///< its own check is right
    std::uint32_t doubt = 0; ///< why its blocks are doubtful, if they are: as Segment::reason
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
    std::span<const std::byte> seen_from(std::size_t start) const {
        return good() ? bytes_.subspan(start, at_ - start) : std::span<const std::byte>();
    }
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
    const auto checked = numbers.seen_from(kMagic.size());
    const std::uint32_t computed =
        (flags & 0x1000) != 0 ? crc32_of(0, checked) : libdeflate_adler32(1, checked.data(), checked.size());
    header.sound = numbers.get(4) == computed;
    if ((flags & 0x40) != 0) numbers.skip(std::size_t{numbers.get(4)} + 4);
    header.length = numbers.position();
    header.checks =
        static_cast<std::uint8_t>(((flags & 0x1) != 0 ? kPlainAdler : 0) | ((flags & 0x100) != 0 ? kPlainCrc : 0) |
                                  ((flags & 0x2) != 0 ? kPackedAdler : 0) | ((flags & 0x200) != 0 ? kPackedCrc : 0));
    return numbers.good() ? std::optional(header) : std::nullopt;
}

struct Lengths {
    std::uint32_t plain = 0;
    std::uint32_t packed = 0;
};

struct LzopBlock {
    Lengths lengths; ///< plain 0: the end of the blocks
    std::uint32_t plain_adler = 0, plain_crc = 0, packed_adler = 0, packed_crc = 0;
    std::size_t header = 0; ///< bytes of it
    bool repaired = false;  ///< the lengths are not those in the header
};

// Plain bytes that a block of `packed` ones can give at most.
std::uint64_t most_plain(std::uint32_t packed) {
    constexpr std::uint64_t kRatioMost = 256; // a byte of zero makes a match 255 bytes longer
    constexpr std::uint64_t kFirstBytes = 64;
    return (packed + kFirstBytes) * kRatioMost;
}

bool plausible(const Lengths& lengths) {
    return lengths.plain > 0 && lengths.plain <= kBlockMax && lengths.packed > 0 && lengths.packed <= lengths.plain &&
           lengths.plain <= most_plain(lengths.packed);
}

// Nothing if `bytes` end before the block's header does. Where `believed` has lengths, they count and not the header's,
// which have a say in which checks there are.
std::optional<LzopBlock> parse_block(std::span<const std::byte> bytes, std::uint8_t checks,
                                     const std::optional<Lengths>& believed = std::nullopt) {
    Numbers numbers(bytes);
    LzopBlock block;
    block.lengths.plain = numbers.get(4);
    if (believed || block.lengths.plain != 0) {
        block.lengths.packed = numbers.get(4);
        if (believed) block.lengths = *believed;
        block.repaired = believed.has_value();
        const bool stored = block.lengths.packed >= block.lengths.plain;
        if ((checks & kPlainAdler) != 0) block.plain_adler = numbers.get(4);
        if ((checks & kPlainCrc) != 0) block.plain_crc = numbers.get(4);
        if ((checks & kPackedAdler) != 0 && !stored) block.packed_adler = numbers.get(4);
        if ((checks & kPackedCrc) != 0 && !stored) block.packed_crc = numbers.get(4);
    }
    block.header = numbers.position();
    return numbers.good() ? std::optional(block) : std::nullopt;
}

enum class Expanded : std::uint8_t { exactly, too_much_input, not_at_all };

// Whether `packed` gives as many bytes as `out` has, and is used up by that.
Expanded expand_block(std::span<const std::byte> packed, std::span<std::byte> out) {
    if (packed.size() == out.size()) {
        std::ranges::copy(packed, out.begin());
        return Expanded::exactly;
    }
    lzo_uint length = out.size();
    const int status = lzo1x_decompress_safe(reinterpret_cast<const unsigned char*>(packed.data()), packed.size(),
                                             reinterpret_cast<unsigned char*>(out.data()), &length, nullptr);
    if (length != out.size()) return Expanded::not_at_all;
    if (status == LZO_E_OK) return Expanded::exactly;
    return status == LZO_E_INPUT_NOT_CONSUMED ? Expanded::too_much_input : Expanded::not_at_all;
}

// How many of `packed` a compressed block takes that gives `out`; 0 if there is no such block.
std::uint32_t packed_length_of(std::span<const std::byte> packed, std::span<std::byte> out) {
    if (packed.empty() || expand_block(packed, out) == Expanded::not_at_all) return 0;
    std::size_t too_short = 0;
    std::size_t enough = packed.size();
    while (enough - too_short > 1) {
        const std::size_t middle = too_short + (enough - too_short) / 2;
        (expand_block(packed.first(middle), out) == Expanded::not_at_all ? too_short : enough) = middle;
    }
    return static_cast<std::uint32_t>(enough);
}

struct BlockBytes {
    std::span<const std::byte> packed;
    std::span<const std::byte> plain;
};

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
std::optional<Difference> plain_difference(const LzopBlock& block, std::span<const std::byte> plain,
                                           std::uint8_t checks) {
    std::optional<Difference> found;
    if ((checks & kPlainAdler) != 0)
        found = compare("Adler-32", block.plain_adler, libdeflate_adler32(1, plain.data(), plain.size()));
    if (!found && (checks & kPlainCrc) != 0) found = compare("CRC", block.plain_crc, crc32_of(0, plain));
    return found;
}

// What the checks of the compressed bytes say against them. A block that is stored as it is has none.
std::optional<Difference> packed_difference(const LzopBlock& block, std::span<const std::byte> packed,
                                            std::uint8_t checks) {
    if (block.lengths.packed == block.lengths.plain) return std::nullopt;
    std::optional<Difference> found;
    if ((checks & kPackedAdler) != 0)
        found = compare("Adler-32 of compressed bytes", block.packed_adler,
                        libdeflate_adler32(1, packed.data(), packed.size()));
    if (!found && (checks & kPackedCrc) != 0)
        found = compare("CRC of compressed bytes", block.packed_crc, crc32_of(0, packed));
    return found;
}

// What all checks say. Where those of the plain bytes are right the bytes are, whatever another check says.
std::optional<Difference> difference(const LzopBlock& block, const BlockBytes& bytes, std::uint8_t checks) {
    if (auto found = plain_difference(block, bytes.plain, checks)) return found;
    auto found = packed_difference(block, bytes.packed, checks);
    if (found && (checks & (kPlainAdler | kPlainCrc)) != 0) found->in_check_alone = true;
    return found;
}

class LzopPass final : public StreamPass {
public:
    LzopPass(const ByteSource& packed, const Limits& limits, PassKind kind)
        : input_(packed), kind_(kind), index_(packed.name(), packed.size(), limits) {}

    Result<void> begin();
    Result<PlainChunk> next() override;
    std::uint64_t packed_position() const noexcept override { return std::min(at_, input_.size()); }
    Result<StreamIndex> finish() override { return index_.finish(0); }

private:
    // Plain lengths that a damaged block may have.
    struct Believed {
        std::uint32_t told = 0;  ///< what its header says
        std::uint32_t usual = 0; ///< what its neighbours have
    };

    Result<void> start_part();
    void doubt_part();
    Result<PlainChunk> next_block();
    Result<PlainChunk> look_into(const LzopBlock& block);
    Result<std::optional<PlainChunk>> take(const LzopBlock& block);
    void judge(const LzopBlock& block, const BlockBytes& bytes, Segment& segment);
    Result<PlainChunk> take_damaged(const LzopBlock& block);
    Result<bool> expands(const Lengths& lengths, const Believed& believed);
    Result<std::uint32_t> plain_length_of(std::uint32_t packed);
    Result<std::uint32_t> search_length(std::uint32_t plain);
    Result<std::optional<Lengths>> true_lengths(const Lengths& told, std::uint32_t usual);
    Result<bool> leads_on(const LzopBlock& block, std::uint32_t usual);
    Result<std::uint32_t> usual_length(const Lengths& told);
    Result<PlainChunk> take_repaired(const Lengths& told, const Lengths& found);
    Result<PlainChunk> end_of_blocks(const LzopBlock& end);
    PlainChunk lost(const LzopBlock& block, std::uint32_t reason);
    PlainChunk end_with(std::string finding);
    std::span<std::byte> room_for(std::size_t count);

    PackedInput input_;
    PassKind kind_;
    IndexBuilder index_;
    std::uint64_t at_ = 0;
    std::optional<Header> part_;   ///< lzop writes one for each file it was given
    std::uint32_t last_plain_ = 0; ///< of the last block whose length is sure
    std::uint64_t tries_left_ = kTriesMost;
    bool ended_ = false;
    std::vector<std::byte> buffer_;
};

// Not smaller again: to clear it for each block would take longer than small blocks do.
std::span<std::byte> LzopPass::room_for(std::size_t count) {
    if (buffer_.size() < count) buffer_.resize(count);
    return std::span(buffer_).first(count);
}

Result<void> LzopPass::begin() {
    VDISK_TRY(bytes, input_.at(0, kLzopHeaderMax));
    const auto header = parse_header(bytes);
    if (!header) return fail(ErrorKind::truncated, "{}: the lzop header is cut off", input_.source().name());
    if (header->filtered) return fail(ErrorKind::unsupported, "{}: lzop stream with a filter", input_.source().name());
    if (header->many_parts)
        return fail(ErrorKind::unsupported, "{}: one of several parts of an lzop stream", input_.source().name());
    return ok();
}

Result<PlainChunk> LzopPass::next() {
    if (!ended_ && part_) return next_block();
    if (!ended_) VDISK_CHECK(start_part());
    return PlainChunk{.end = ended_};
}

PlainChunk LzopPass::end_with(std::string finding) {
    index_.find(std::move(finding));
    ended_ = true;
    return {};
}

Result<void> LzopPass::start_part() {
    VDISK_TRY(bytes, input_.at(at_, kLzopHeaderMax));
    ended_ = bytes.empty();
    if (ended_) return ok();
    const auto header = detect(bytes) ? parse_header(bytes) : std::nullopt;
    if (!header || header->filtered || header->many_parts) {
        end_with(
            fmt::format("{} bytes from offset {} on are no lzop stream that can be read", input_.size() - at_, at_));
        return ok();
    }
    part_ = header;
    if (!header->sound) doubt_part();
    at_ += header->length;
    return ok();
}

// A damaged header may say that blocks have no checks although they do: then these are taken for data.
void LzopPass::doubt_part() {
    const std::string what = fmt::format("lzop header at offset {}: its checksum is wrong", at_);
    if (part_->checks != 0) return index_.find(what);
    part_->doubt = index_.doubt(Doubt::Kind::unplaced,
                                fail(ErrorKind::corrupt, "{}, and it says that blocks have no checks", what));
    index_.lose_place(part_->doubt);
}

Result<PlainChunk> LzopPass::next_block() {
    VDISK_TRY(start, input_.at(at_, kBlockHeaderMax));
    const auto block = parse_block(start, part_->checks);
    if (!block)
        return end_with(fmt::format("the stream is cut off at {} of its compressed bytes, before the end of its blocks",
                                    input_.size()));
    if (block->lengths.plain == 0) return end_of_blocks(*block);
    if (kind_ == PassKind::look) return look_into(*block);
    if (plausible(block->lengths)) {
        VDISK_TRY(taken, take(*block));
        if (taken) return *taken;
    }
    return take_damaged(*block);
}

// What no block follows, but the next part or nothing, is the end; else a length is damaged.
Result<PlainChunk> LzopPass::end_of_blocks(const LzopBlock& end) {
    VDISK_TRY(behind, input_.at(at_ + end.header, kMagic.size()));
    if (!behind.empty() && !detect(behind) && kind_ == PassKind::whole) {
        LzopBlock block;
        block.lengths.packed = Numbers(behind).get(4);
        VDISK_TRY(usual, usual_length(block.lengths));
        VDISK_TRY(found, true_lengths(block.lengths, usual));
        if (found) return take_repaired(block.lengths, *found);
    }
    at_ += end.header;
    part_.reset();
    return PlainChunk{};
}

// The first bytes of a block, be it sound or not. Behind one that does not expand as it says nothing more is looked at.
Result<PlainChunk> LzopPass::look_into(const LzopBlock& block) {
    constexpr std::size_t kLook = 256U << 10; // what lzop's own blocks have
    ended_ = true;
    if (!plausible(block.lengths)) return PlainChunk{};
    const bool stored = block.lengths.packed == block.lengths.plain;
    VDISK_TRY(bytes, input_.at(at_ + block.header, std::min<std::size_t>(block.lengths.packed, 2 * kLook)));
    const auto plain = room_for(std::min<std::size_t>(block.lengths.plain, kLook));
    lzo_uint length = plain.size();
    bool expanded = true;
    if (stored) {
        length = std::min(bytes.size(), plain.size());
        std::copy_n(bytes.begin(), length, plain.begin());
    } else
        // Too much for the buffer: as much as there is room for is in it.
        expanded = lzo1x_decompress_safe(reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size(),
                                         reinterpret_cast<unsigned char*>(plain.data()), &length, nullptr) == LZO_E_OK;
    if (expanded && length == block.lengths.plain) {
        ended_ = false;
        at_ += block.header + block.lengths.packed;
    }
    return PlainChunk{.bytes = plain.first(std::min<std::size_t>(length, plain.size()))};
}

// The block if it expands to what its lengths say; nothing if it does not.
Result<std::optional<PlainChunk>> LzopPass::take(const LzopBlock& block) {
    const std::size_t length = block.header + block.lengths.packed;
    VDISK_TRY(whole, input_.at(at_, length));
    if (whole.size() < length) return std::optional<PlainChunk>();
    const auto packed = whole.subspan(block.header);
    const auto plain = room_for(block.lengths.plain);
    if (expand_block(packed, plain) != Expanded::exactly) return std::optional<PlainChunk>();

    Segment segment{.detail = part_->checks,
                    .crc = crc32_of(0, plain),
                    .length = plain.size(),
                    .packed = at_,
                    .packed_length = length};
    judge(block, {packed, plain}, segment);
    if (block.repaired) { // its header is of no use: the segment is what is behind it
        segment.kind = Segment::Kind::inner;
        segment.packed += block.header;
        segment.packed_length -= block.header;
    }
    at_ += length;
    index_.add_part(segment, kLzopGroup);
    return std::optional(PlainChunk{.bytes = plain});
}

// What the block's checks say of its bytes.
void LzopPass::judge(const LzopBlock& block, const BlockBytes& bytes, Segment& segment) {
    const std::uint8_t checks = part_->checks;
    if (checks == 0) {
        segment.cover = Segment::Cover::nothing;
        segment.reason = part_->doubt;
        last_plain_ = block.lengths.plain;
        return;
    }
    const auto wrong = difference(block, bytes, checks);
    if (wrong && wrong->in_check_alone)
        index_.find(fmt::format("lzop block at offset {}: {}, so the check itself is damaged and the bytes are sound",
                                at_, wrong->what));
    else if (wrong)
        segment.reason = index_.doubt(Doubt::Kind::altered,
                                      fail(ErrorKind::corrupt, "lzop block at offset {}: {}", at_, wrong->what));
    if (segment.reason == 0) last_plain_ = block.lengths.plain;
}

// Whether there is a block with these lengths here, by its own checks. If it has none, it must be of one of the lengths
// that are `believed`, and lead to the next.
Result<bool> LzopPass::expands(const Lengths& lengths, const Believed& believed) {
    if (!plausible(lengths)) return false;
    VDISK_TRY(start, input_.at(at_, kBlockHeaderMax));
    const auto block = parse_block(start, part_->checks, lengths);
    if (!block) return false;
    VDISK_TRY(whole, input_.at(at_, block->header + lengths.packed));
    if (whole.size() < block->header + lengths.packed) return false;
    const auto packed = whole.subspan(block->header);
    const auto plain = room_for(lengths.plain);
    if (expand_block(packed, plain) != Expanded::exactly) return false;
    if ((part_->checks & (kPlainAdler | kPlainCrc)) != 0) return !plain_difference(*block, plain, part_->checks);
    if (part_->checks != 0 && lengths.packed < lengths.plain) return !packed_difference(*block, packed, part_->checks);
    if (lengths.plain != believed.told && lengths.plain != believed.usual) return false;
    return leads_on(*block, lengths.plain);
}

// How much a compressed block of so many bytes gives; 0 if there is none here.
Result<std::uint32_t> LzopPass::plain_length_of(std::uint32_t packed) {
    if (packed == 0 || packed >= kBlockMax || packed > tries_left_) return 0U;
    VDISK_TRY(start, input_.at(at_, kBlockHeaderMax));
    const auto block = parse_block(start, part_->checks, Lengths{packed + 1, packed});
    if (!block) return 0U;
    VDISK_TRY(whole, input_.at(at_, block->header + packed));
    if (whole.size() < block->header + packed) return 0U;
    const std::uint64_t most = std::min<std::uint64_t>({kBlockMax, most_plain(packed), tries_left_});
    lzo_uint length = static_cast<lzo_uint>(most);
    const auto plain = room_for(static_cast<std::size_t>(most));
    const int status = lzo1x_decompress_safe(reinterpret_cast<const unsigned char*>(whole.data() + block->header),
                                             packed, reinterpret_cast<unsigned char*>(plain.data()), &length, nullptr);
    tries_left_ -= std::min<std::uint64_t>(std::max<std::uint64_t>(length, packed), tries_left_);
    return status == LZO_E_OK ? static_cast<std::uint32_t>(length) : 0U;
}

// How long a compressed block must be that gives so many bytes; 0 if none here does.
Result<std::uint32_t> LzopPass::search_length(std::uint32_t plain) {
    if (plain < 2 || plain > kBlockMax) return 0U;
    VDISK_TRY(start, input_.at(at_, kBlockHeaderMax));
    const auto block = parse_block(start, part_->checks, Lengths{plain, plain - 1});
    if (!block) return 0U;
    VDISK_TRY(whole, input_.at(at_, block->header + plain - 1));
    if (whole.size() <= block->header) return 0U;
    return packed_length_of(whole.subspan(block->header), room_for(plain));
}

// What the lengths of a block must be of which the header's are not both right: one of them is, or both are what its
// neighbours have, which is `usual`. A block that expands to them and whose check is right is one.
Result<std::optional<Lengths>> LzopPass::true_lengths(const Lengths& told, std::uint32_t usual) {
    const Believed believed{.told = told.plain, .usual = usual};
    if (told.packed <= tries_left_) {
        tries_left_ -= told.packed;
        VDISK_TRY(given, plain_length_of(told.packed));
        for (const Lengths& tried : {Lengths{given, told.packed}, Lengths{told.packed, told.packed}}) {
            VDISK_TRY(right, expands(tried, believed));
            if (right) return std::optional(tried);
        }
    }
    for (const std::uint32_t plain : {told.plain, usual}) {
        if (plain > kBlockMax || plain > tries_left_) continue;
        tries_left_ -= plain;
        VDISK_TRY(searched, search_length(plain));
        for (const Lengths& tried : {Lengths{plain, told.packed}, Lengths{plain, plain}, Lengths{plain, searched}}) {
            VDISK_TRY(right, expands(tried, believed));
            if (right) return std::optional(tried);
        }
    }
    return std::optional<Lengths>();
}

// Whether a block that does not expand leads to what must be behind it: a block of the usual length, or a last one, or
// the end.
Result<bool> LzopPass::leads_on(const LzopBlock& block, std::uint32_t usual) {
    std::uint64_t at = at_ + block.header + block.lengths.packed;
    for (int i = 0; i < 2; ++i) {
        VDISK_TRY(bytes, input_.at(at, kBlockHeaderMax));
        const auto next = parse_block(bytes, part_->checks);
        if (!next) return false;
        at += next->header + next->lengths.packed;
        if (next->lengths.plain == 0) {
            VDISK_TRY(behind, input_.at(at, kMagic.size()));
            return behind.empty() || detect(behind);
        }
        if (!plausible(next->lengths)) return false;
        if (next->lengths.plain == usual) return true;
    }
    return false;
}

// What a block's neighbours have: the one before it, or the one that is where its lengths lead to.
Result<std::uint32_t> LzopPass::usual_length(const Lengths& told) {
    if (last_plain_ != 0) return last_plain_;
    VDISK_TRY(begin, input_.at(at_, kBlockHeaderMax));
    const std::vector<std::byte> start(begin.begin(), begin.end());
    for (const std::uint32_t length : {told.packed, told.plain})
        for (const std::uint32_t plain : {length, length + 1}) { // stored or compressed: the header differs
            const auto block = parse_block(start, part_->checks, Lengths{plain, length});
            if (!block || length == 0 || length > kBlockMax) continue;
            VDISK_TRY(bytes, input_.at(at_ + block->header + length, kBlockHeaderMax));
            const auto next = parse_block(bytes, part_->checks);
            if (next && plausible(next->lengths)) return next->lengths.plain;
        }
    return 0U;
}

// A block whose lengths are these and not what its header says.
Result<PlainChunk> LzopPass::take_repaired(const Lengths& told, const Lengths& found) {
    VDISK_TRY(start, input_.at(at_, kBlockHeaderMax));
    index_.find(
        fmt::format("lzop block at offset {}: its lengths are {} from {}, but its check is right for {} from {}", at_,
                    told.plain, told.packed, found.plain, found.packed));
    VDISK_TRY(taken, take(*parse_block(start, part_->checks, found)));
    return taken.value_or(PlainChunk{});
}

Result<PlainChunk> LzopPass::take_damaged(const LzopBlock& block) {
    const std::uint64_t end = at_ + block.header + block.lengths.packed;
    VDISK_TRY(usual, usual_length(block.lengths));
    VDISK_TRY(found, true_lengths(block.lengths, usual));
    if (found) return take_repaired(block.lengths, *found);
    if (plausible(block.lengths) && end > input_.size()) {
        ended_ = true;
        const Error cut = fail(ErrorKind::truncated,
                               "the stream is cut off at {} of its compressed bytes, in the lzop block at offset {}",
                               input_.size(), at_);
        return lost(block, index_.doubt(Doubt::Kind::unplaced, cut));
    }
    bool leads = plausible(block.lengths);
    if (leads) {
        VDISK_TRY(led, leads_on(block, usual));
        leads = led;
    }
    const bool placed = leads && block.lengths.plain == usual;
    const std::string what = plausible(block.lengths) ? "it can't be decompressed"
                                                      : fmt::format("it has impossible lengths: {} bytes from {}",
                                                                    block.lengths.plain, block.lengths.packed);
    const std::uint32_t reason =
        index_.doubt(Doubt::Kind::unplaced, fail(ErrorKind::corrupt, "lzop block at offset {}: {}{}", at_, what,
                                                 placed ? "" : "; what follows can't be placed"));
    if (placed || leads) {
        at_ = end;
        if (!placed) index_.lose_place(reason);
        return lost(block, reason);
    }
    ended_ = true;
    return PlainChunk{};
}

// As many bytes as the block's header says; where that is not sure, what follows is not placed.
PlainChunk LzopPass::lost(const LzopBlock& block, std::uint32_t reason) {
    const std::uint64_t length = index_.placed() ? block.lengths.plain : kUnknownGap;
    index_.add_lost(length, reason, kLzopGroup);
    return {.lost = length, .why = &index_.why(reason)};
}

Result<std::unique_ptr<StreamPass>> make_lzop_pass(const ByteSource& packed, WindowStore& /*windows*/,
                                                   const Limits& limits, PassKind kind) {
    auto pass = std::make_unique<LzopPass>(packed, limits, kind);
    VDISK_CHECK(pass->begin());
    return std::unique_ptr<StreamPass>(std::move(pass));
}

Error not_what_they_were() {
    return fail(ErrorKind::corrupt, "lzop blocks are not what they were");
}

// Blocks, and between them ends and beginnings of parts.
Result<void> expand_lzop(const SegmentBytes& bytes, std::span<std::byte> out) {
    std::span<const std::byte> packed = bytes.packed;
    if (bytes.segment.kind == Segment::Kind::inner) // the bytes of one block without its header
        return expand_block(packed, out) == Expanded::exactly ? Result<void>(ok()) : not_what_they_were();
    std::uint8_t checks = bytes.segment.detail;
    while (!out.empty()) {
        const auto block = parse_block(packed, checks);
        if (!block) return not_what_they_were();
        if (block->lengths.plain == 0) {
            packed = packed.subspan(block->header);
            const auto header = detect(packed) ? parse_header(packed) : std::nullopt;
            if (!header) return not_what_they_were();
            checks = header->checks;
            packed = packed.subspan(header->length);
            continue;
        }
        const auto [plain, length] = block->lengths;
        if (!plausible(block->lengths) || plain > out.size() || packed.size() - block->header < length ||
            expand_block(packed.subspan(block->header, length), out.first(plain)) != Expanded::exactly)
            return not_what_they_were();
        packed = packed.subspan(block->header + length);
        out = out.subspan(plain);
    }
    return ok();
}

// A single block longer than what is decoded as one.
class LzopReader final : public SegmentReader {
public:
    explicit LzopReader(std::vector<std::byte> plain) : plain_(std::move(plain)) {}
    Result<void> read(std::span<std::byte> out) override {
        if (out.size() > plain_.size() - at_) return not_what_they_were();
        std::copy_n(plain_.begin() + static_cast<std::ptrdiff_t>(at_), out.size(), out.begin());
        at_ += out.size();
        return ok();
    }

private:
    std::vector<std::byte> plain_;
    std::size_t at_ = 0;
};

Result<std::unique_ptr<SegmentReader>> make_lzop_reader(const ByteSource& packed, const Segment& segment,
                                                        std::span<const std::byte> window) {
    if (segment.length > kBlockMax || segment.packed_length > 2 * std::uint64_t{kBlockMax})
        return fail(ErrorKind::corrupt, "stream index: no lzop block is as long");
    std::vector<std::byte> bytes(static_cast<std::size_t>(segment.packed_length));
    VDISK_CHECK(read_exact(packed, segment.packed, bytes));
    std::vector<std::byte> plain(static_cast<std::size_t>(segment.length));
    VDISK_CHECK(expand_lzop({segment, bytes, window}, plain));
    return std::unique_ptr<SegmentReader>(std::make_unique<LzopReader>(std::move(plain)));
}

#else

Result<std::unique_ptr<StreamPass>> make_lzop_pass(const ByteSource& packed, WindowStore& /*windows*/,
                                                   const Limits& /*limits*/, PassKind /*kind*/) {
    return fail(ErrorKind::unsupported, "{}: this build can't read lzop streams: it was made without liblzo2",
                packed.name());
}

Result<void> expand_lzop(const SegmentBytes& /*bytes*/, std::span<std::byte> /*out*/) {
    return fail(ErrorKind::unsupported, "this build can't read lzop streams");
}

Result<std::unique_ptr<SegmentReader>> make_lzop_reader(const ByteSource& /*packed*/, const Segment& /*segment*/,
                                                        std::span<const std::byte> /*window*/) {
    return fail(ErrorKind::unsupported, "this build can't read lzop streams");
}

#endif

} // namespace

const StreamCodec kLzopCodec{"lzop", "stream-lzop-3", detect, make_lzop_pass, expand_lzop, make_lzop_reader};

} // namespace vdisk
