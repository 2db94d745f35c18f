// SPDX-License-Identifier: Apache-2.0
// Streams with every bit of every header flipped, and with lengths around the library's own thresholds.
#include "io/memory_source.hpp"
#include "io/stream/indexed_stream.hpp"
#include "model.hpp"
#include "stream_containers.hpp"

#include <boost/test/unit_test.hpp>

#include <random>

using namespace vdisk;
using namespace vdisk::test;

namespace {

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
            if (number++ % kTriedOneIn != 0) continue;
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
