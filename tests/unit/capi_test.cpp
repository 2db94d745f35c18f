// SPDX-License-Identifier: Apache-2.0
#include "base/text.hpp"
#include "capi/boundary.hpp"
#include "open/report.hpp"

#include <boost/test/unit_test.hpp>

#include <stdexcept>
#include <string>

using namespace vdisk;

BOOST_AUTO_TEST_SUITE(capi_boundary)

BOOST_AUTO_TEST_CASE(no_exception_gets_through) {
    const auto thrown = [](auto exception) { return capi::guarded(-1, [&]() -> Result<int> { throw exception; }); };
    BOOST_TEST(thrown(std::runtime_error("from below")) == -1);
    BOOST_TEST(std::string(vdisk_last_error()) == "from below");
    BOOST_TEST(thrown(std::bad_alloc()) == -1);
    BOOST_TEST(vdisk_last_error_kind() == VDISK_ERROR_NO_MEMORY);
    BOOST_TEST(thrown(7) == -1);
    BOOST_TEST(vdisk_last_error_kind() == VDISK_ERROR_IO);
}

BOOST_AUTO_TEST_CASE(an_error_is_kept_until_the_next_one) {
    const auto failed = capi::guarded<const char*>(
        nullptr, []() -> Result<const char*> { return fail(ErrorKind::corrupt, "bad table"); });
    BOOST_TEST(failed == nullptr);
    BOOST_TEST(capi::guarded(-1, []() -> Result<int> { return 5; }) == 5);
    BOOST_TEST(std::string(vdisk_last_error()) == "bad table");
    BOOST_TEST(vdisk_last_error_kind() == VDISK_ERROR_CORRUPT);
}

BOOST_AUTO_TEST_CASE(shortened_text_is_cut_between_characters) {
    BOOST_TEST(shortened("abcdef", 6) == "abcdef");
    BOOST_TEST(shortened("abcdefg", 6) == "abc...");
    BOOST_TEST(shortened("a\u00e9\u00e9\u00e9", 6) == "a\u00e9...");
    BOOST_TEST(shortened("\U0001F4BE\U0001F4BE", 6) == "...");
}

BOOST_AUTO_TEST_CASE(one_line_stays_one_line_however_long_the_names_are) {
    Disk disk{.kind = Disk::Kind::snapshot,
              .name = "two\nlines" + std::string(5000, 'x'),
              .id = std::string(5000, 'y'),
              .size = 4096};
    disk.facts["time"] = std::string(5000, 'z');
    disk.facts["vm state bytes"] = 2048U;
    const std::string line = one_line(disk);
    BOOST_TEST(line.size() <= 512U);
    BOOST_TEST(line.find('\n') == std::string::npos);
    BOOST_TEST(line.starts_with("snapshot 'two\\x0alines"));
    BOOST_TEST(line.ends_with(", 4 KiB, vm state bytes 2048 bytes (2 KiB)"));
}

BOOST_AUTO_TEST_SUITE_END()
