// SPDX-License-Identifier: Apache-2.0
// Streams over disks whose every sector holds its own number, so that a sector at another's place is seen: with every
// bit of every header flipped, and with lengths around the library's own thresholds.
#include "io/memory_source.hpp"
#include "io/stream/indexed_stream.hpp"
#include "io/stream/zstd_blocks.hpp"
#include "model.hpp"
#include "zlib_stream.hpp"

#include "config.h"

#include <boost/test/unit_test.hpp>
#include <zstd.h>

#ifdef HAVE_LZO
#include <lzo/lzo1x.h>
#endif

#include <cstring>
#include <functional>
#include <numeric>
#include <random>

using namespace vdisk;

namespace {

using Bytes = std::vector<std::byte>;

constexpr std::size_t kSector = 512;

// Sectors from `first` on: its number, and some noise where `noisy`.
Bytes numbered(std::uint64_t first, std::size_t bytes, bool noisy = false) {
    Bytes disk(bytes);
    std::mt19937_64 random(first + 1);
    for (std::size_t at = 0; at < bytes; at += 8) {
        const std::uint64_t number = noisy && at / 256 % 2 == 1 ? random() : first + at / kSector;
        std::memcpy(&disk[at], &number, std::min<std::size_t>(8, bytes - at));
    }
    return disk;
}

void append(Bytes& all, std::span<const std::byte> more) {
    all.insert(all.end(), more.begin(), more.end());
}

void put(Bytes& out, std::uint64_t value, unsigned count, bool big) {
    for (unsigned i = 0; i < count; ++i)
        out.push_back(static_cast<std::byte>(value >> (8 * (big ? count - 1 - i : i))));
}

struct Container {
    std::string name;
    const StreamCodec* codec = nullptr;
    Bytes file;
    Bytes plain;
    std::vector<std::size_t> headers; ///< places of bytes that are headers, trailers and the like
};

void add_places(Container& container, std::size_t from, std::size_t count) {
    for (std::size_t i = 0; i < count && from + i < container.file.size(); ++i) container.headers.push_back(from + i);
}

// -- zstd

struct FrameChoice {
    bool content_size = true;
    bool checksum = true;
};

Bytes zstd_frame(std::span<const std::byte> plain, const FrameChoice& choice) {
    const std::unique_ptr<ZSTD_CCtx, decltype(&ZSTD_freeCCtx)> encoder(ZSTD_createCCtx(), ZSTD_freeCCtx);
    ZSTD_CCtx_setParameter(encoder.get(), ZSTD_c_contentSizeFlag, choice.content_size ? 1 : 0);
    ZSTD_CCtx_setParameter(encoder.get(), ZSTD_c_checksumFlag, choice.checksum ? 1 : 0);
    Bytes out(ZSTD_compressBound(plain.size()));
    const std::size_t size = ZSTD_compress2(encoder.get(), out.data(), out.size(), plain.data(), plain.size());
    BOOST_REQUIRE(!ZSTD_isError(size));
    out.resize(size);
    return out;
}

// All frame and block headers, the beginnings of blocks, and checksums.
void find_zstd_headers(Container& container, bool blocks) {
    const std::span<const std::byte> file(container.file);
    for (std::size_t at = 0; at < file.size();) {
        const auto header = parse_zstd_frame_header(file.subspan(at)).value();
        const bool frame = header.kind == ZstdFrameHeader::Kind::frame;
        add_places(container, at, frame ? header.length : 8);
        at += header.length;
        for (bool last = !frame; !last;) {
            const ZstdBlock block = parse_zstd_block(file.subspan(at));
            if (blocks) add_places(container, at, kZstdBlockHeader + (header.checksum ? 5 : 0));
            at += kZstdBlockHeader + block.packed;
            last = block.last;
        }
        if (frame && header.checksum) {
            add_places(container, at, 4);
            at += 4;
        }
    }
}

Container zstd_container(std::string name, const std::vector<std::size_t>& sizes, const FrameChoice& choice) {
    Container container{.name = std::move(name), .codec = &kZstdCodec};
    for (const std::size_t size : sizes) {
        const Bytes part = numbered(container.plain.size() / kSector, size, container.plain.size() % 16384 == 0);
        append(container.file, zstd_frame(part, choice));
        append(container.plain, part);
    }
    find_zstd_headers(container, choice.content_size || choice.checksum);
    return container;
}

// -- gzip

std::uint32_t crc_of(std::span<const std::byte> plain) {
    return crc32_of(0, plain);
}

// `blocked`: with bgzip's field.
Bytes gzip_member(std::span<const std::byte> plain, bool blocked) {
    const Bytes packed = test::zlib_stream(plain);
    Bytes out;
    for (const unsigned byte : {0x1FU, 0x8BU, 8U, blocked ? 4U : 0U, 0U, 0U, 0U, 0U, 0U, 3U})
        out.push_back(static_cast<std::byte>(byte));
    if (blocked) {
        put(out, 6, 2, false);
        out.push_back(std::byte{'B'});
        out.push_back(std::byte{'C'});
        put(out, 2, 2, false);
        put(out, 10 + 2 + 6 + packed.size() + 8 - 1, 2, false);
    }
    append(out, packed);
    put(out, crc_of(plain), 4, false);
    put(out, plain.size(), 4, false);
    return out;
}

Container gzip_container(std::string name, const std::vector<std::size_t>& sizes, bool blocked) {
    Container container{.name = std::move(name), .codec = &kGzipCodec};
    for (const std::size_t size : sizes) {
        const Bytes part = numbered(container.plain.size() / kSector, size, container.plain.size() % 16384 == 0);
        const std::size_t at = container.file.size();
        append(container.file, gzip_member(part, blocked));
        append(container.plain, part);
        add_places(container, at, blocked ? 18 : 10);
        add_places(container, container.file.size() - 8, 8);
    }
    return container;
}

// -- lzop

#ifdef HAVE_LZO
Container lzop_container(std::string name, const std::vector<std::size_t>& sizes, bool checks) {
    Container container{.name = std::move(name), .codec = &kLzopCodec};
    Bytes& file = container.file;
    for (const unsigned byte : {0x89U, unsigned{'L'}, unsigned{'Z'}, unsigned{'O'}, 0U, 0x0DU, 0x0AU, 0x1AU, 0x0AU})
        file.push_back(static_cast<std::byte>(byte));
    put(file, 0x1030, 2, true);
    put(file, 0x20A0, 2, true);
    put(file, 0x0940, 2, true);
    put(file, 0x0105, 2, true);
    put(file, checks ? 1 : 0, 4, true);
    put(file, 0100644, 4, true);
    put(file, 0, 8, true);
    put(file, 0, 1, true);
    put(file, adler32(1, reinterpret_cast<const Bytef*>(&file[9]), static_cast<uInt>(file.size() - 9)), 4, true);
    add_places(container, 0, file.size());
    Bytes work(LZO1X_1_MEM_COMPRESS);
    for (const std::size_t size : sizes) {
        const bool noisy = container.plain.size() % 16384 == 0;
        Bytes part = numbered(container.plain.size() / kSector, size, noisy);
        if (container.plain.size() % 32768 == 0) { // one that is stored as it is
            std::mt19937_64 random(7);
            for (std::size_t i = 0; i < part.size(); ++i)
                if (i % kSector >= 8) part[i] = static_cast<std::byte>(random());
        }
        Bytes packed(part.size() + part.size() / 16 + 128);
        lzo_uint length = packed.size();
        lzo1x_1_compress(reinterpret_cast<const unsigned char*>(part.data()), part.size(),
                         reinterpret_cast<unsigned char*>(packed.data()), &length, work.data());
        packed.resize(length);
        if (length >= part.size()) packed = part;
        const std::size_t at = file.size();
        put(file, part.size(), 4, true);
        put(file, packed.size(), 4, true);
        if (checks)
            put(file, adler32(1, reinterpret_cast<const Bytef*>(part.data()), static_cast<uInt>(part.size())), 4, true);
        add_places(container, at, checks ? 12 : 8);
        append(file, packed);
        append(container.plain, part);
    }
    add_places(container, file.size(), 4);
    put(file, 0, 4, true);
    return container;
}
#endif

// -- reading

class Stream {
public:
    Stream(const StreamCodec& codec, Bytes file, const Limits& limits = {})
        : windows_(std::make_shared<WindowStore>(1U << 20)) {
        auto packed = std::make_shared<MemorySource>(std::move(file), "packed");
        auto pass = codec.make_pass(*packed, *windows_, limits, PassKind::whole);
        if (pass.has_error()) return;
        for (bool more = true; more;) {
            const auto chunk = pass.value()->next();
            BOOST_REQUIRE(chunk.has_value());
            more = !chunk.value().end;
        }
        auto index = pass.value()->finish();
        BOOST_REQUIRE_MESSAGE(index.has_value(), (index.has_error() ? index.error().what : ""));
        stream_.emplace(IndexedStream::Parts{codec, packed, std::move(index).value(), windows_, limits});
    }
    bool opened() const { return stream_.has_value(); }
    const IndexedStream& operator*() const { return *stream_; }
    const IndexedStream* operator->() const { return &*stream_; }

private:
    std::shared_ptr<WindowStore> windows_;
    std::optional<IndexedStream> stream_;
};

std::size_t readable(const IndexedStream& stream) {
    std::size_t count = 0;
    Bytes sector(kSector);
    for (std::uint64_t at = 0; at < stream.index().size; at += kSector)
        count += stream.read_at(at, sector, Unverified::placed).has_value() ? 1U : 0U;
    return count;
}

// Each sector that is given is the one that belongs there, or is told to be altered and is no other one.
void check_places(const IndexedStream& stream, const Container& container) {
    const Bytes& plain = container.plain;
    Bytes sector(kSector);
    for (std::uint64_t at = 0; at < stream.index().size; at += kSector) {
        if (stream.refused_at(at, kSector, Unverified::placed).why != nullptr) {
            at += stream.refused_at(at, ~std::uint64_t{0} - at, Unverified::placed).length / kSector * kSector;
            if (at >= stream.index().size) break;
        }
        const auto got = stream.read_at(at, sector, Unverified::placed);
        if (got.has_error()) continue;
        BOOST_REQUIRE_MESSAGE(at + got.value() <= plain.size(), container.name << ": bytes behind the disk's end");
        if (std::equal(sector.begin(), sector.begin() + static_cast<std::ptrdiff_t>(got.value()),
                       plain.begin() + static_cast<std::ptrdiff_t>(at)))
            continue;
        const Segment& segment = stream.index().segments[stream.index().segment_at(at)];
        BOOST_REQUIRE_MESSAGE(segment.reason != 0, container.name << ": wrong bytes at " << at << ", segment of "
                                                                  << stream.index().segments.size() << ", kind "
                                                                  << static_cast<int>(segment.kind) << " length "
                                                                  << segment.length << " packed " << segment.packed
                                                                  << " + " << segment.packed_length);
        for (std::size_t other = 0; other + kSector <= plain.size(); other += kSector)
            BOOST_REQUIRE_MESSAGE(
                !std::equal(sector.begin(), sector.end(), plain.begin() + static_cast<std::ptrdiff_t>(other)),
                container.name << ": the sector at " << other << " is read at " << at);
    }
}

void flip_each_header_bit(const Container& container) {
    const Stream sound(*container.codec, container.file);
    BOOST_REQUIRE(sound.opened());
    BOOST_TEST(sound->index().findings.empty());
    BOOST_TEST_REQUIRE(sound->index().size == container.plain.size());
    check_places(*sound, container);
    unsigned number = 0;
    for (const std::size_t place : container.headers)
        for (unsigned bit = 0; bit < 8; ++bit) {
            if (number++ % test::kTriedOneIn != 0) continue;
            Container altered{.name = fmt::format("{}, bit {} of byte {}", container.name, bit, place),
                              .codec = container.codec,
                              .file = container.file,
                              .plain = container.plain,
                              .headers = {}};
            altered.file[place] ^= static_cast<std::byte>(1U << bit);
            const Stream stream(*altered.codec, altered.file);
            if (stream.opened()) check_places(*stream, altered);
        }
}

constexpr std::size_t kPart = 8192;

} // namespace

BOOST_AUTO_TEST_SUITE(stream_damage)

BOOST_AUTO_TEST_CASE(a_flipped_bit_in_a_zstd_header_moves_no_sector) {
    const std::vector<std::size_t> equal(4, kPart);
    const std::vector<std::size_t> unequal{kPart, 3 * kSector, 0, 2 * kPart, kPart / 2};
    for (const std::vector<std::size_t>& sizes : {std::vector<std::size_t>{4 * kPart}, equal, unequal})
        for (const FrameChoice& choice :
             {FrameChoice{}, FrameChoice{.content_size = false}, FrameChoice{.checksum = false},
              FrameChoice{.content_size = false, .checksum = false}})
            flip_each_header_bit(
                zstd_container(fmt::format("{} zstd frames of {} bytes, content size {}, checksum {}", sizes.size(),
                                           sizes[0], choice.content_size, choice.checksum),
                               sizes, choice));
}

BOOST_AUTO_TEST_CASE(a_flipped_bit_in_a_gzip_header_moves_no_sector) {
    for (const bool blocked : {false, true}) {
        flip_each_header_bit(gzip_container("a gzip member", {4 * kPart}, blocked));
        flip_each_header_bit(gzip_container("gzip members of one size", std::vector<std::size_t>(4, kPart), blocked));
        flip_each_header_bit(gzip_container("gzip members", {kPart, 3 * kSector, 0, 2 * kPart, kPart / 2}, blocked));
    }
}

#ifdef HAVE_LZO
BOOST_AUTO_TEST_CASE(a_flipped_bit_in_an_lzop_header_moves_no_sector) {
    for (const bool checks : {true, false}) {
        flip_each_header_bit(
            lzop_container(fmt::format("lzop blocks, checks {}", checks), std::vector<std::size_t>(5, kPart), checks));
        flip_each_header_bit(lzop_container(fmt::format("lzop blocks and a short one, checks {}", checks),
                                            {kPart, kPart, 3 * kSector}, checks));
    }
}

namespace {

// Sectors that read with each bit of the lengths of block number `damaged` flipped: for each flip so many.
std::vector<std::size_t> readable_with_lengths_flipped(const Container& container, int damaged, bool checks) {
    std::size_t at = 9 + 2 + 2 + 2 + 2 + 4 + 4 + 8 + 1 + 4;
    for (int block = 0; block < damaged; ++block) {
        std::size_t packed = 0;
        for (std::size_t i = 4; i < 8; ++i) packed = packed << 8 | std::to_integer<std::size_t>(container.file[at + i]);
        at += (checks ? 12 : 8) + packed;
    }
    std::vector<std::size_t> counts;
    for (std::size_t bit = 0; bit < 64; ++bit) {
        Bytes file = container.file;
        file[at + bit / 8] ^= static_cast<std::byte>(1U << bit % 8);
        const Stream stream(kLzopCodec, file);
        check_places(*stream, container);
        counts.push_back(readable(*stream));
        BOOST_TEST(stream->index().findings.size() == 1U);
    }
    return counts;
}

} // namespace

// A length in a block's header is found again by the other one, the lengths of the blocks beside it and the check of
// its bytes.
BOOST_AUTO_TEST_CASE(a_damaged_length_of_an_lzop_block_with_a_check_costs_nothing) {
    for (const std::vector<std::size_t>& sizes : {std::vector<std::size_t>(5, kPart),
                                                  {kPart},
                                                  {3 * kSector},
                                                  {kPart, 3 * kSector},
                                                  {kPart, kPart, 3 * kSector}}) {
        const Container container = lzop_container("lzop blocks", sizes, true);
        for (int block = 0; block < static_cast<int>(sizes.size()); ++block)
            for (const std::size_t count : readable_with_lengths_flipped(container, block, true))
                BOOST_TEST(count == container.plain.size() / kSector,
                           count << " sectors, block " << block << " of " << sizes.size());
    }
}

// Without a check a block has its place by what it expands to and by where it leads.
BOOST_AUTO_TEST_CASE(a_damaged_length_of_an_lzop_block_without_a_check_costs_no_other_block_its_place) {
    const Container container = lzop_container("lzop blocks", std::vector<std::size_t>(5, kPart), false);
    for (int block = 0; block < 4; ++block)
        for (const std::size_t count : readable_with_lengths_flipped(container, block, false))
            BOOST_TEST(count >= 4 * kPart / kSector, count << " sectors, block " << block);
}
#endif

BOOST_AUTO_TEST_CASE(a_wrong_content_size_over_a_checksum_that_holds_costs_nothing) {
    Container container = zstd_container("zstd frames", std::vector<std::size_t>(4, kPart), {});
    for (std::size_t bit = 0; bit < 16; ++bit) {
        Bytes file = container.file;
        file[5 + bit / 8] ^= static_cast<std::byte>(1U << bit % 8);
        const Stream stream(kZstdCodec, file);
        BOOST_TEST(stream->index().findings.size() == 1U);
        BOOST_TEST_REQUIRE(stream->index().size == container.plain.size());
        BOOST_TEST(readable(*stream) == container.plain.size() / kSector);
    }
}

BOOST_AUTO_TEST_CASE(a_last_block_that_does_not_say_so_costs_nothing) {
    for (Container container : {zstd_container("a zstd frame", {4 * kPart}, {}),
                                zstd_container("zstd frames", std::vector<std::size_t>(3, kPart), {})}) {
        const std::size_t header = parse_zstd_frame_header(container.file).value().length;
        container.file[header] ^= std::byte{1};
        const Stream stream(kZstdCodec, container.file);
        BOOST_TEST(stream->index().findings.size() == 1U);
        BOOST_TEST(readable(*stream) == container.plain.size() / kSector);
        check_places(*stream, container);
    }
    Container member = gzip_container("gzip members", std::vector<std::size_t>(3, kPart), false);
    member.file[10] ^= std::byte{1};
    const Stream stream(kGzipCodec, member.file);
    BOOST_TEST(readable(*stream) == member.plain.size() / kSector);
    check_places(*stream, member);
}

// What is read where in a frame one byte is altered, and how that is told.
BOOST_AUTO_TEST_CASE(altered_bytes_that_are_in_their_place_are_read_unless_refused) {
    const Bytes noise = [] {
        Bytes bytes(40 * kSector);
        std::mt19937_64 random(3);
        for (std::byte& byte : bytes) byte = static_cast<std::byte>(random());
        return bytes;
    }();
    for (const bool sized : {true, false}) {
        Bytes file = zstd_frame(noise, {.content_size = sized});
        file[file.size() / 2] ^= std::byte{1};
        const Stream stream(kZstdCodec, file);
        BOOST_TEST(stream->index().findings.size() == 1U);
        Bytes sector(kSector);
        BOOST_TEST(stream->read_at(0, sector, Unverified::refuse).has_error());
        BOOST_TEST(stream->read_at(0, sector, Unverified::read).has_value());
        // Nothing tells how many bytes a frame without a content size had.
        BOOST_TEST(stream->read_at(0, sector, Unverified::placed).has_value() == sized);
    }
}

// Under each policy the runs of what is refused and what is not lie end to end, and reads agree with them.
BOOST_AUTO_TEST_CASE(what_is_refused_and_what_is_not_tiles_a_stream_under_each_policy) {
    Container altered = zstd_container("zstd frames", std::vector<std::size_t>(4, 2 * kPart), {});
    altered.file[altered.file.size() - 2] ^= std::byte{1}; // of the last frame's checksum
    Container cut = gzip_container("gzip members", std::vector<std::size_t>(3, kPart), false);
    cut.file.resize(cut.file.size() - 6);
    for (const auto& [codec, file] : {std::pair{&kZstdCodec, altered.file}, std::pair{&kGzipCodec, cut.file}}) {
        const Stream stream(*codec, file);
        BOOST_TEST(!stream->index().findings.empty());
        for (const Unverified policy : {Unverified::refuse, Unverified::placed, Unverified::read}) {
            const std::uint64_t size = stream->index().size;
            for (std::uint64_t at = 0; at < size;) {
                const RefusedRun run = stream->refused_at(at, ~std::uint64_t{0}, policy);
                BOOST_TEST_REQUIRE((run.length > 0 && run.length <= size - at));
                Bytes bytes(static_cast<std::size_t>(run.length));
                BOOST_TEST(stream->read_at(at, bytes, policy).has_error() == (run.why != nullptr));
                at += run.length;
            }
        }
    }
}

// Behind a break all that can be decoded is there, at a place of its own, and refused to who asks for places.
BOOST_AUTO_TEST_CASE(behind_a_place_where_inflate_stops_the_next_block_is_found) {
    constexpr std::size_t kSize = 4U << 20;
    // Mostly literals: a byte that is copied on and on from before the break never gets known.
    Bytes plain(kSize);
    std::mt19937_64 random(7);
    for (std::byte& byte : plain) byte = static_cast<std::byte>(random() % 64);
    Bytes file = gzip_member(plain, false);
    const std::size_t broken = file.size() / 3;
    for (std::size_t i = 0; i < 64; ++i) file[broken + i] = std::byte{0xFF};
    const Stream stream(kGzipCodec, file);
    BOOST_TEST(!stream->index().findings.empty());
    Bytes sector(kSector);
    for (std::uint64_t at = 0; at < stream->index().size; at += kSector)
        BOOST_TEST_REQUIRE(stream->read_at(at, sector, Unverified::placed).has_error());
    // Every sector of the last half of the disk, at whatever offset.
    Bytes all;
    for (std::uint64_t at = 0; at < stream->index().size; at += kSector) {
        std::fill(sector.begin(), sector.end(), std::byte{0});
        const auto got = stream->read_at(at, sector, Unverified::read);
        if (got.has_value()) append(all, std::span(sector).first(got.value()));
    }
    const std::span half(plain.begin() + kSize / 2, plain.end());
    BOOST_TEST((std::search(all.begin(), all.end(), half.begin(), half.end()) != all.end()));
}

BOOST_AUTO_TEST_CASE(behind_a_zstd_frame_that_breaks_off_the_next_one_is_found) {
    Container container =
        zstd_container("zstd frames", {kPart, 2 * kPart, kPart / 2, kPart / 4}, {.content_size = false});
    const Bytes first = zstd_frame(numbered(0, kPart, true), {.content_size = false});
    for (std::size_t i = 6; i < 14; ++i) container.file[first.size() + i] = std::byte{0xFF};
    const Stream stream(kZstdCodec, container.file);
    BOOST_TEST(!stream->index().findings.empty());
    check_places(*stream, container);
    BOOST_TEST(readable(*stream) == kPart / kSector);
    const std::uint64_t size = stream->index().size;
    Bytes last(kPart / 4);
    BOOST_TEST_REQUIRE(size > last.size());
    BOOST_TEST_REQUIRE(stream->read_at(size - last.size(), last, Unverified::read).has_value());
    BOOST_TEST(std::equal(last.begin(), last.end(), container.plain.end() - static_cast<std::ptrdiff_t>(last.size())));
}

BOOST_AUTO_TEST_SUITE_END()

BOOST_AUTO_TEST_SUITE(stream_thresholds)

namespace {

void check_sound(const Container& container, const Limits& limits = {}) {
    const Stream stream(*container.codec, container.file, limits);
    BOOST_REQUIRE(stream.opened());
    BOOST_TEST(stream->index().findings.empty());
    BOOST_TEST_REQUIRE(stream->index().size == container.plain.size());
    check_places(*stream, container);
    BOOST_TEST(readable(*stream) == (container.plain.size() + kSector - 1) / kSector);
}

// A frame of raw blocks of one length.
Bytes frame_of_raw_blocks(std::span<const std::byte> plain, std::size_t block, bool checksum) {
    Bytes out;
    put(out, 0xFD2FB528, 4, false);
    put(out, 0x80, 1, false); // content size of 4 bytes
    put(out, 0x58, 1, false);
    put(out, plain.size(), 4, false);
    (void)checksum;
    for (std::size_t at = 0; at < plain.size(); at += block) {
        const std::size_t length = std::min(block, plain.size() - at);
        put(out, length << 3 | (at + length == plain.size() ? 1 : 0), 3, false);
        append(out, plain.subspan(at, length));
    }
    return out;
}

} // namespace

BOOST_AUTO_TEST_CASE(frames_of_any_length_around_a_batch_read) {
    constexpr std::size_t kMiB = 1U << 20;
    for (const std::size_t size : {kMiB - 1, kMiB, kMiB + 1, 2 * kMiB, kMiB - kSector, kMiB + kSector}) {
        Container container{.name = fmt::format("frames of {} bytes", size), .codec = &kZstdCodec};
        for (int i = 0; i < 3; ++i) {
            const Bytes part = numbered(container.plain.size() / kSector, size, true);
            append(container.file, zstd_frame(part, {}));
            append(container.plain, part);
        }
        check_sound(container);
    }
}

BOOST_AUTO_TEST_CASE(frames_of_any_number_of_blocks_around_a_batch_read) {
    for (const std::size_t blocks : {1023UL, 1024UL, 1025UL, 2047UL, 2048UL, 2049UL})
        for (const std::size_t block : {1UL, 511UL, 512UL}) {
            Container container{.name = fmt::format("{} blocks of {} bytes", blocks, block), .codec = &kZstdCodec};
            for (int i = 0; i < 3; ++i) {
                const Bytes part = numbered(container.plain.size() / kSector, blocks * block, true);
                append(container.file, frame_of_raw_blocks(part, block, false));
                append(container.plain, part);
            }
            check_sound(container);
        }
}

BOOST_AUTO_TEST_CASE(members_of_any_length_around_a_group_and_a_restart_point_read) {
    constexpr std::size_t kMiB = 1U << 20;
    for (const std::size_t size : {kMiB - 1, kMiB, kMiB + 1, 4 * kMiB - 1, 4 * kMiB, 4 * kMiB + 1}) {
        Container container{.name = fmt::format("members of {} bytes", size), .codec = &kGzipCodec};
        for (int i = 0; i < 2; ++i) {
            const Bytes part = numbered(container.plain.size() / kSector, size, true);
            append(container.file, gzip_member(part, false));
            append(container.plain, part);
        }
        check_sound(container);
    }
}

#ifdef HAVE_LZO
BOOST_AUTO_TEST_CASE(blocks_of_any_length_around_a_group_read) {
    constexpr std::size_t kMiB = 1U << 20;
    for (const std::size_t size : {kMiB / 4 - 1, kMiB / 4, kMiB / 4 + 1, kMiB - 1, kMiB, kMiB + 1})
        check_sound(lzop_container(fmt::format("blocks of {} bytes", size), std::vector<std::size_t>(6, size), true));
}
#endif

BOOST_AUTO_TEST_SUITE_END()
