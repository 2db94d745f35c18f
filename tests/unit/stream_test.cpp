// SPDX-License-Identifier: Apache-2.0
#include "io/memory_source.hpp"
#include "io/stream/indexed_stream.hpp"
#include "io/stream/stream_pass.hpp"
#include "io/stream/zstd_blocks.hpp"
#include "model.hpp"
#include "packed_file.hpp"
#include "zlib_stream.hpp"

#include <boost/test/unit_test.hpp>
#include <zlib.h>
#include <zstd.h>

#include <atomic>
#include <fstream>
#include <functional>
#include <iterator>
#include <random>
#include <thread>

#include "config.h"

using namespace vdisk;
using test::PackedFile;

BOOST_AUTO_TEST_SUITE(streams)

namespace {

using Bytes = std::vector<std::byte>;

Bytes read_file(const std::filesystem::path& path) {
    std::ifstream in(path, std::ios::binary);
    const std::string text((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
    BOOST_REQUIRE(!text.empty());
    Bytes bytes(text.size());
    std::memcpy(bytes.data(), text.data(), text.size());
    return bytes;
}

Bytes fixture(const std::string& name) {
    return read_file(std::filesystem::path(FIXTURES) / "vma" / name);
}

// Text-like: words of a small vocabulary that drifts, so that matches reach back near and far, with some noise.
Bytes sample(std::size_t size) {
    std::mt19937 random(7);
    Bytes bytes;
    bytes.reserve(size + 64);
    while (bytes.size() < size) {
        const std::size_t far = 1 + random() % 1'500'000;
        const std::size_t length = 5 + random() % 40;
        if (bytes.size() > far + length && random() % 8 != 0)
            for (std::size_t i = 0; i < length; ++i) bytes.push_back(bytes[bytes.size() - far]);
        else
            for (std::size_t i = 0; i < length; ++i) bytes.push_back(static_cast<std::byte>(random() % 61));
    }
    bytes.resize(size);
    return bytes;
}

const Bytes& long_sample() {
    static const Bytes bytes = sample(30'000'000);
    return bytes;
}

struct ZstdChoice {
    int level = 1;
    bool content_size = false;
    bool checksum = true;
    int window_log = 0;
};

Bytes zstd(std::span<const std::byte> plain, const ZstdChoice& choice = {}) {
    const std::unique_ptr<ZSTD_CCtx, decltype(&ZSTD_freeCCtx)> encoder(ZSTD_createCCtx(), ZSTD_freeCCtx);
    ZSTD_CCtx_setParameter(encoder.get(), ZSTD_c_compressionLevel, choice.level);
    ZSTD_CCtx_setParameter(encoder.get(), ZSTD_c_contentSizeFlag, choice.content_size ? 1 : 0);
    ZSTD_CCtx_setParameter(encoder.get(), ZSTD_c_checksumFlag, choice.checksum ? 1 : 0);
    if (choice.window_log > 0) ZSTD_CCtx_setParameter(encoder.get(), ZSTD_c_windowLog, choice.window_log);
    if (choice.content_size) ZSTD_CCtx_setPledgedSrcSize(encoder.get(), plain.size());
    Bytes out(ZSTD_compressBound(plain.size()) + 1024);
    ZSTD_outBuffer filled{out.data(), out.size(), 0};
    ZSTD_inBuffer rest{plain.data(), plain.size(), 0};
    // First without its end, so that the size is not known when the header is written.
    BOOST_REQUIRE(!ZSTD_isError(ZSTD_compressStream2(encoder.get(), &filled, &rest, ZSTD_e_continue)));
    BOOST_REQUIRE(ZSTD_compressStream2(encoder.get(), &filled, &rest, ZSTD_e_end) == 0);
    out.resize(filled.pos);
    return out;
}

Bytes gzip(std::span<const std::byte> plain, int level = 1) {
    return test::zlib_stream(plain, {.level = level, .window_bits = MAX_WBITS + 16});
}

Bytes joined(std::initializer_list<std::span<const std::byte>> parts) {
    Bytes all;
    for (const auto part : parts) all.insert(all.end(), part.begin(), part.end());
    return all;
}

// A skippable frame of zstd's.
Bytes skippable(std::size_t length) {
    Bytes frame(8 + length, std::byte{0xAB});
    const std::array<unsigned, 8> head{
        0x53, 0x2A, 0x4D, 0x18, static_cast<unsigned>(length & 0xFF), static_cast<unsigned>(length >> 8), 0, 0};
    for (std::size_t i = 0; i < head.size(); ++i) frame[i] = static_cast<std::byte>(head[i]);
    return frame;
}

bool reads_as(const ByteSource& source, const Bytes& plain, std::uint64_t offset, std::size_t length) {
    Bytes got(length, std::byte{0xEE});
    const auto read = source.read_at(offset, got);
    const std::size_t wanted =
        offset >= plain.size() ? 0 : std::min(length, plain.size() - static_cast<std::size_t>(offset));
    return read.has_value() && read.value() == wanted &&
           std::equal(got.begin(), got.begin() + static_cast<std::ptrdiff_t>(wanted),
                      plain.begin() + static_cast<std::ptrdiff_t>(std::min<std::uint64_t>(offset, plain.size())));
}

void check_all(const ByteSource& source, const Bytes& plain, std::size_t step) {
    BOOST_TEST_REQUIRE(source.size() == plain.size());
    for (std::size_t at = 0; at < plain.size(); at += step) BOOST_REQUIRE(reads_as(source, plain, at, step));
    BOOST_TEST(reads_as(source, plain, plain.size(), 10));
}

// Each piece is an error or the truth; returns how many bytes are errors.
std::size_t check_honest(const ByteSource& source, const Bytes& plain, std::size_t step) {
    std::size_t errors = 0;
    Bytes got(step);
    for (std::uint64_t at = 0; at < source.size(); at += step) {
        const auto read = source.read_at(at, got);
        if (read.has_error()) {
            errors += step;
            continue;
        }
        BOOST_REQUIRE(at + read.value() <= plain.size());
        BOOST_REQUIRE(std::equal(got.begin(), got.begin() + static_cast<std::ptrdiff_t>(read.value()),
                                 plain.begin() + static_cast<std::ptrdiff_t>(at)));
    }
    return errors;
}

const std::initializer_list<std::string> kSuffixes{
    ".zst",
    ".gz",
#ifdef HAVE_LZO
    ".lzo",
#endif
};

} // namespace

BOOST_AUTO_TEST_CASE(every_compression_reads_as_its_plain_file) {
    const Bytes shuffled = fixture("06-shuffled.vma");
    const Bytes small = fixture("15-small.vma");
    for (const std::string& suffix : kSuffixes) {
        for (const std::size_t step : {1000UL, 65536UL, 1000000UL})
            check_all(*PackedFile(fixture("06-shuffled.vma" + suffix)).indexed(), shuffled, step);
        check_all(*PackedFile(fixture("15-small.vma" + suffix)).indexed(), small, 777);
    }
    check_all(*PackedFile(fixture("damaged/d54-wrong-suffix.vma.zst")).indexed(), small, 777);
}

BOOST_AUTO_TEST_CASE(a_file_that_is_not_compressed_is_told_so) {
    const auto found = detect_compression(MemorySource(fixture("15-small.vma"), "plain"));
    BOOST_TEST(!found.value().has_value());
    BOOST_TEST(!detect_compression(MemorySource({}, "empty")).value().has_value());
}

BOOST_AUTO_TEST_CASE(random_reads_of_a_long_zstd_frame_from_several_threads_match_a_flat_model) {
    for (const ZstdChoice& choice :
         {ZstdChoice{.level = 3}, ZstdChoice{.level = 1, .content_size = true, .checksum = false},
          ZstdChoice{.level = 3, .window_log = 25}}) {
        const Bytes& plain = long_sample();
        const PackedFile packed(zstd(plain, choice));
        const auto stream = packed.indexed();
        BOOST_TEST_REQUIRE(stream->size() == plain.size());
        BOOST_TEST(stream->findings().empty());
        BOOST_TEST(stream->statistics().segments >= 3U);
        BOOST_TEST((choice.window_log > 24 || stream->statistics().longest_segment <= 16U << 20));
        std::atomic<int> wrong{0};
        std::vector<std::thread> threads;
        for (unsigned seed = 0; seed < 4; ++seed)
            threads.emplace_back([&, seed] {
                std::mt19937 random(seed);
                for (int i = 0; i < 40; ++i)
                    if (!reads_as(*stream, plain, random() % plain.size(), random() % 200'000)) ++wrong;
            });
        for (std::thread& thread : threads) thread.join();
        BOOST_TEST(wrong == 0);
    }
}

BOOST_AUTO_TEST_CASE(random_reads_of_a_long_gzip_member_match_a_flat_model) {
    const Bytes& plain = long_sample();
    const auto stream = PackedFile(gzip(plain)).indexed();
    BOOST_TEST_REQUIRE(stream->size() == plain.size());
    BOOST_TEST(stream->statistics().segments >= 5U);
    std::mt19937 random(3);
    for (int i = 0; i < 60; ++i) BOOST_REQUIRE(reads_as(*stream, plain, random() % plain.size(), random() % 200'000));
}

BOOST_AUTO_TEST_CASE(a_read_decodes_no_more_than_the_segments_it_touches) {
    const Bytes& plain = long_sample();
    const PackedFile packed(zstd(plain, {.level = 3}));
    const auto stream = packed.indexed();
    BOOST_REQUIRE(reads_as(*stream, plain, plain.size() - 1000, 1000));
    BOOST_TEST(stream->statistics().decoded <= stream->statistics().longest_segment);
    const std::uint64_t decoded = stream->statistics().decoded;
    BOOST_REQUIRE(reads_as(*stream, plain, plain.size() - 5000, 1000));
    BOOST_TEST(stream->statistics().decoded == decoded);
}

BOOST_AUTO_TEST_CASE(zeros_and_incompressible_bytes_get_restart_points_too) {
    std::mt19937_64 random(1);
    Bytes noise(20'000'000);
    for (std::byte& byte : noise) byte = static_cast<std::byte>(random());
    const Bytes zeros(60'000'000);
    const Bytes head = sample(100'000);
    const Bytes plain = joined({head, zeros, noise, head});
    const auto stream = PackedFile(zstd(plain)).indexed();
    check_all(*stream, plain, 5'000'000);
    const auto fresh = PackedFile(zstd(plain)).indexed();
    BOOST_REQUIRE(reads_as(*fresh, plain, 50'000'000, 1000)); // zeros
    BOOST_REQUIRE(reads_as(*fresh, plain, 75'000'000, 1000)); // noise
    BOOST_TEST(fresh->statistics().decoded <= 2 * (16U << 20));
}

BOOST_AUTO_TEST_CASE(frames_and_skippable_frames_follow_one_another) {
    const Bytes one = sample(300'000);
    const Bytes two = sample(2'000'000);
    const Bytes file = joined({skippable(100), zstd(one), skippable(0), zstd({}), zstd(two, {.content_size = true}),
                               zstd(one, {.checksum = false}), skippable(5)});
    const auto stream = PackedFile(file).indexed();
    BOOST_TEST(stream->findings().empty());
    check_all(*stream, joined({one, two, one}), 100'000);
}

BOOST_AUTO_TEST_CASE(gzip_members_follow_one_another_and_garbage_behind_them_is_told) {
    const Bytes one = sample(300'000);
    const Bytes two = sample(1'500'000);
    const Bytes members = joined({gzip(one, 9), gzip({}), gzip(two, 1), gzip(one, 0)});
    const Bytes plain = joined({one, two, one});
    check_all(*PackedFile(members).indexed(), plain, 100'000);
    const Bytes zeros(1000);
    const auto padded = PackedFile(joined({members, zeros})).indexed();
    BOOST_TEST(padded->findings().empty());
    check_all(*padded, plain, 100'000);
    const auto garbage = PackedFile(joined({members, one})).indexed();
    BOOST_TEST(garbage->findings().size() == 1U);
    check_all(*garbage, plain, 100'000);
}

BOOST_AUTO_TEST_CASE(what_can_not_be_had_is_refused_by_name) {
    const Bytes plain = sample(100'000);
    Bytes dictionary = zstd(plain);
    dictionary[4] |= std::byte{1}; // a dictionary id of one byte
    dictionary.insert(dictionary.begin() + 6, std::byte{42});
    const auto refused = PackedFile(dictionary).open();
    BOOST_TEST((refused.error().kind == ErrorKind::unsupported));
    BOOST_TEST(refused.error().what.find("dictionary 42") != std::string::npos);
    const auto window = PackedFile(zstd(sample(100), {.level = 19, .window_log = 29})).open();
    BOOST_TEST((window.error().kind == ErrorKind::unsupported));
}

BOOST_AUTO_TEST_CASE(a_truncated_stream_reads_up_to_its_cut) {
    const Bytes plain = fixture("06-shuffled.vma");
    for (const std::string& suffix : kSuffixes) {
        const Bytes whole = fixture("06-shuffled.vma" + suffix);
        std::size_t before = 0;
        for (std::size_t cut = 200; cut < whole.size(); cut += 4999) {
            const PackedFile packed(Bytes(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(cut)));
            const auto stream = packed.indexed();
            BOOST_TEST(!stream->findings().empty());
            const std::size_t readable =
                stream->size() - std::min<std::size_t>(stream->size(), check_honest(*stream, plain, 1000));
            BOOST_TEST(readable + 1000 >= before);
            before = readable;
        }
        BOOST_TEST(before > plain.size() / 2);
    }
}

BOOST_AUTO_TEST_CASE(a_cut_behind_a_header_that_tells_the_size_leaves_the_rest_as_an_error) {
    const Bytes plain = sample(3'000'000);
    Bytes file = zstd(plain, {.content_size = true});
    file.resize(file.size() / 2);
    const auto stream = PackedFile(file).indexed();
    BOOST_TEST(stream->size() == plain.size());
    Bytes out(1000);
    BOOST_TEST((stream->read_at(plain.size() - 1000, out).error().kind == ErrorKind::truncated));
    BOOST_TEST(reads_as(*stream, plain, 0, 500'000));
}

BOOST_AUTO_TEST_CASE(a_stream_says_without_reading_how_far_it_is_lost_and_why) {
    const Bytes plain = sample(3'000'000);
    Bytes file = zstd(plain, {.content_size = true});
    file.resize(file.size() / 2);
    const auto stream = PackedFile(file).indexed();
    const Readability good = stream->readability(0, plain.size());
    BOOST_TEST(good.why == nullptr);
    BOOST_TEST(reads_as(*stream, plain, 0, good.length));
    Bytes out(1);
    BOOST_TEST(stream->read_at(good.length, out).has_error());
    const Readability lost = stream->readability(good.length, plain.size());
    BOOST_TEST(lost.length == plain.size() - good.length);
    BOOST_TEST((lost.why->kind == ErrorKind::truncated));
    BOOST_TEST(stream->readability(good.length + 5, 7).length == 7U);
    BOOST_TEST(stream->readability(plain.size(), 7).length == 0U);
    const SliceSource slice(stream, good.length - 10, 20);
    BOOST_TEST(slice.readability(0, 100).length == 10U);
    BOOST_TEST(slice.readability(0, 100).why == nullptr);
    BOOST_TEST(slice.readability(10, 100).length == 10U);
    BOOST_TEST(slice.readability(10, 100).why == lost.why);
}

BOOST_AUTO_TEST_CASE(an_altered_byte_never_gives_a_wrong_one) {
    const Bytes plain = fixture("06-shuffled.vma");
    std::mt19937 random(5);
    for (const std::string& suffix : kSuffixes) {
        const Bytes whole = fixture("06-shuffled.vma" + suffix);
        for (int i = 0; i < 60; ++i) {
            Bytes altered = whole;
            const std::size_t place = i < 20 ? static_cast<std::size_t>(i) : random() % whole.size();
            altered[place] ^= static_cast<std::byte>(1 + random() % 255);
            const PackedFile packed(altered);
            auto stream = packed.open();
            if (stream.has_error()) continue;
            BOOST_REQUIRE(stream.value()->index({}, {}).has_value());
            const std::size_t errors = check_honest(*stream.value(), plain, 4096);
            const bool told = !stream.value()->findings().empty();
            BOOST_TEST((told || (errors == 0 && stream.value()->size() == plain.size())));
        }
    }
}

BOOST_AUTO_TEST_CASE(a_damaged_check_over_sound_bytes_is_told_and_they_are_read) {
    const Bytes small = fixture("15-small.vma");
    for (const std::string name : {"damaged/d52-gzip-crc.vma.gz", "damaged/d53-zstd-checksum.vma.zst"}) {
        const auto stream = PackedFile(fixture(name)).indexed();
        BOOST_TEST(stream->findings().size() == 1U);
        check_all(*stream, small, 5000);
    }
}

BOOST_AUTO_TEST_CASE(altered_bytes_are_an_error_unless_they_are_asked_for) {
    for (const std::string name : {"damaged/d51-corrupt.vma.gz", "damaged/d51-corrupt.vma.zst"}) {
        const PackedFile packed(fixture(name));
        Bytes out(512);
        const auto careful = packed.indexed();
        BOOST_TEST(!careful->findings().empty());
        BOOST_TEST((careful->read_at(0, out).error().kind == ErrorKind::corrupt));
        BOOST_TEST(careful->read_doubtful_at(0, out).value() == out.size());
        const auto asked = packed.indexed({}, Unverified::read);
        BOOST_TEST(asked->read_at(0, out).value() == out.size());
    }
}

#ifdef HAVE_LZO
std::size_t big_endian(const Bytes& bytes, std::size_t at) {
    std::size_t value = 0;
    for (std::size_t i = 0; i < 4; ++i) value = value << 8 | std::to_integer<std::size_t>(bytes[at + i]);
    return value;
}

void put_big_endian(Bytes& bytes, std::size_t value) {
    for (unsigned shift = 32; shift > 0; shift -= 8) bytes.push_back(static_cast<std::byte>(value >> (shift - 8)));
}

constexpr std::size_t kLzopFlags = 17;

// Makes the check of the header right again, which `file` begins with.
void sum_lzop_header(Bytes& file) {
    const std::size_t end = 33 + 1 + std::to_integer<std::size_t>(file[33]);
    const auto sum = adler32(1, reinterpret_cast<const Bytef*>(&file[9]), static_cast<uInt>(end - 9));
    for (unsigned i = 0; i < 4; ++i) file[end + i] = static_cast<std::byte>(sum >> (24 - 8 * i));
}

// The lzop file `packed`, whose blocks have an Adler-32 of their plain bytes, with one of their compressed bytes in its
// place, or CRCs.
Bytes with_packed_checks(const Bytes& packed, std::size_t header, bool crc) {
    Bytes out(packed.begin(), packed.begin() + static_cast<std::ptrdiff_t>(header));
    out[kLzopFlags + 3] &= ~std::byte{0x03};
    out[kLzopFlags + 3] |= crc ? std::byte{0} : std::byte{0x02};
    out[kLzopFlags + 2] |= crc ? std::byte{0x02} : std::byte{0};
    sum_lzop_header(out);
    for (std::size_t at = header; big_endian(packed, at) != 0;) {
        const std::size_t plain = big_endian(packed, at);
        const std::size_t length = big_endian(packed, at + 4);
        const auto* bytes = reinterpret_cast<const Bytef*>(packed.data() + at + 12);
        put_big_endian(out, plain);
        put_big_endian(out, length);
        if (length < plain)
            put_big_endian(out, crc ? crc32(0, bytes, static_cast<uInt>(length))
                                    : adler32(1, bytes, static_cast<uInt>(length)));
        out.insert(out.end(), packed.begin() + static_cast<std::ptrdiff_t>(at + 12),
                   packed.begin() + static_cast<std::ptrdiff_t>(at + 12 + length));
        at += 12 + length;
    }
    put_big_endian(out, 0);
    return out;
}

// Where the blocks of an lzop file as the fixtures are begin: behind name and header checksum.
std::size_t lzop_header(const Bytes& packed) {
    return 33 + 1 + std::to_integer<std::size_t>(packed[33]) + 4;
}

BOOST_AUTO_TEST_CASE(checks_of_compressed_lzop_bytes_are_verified) {
    const Bytes plain = fixture("06-shuffled.vma");
    const Bytes packed = fixture("06-shuffled.vma.lzo");
    const std::size_t header = lzop_header(packed);
    for (const bool crc : {false, true}) {
        Bytes file = with_packed_checks(packed, header, crc);
        const auto sound = PackedFile(file).indexed();
        BOOST_TEST(sound->findings().empty());
        check_all(*sound, plain, 100'000);
        Bytes bad_check = file;
        bad_check[header + 9] ^= std::byte{0x20};
        const auto told = PackedFile(bad_check).indexed();
        BOOST_TEST(told->findings().size() == 1U);
        check_all(*told, plain, 100'000);
        // A literal's byte: what expands is as long as it was, and wrong. In the first block, so that more follow.
        std::size_t errors = 0, unplaced = 0;
        for (std::size_t at = 60; at < 90; ++at) {
            Bytes altered = file;
            altered[header + at] ^= std::byte{1};
            const auto stream = PackedFile(altered).indexed();
            BOOST_TEST(!stream->findings().empty());
            // Where the block does not expand and its length can't be proven, what follows has no place.
            if (stream->size() == plain.size()) errors += check_honest(*stream, plain, 65536) > 0 ? 1U : 0U;
            else unplaced += 1;
        }
        BOOST_TEST(errors + unplaced == 30U);
    }
}

BOOST_AUTO_TEST_CASE(an_altered_check_of_compressed_bytes_matters_not_where_the_plain_ones_have_one) {
    const Bytes plain = fixture("06-shuffled.vma");
    const Bytes packed = fixture("06-shuffled.vma.lzo");
    const std::size_t header = lzop_header(packed);
    Bytes file(packed.begin(), packed.begin() + static_cast<std::ptrdiff_t>(header + 12));
    file[kLzopFlags + 3] |= std::byte{0x02};
    sum_lzop_header(file);
    BOOST_TEST_REQUIRE(big_endian(packed, header + 4) < big_endian(packed, header));
    put_big_endian(file, 0x12345678); // right for nothing
    // The first block alone, and the end.
    file.insert(file.end(), packed.begin() + static_cast<std::ptrdiff_t>(header + 12),
                packed.begin() + static_cast<std::ptrdiff_t>(header + 12 + big_endian(packed, header + 4)));
    put_big_endian(file, 0);
    const auto stream = PackedFile(file).indexed();
    BOOST_TEST(stream->findings().size() == 1U);
    check_all(*stream, Bytes(plain.begin(), plain.begin() + static_cast<std::ptrdiff_t>(big_endian(packed, header))),
              10'000);
}

BOOST_AUTO_TEST_CASE(a_damaged_lzop_block_costs_itself_alone) {
    const Bytes plain = fixture("06-shuffled.vma");
    const auto stream = PackedFile(fixture("damaged/d51-corrupt.vma.lzo")).indexed();
    BOOST_TEST_REQUIRE(stream->size() == plain.size());
    BOOST_TEST(stream->findings().size() == 1U);
    BOOST_TEST(reads_as(*stream, plain, 0, 256 << 10));
    Bytes out(512);
    BOOST_TEST((stream->read_at(plain.size() - 512, out).error().kind == ErrorKind::corrupt));
}
#endif

BOOST_AUTO_TEST_CASE(behind_a_damaged_frame_that_tells_its_size_the_next_ones_are_read) {
    const Bytes plain = sample(3'000'000);
    Bytes damaged = zstd(plain, {.content_size = true});
    for (std::size_t i = 0; i < 2000; ++i) damaged[damaged.size() / 2 + i] = std::byte{0xFF};
    const Bytes file = joined({zstd(plain), damaged, zstd(plain)});
    const auto stream = PackedFile(file).indexed();
    BOOST_TEST(!stream->findings().empty());
    BOOST_TEST(reads_as(*stream, plain, 0, plain.size()));
    const Bytes all = joined({plain, plain, plain});
    if (stream->size() == all.size()) BOOST_TEST(reads_as(*stream, all, 2 * plain.size(), plain.size()));
    else
        BOOST_TEST(stream->size() <
                   2 * plain.size() + 1); // the damage hit a block's header, so nothing leads to the next frame
    Bytes out(512);
    BOOST_TEST(stream->read_at(plain.size(), out).has_error());
}

BOOST_AUTO_TEST_CASE(a_scan_sees_the_plain_bytes_in_the_pass_and_later) {
    const Bytes plain = sample(5'000'000);
    const PackedFile packed(zstd(plain));
    const auto scan = [&](ForwardReader& reader) -> Result<void> {
        Bytes out(100'001);
        for (std::size_t at = 0; at < plain.size();) {
            BOOST_TEST_REQUIRE(reader.position() == at);
            VDISK_TRY(got, reader.read(out));
            BOOST_REQUIRE(std::equal(out.begin(), out.begin() + static_cast<std::ptrdiff_t>(got),
                                     plain.begin() + static_cast<std::ptrdiff_t>(at)));
            VDISK_TRY(skipped, reader.skip(70'000));
            at += got + skipped;
        }
        VDISK_TRY(end, reader.read(out));
        BOOST_TEST(end == 0U);
        return ok();
    };
    const auto stream = packed.open().value();
    BOOST_REQUIRE(scan_forward(*stream, stream.get(), scan, {}).has_value());
    BOOST_REQUIRE(stream->indexed());
    BOOST_REQUIRE(scan_forward(*stream, stream.get(), scan, {}).has_value());
    check_all(*stream, plain, 1'000'000);
}

BOOST_AUTO_TEST_CASE(a_stopped_pass_leaves_no_index) {
    const PackedFile packed(zstd(sample(5'000'000)));
    packed.let_settle();
    const IndexCache cache(packed.cache_folder());
    const auto stream = packed.open(cache).value();
    int calls = 0;
    const auto stopped =
        stream->index({}, [&](std::uint64_t done, std::uint64_t total) { return done <= total && ++calls < 3; });
    BOOST_TEST((stopped.error().kind == ErrorKind::cancelled));
    BOOST_TEST(!packed.open(cache).value()->indexed());
}

BOOST_AUTO_TEST_CASE(a_kept_index_saves_the_pass) {
    const Bytes plain = long_sample();
    const PackedFile packed(zstd(plain, {.level = 3}));
    packed.let_settle();
    const IndexCache cache(packed.cache_folder());
    BOOST_TEST(!packed.indexed(cache)->statistics().cached);
    const auto stream = packed.open(cache).value();
    BOOST_TEST_REQUIRE(stream->indexed());
    BOOST_TEST(stream->statistics().cached);
    check_all(*stream, plain, 3'000'000);
}

// Almost all of it zeros, so that there are few bytes in its index although it has restart points.
Bytes mostly_zeros(std::size_t size) {
    Bytes bytes(size);
    const Bytes some = sample(3000);
    for (std::size_t at = 0; at + some.size() < size; at += size / 9)
        std::ranges::copy(some, bytes.begin() + static_cast<std::ptrdiff_t>(at));
    return bytes;
}

BOOST_AUTO_TEST_CASE(a_kept_index_with_any_byte_altered_gives_no_wrong_one) {
    const Bytes plain = mostly_zeros(9'500'000);
    const Bytes small = sample(50'000);
    for (const auto& [file, expected] : {std::pair{gzip(plain), plain}, std::pair{zstd(small), small}}) {
        const PackedFile packed(file);
        packed.let_settle();
        const IndexCache cache(packed.cache_folder());
        (void)packed.indexed(cache);
        const std::filesystem::path kept = std::filesystem::directory_iterator(packed.cache_folder())->path();
        const Bytes index = read_file(kept);
        BOOST_TEST(index.size() < 5000U);
        for (std::size_t place = 0; place < index.size(); ++place) {
            Bytes altered = index;
            altered[place] ^= static_cast<std::byte>(1U << place % 8);
            std::ofstream(kept, std::ios::binary | std::ios::trunc)
                .write(reinterpret_cast<const char*>(altered.data()), static_cast<std::streamsize>(altered.size()));
            const auto stream = packed.indexed(cache);
            BOOST_TEST_REQUIRE(stream->size() == expected.size());
            for (std::size_t at = expected.size() - 100; at > expected.size() / 3; at -= expected.size() / 3)
                BOOST_REQUIRE(reads_as(*stream, expected, at, 100));
        }
    }
}

BOOST_AUTO_TEST_CASE(a_hostile_index_is_refused_whatever_it_says) {
    StreamIndex index;
    index.size = 300;
    index.segments = {{.plain = 0, .length = 100, .packed = 5, .packed_length = 10},
                      {.kind = Segment::Kind::inner,
                       .plain = 100,
                       .length = 150,
                       .packed = 15,
                       .packed_length = 20,
                       .window = {0, 30}},
                      {.kind = Segment::Kind::lost, .reason = 1, .plain = 250, .length = 50}};
    index.doubts = {{fail(ErrorKind::truncated, "cut")}};
    index.findings = {"cut"};
    const auto decoded = [](const StreamIndex& stored) { return decode_stream_index(encode(stored), {40, 30}); };
    BOOST_REQUIRE(decoded(index).has_value());
    BOOST_TEST(decoded(index).value().doubts.front().why.what == "cut");
    const auto refused = [&](const std::function<void(StreamIndex&)>& alter) {
        StreamIndex altered = index;
        alter(altered);
        return decoded(altered).has_error();
    };
    BOOST_TEST(refused([](StreamIndex& i) { i.size = 301; }));
    BOOST_TEST(refused([](StreamIndex& i) { i.segments[1].plain = 99; }));
    BOOST_TEST(refused([](StreamIndex& i) { i.segments[0].length = 0; }));
    BOOST_TEST(refused([](StreamIndex& i) { i.segments[2].length = ~std::uint64_t{0} - 100; }));
    BOOST_TEST(refused([](StreamIndex& i) {
        i.segments = {{.plain = 0, .length = kSegmentMost + 1, .packed = 5, .packed_length = 10}};
        i.size = kSegmentMost + 1;
    }));
    BOOST_TEST(refused([](StreamIndex& i) { i.segments[1].packed_length = 26; }));
    BOOST_TEST(refused([](StreamIndex& i) { i.segments[1].packed = ~std::uint64_t{0}; }));
    BOOST_TEST(refused([](StreamIndex& i) { i.segments[1].window.length = 31; }));
    BOOST_TEST(refused([](StreamIndex& i) { i.segments[0].packed = 30; })); // and the second is before it
    BOOST_TEST(refused([](StreamIndex& i) { i.segments[1].lead = 101; }));
    BOOST_TEST(refused([](StreamIndex& i) { i.segments[1].reason = 2; }));
    BOOST_TEST(refused([](StreamIndex& i) { i.segments[2].reason = 0; }));
    Bytes cut = encode(index);
    cut.pop_back();
    BOOST_TEST(decode_stream_index(cut, {40, 30}).has_error());
}

BOOST_AUTO_TEST_CASE(a_segment_that_does_not_decode_to_what_the_pass_saw_is_an_error) {
    const Bytes plain = sample(1'000'000);
    const Bytes file = zstd(plain);
    StreamIndex index{.size = plain.size()};
    index.segments = {
        {.crc = crc32_of(0, plain) ^ 1, .plain = 0, .length = plain.size(), .packed = 0, .packed_length = file.size()}};
    const IndexedStream stream({kZstdCodec, std::make_shared<MemorySource>(file, "file"), index,
                                std::make_shared<MemorySource>(Bytes{}, "windows"), Limits{}});
    Bytes out(100);
    BOOST_TEST((stream.read_at(0, out, Unverified::refuse).error().kind == ErrorKind::corrupt));
}

// Segments of `step` bytes that are all decoded from the start of `file`, a zstd frame from its first block.
StreamIndex one_run(const StreamCodec& codec, const Bytes& plain, const Bytes& file, std::size_t step) {
    StreamIndex index{.size = plain.size()};
    const bool frame = &codec == &kZstdCodec;
    const std::uint64_t start = frame ? parse_zstd_frame_header(file).value().length : 0;
    for (std::size_t at = 0; at < plain.size(); at += step) {
        const auto piece = std::span(plain).subspan(at, std::min(step, plain.size() - at));
        index.segments.push_back({.kind = frame ? Segment::Kind::inner : Segment::Kind::whole,
                                  .detail = 21,
                                  .crc = crc32_of(0, piece),
                                  .plain = at,
                                  .length = piece.size(),
                                  .lead = at,
                                  .packed = start,
                                  .packed_length = file.size() - start});
    }
    return index;
}

BOOST_AUTO_TEST_CASE(segments_that_start_before_themselves_are_read_in_any_order) {
    const Bytes& plain = long_sample();
    const auto check = [&](const StreamCodec& codec, const Bytes& file) {
        const IndexedStream stream({codec, std::make_shared<MemorySource>(file, "file"),
                                    one_run(codec, plain, file, 4'000'000),
                                    std::make_shared<MemorySource>(Bytes{}, "windows"), Limits{}});
        Bytes out(100'000);
        for (const std::uint64_t at :
             {5'000'000U, 5'050'000U, 11'950'000U, 0U, 29'900'000U, 20'000'000U, 19'950'000U}) {
            BOOST_TEST_REQUIRE(stream.read_at(at, out, Unverified::refuse).value() == out.size());
            BOOST_REQUIRE(std::equal(out.begin(), out.end(), plain.begin() + static_cast<std::ptrdiff_t>(at)));
        }
    };
    check(kZstdCodec, zstd(plain));
    check(kGzipCodec, gzip(plain));
}

BOOST_AUTO_TEST_CASE(each_segment_of_a_run_is_verified) {
    const Bytes& plain = long_sample();
    const Bytes file = zstd(plain);
    StreamIndex index = one_run(kZstdCodec, plain, file, 4'000'000);
    index.segments[2].crc ^= 1;
    const IndexedStream stream({kZstdCodec, std::make_shared<MemorySource>(file, "file"), index,
                                std::make_shared<MemorySource>(Bytes{}, "windows"), Limits{}});
    Bytes out(100);
    BOOST_TEST((stream.read_at(9'000'000, out, Unverified::refuse).error().kind == ErrorKind::corrupt));
    BOOST_TEST(stream.read_at(5'000'000, out, Unverified::refuse).has_value());
}

// Four threads, of which three decode ahead.
Limits of_four_threads() {
    Limits limits;
    limits.threads = 4;
    return limits;
}

// As a disk's reader in order does; each byte that was read, or nothing where that was an error.
void read_in_order(const IndexedStream& stream, const Bytes& plain, std::span<const std::uint64_t> lost = {}) {
    constexpr std::uint64_t kStep = 500'000;
    Bytes out(kStep);
    for (std::uint64_t at = 0; at < plain.size(); at += kStep) {
        stream.prepare(at, stream.worth_preparing());
        const auto got = stream.read_at(at, out, Unverified::refuse);
        BOOST_TEST_REQUIRE(got.has_error() == (std::ranges::find(lost, at) != lost.end()));
        if (got.has_value())
            BOOST_REQUIRE(std::equal(out.begin(), out.begin() + static_cast<std::ptrdiff_t>(got.value()),
                                     plain.begin() + static_cast<std::ptrdiff_t>(at)));
    }
}

// Frames of a million bytes, a segment each.
struct Frames {
    Bytes file;
    StreamIndex index;
};

Frames in_frames(const Bytes& plain) {
    Frames made;
    made.index.size = plain.size();
    for (std::size_t at = 0; at < plain.size(); at += 1'000'000) {
        const auto piece = std::span(plain).subspan(at, 1'000'000);
        const Bytes frame = zstd(piece);
        made.index.segments.push_back({.crc = crc32_of(0, piece),
                                       .plain = at,
                                       .length = piece.size(),
                                       .packed = made.file.size(),
                                       .packed_length = frame.size()});
        made.file.insert(made.file.end(), frame.begin(), frame.end());
    }
    return made;
}

BOOST_AUTO_TEST_CASE(a_reader_in_order_finds_each_segment_decoded_once_whoever_did_it) {
    const Bytes plain(long_sample().begin(), long_sample().begin() + 12'000'000);
    const auto check = [&](const StreamCodec& codec, const Bytes& file, StreamIndex index) {
        const IndexedStream stream({codec, std::make_shared<MemorySource>(file, "file"), std::move(index),
                                    std::make_shared<MemorySource>(Bytes{}, "windows"), of_four_threads()});
        BOOST_TEST(stream.worth_preparing() > 0U);
        read_in_order(stream, plain);
        BOOST_TEST(stream.decoded() == plain.size());
    };
    const Bytes file = zstd(plain);
    check(kZstdCodec, file, one_run(kZstdCodec, plain, file, 3'000'000));
    const Frames frames = in_frames(plain);
    check(kZstdCodec, frames.file, frames.index);
}

BOOST_AUTO_TEST_CASE(decoding_ahead_takes_no_more_memory_than_it_may_by_threads) {
    const Bytes& plain = long_sample();
    const PackedFile packed(zstd(plain, {.window_log = 17}));
    for (const std::size_t threads : {1U, 2U, 8U, 16U}) {
        Limits limits;
        limits.threads = threads;
        limits.stream_decode_bytes = 1U << 20;
        limits.stream_cache_bytes = 3U << 20;
        limits.stream_thread_bytes = 2U << 20;
        const auto stream = packed.indexed({}, Unverified::refuse, limits);
        const std::uint64_t run = stream->statistics().longest_segment;
        BOOST_TEST_REQUIRE(run <= limits.stream_decode_bytes);
        BOOST_TEST((stream->worth_preparing() > 0) == (threads > 1));
        for (std::size_t at = 0; at < plain.size(); at += 250'000) {
            if (threads > 1) stream->prepare(at, stream->worth_preparing());
            BOOST_REQUIRE(reads_as(*stream, plain, at, 250'000));
        }
        const StreamStatistics statistics = stream->statistics();
        BOOST_TEST(statistics.decoded < plain.size() + 2 * run, threads << " threads decoded " << statistics.decoded);
        BOOST_TEST(statistics.peak_bytes <= limits.stream_cache_bytes + threads * limits.stream_thread_bytes,
                   threads << " threads: " << statistics.peak_bytes);
    }
}

BOOST_AUTO_TEST_CASE(who_waits_for_the_file_keeps_no_other_reader_waiting) {
    const Bytes plain(long_sample().begin(), long_sample().begin() + 12'000'000);
    const auto check = [&](const Bytes& file, const StreamIndex& index, std::size_t held) {
        const Segment& segment = index.segments[held];
        const auto gate = std::make_shared<test::GatedSource>(std::make_shared<MemorySource>(file, "file"),
                                                              segment.packed, segment.packed + 1);
        const IndexedStream stream(
            {kZstdCodec, gate, index, std::make_shared<MemorySource>(Bytes{}, "windows"), of_four_threads()});
        const auto reads = [&](std::uint64_t at) {
            Bytes out(100);
            const auto got = stream.read_at(at, out, Unverified::refuse);
            return got.has_value() &&
                   std::equal(out.begin(), out.end(), plain.begin() + static_cast<std::ptrdiff_t>(at));
        };
        BOOST_TEST(test::reads_while_another_waits(
            *gate, [&] { return reads(segment.plain); },
            [&] {
                return std::ranges::all_of(
                    index.segments, [&](const Segment& other) { return &other == &segment || reads(other.plain); });
            }));
    };
    const Frames frames = in_frames(plain);
    check(frames.file, frames.index, 3);
}

BOOST_AUTO_TEST_CASE(a_long_run_is_decoded_by_its_reader_alone) {
    const Bytes& plain = long_sample();
    const Bytes file = zstd(plain);
    const IndexedStream stream({kZstdCodec, std::make_shared<MemorySource>(file, "file"),
                                one_run(kZstdCodec, plain, file, 1'000'000),
                                std::make_shared<MemorySource>(Bytes{}, "windows"), of_four_threads()});
    BOOST_TEST(stream.worth_preparing() > 0U);
    read_in_order(stream, plain);
    BOOST_TEST(stream.decoded() == plain.size());
    BOOST_TEST(stream.decoded_ahead() == 0U);
}

BOOST_AUTO_TEST_CASE(what_is_prepared_is_decoded_by_others) {
    const Bytes plain(long_sample().begin(), long_sample().begin() + 12'000'000);
    const Bytes file = zstd(plain);
    const IndexedStream stream({kZstdCodec, std::make_shared<MemorySource>(file, "file"),
                                one_run(kZstdCodec, plain, file, 3'000'000),
                                std::make_shared<MemorySource>(Bytes{}, "windows"), of_four_threads()});
    stream.prepare(0, 1);
    for (int tries = 0; tries < 6000 && stream.decoded() < plain.size(); ++tries)
        std::this_thread::sleep_for(std::chrono::milliseconds(10));
    BOOST_TEST(stream.decoded() == plain.size());
    BOOST_TEST(stream.decoded_ahead() == 1U);
    read_in_order(stream, plain);
    BOOST_TEST(stream.decoded() == plain.size());
}

BOOST_AUTO_TEST_CASE(a_segment_that_fails_ahead_of_its_reader_is_an_error_for_its_own_bytes) {
    const Bytes plain(long_sample().begin(), long_sample().begin() + 12'000'000);
    const Bytes file = zstd(plain);
    StreamIndex index = one_run(kZstdCodec, plain, file, 1'000'000);
    index.segments[5].crc ^= 1;
    const IndexedStream stream({kZstdCodec, std::make_shared<MemorySource>(file, "file"), index,
                                std::make_shared<MemorySource>(Bytes{}, "windows"), of_four_threads()});
    read_in_order(stream, plain, std::array<std::uint64_t, 2>{5'000'000, 5'500'000});
}

BOOST_AUTO_TEST_CASE(segments_too_large_to_have_several_of_them_are_not_decoded_ahead) {
    StreamIndex index{.size = kSegmentMost * 2};
    for (std::uint64_t i = 0; i < 2; ++i)
        index.segments.push_back({.plain = i * kSegmentMost, .length = kSegmentMost, .packed = i, .packed_length = 1});
    const auto nothing = std::make_shared<MemorySource>(Bytes(2), "file");
    BOOST_TEST(IndexedStream({kLzopCodec, nothing, index, nothing, of_four_threads()}).worth_preparing() == 0U);
    index.segments = {{.plain = 0, .length = 1 << 20, .packed_length = 1}};
    index.size = 1 << 20;
    index.window_log = 27;
    BOOST_TEST(IndexedStream({kZstdCodec, nothing, index, nothing, of_four_threads()}).worth_preparing() == 0U);
    Limits one;
    one.threads = 1;
    index.window_log = 20;
    BOOST_TEST(IndexedStream({kZstdCodec, nothing, index, nothing, one}).worth_preparing() == 0U);
}

// Records with counters, most bytes of which an encoder takes from the record before: its blocks begin with repeated
// offsets.
Bytes records(std::size_t size) {
    std::mt19937 random(11);
    Bytes bytes;
    bytes.reserve(size + 64);
    for (std::uint32_t number = 0; bytes.size() < size; ++number) {
        const std::array<std::uint32_t, 6> record{number,     0x20240101,
                                                  number / 7, static_cast<std::uint32_t>(random() % 16),
                                                  0xCAFE,     static_cast<std::uint32_t>(random() % 5000)};
        const auto raw = std::as_bytes(std::span(record));
        bytes.insert(bytes.end(), raw.begin(), raw.end());
    }
    bytes.resize(size);
    return bytes;
}

BOOST_AUTO_TEST_CASE(a_stream_with_few_places_to_start_at_is_read_from_far_before) {
    const Bytes plain = records(40'000'000); // its blocks go on with the tables of the first
    unsigned number = 0;
    for (const int level : {1, 3, 7})
        if (number++ % test::kTriedOneIn == 0)
            check_all(*PackedFile(zstd(plain, {.level = level})).indexed(), plain, 1'000'000);
}

BOOST_AUTO_TEST_CASE(no_read_of_64_kib_decodes_more_than_16_mib) {
    Bytes plain = long_sample();
    const Bytes regular = records(30'000'000);
    for (std::size_t at = 0; at < regular.size(); at += 250'000) { // like files of two kinds on a disk
        plain.insert(plain.end(), regular.begin() + static_cast<std::ptrdiff_t>(at),
                     regular.begin() + static_cast<std::ptrdiff_t>(at) + 250'000);
        plain.insert(plain.end(), long_sample().begin() + static_cast<std::ptrdiff_t>(at / 2),
                     long_sample().begin() + static_cast<std::ptrdiff_t>(at / 2) + 100'000);
    }
    unsigned number = 0;
    for (const ZstdChoice& choice :
         {ZstdChoice{.level = 3}, ZstdChoice{.level = 1}, ZstdChoice{.level = 3, .window_log = 24}}) {
        if (number++ % test::kTriedOneIn != 0) continue;
        const PackedFile packed(zstd(plain, choice));
        packed.let_settle();
        const IndexCache cache(packed.cache_folder());
        BOOST_TEST(packed.indexed(cache)->statistics().longest_segment <= 16U << 20);
        for (std::uint64_t at = 60'000; at < plain.size(); at += 3'100'000) {
            const auto stream = packed.indexed(cache);
            BOOST_REQUIRE(reads_as(*stream, plain, at, 65536));
            BOOST_TEST(stream->statistics().decoded <= 16U << 20);
        }
        const auto stream = packed.indexed(cache);
        check_all(*stream, plain, 1'000'000);
    }
}

BOOST_AUTO_TEST_CASE(a_window_longer_than_a_read_decodes_does_not_make_the_index_large) {
    Bytes plain;
    for (int i = 0; i < 4; ++i) plain.insert(plain.end(), long_sample().begin(), long_sample().end());
    unsigned number = 0;
    for (const int window_log : {27, 26, 25}) {
        if (number++ % test::kTriedOneIn != 0) continue;
        const Bytes file = zstd(plain, {.level = 1, .window_log = window_log});
        const auto stream = PackedFile(file).indexed();
        BOOST_TEST(stream->statistics().index_size <= file.size() / 64);
        std::mt19937 random(3);
        for (int i = 0; i < 20; ++i) BOOST_REQUIRE(reads_as(*stream, plain, random() % plain.size(), 65536));
    }
}

BOOST_AUTO_TEST_CASE(many_windows_overflow_into_a_file_and_read_back) {
    WindowStore store(1000);
    const Bytes bytes = sample(900);
    std::vector<WindowRange> ranges;
    for (int i = 0; i < 5; ++i) ranges.push_back(store.add(bytes).value());
    BOOST_TEST(store.size() == 4500U);
    for (const WindowRange& range : ranges)
        BOOST_TEST((read_bytes(store, range.offset, range.length, "window").value() == bytes));
    BOOST_TEST(read_bytes(store, 800, 1000, "two of them").has_value());
}

BOOST_AUTO_TEST_CASE(a_file_is_read_forward_from_any_place_and_to_its_end) {
    const Bytes bytes = sample(3 * kPackedReadAhead + 5);
    const MemorySource file(bytes, "file");
    PackedInput input(file);
    const auto gives = [&](std::uint64_t offset, std::size_t count) {
        const std::size_t there = std::min(count, bytes.size() - std::min<std::size_t>(offset, bytes.size()));
        const auto got = input.at(offset, count);
        return got.has_value() && std::ranges::equal(got.value(), std::span(bytes).subspan(offset, there));
    };
    for (const std::size_t step : {std::size_t{1}, kPackedReadAhead - 1, kPackedReadAhead, kPackedReadAhead + 1})
        for (std::size_t at = 0; at <= bytes.size(); at += std::max<std::size_t>(step, 99991))
            for (const std::size_t count : {std::size_t{0}, std::size_t{1}, step, step + 1})
                BOOST_REQUIRE_MESSAGE(gives(at, count), fmt::format("{} bytes at {}", count, at));
    BOOST_TEST(gives(7, 100)); // backwards
    BOOST_TEST(gives(bytes.size(), 1));
    BOOST_TEST(gives(0, bytes.size() + 1));
    BOOST_TEST(input.some(bytes.size()).value().empty());
    BOOST_TEST((input.some(bytes.size() - 1).value().front() == bytes.back()));
}

BOOST_AUTO_TEST_CASE(what_could_not_be_read_of_a_file_is_an_error_as_often_as_it_is_asked_for) {
    const Bytes bytes = sample(2 * kPackedReadAhead);
    test::FaultySource file(test::memory(bytes), kPackedReadAhead + 10, kPackedReadAhead + 20);
    PackedInput input(file);
    BOOST_TEST(input.at(0, 100).has_value());
    for (int i = 0; i < 3; ++i) {
        BOOST_TEST(input.at(kPackedReadAhead - 5, 100).has_error());
        BOOST_TEST(input.some(kPackedReadAhead).has_error());
    }
    file.broken = false;
    BOOST_TEST((input.at(kPackedReadAhead, 100).value()[99] == bytes[kPackedReadAhead + 99]));
}

BOOST_AUTO_TEST_SUITE_END()
