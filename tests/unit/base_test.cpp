// SPDX-License-Identifier: Apache-2.0
#include "base/checked.hpp"
#include "base/facts.hpp"
#include "base/nearest.hpp"
#include "base/parse.hpp"
#include "base/system/other_program.hpp"
#include "base/system/path.hpp"
#include "base/text.hpp"
#include "base/uuid.hpp"
#include "base/zeros.hpp"
#include "io/lru_cache.hpp"

#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <array>
#include <limits>

using namespace vdisk;

BOOST_AUTO_TEST_SUITE(base)

BOOST_AUTO_TEST_CASE(checked_arithmetic_gives_nothing_where_it_would_wrap) {
    constexpr auto kMost = std::numeric_limits<std::uint64_t>::max();
    BOOST_TEST(!checked_add(kMost, std::uint64_t{1}).has_value());
    BOOST_TEST(checked_add(kMost - 1, std::uint64_t{1}).value() == kMost);
    BOOST_TEST(!checked_mul(kMost / 2 + 1, std::uint64_t{2}).has_value());
    BOOST_TEST(!align_up(kMost, 4096).has_value());
    BOOST_TEST(align_up(4097, 4096).value() == 8192U);
    BOOST_TEST(div_ceil(kMost, kMost) == 1U);
}

BOOST_AUTO_TEST_CASE(a_range_fits_only_if_its_end_does) {
    constexpr auto kMost = std::numeric_limits<std::uint64_t>::max();
    BOOST_TEST(fits(10, 0, 10));
    BOOST_TEST(fits(0, 10, 10));
    BOOST_TEST(!fits(1, 10, 10));
    BOOST_TEST(!fits(kMost, 2, 10));
    BOOST_TEST(!fits(2, kMost, 10));
}

BOOST_AUTO_TEST_CASE(bytes_are_all_zeros_unless_one_of_them_is_not) {
    std::array<std::byte, 100> bytes{};
    for (std::size_t size = 0; size <= bytes.size(); ++size) BOOST_TEST(all_zeros(std::span(bytes).first(size)));
    for (std::size_t at = 0; at < bytes.size(); ++at) {
        bytes[at] = std::byte{0x80};
        BOOST_TEST(all_zeros(std::span(bytes).first(at)));
        BOOST_TEST(!all_zeros(std::span(bytes).first(at + 1)));
        BOOST_TEST(!all_zeros(bytes));
        bytes[at] = std::byte{0};
    }
}

BOOST_AUTO_TEST_CASE(a_mistyped_word_is_near_the_one_that_was_meant) {
    BOOST_TEST(edit_distance("", "abc") == 3U);
    BOOST_TEST(edit_distance("inof", "info") == 1U); // neighbours swapped
    BOOST_TEST(edit_distance("kitten", "sitting") == 3U);
    constexpr std::array<std::string_view, 4> kWords{"info", "ls", "export", "verify"};
    BOOST_TEST(nearest("inof", kWords) == "info");
    BOOST_TEST(nearest("exprot", kWords) == "export");
    BOOST_TEST(nearest("sl", kWords) == "ls");
    BOOST_TEST(nearest("zzzz", kWords).empty());
    BOOST_TEST(nearest(std::string(100'000, 'i'), kWords).empty());
    BOOST_TEST(suggestion("verfy", kWords) == "; did you mean 'verify'?");
}

BOOST_AUTO_TEST_CASE(what_is_quoted_is_one_word_to_a_shell) {
    BOOST_TEST(shell_quoted("disk.qcow2#before-update") == "disk.qcow2#before-update");
    BOOST_TEST(shell_quoted("a b") == "'a b'");
    BOOST_TEST(shell_quoted("it's $HOME") == "'it'\\''s $HOME'");
    BOOST_TEST(shell_quoted("") == "''");
    BOOST_TEST(shell_quoted("#x") == "'#x'");
    BOOST_TEST(shell_quoted("n\xC3\xA4me") == "'n\xC3\xA4me'");
    BOOST_TEST(shell_quoted("a\n\\'\xFF") == "$'a\\x0a\\\\\\'\\xff'");
}

BOOST_AUTO_TEST_CASE(printable_text_keeps_utf8_and_escapes_the_rest) {
    BOOST_TEST(printable("plain \xC3\xA9\xF0\x9F\x98\x80") == "plain \xC3\xA9\xF0\x9F\x98\x80");
    BOOST_TEST(printable("a\x1b[31m\n") == "a\\x1b[31m\\x0a");
    BOOST_TEST(printable("\xC3") == "\\xc3");
    BOOST_TEST(printable("\xC0\x80") == "\\xc0\\x80");          // overlong
    BOOST_TEST(printable("\xED\xA0\x80") == "\\xed\\xa0\\x80"); // surrogate
    BOOST_TEST(printable("\xC2\x85") == "\\xc2\\x85");          // C1 control
}

BOOST_AUTO_TEST_CASE(sizes_are_exact_where_a_unit_divides_them) {
    BOOST_TEST(human_size(0) == "0 bytes");
    BOOST_TEST(human_size(1023) == "1023 bytes");
    BOOST_TEST(human_size(65536) == "64 KiB");
    BOOST_TEST(human_size(1536) == "1.50 KiB");
    BOOST_TEST(human_size(std::uint64_t{1} << 60) == "1 EiB");
}

BOOST_AUTO_TEST_CASE(times_beyond_the_calendar_are_shown_as_numbers) {
    BOOST_TEST(utc_time(1704067200) == "2024-01-01T00:00:00Z");
    BOOST_TEST(utc_time(1704067200, 5) == "2024-01-01T00:00:00.000000005Z");
    BOOST_TEST(utc_time(1704067200, 1000000000) == "2024-01-01T00:00:00Z");
    BOOST_TEST(utc_time(-62167219200) == "0000-01-01T00:00:00Z");
    BOOST_TEST(utc_time(-11644473601) == "1600-12-31T23:59:59Z");
    BOOST_TEST(utc_time(951782399) == "2000-02-28T23:59:59Z");
    BOOST_TEST(utc_time(951782400) == "2000-02-29T00:00:00Z");
    BOOST_TEST(utc_time(253402300799) == "9999-12-31T23:59:59Z");
    BOOST_TEST(utc_time(std::numeric_limits<std::int64_t>::max()) == "9223372036854775807");
}

BOOST_AUTO_TEST_CASE(uuids_are_read_in_any_case_and_in_mixed_order) {
    const std::string text = "00112233-4455-6677-8899-aabbccddeeff";
    const Uuid uuid = Uuid::parse(text).value();
    BOOST_TEST(to_string(uuid) == text);
    BOOST_TEST((Uuid::parse("{00112233-4455-6677-8899-AABBCCDDEEFF}") == uuid));
    std::array<std::byte, 16> mixed = uuid.bytes;
    std::reverse(mixed.begin(), mixed.begin() + 4);
    std::swap(mixed[4], mixed[5]);
    std::swap(mixed[6], mixed[7]);
    BOOST_TEST((Uuid::from_mixed(mixed) == uuid));
    for (const char* bad : {"", "{}", "00112233-4455-6677-8899-aabbccddeef", "00112233-4455-6677-8899-aabbccddeefg",
                            "00112233x4455-6677-8899-aabbccddeeff", "{00112233-4455-6677-8899-aabbccddeeff",
                            "00112233-4455-6677-8899-aabbccdde-ff"})
        BOOST_TEST(!Uuid::parse(bad).has_value(), bad);
}

BOOST_AUTO_TEST_CASE(a_cache_forgets_the_least_recently_used_first) {
    LruCache<std::uint64_t, int> cache(4 * 10); // four shards of ten
    const auto fill = [&](std::uint64_t key) { cache.put(key, std::make_shared<const int>(int(key)), 1); };
    for (std::uint64_t key = 0; key < 1000; ++key) fill(key);
    std::size_t kept = 0;
    for (std::uint64_t key = 0; key < 1000; ++key) kept += cache.get(key) != nullptr ? 1U : 0U;
    BOOST_TEST(kept == 40U);
    BOOST_TEST(*cache.get(999) == 999);
}

BOOST_AUTO_TEST_CASE(a_cache_makes_room_before_a_value_is_there) {
    LruCache<int, int> cache(40, 1);
    const auto fill = [&](int key) { cache.put(key, std::make_shared<const int>(key), 10); };
    for (const int key : {1, 2, 3, 4}) fill(key);
    cache.demote(3); // before 1, the oldest
    {
        LruCache<int, int>::Reservation room(cache, 5, 15);
        BOOST_TEST((cache.holds(2) && cache.holds(4)));
        BOOST_TEST((!cache.holds(1) && !cache.holds(3)));
        cache.put(5, std::make_shared<const int>(5), 15, &room);
        BOOST_TEST((cache.holds(2) && cache.holds(4) && cache.holds(5)));
    }
    fill(6); // 45 with it
    BOOST_TEST((!cache.holds(2) && cache.holds(4) && cache.holds(5) && cache.holds(6)));
    const LruCache<int, int>::Reservation all(cache, 7, 100);
    BOOST_TEST((!cache.holds(4) && !cache.holds(5) && !cache.holds(6)));
}

BOOST_AUTO_TEST_CASE(a_program_that_closes_its_outputs_has_no_more_time) {
    if (system::kHasDrives) return; // and no shell
    const auto told =
        system::ask_program({"sh", "-c", "exec >&- 2>&- && exec sleep 60"}, {.time = std::chrono::seconds(1)});
    BOOST_REQUIRE(told.has_error());
    BOOST_TEST((told.error().kind == ErrorKind::limit_exceeded));
}

BOOST_AUTO_TEST_CASE(a_cache_keeps_no_errors) {
    LruCache<std::uint64_t, int> cache(40);
    using Made = Result<std::pair<std::shared_ptr<const int>, std::size_t>>;
    const auto failed = cache.get_or_make(1, []() -> Made { return fail(ErrorKind::io, "passing"); });
    BOOST_TEST(failed.has_error());
    const auto made =
        cache.get_or_make(1, []() -> Made { return std::pair(std::make_shared<const int>(5), std::size_t{1}); });
    BOOST_TEST(*made.value() == 5);
}

BOOST_AUTO_TEST_CASE(facts_keep_the_order_in_which_they_were_told) {
    Facts facts{{"z", 1}, {"a", "text"}, {"pair", {{"kind", "word"}, {"size", 0xFFFFFFFFFFFFFFFF}}}};
    facts["list"].push_back(-1);
    facts["list"].push_back(true);
    facts["list"].push_back(nullptr);
    facts["a"] = std::vector<std::string>{"x", "\xFF"};
    BOOST_TEST(facts.dump() == "{\"z\":1,\"a\":[\"x\",\"\uFFFD\"],\"pair\":{\"kind\":\"word\",\"size\":"
                               "18446744073709551615},\"list\":[-1,true,null]}");
    facts.update(Facts{{"z", Facts::object()}, {"new", 0.5}});
    facts.erase("a");
    facts.erase("pair");
    BOOST_TEST(facts.dump() == "{\"z\":{},\"list\":[-1,true,null],\"new\":0.5}");
    BOOST_TEST(Facts::parse(facts.dump()).value() == facts);
    BOOST_TEST(std::as_const(facts)["absent"].is_null());
    BOOST_TEST(!facts.contains("absent"));
    BOOST_CHECK_THROW(facts["list"]["key"] = 1, std::bad_variant_access);
}

BOOST_AUTO_TEST_CASE(facts_are_not_read_from_what_is_no_json_or_nested_without_end) {
    for (const std::string& bad : {std::string(), std::string("{"), std::string("{} x"),
                                   std::string(100000, '[') + std::string(100000, ']'), std::string(100000, '[')})
        BOOST_TEST(!Facts::parse(bad).has_value());
    BOOST_TEST(Facts::parse(" [[1]] ").value().dump() == "[[1]]");
}

BOOST_AUTO_TEST_CASE(a_number_is_all_of_its_text_or_none) {
    BOOST_TEST(parse_number<std::uint64_t>("18446744073709551615").value() == ~std::uint64_t{0});
    BOOST_TEST(parse_number<std::uint32_t>("fFfFfFfF", 16).value() == ~std::uint32_t{0});
    for (const char* text : {"", " 1", "1 ", "+1", "-1", "1x", "0x1", "18446744073709551616"})
        BOOST_TEST(!parse_number<std::uint64_t>(text));
    BOOST_TEST(!parse_number<std::uint32_t>("4294967296"));
}

BOOST_AUTO_TEST_CASE(words_are_compared_and_cut_out_in_ascii_alone) {
    BOOST_TEST(lower("A-z\xC4") == "a-z\xC4");
    BOOST_TEST(ends_in("Disk.VMDK", ".vmdk"));
    BOOST_TEST(!ends_in("vmdk", ".vmdk"));
    BOOST_TEST(trimmed(" \t a b\r\n") == "a b");
    BOOST_TEST(trimmed(" \t ") == "");
    BOOST_TEST(trimmed("a\r ", " ") == "a\r");
}

BOOST_AUTO_TEST_CASE(bytes_as_digits_are_read_in_either_case) {
    BOOST_TEST((parse_hex("00fFA5") == std::vector{std::byte{0}, std::byte{0xFF}, std::byte{0xA5}}));
    BOOST_TEST(parse_hex("")->empty());
    for (const char* text : {"0", "0g", "-1", " 1", "000"}) BOOST_TEST(!parse_hex(text).has_value());
    BOOST_TEST(percent_decoded("a%20b%2f%zz%4") == "a b/%zz%4");
    BOOST_TEST(percent_decoded("%41%") == "A%");
}

BOOST_AUTO_TEST_SUITE_END()
