// SPDX-License-Identifier: Apache-2.0
// What formats with block tables, bitmaps and logs share.
#include "base/crc32c.hpp"
#include "base/utf16.hpp"
#include "disk/claims.hpp"
#include "image/sector_bitmap.hpp"
#include "io/overlaid_source.hpp"
#include "model.hpp"
#include "put_bytes.hpp"

#include <boost/test/unit_test.hpp>

using namespace vdisk;
using namespace vdisk::test;

BOOST_AUTO_TEST_SUITE(claims)

BOOST_AUTO_TEST_CASE(crc32c_of_the_usual_text_is_the_usual_number) {
    const std::string_view digits = "123456789";
    BOOST_TEST(crc32c(std::as_bytes(std::span(digits))) == 0xE3069283U);
    Bytes with_field(64, std::byte{7});
    Bytes zeroed = with_field;
    std::fill_n(zeroed.begin() + 4, 4, std::byte{0});
    BOOST_TEST(crc32c_without_field(with_field, 4) == crc32c(zeroed));
}

BOOST_AUTO_TEST_CASE(crc32c_of_any_length_is_what_its_definition_says) {
    const auto by_bits = [](std::span<const std::byte> bytes) {
        std::uint32_t sum = ~0U;
        for (const std::byte byte : bytes) {
            sum ^= std::to_integer<std::uint32_t>(byte);
            for (int bit = 0; bit < 8; ++bit) sum = sum >> 1 ^ ((sum & 1) != 0 ? 0x82F63B78U : 0);
        }
        return ~sum;
    };
    Bytes bytes(100);
    for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::byte>(i * 37 + 1);
    for (std::size_t start = 0; start < 9; ++start)
        for (std::size_t length = 0; start + length <= bytes.size(); ++length) {
            const auto some = std::span<const std::byte>(bytes).subspan(start, length);
            BOOST_TEST(crc32c(some) == by_bits(some));
            if (length < 4) continue;
            Bytes zeroed(some.begin(), some.end());
            std::fill_n(zeroed.begin() + static_cast<std::ptrdiff_t>(length / 2 - 2), 4, std::byte{0});
            BOOST_TEST(crc32c_without_field(some, length / 2 - 2) == by_bits(zeroed));
        }
}

BOOST_AUTO_TEST_CASE(utf16_of_both_orders_is_the_same_text) {
    BOOST_TEST(decode_utf16(utf16("C:\\a.vhd")).utf8 == "C:\\a.vhd");
    const Bytes big{std::byte{0}, std::byte{'a'}, std::byte{0xD8}, std::byte{0x3D}, std::byte{0xDC}, std::byte{0xBE}};
    BOOST_TEST(decode_utf16(big, std::endian::big).utf8 == "a\xF0\x9F\x92\xBE");
    BOOST_TEST(!decode_utf16(std::span(big).first(3), std::endian::big).exact);
}

BOOST_AUTO_TEST_CASE(ranges_that_touch_become_one) {
    HostRanges ranges;
    ranges.add(10, 5);
    ranges.add(15, 5);
    ranges.add(16, 1);
    ranges.add(30, 0);
    ranges.add(40, 1);
    BOOST_REQUIRE_EQUAL(ranges.list().size(), 2U);
    BOOST_TEST(ranges.list()[0].length == 10U);
    BOOST_TEST(!ranges.touch(0, 10));
    BOOST_TEST(ranges.touch(0, 11));
    BOOST_TEST(ranges.touch(19, 1));
    BOOST_TEST(!ranges.touch(20, 20));
    BOOST_TEST(ranges.touch(20, 21));
    BOOST_TEST(!ranges.touch(41, 1000));
}

BOOST_AUTO_TEST_CASE(what_two_claim_is_contested_and_what_none_claims_is_free) {
    std::vector<Claim> claims{{50, 10, 3}, {0, 10, 1}, {5, 10, 2}, {50, 10, 4}, {70, 5, 5}, {100, 0, 6}};
    const HostRanges shared = contested(claims);
    BOOST_REQUIRE_EQUAL(shared.list().size(), 2U);
    BOOST_TEST(shared.list()[0].offset.value == 5U);
    BOOST_TEST(shared.list()[0].length == 5U);
    BOOST_TEST(shared.list()[1].offset.value == 50U);
    BOOST_TEST(shared.list()[1].length == 10U);
    const HostRanges free = unclaimed(claims, 0, 90);
    BOOST_REQUIRE_EQUAL(free.list().size(), 3U);
    BOOST_TEST(free.list()[0].offset.value == 15U);
    BOOST_TEST(free.list()[2].offset.value == 75U);
    BOOST_TEST(free.list()[2].length == 15U);
}

BOOST_AUTO_TEST_CASE(one_claim_inside_another_is_contested_as_long_as_it_is) {
    std::vector<Claim> claims{{0, 100, 1}, {10, 10, 2}, {90, 20, 3}};
    const HostRanges shared = contested(claims);
    BOOST_REQUIRE_EQUAL(shared.list().size(), 2U);
    BOOST_TEST(shared.list()[0].length == 10U);
    BOOST_TEST(shared.list()[1].length == 10U);
}

BOOST_AUTO_TEST_CASE(written_bytes_are_found_in_units_and_within_a_budget) {
    Bytes bytes(10000);
    bytes[5000] = std::byte{1};
    const SourcePtr file = memory(bytes);
    HostRanges found;
    BOOST_TEST(Leaks(*file, 512, {}).look(0, 20000, found).has_value());
    BOOST_REQUIRE_EQUAL(found.list().size(), 1U);
    BOOST_TEST(found.list()[0].offset.value == 4608U);
    BOOST_TEST(found.list()[0].length == 512U);
    HostRanges unknown;
    BOOST_TEST(Leaks(*file, 512, Limits{.audit_look_bytes = 100}).look(0, 10000, unknown).has_value());
    BOOST_REQUIRE_EQUAL(unknown.list().size(), 1U);
    BOOST_TEST(unknown.list()[0].length == 10000U);
}

BOOST_AUTO_TEST_CASE(runs_of_bits_tile_a_bitmap_in_both_orders) {
    Random random(3);
    for (const BitOrder order : {BitOrder::highest_first, BitOrder::lowest_first})
        for (int round = 0; round < 50; ++round) {
            Bytes bitmap(64);
            for (std::byte& byte : bitmap) byte = below(random, 3) == 0 ? static_cast<std::byte>(random()) : bitmap[0];
            const std::uint64_t end = 1 + below(random, 512);
            for (std::uint64_t at = below(random, end); at < end;) {
                const BitRun run = run_of_bits(bitmap, at, end, order);
                BOOST_REQUIRE(run.length > 0 && at + run.length <= end);
                for (std::uint64_t i = 0; i < run.length; ++i)
                    BOOST_REQUIRE_EQUAL(bit_at(bitmap, at + i, order), run.set);
                at += run.length;
                if (at < end) BOOST_REQUIRE_NE(bit_at(bitmap, at, order), run.set);
            }
        }
}

BOOST_AUTO_TEST_CASE(later_overlays_hide_earlier_ones_as_writes_do) {
    Random random(5);
    for (int round = 0; round < 60; ++round) {
        const Bytes file = random_bytes(random, 1000);
        Bytes model = file;
        std::vector<Overlay> writes;
        for (std::uint64_t i = below(random, 12); i > 0; --i) {
            Overlay write{.at = below(random, 1500), .length = below(random, 300)};
            if (below(random, 3) != 0) write.from = below(random, 1000 - write.length);
            if (write.length > 0 && model.size() < write.at + write.length) model.resize(write.at + write.length);
            for (std::uint64_t k = 0; k < write.length; ++k)
                model[write.at + k] = write.from ? file[*write.from + k] : std::byte{0};
            writes.push_back(write);
        }
        const SourcePtr replayed = overlaid(memory(file), writes);
        check_against_model(*replayed, model, 97, random);
        for (std::uint64_t at = 0; at < replayed->size();) {
            const Readability run = replayed->readability(at, replayed->size());
            BOOST_REQUIRE(run.length > 0 && !run.why);
            at += run.length;
        }
    }
}

BOOST_AUTO_TEST_CASE(what_a_file_has_lost_at_its_end_is_no_zeros) {
    const std::vector<Overlay> writes{{.at = 160, .length = 10}};
    const SourcePtr file = overlaid(memory(Bytes(100, std::byte{1})), writes, {.lost = 200, .size = 300});
    BOOST_TEST(file->size() == 300U);
    Bytes out(10);
    BOOST_TEST(file->read_at(90, out).has_value());
    BOOST_TEST((file->read_at(95, out).error().kind == ErrorKind::truncated));
    BOOST_TEST(file->read_at(160, out).has_value());
    BOOST_TEST(file->read_at(199, out).has_error());
    BOOST_TEST(file->read_at(290, out).value() == 10U);
    BOOST_TEST(file->readability(100, 1000).length == 60U);
    BOOST_TEST(static_cast<bool>(file->readability(100, 1000).why));
    BOOST_TEST(!file->readability(200, 1000).why);
}

BOOST_AUTO_TEST_SUITE_END()
