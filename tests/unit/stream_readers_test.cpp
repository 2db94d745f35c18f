// SPDX-License-Identifier: Apache-2.0
// Every builder of compressed files against every way of reading one, whole and without its last byte: what is given is
// the disk's.
#include "packed_file.hpp"
#include "stream_containers.hpp"

#include <boost/test/unit_test.hpp>

#include <functional>
#include <thread>

using namespace vdisk;
using namespace vdisk::test;

BOOST_AUTO_TEST_SUITE(streams_by_every_reader)

namespace {

std::vector<Container> containers() {
    constexpr std::size_t kPart = 8192, kLarge = (3U << 20) + kSector;
    std::vector<Container> all;
    for (const std::vector<std::size_t>& sizes :
         {std::vector<std::size_t>{kLarge}, std::vector<std::size_t>(4, kPart),
          std::vector<std::size_t>{kPart, 3 * kSector, 0, 2 * kPart, kPart / 2}}) {
        const std::string parts = fmt::format("{} of {} bytes", sizes.size(), sizes[0]);
        for (const bool content_size : {true, false})
            for (const bool checksum : {true, false})
                all.push_back(zstd_container(
                    fmt::format("zstd frames, {}, content size {}, checksum {}", parts, content_size, checksum), sizes,
                    {.content_size = content_size, .checksum = checksum}));
        all.push_back(gzip_container("gzip members, " + parts, sizes, false));
        if (sizes[0] < 65536) all.push_back(gzip_container("bgzip blocks, " + parts, sizes, true));
    }
#ifdef HAVE_LZO
    for (const bool checks : {true, false})
        for (const std::vector<std::size_t>& sizes :
             {std::vector<std::size_t>(5, kPart), std::vector<std::size_t>{kPart, kPart, 3 * kSector},
              std::vector<std::size_t>(12, 256U << 10)})
            all.push_back(lzop_container(
                fmt::format("lzop blocks, {} of {} bytes, checks {}", sizes.size(), sizes[0], checks), sizes, checks));
#endif
    return all;
}

// A compressed file, whole or without its last byte, and what its bytes are.
struct Packed {
    const Bytes& plain;
    bool sound;
    PackedFile file;

    Packed(const Container& container, bool whole)
        : plain(container.plain), sound(whole),
          file(whole ? container.file : Bytes(container.file.begin(), container.file.end() - 1)) {}

    std::shared_ptr<StreamSource> open() const { return required(file.open({}, Unverified::placed)); }
    std::shared_ptr<StreamSource> indexed() const { return file.indexed({}, Unverified::placed); }

    // Whether these bytes are what the disk has there.
    bool has(std::uint64_t at, std::span<const std::byte> bytes) const {
        return at + bytes.size() <= plain.size() &&
               std::equal(bytes.begin(), bytes.end(), plain.begin() + static_cast<std::ptrdiff_t>(at));
    }

    // Reads them; an error is right for a damaged file alone.
    bool reads(const ByteSource& stream, std::uint64_t at, std::size_t length) const {
        Bytes got(length);
        const auto count = stream.read_at(at, got);
        if (count.has_error()) return !sound;
        if (sound && count.value() != std::min<std::uint64_t>(length, plain.size() - at)) return false;
        return has(at, std::span(got).first(count.value()));
    }

    bool reads_all(const ByteSource& stream, std::size_t step) const {
        if (sound && stream.size() != plain.size()) return false;
        for (std::uint64_t at = 0; at < stream.size(); at += step)
            if (!reads(stream, at, step)) return false;
        return true;
    }

    bool reads_anywhere(const ByteSource& stream, std::uint64_t seed) const {
        Random random(seed);
        for (int i = 0; i < 30; ++i)
            if (!reads(stream, below(random, stream.size()), 1 + below(random, 70'000))) return false;
        return true;
    }
};

bool while_it_is_indexed(const Packed& packed) {
    bool right = true;
    std::uint64_t seen = 0;
    const ForwardScan scan = [&](ForwardReader& reader) -> Result<void> {
        Bytes piece(10'000);
        for (;;) {
            const std::uint64_t at = reader.position();
            const auto got = reader.read(piece);
            if (got.has_error() || got.value() == 0) return ok();
            right = right && packed.has(at, std::span(piece).first(got.value()));
            seen = at + got.value();
        }
    };
    BOOST_REQUIRE(packed.open()->index(scan, {}).has_value());
    return right && (!packed.sound || seen == packed.plain.size());
}

bool in_one_read(const Packed& packed) {
    const auto stream = packed.indexed();
    return packed.reads(*stream, 0, packed.plain.size() + 1);
}

bool in_sectors(const Packed& packed) {
    return packed.reads_all(*packed.indexed(), packed.plain.size() > (1U << 20) ? 16 * kSector : kSector);
}

bool backwards(const Packed& packed) {
    const auto stream = packed.indexed();
    const std::uint64_t step = std::max<std::uint64_t>(kSector, stream->size() / 60);
    for (std::uint64_t at = stream->size(); at > 0;) {
        at -= std::min(at, step);
        if (!packed.reads(*stream, at, kSector)) return false;
    }
    return true;
}

bool anywhere(const Packed& packed) {
    return packed.reads_anywhere(*packed.indexed(), 1);
}

bool by_a_kept_index(const Packed& packed) {
    packed.file.let_settle();
    const IndexCache cache(packed.file.cache_folder());
    (void)packed.file.indexed(cache, Unverified::placed);
    const auto stream = required(packed.file.open(cache, Unverified::placed));
    return stream->indexed() && packed.reads_all(*stream, 40'000) && packed.reads_anywhere(*stream, 2);
}

bool through_caches_smaller_than_a_segment(const Packed& packed) {
    Limits limits;
    limits.stream_cache_bytes = 64U << 10;
    limits.stream_decode_bytes = 64U << 10;
    const auto stream = packed.file.indexed({}, Unverified::placed, limits);
    return packed.reads_anywhere(*stream, 3) && packed.reads_all(*stream, 100'000);
}

// What lies ahead is decoded by others.
bool ahead_of_the_reader(const Packed& packed) {
    Limits limits;
    limits.threads = 4;
    const auto stream = packed.file.indexed({}, Unverified::placed, limits);
    constexpr std::size_t kStep = 40'000;
    for (std::uint64_t at = 0; at < stream->size(); at += kStep) {
        stream->prepare(at, stream->worth_preparing());
        if (!packed.reads(*stream, at, kStep)) return false;
    }
    return packed.reads_anywhere(*stream, 4);
}

bool from_four_threads(const Packed& packed) {
    const auto stream = packed.indexed();
    std::atomic<int> wrong{0};
    std::vector<std::thread> threads;
    for (unsigned seed = 0; seed < 4; ++seed)
        threads.emplace_back([&, seed] {
            if (!packed.reads_anywhere(*stream, seed)) ++wrong;
        });
    for (std::thread& thread : threads) thread.join();
    return wrong == 0;
}

bool at_its_head(const Packed& packed) {
    for (const std::size_t count : {1UL, 512UL, 4096UL, 70'000UL}) {
        const Bytes head = required(packed.open()->head(count));
        if (!packed.has(0, head) || (packed.sound && head.size() != std::min(count, packed.plain.size()))) return false;
    }
    return true;
}

struct Reader {
    const char* name;
    bool (*read)(const Packed& packed);
};

constexpr std::array kReaders{
    Reader{"while it is indexed", while_it_is_indexed},
    Reader{"in one read", in_one_read},
    Reader{"in sectors", in_sectors},
    Reader{"backwards", backwards},
    Reader{"anywhere", anywhere},
    Reader{"by a kept index", by_a_kept_index},
    Reader{"through caches smaller than a segment", through_caches_smaller_than_a_segment},
    Reader{"ahead of the reader", ahead_of_the_reader},
    Reader{"from four threads", from_four_threads},
    Reader{"at its head", at_its_head},
};

} // namespace

BOOST_AUTO_TEST_CASE(what_every_builder_made_is_the_same_to_every_reader) {
    for (const Container& container : containers())
        for (const bool sound : {true, false}) {
            const Packed packed(container, sound);
            for (const Reader& reader : kReaders)
                BOOST_TEST(reader.read(packed),
                           container.name << (sound ? ", " : " without its last byte, ") << reader.name);
        }
}

BOOST_AUTO_TEST_SUITE_END()
