// SPDX-License-Identifier: Apache-2.0
#include "io/stream/zstd_sequences.hpp"

#include <boost/endian/conversion.hpp>

#include <algorithm>
#include <bit>
#include <cstring>
#include <optional>

namespace vdisk {
namespace {

using Code = ZstdSequenceTable::Code;

constexpr RepeatOffsets kFirstRepeats{1, 4, 8};
constexpr std::size_t kSequencesMost = kZstdBlockMax / 3; // no copy is shorter than three bytes
constexpr std::size_t kCodesMost = 53;

template<std::size_t Count>
constexpr std::array<Code, Count> codes_of(std::uint32_t first, const std::array<std::uint8_t, Count>& bits) {
    std::array<Code, Count> codes{};
    for (std::size_t i = 0; i < Count; ++i) {
        codes[i] = {first, bits[i]};
        first += std::uint32_t{1} << bits[i];
    }
    return codes;
}

// RFC 8878, 3.1.1.3.2.1.1: each code's range begins behind that of the one before.
constexpr auto kLiteralLengths = codes_of<36>(0, {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,  0,  0,  0,  0,  1,  1,
                                                  1, 1, 2, 2, 3, 3, 4, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16});
constexpr auto kMatchLengths =
    codes_of<53>(3, {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,  0,  0,  0,  0,  0,  0, 0,
                     0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 3, 3, 4, 4, 5, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16});
constexpr auto kOffsets = codes_of<32>(1, {0,  1,  2,  3,  4,  5,  6,  7,  8,  9,  10, 11, 12, 13, 14, 15,
                                           16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31});

static_assert(kLiteralLengths.back().base == 65536 && kMatchLengths[32].base == 35 &&
              kMatchLengths.back().base == 65539);

// RFC 8878, 3.1.1.3.2.2: the counts of the predefined tables.
constexpr std::array<std::int16_t, 36> kLiteralCounts{4, 3, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 1, 1,  1,  2,  2,
                                                      2, 2, 2, 2, 2, 2, 2, 3, 2, 1, 1, 1, 1, 1, -1, -1, -1, -1};
constexpr std::array<std::int16_t, 53> kMatchCounts{1, 4, 3, 2, 2, 2, 2, 2, 2, 1, 1,  1,  1,  1,  1,  1,  1, 1,
                                                    1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,  1,  1,  1,  1,  1,  1, 1,
                                                    1, 1, 1, 1, 1, 1, 1, 1, 1, 1, -1, -1, -1, -1, -1, -1, -1};
constexpr std::array<std::int16_t, 29> kOffsetCounts{1, 1, 1, 1, 1, 1, 2, 2, 2, 1,  1,  1,  1,  1, 1,
                                                     1, 1, 1, 1, 1, 1, 1, 1, 1, -1, -1, -1, -1, -1};

Error bad(std::string_view what) {
    return fail(ErrorKind::corrupt, "zstd block: {}", what);
}

// Bits from the lowest of the first byte up. Behind the end come zeros.
class ForwardBits {
public:
    explicit ForwardBits(std::span<const std::byte> bytes) : bytes_(bytes) {}
    std::uint32_t peek(unsigned count) const noexcept {
        std::uint32_t value = 0;
        for (std::size_t i = 0, at = position_ / 8; i < 4 && at + i < bytes_.size(); ++i)
            value |= std::to_integer<std::uint32_t>(bytes_[at + i]) << (8 * i);
        return value >> position_ % 8 & ((std::uint32_t{1} << count) - 1);
    }
    void skip(unsigned count) noexcept { position_ += count; }
    std::uint32_t get(unsigned count) noexcept {
        const std::uint32_t value = peek(count);
        skip(count);
        return value;
    }
    std::size_t bytes_read() const noexcept { return (position_ + 7) / 8; }

private:
    std::span<const std::byte> bytes_;
    std::size_t position_ = 0;
};

// Bits from the end of some bytes backwards; the highest set bit of the last one tells where they begin. Before the
// bytes there are kPadding others.
class BackwardBits {
public:
    static constexpr std::size_t kPadding = 8;

    explicit BackwardBits(std::span<const std::byte> padded) : bytes_(padded.data() + kPadding) {
        const auto last = std::to_integer<unsigned>(padded.back());
        left_ = last == 0 ? -1
                          : static_cast<std::int64_t>((padded.size() - kPadding) * 8) -
                                std::countl_zero(static_cast<std::uint8_t>(last)) - 1;
    }
    // Then 57 bits can be read. left() must not be below 0.
    void refill() noexcept {
        const std::int64_t end = (left_ + 7) >> 3;
        word_ = boost::endian::load_little_u64(reinterpret_cast<const unsigned char*>(bytes_ + end - 8))
                << (end * 8 - left_);
    }
    std::uint32_t get(unsigned count) noexcept {
        const std::uint64_t value = word_ >> 1 >> (63 - count);
        word_ <<= count;
        left_ -= count;
        return static_cast<std::uint32_t>(value);
    }
    // Below 0 if more were read than there are.
    std::int64_t left() const noexcept { return left_; }

private:
    const std::byte* bytes_;
    std::int64_t left_;
    std::uint64_t word_ = 0;
};

// RFC 8878, 4.1.1: how often each code comes.
struct Counts {
    std::array<std::int16_t, kCodesMost> of{};
    std::size_t codes = 0;
    unsigned log = 0;
    std::size_t length = 0; ///< bytes

    [[nodiscard]] std::span<const std::int16_t> all() const noexcept { return std::span(of).first(codes); }
};

std::optional<Counts> read_counts(std::span<const std::byte> bytes, std::size_t codes_most, unsigned log_most) {
    ForwardBits bits(bytes);
    Counts counts{.log = bits.get(4) + 5};
    if (counts.log > log_most) return std::nullopt;
    for (auto left = std::int32_t{1} << counts.log; left > 0;) {
        if (counts.codes >= codes_most || bits.bytes_read() > bytes.size()) return std::nullopt;
        // One of left + 2 values; the smaller ones take a bit less.
        const auto values = static_cast<std::uint32_t>(left + 2);
        const auto width = static_cast<unsigned>(std::bit_width(values - 1));
        const std::uint32_t short_ones = (std::uint32_t{1} << width) - values;
        std::uint32_t value = bits.peek(width - 1);
        bits.skip(width - 1);
        if (value >= short_ones) {
            value |= bits.get(1) << (width - 1);
            if (value >= std::uint32_t{1} << (width - 1)) value -= short_ones;
        }
        const auto count = static_cast<std::int16_t>(static_cast<std::int32_t>(value) - 1);
        counts.of[counts.codes++] = count;
        left -= count < 0 ? 1 : count;
        for (std::uint32_t more = count == 0 ? 3 : 0; more == 3;) {
            more = bits.get(2);
            counts.codes += more;
            if (counts.codes >= codes_most) return std::nullopt;
        }
    }
    counts.length = bits.bytes_read();
    if (counts.length > bytes.size()) return std::nullopt;
    return counts;
}

struct SequenceCount {
    std::size_t count = 0;
    std::size_t length = 0; ///< bytes that tell it
};

std::optional<SequenceCount> read_sequence_count(std::span<const std::byte> section) {
    const auto at = [&](std::size_t i) { return std::to_integer<std::size_t>(section[i]); };
    if (section.empty()) return std::nullopt;
    if (at(0) < 128) return SequenceCount{at(0), 1};
    if (section.size() < 3) return std::nullopt;
    if (at(0) < 255) return SequenceCount{(at(0) - 128) << 8 | at(1), 2};
    return SequenceCount{(at(1) | at(2) << 8) + 0x7F00, 3};
}

// RFC 8878, 3.1.1.5: the three smallest values are offsets that came before, and which of them depends on whether there
// are literals. Returns the offset, 0 if it is impossible.
std::uint32_t take_offset(RepeatOffsets& repeats, std::uint32_t value, std::uint32_t literals) noexcept {
    const auto [latest, second, third] = repeats;
    if (value > 3) repeats = {value - 3, latest, second};
    else if (value == 1 && literals != 0) return latest;
    else if (value == (literals != 0 ? 2 : 1)) repeats = {second, latest, third};
    else if (value == (literals != 0 ? 3 : 2)) repeats = {third, latest, second};
    else repeats = {latest - 1, latest, second};
    return repeats[0];
}

ZstdBlockSequences::HuffmanTable table_of(ZstdLiterals::Kind kind) noexcept {
    using HuffmanTable = ZstdBlockSequences::HuffmanTable;
    if (kind == ZstdLiterals::Kind::treeless) return HuffmanTable::earlier;
    return kind == ZstdLiterals::Kind::compressed ? HuffmanTable::own : HuffmanTable::unused;
}

} // namespace

struct ZstdSequenceReader::Field {
    std::span<const Code> codes;
    unsigned log_most;
    std::span<const std::int16_t> predefined;
    unsigned predefined_log;
};

constinit const std::array<ZstdSequenceReader::Field, 3> ZstdSequenceReader::kFields{{
    {kLiteralLengths, 9, kLiteralCounts, 6},
    {kOffsets, 8, kOffsetCounts, 5},
    {kMatchLengths, 9, kMatchCounts, 6},
}};

// RFC 8878, 4.1.1: codes that come less than once get the last states, the others are strewn over the rest.
void ZstdSequenceTable::build(std::span<const std::int16_t> counts, unsigned log,
                              std::span<const Code> codes) noexcept {
    log_ = log;
    const std::uint32_t size = std::uint32_t{1} << log;
    std::array<std::uint8_t, std::size_t{1} << kLogMost> code_of{};
    std::array<std::uint16_t, kCodesMost> next{};
    std::uint32_t last = size;
    for (std::size_t code = 0; code < counts.size(); ++code) {
        next[code] = static_cast<std::uint16_t>(counts[code] < 0 ? 1 : counts[code]);
        if (counts[code] < 0) code_of[--last] = static_cast<std::uint8_t>(code);
    }
    std::uint32_t place = 0;
    for (std::size_t code = 0; code < counts.size(); ++code)
        for (std::int16_t i = 0; i < counts[code]; ++i) {
            code_of[place] = static_cast<std::uint8_t>(code);
            do place = (place + (size >> 1) + (size >> 3) + 3) & (size - 1);
            while (place >= last);
        }
    for (std::uint32_t state = 0; state < size; ++state) {
        const std::uint8_t code = code_of[state];
        const std::uint16_t number = next[code]++;
        const auto bits = static_cast<std::uint8_t>(log + 1 - static_cast<unsigned>(std::bit_width(number)));
        states_[state] = {codes[code].base, static_cast<std::uint16_t>((std::uint32_t{number} << bits) - size), bits,
                          codes[code].bits};
    }
}

void ZstdSequenceTable::build_single(const Code& code) noexcept {
    log_ = 0;
    states_[0] = {code.base, 0, 0, code.bits};
}

void ZstdSequenceReader::begin_frame() noexcept {
    repeats_ = kFirstRepeats;
    there_ = {};
}

Result<ZstdBlockSequences> ZstdSequenceReader::read(std::span<const std::byte> block, std::size_t plain_length) {
    const auto literals = parse_zstd_literals(block);
    if (!literals || literals->length >= block.size()) return bad("its literals are cut off");
    ZstdBlockSequences read{.literals = table_of(literals->kind)};
    std::span<const std::byte> rest = block.subspan(literals->length);
    const auto count = read_sequence_count(rest);
    if (!count || count->count > kSequencesMost) return bad("an impossible number of sequences");
    if (count->count == 0) return read;
    rest = rest.subspan(count->length);
    if (rest.empty()) return bad("its sequences are cut off");
    const auto modes = std::to_integer<unsigned>(rest[0]);
    rest = rest.subspan(1);
    VDISK_TRY(own, read_tables(modes, rest));
    read.own_tables = own;
    VDISK_TRY(lengths, read_sequences(count->count, rest));
    if (lengths.literals > literals->plain || literals->plain + lengths.copies != plain_length)
        return bad("its sequences don't fill it");
    read.sequences = sequences_;
    return read;
}

// Whether the block brings all three. Takes what it reads from `rest`.
Result<bool> ZstdSequenceReader::read_tables(unsigned modes, std::span<const std::byte>& rest) {
    enum : unsigned { predefined, single, described, repeated };
    bool own = true;
    for (std::size_t i = 0; i < tables_.size(); ++i) {
        const Field& field = kFields[i];
        const unsigned mode = modes >> (6 - 2 * i) & 3;
        if (mode == predefined) tables_[i].build(field.predefined, field.predefined_log, field.codes);
        else if (mode == single) {
            const std::size_t code = rest.empty() ? field.codes.size() : std::to_integer<std::size_t>(rest[0]);
            if (code >= field.codes.size()) return bad("an impossible code");
            tables_[i].build_single(field.codes[code]);
            rest = rest.subspan(1);
        } else if (mode == described) {
            const auto counts = read_counts(rest, field.codes.size(), field.log_most);
            if (!counts) return bad("an impossible table");
            tables_[i].build(counts->all(), counts->log, field.codes);
            rest = rest.subspan(counts->length);
        } else if (!there_[i]) return bad("no table to repeat");
        own = own && mode != repeated;
        there_[i] = true;
    }
    return own;
}

// RFC 8878, 3.1.1.3.2.1: from the states the numbers' bases, then the bits that are added to them, then those to the
// next states.
Result<ZstdSequenceReader::Lengths> ZstdSequenceReader::read_sequences(std::size_t count,
                                                                       std::span<const std::byte> bits) {
    constexpr unsigned kExtraAtOnce = 57 - 26; // more leave no room for the states
    if (bits.empty()) return bad("its sequences are cut off");
    padded_.resize(BackwardBits::kPadding + bits.size());
    std::memcpy(padded_.data() + BackwardBits::kPadding, bits.data(), bits.size());
    sequences_.resize(count);
    RepeatOffsets repeats = repeats_;
    Lengths lengths;

    BackwardBits stream(padded_);
    if (stream.left() < 0) return bad("its sequences have no end");
    stream.refill();
    const auto* literal = tables_[0].states() + stream.get(tables_[0].log());
    const auto* offset = tables_[1].states() + stream.get(tables_[1].log());
    const auto* match = tables_[2].states() + stream.get(tables_[2].log());
    for (std::size_t i = 0; i < count; ++i) {
        if (stream.left() < 0) return bad("its sequences are cut off");
        stream.refill();
        const std::uint32_t offset_value = offset->base + stream.get(offset->extra_bits);
        const std::uint32_t length = match->base + stream.get(match->extra_bits);
        if (unsigned{offset->extra_bits} + match->extra_bits + literal->extra_bits > kExtraAtOnce) {
            if (stream.left() < 0) return bad("its sequences are cut off");
            stream.refill();
        }
        const std::uint32_t literals = literal->base + stream.get(literal->extra_bits);
        const std::uint32_t distance = take_offset(repeats, offset_value, literals);
        if (distance == 0) return bad("an offset of 0");
        sequences_[i] = {literals, length, distance};
        lengths.literals += literals;
        lengths.copies += length;
        if (i + 1 == count) break;
        literal = tables_[0].states() + literal->next + stream.get(literal->next_bits);
        match = tables_[2].states() + match->next + stream.get(match->next_bits);
        offset = tables_[1].states() + offset->next + stream.get(offset->next_bits);
    }
    if (stream.left() != 0) return bad("there is more behind its sequences");
    repeats_ = repeats;
    return lengths;
}

} // namespace vdisk
