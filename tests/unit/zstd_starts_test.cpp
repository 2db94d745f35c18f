// SPDX-License-Identifier: Apache-2.0
#include "io/memory_source.hpp"
#include "io/stream/zstd_starts.hpp"

#include <boost/test/unit_test.hpp>
#include <zstd.h>

#include <bit>
#include <random>

using namespace vdisk;

BOOST_AUTO_TEST_SUITE(zstd_starts)

namespace {

using Bytes = std::vector<std::byte>;
using HuffmanTable = ZstdBlockSequences::HuffmanTable;

// Copies from near and far, bytes that repeat and noise.
Bytes sample(std::size_t size) {
    std::mt19937 random(3);
    Bytes bytes;
    while (bytes.size() < size) {
        const std::size_t far = 1 + random() % (random() % 4 == 0 ? 700'000 : 300);
        const std::size_t length = 3 + random() % (random() % 50 == 0 ? 90'000 : 60);
        const bool copies = bytes.size() > far && random() % 3 != 0;
        for (std::size_t i = 0; i < length && (copies || i < 200); ++i)
            bytes.push_back(copies ? bytes[bytes.size() - far]
                                   : static_cast<std::byte>(random() % (far % 2 == 0 ? 256 : 19)));
    }
    bytes.resize(size);
    return bytes;
}

Bytes compressed(const Bytes& plain, int level) {
    Bytes out(ZSTD_compressBound(plain.size()));
    out.resize(ZSTD_compress(out.data(), out.size(), plain.data(), plain.size(), level));
    return out;
}

// Calls `took` with each compressed block's plain offset, its bytes without the header, and how many it expands to.
template<class Took> void each_block(const Bytes& frame, const Bytes& plain, Took&& took) {
    const auto header = parse_zstd_frame_header(frame);
    BOOST_REQUIRE(header.has_value());
    Bytes decoded(plain.size() + kZstdBlockMax);
    ZstdBlockDecoder decoder;
    BOOST_REQUIRE(decoder.begin().has_value());
    std::uint64_t at = header.value().length;
    std::size_t done = 0;
    for (bool last = false; !last;) {
        const auto rest = std::span(frame).subspan(static_cast<std::size_t>(at));
        const ZstdBlock block = parse_zstd_block(rest);
        const auto length = ZstdBlockDecoder::length_of(rest);
        BOOST_REQUIRE(length.has_value());
        const auto got = decoder.decode(rest.first(length.value()), std::span(decoded).subspan(done));
        BOOST_REQUIRE(got.has_value());
        if (block.kind == ZstdBlock::Kind::compressed)
            took(done, rest.subspan(kZstdBlockHeader, block.packed), got.value());
        done += got.value();
        at += length.value();
        last = block.last;
    }
    BOOST_REQUIRE(done == plain.size());
}

// What blocks of made-up frames consist of: a few literals and one copy, by tables of a single code.
struct MadeBlock {
    std::uint32_t offset = 0;
    ZstdLiterals::Kind literals = ZstdLiterals::Kind::raw;
    bool compressed = true;
    bool garbage = false;
};

constexpr std::uint32_t kLiterals = 8;
constexpr std::uint32_t kMadeLength = 65536 + kLiterals + 3; // plain bytes of a made-up block

Bytes made_bytes(const MadeBlock& made) {
    Bytes bytes;
    const auto put = [&](std::uint64_t value, unsigned count) {
        for (unsigned i = 0; i < count; ++i) bytes.push_back(static_cast<std::byte>(value >> (8 * i)));
    };
    put(0, kZstdBlockHeader);
    if (!made.compressed) return bytes;
    if (made.literals == ZstdLiterals::Kind::raw) {
        put(kLiterals << 3, 1);
        put(0, kLiterals);
    } else {
        put(static_cast<unsigned>(made.literals) | kLiterals << 4 | kLiterals << 14,
            3); // as long compressed as plain; nobody looks into them
        put(0, kLiterals);
    }
    const std::uint32_t value = made.offset + 3;
    const auto bits = static_cast<unsigned>(std::bit_width(value)) - 1;
    put(1, 1);
    put(made.garbage ? 0xFF : 0x54, 1);
    put(kLiterals, 1); // the codes; that of the length has 16 bits more
    put(bits, 1);
    put(52, 1);
    const std::uint64_t extra = std::uint64_t{value - (std::uint32_t{1} << bits)} << 16 | std::uint64_t{1}
                                                                                              << (16 + bits);
    put(extra, (16 + bits) / 8 + 1);
    return bytes;
}

// A frame of made-up blocks, as a pass tells a chooser of it. A block is a piece. None copies from before the frame.
class MadeFrame {
public:
    explicit MadeFrame(const std::vector<MadeBlock>& blocks) {
        Bytes packed;
        for (MadeBlock made : blocks) {
            made.offset = std::min(made.offset, static_cast<std::uint32_t>(blocks_.size()) * kMadeLength + kLiterals);
            const Bytes bytes = made_bytes(made);
            blocks_.push_back({.plain = blocks_.size() * kMadeLength,
                               .packed = packed.size(),
                               .plain_length = kMadeLength,
                               .packed_length = static_cast<std::uint32_t>(bytes.size()),
                               .compressed = made.compressed,
                               .begins_piece = !blocks_.empty()});
            packed.insert(packed.end(), bytes.begin(), bytes.end());
        }
        plain_.resize(blocks.size() * kMadeLength);
        std::mt19937_64 random(4); // which does not compress
        for (std::byte& byte : plain_) byte = static_cast<std::byte>(random());
        source_ = std::make_shared<MemorySource>(packed, "packed");
    }

    std::vector<RunBegin> runs(std::uint64_t window) {
        const PlainRing ring(plain_);
        WindowStore store(1U << 20);
        StartChooser chooser({*source_, ring}, store, StartDistances(kMost));
        chooser.begin_frame({.plain = 0, .packed = 0, .window = window});
        for (const FrameBlock& block : blocks_) chooser.look_at(block);
        chooser.end_frame();
        const StartsFound found = chooser.take();
        BOOST_TEST(found.position == plain_.size());
        return found.runs;
    }

    static constexpr std::uint64_t kMost = 2U << 20;

private:
    std::vector<FrameBlock> blocks_;
    Bytes plain_;
    std::shared_ptr<MemorySource> source_;
};

} // namespace

BOOST_AUTO_TEST_CASE(sequences_of_every_level_copy_the_bytes_that_libzstd_makes) {
    const Bytes plain = sample(3'000'000);
    for (const int level : {-7, -1, 1, 2, 3, 5, 7, 9, 12, 15, 17, 19, 22}) {
        ZstdSequenceReader reader;
        reader.begin_frame();
        std::size_t copies = 0;
        each_block(compressed(plain, level), plain,
                   [&](std::size_t at, std::span<const std::byte> block, std::size_t length) {
                       const auto read = reader.read(block, length);
                       BOOST_REQUIRE_MESSAGE(read.has_value(), "level " << level << " at " << at << ": "
                                                                        << (read.has_error() ? read.error().what : ""));
                       for (const ZstdSequence& sequence : read.value().sequences) {
                           at += sequence.literals;
                           BOOST_REQUIRE(sequence.offset <= at);
                           for (std::size_t i = 0; i < sequence.length; ++i)
                               BOOST_REQUIRE((plain[at + i] == plain[at + i - sequence.offset]));
                           at += sequence.length;
                           ++copies;
                       }
                   });
        BOOST_TEST(copies > 1000U);
    }
}

BOOST_AUTO_TEST_CASE(an_altered_block_is_refused_or_fills_its_length) {
    const Bytes plain = sample(200'000);
    const Bytes frame = compressed(plain, 3);
    std::mt19937 random(9);
    each_block(frame, plain, [&](std::size_t, std::span<const std::byte> block, std::size_t length) {
        for (int i = 0; i < 3000; ++i) {
            Bytes altered(block.begin(), block.end());
            altered[random() % (i % 2 == 0 ? altered.size() : std::min<std::size_t>(altered.size(), 200))] ^=
                static_cast<std::byte>(1 + random() % 255);
            if (i % 5 == 0) altered.resize(random() % altered.size());
            ZstdSequenceReader reader;
            reader.begin_frame();
            const auto read = reader.read(altered, length);
            if (read.has_error()) continue;
            std::size_t told = 0;
            for (const ZstdSequence& sequence : read.value().sequences) told += sequence.literals + sequence.length;
            BOOST_REQUIRE(told <= length);
        }
    });
}

BOOST_AUTO_TEST_CASE(a_block_that_repeats_what_was_not_there_is_refused) {
    const MadeBlock made{.offset = 100};
    const Bytes whole = made_bytes(made);
    Bytes block(whole.begin() + kZstdBlockHeader, whole.end());
    ZstdSequenceReader reader;
    reader.begin_frame();
    const auto read = reader.read(block, kMadeLength);
    BOOST_REQUIRE(read.has_value());
    BOOST_TEST(read.value().own_tables);
    BOOST_TEST((read.value().literals == HuffmanTable::unused));
    BOOST_REQUIRE(read.value().sequences.size() == 1U);
    BOOST_TEST(read.value().sequences[0].offset == 100U);
    BOOST_TEST(read.value().sequences[0].length == 65539U);
    block[10] = std::byte{0xFC};                             // all tables as in the block before
    BOOST_TEST(reader.read(block, kMadeLength).has_error()); // which leaves three bytes more than it should
    reader.begin_frame();
    BOOST_TEST(reader.read(block, kMadeLength).error().what.find("no table to repeat") != std::string::npos);
}

BOOST_AUTO_TEST_CASE(runs_begin_where_the_window_takes_least) {
    std::vector<MadeBlock> blocks(64, {.offset = 3 * kMadeLength, .literals = ZstdLiterals::Kind::compressed});
    for (const std::size_t number : {24U, 25U, 26U})
        blocks[number].offset = 1; // so that nothing copies what is before the first of these
    const auto runs = MadeFrame(blocks).runs(1U << 20);
    BOOST_REQUIRE(runs.size() >= 2U);
    BOOST_TEST(runs[0].plain >= 24 * kMadeLength);
    BOOST_TEST(runs[0].plain <= 26 * kMadeLength);
    BOOST_TEST(runs[0].from == runs[0].plain);
    BOOST_TEST(runs[0].window.length > 0U);
    const std::uint64_t next = runs[1].plain - runs[0].plain;
    BOOST_TEST(next >= MadeFrame::kMost / 2);
    BOOST_TEST(next <= MadeFrame::kMost);
}

BOOST_AUTO_TEST_CASE(a_run_without_a_huffman_table_ends_where_an_earlier_one_is_used) {
    std::vector<MadeBlock> blocks(64, {.offset = 5});
    blocks[0].literals = ZstdLiterals::Kind::compressed;
    blocks[50].literals = ZstdLiterals::Kind::treeless;
    const auto runs = MadeFrame(blocks).runs(1U << 20);
    const auto back = std::ranges::find(runs, std::uint64_t{50 * kMadeLength}, &RunBegin::from);
    BOOST_REQUIRE((back != runs.end()));
    BOOST_TEST(back->plain == 0U); // where there was a table
    BOOST_REQUIRE((back != runs.begin()));
    BOOST_TEST(std::prev(back)->plain > 0U);
}

BOOST_AUTO_TEST_CASE(behind_a_block_that_can_not_be_followed_nothing_starts) {
    std::vector<MadeBlock> blocks(64, {.offset = 5, .literals = ZstdLiterals::Kind::compressed});
    const auto followed = MadeFrame(blocks).runs(1U << 20);
    blocks[30].garbage = true;
    const auto runs = MadeFrame(blocks).runs(1U << 20);
    BOOST_TEST(followed.back().from > 31 * kMadeLength);
    for (const RunBegin& run : runs) BOOST_TEST(run.from <= 30 * kMadeLength);
}

BOOST_AUTO_TEST_CASE(behind_a_block_that_can_not_be_followed_nobody_knows_whether_a_huffman_table_is_needed) {
    std::vector<MadeBlock> blocks(64, {.offset = 5});
    blocks[0].literals = ZstdLiterals::Kind::compressed;
    blocks[38].garbage = true; // when the windows of some candidates are known
    for (const RunBegin& run : MadeFrame(blocks).runs(1U << 20)) BOOST_TEST(run.plain == 0U);
}

BOOST_AUTO_TEST_CASE(a_copy_from_beyond_the_window_ends_the_looking) {
    std::vector<MadeBlock> blocks(64, {.offset = 5, .literals = ZstdLiterals::Kind::compressed});
    blocks[30].offset = (1U << 20) + 1;
    for (const RunBegin& run : MadeFrame(blocks).runs(1U << 20)) BOOST_TEST(run.from <= 30 * kMadeLength);
}

BOOST_AUTO_TEST_CASE(raw_blocks_need_nothing_and_lead_nowhere) {
    std::vector<MadeBlock> blocks(160, {.offset = 5, .literals = ZstdLiterals::Kind::compressed});
    for (std::size_t number = 40; number < 120; ++number) blocks[number].compressed = false;
    const auto runs = MadeFrame(blocks).runs(1U << 20);
    const auto free = std::ranges::find_if(runs, [](const RunBegin& run) { return run.plain > 60 * kMadeLength; });
    BOOST_REQUIRE((free != runs.end()));
    BOOST_TEST(free->plain < 120 * kMadeLength);
    BOOST_TEST(free->window.length == 0U);
    const auto back = std::ranges::find(runs, std::uint64_t{120 * kMadeLength}, &RunBegin::from);
    BOOST_REQUIRE((back != runs.end()));
    BOOST_TEST(back->plain <= 40 * kMadeLength);
    BOOST_TEST(runs.back().plain > 120 * kMadeLength);
}

BOOST_AUTO_TEST_CASE(long_windows_take_little_of_the_compressed_bytes) {
    const std::vector<MadeBlock> blocks(
        200, {.offset = 5 * kMadeLength,
              .literals = ZstdLiterals::Kind::compressed}); // 24 bytes each, and windows of 320 KiB
    BOOST_TEST(MadeFrame(blocks).runs(MadeFrame::kMost / 4).size() >= 7U);
    const std::size_t runs = MadeFrame(blocks).runs(MadeFrame::kMost).size();
    BOOST_TEST(runs >= 1U); // they may take a MiB at first
    BOOST_TEST(runs <= 3U);
}

BOOST_AUTO_TEST_SUITE_END()
