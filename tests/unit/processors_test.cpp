// SPDX-License-Identifier: Apache-2.0
#include "base/processors.hpp"

#include <boost/test/unit_test.hpp>

#include <thread>

using namespace vdisk;

BOOST_AUTO_TEST_SUITE(number_of_threads)

BOOST_AUTO_TEST_CASE(a_process_has_a_processor_and_no_more_than_it_may_run_on) {
    BOOST_TEST(processors() >= 1U);
    BOOST_TEST(processors() <= std::max(1U, std::thread::hardware_concurrency()));
}

BOOST_AUTO_TEST_CASE(what_was_asked_for_counts_up_to_64) {
    Limits limits;
    BOOST_TEST(threads_of(limits) == std::min<std::size_t>(processors(), 64));
    limits.threads = 3;
    BOOST_TEST(threads_of(limits) == 3U);
    limits.threads = 1000;
    BOOST_TEST(threads_of(limits) == 64U);
}

BOOST_AUTO_TEST_CASE(words_that_are_no_number_of_threads_are_refused_by_name) {
    BOOST_TEST(parse_threads("", "--threads").value() == 0U);
    BOOST_TEST(parse_threads("1", "--threads").value() == 1U);
    BOOST_TEST(parse_threads("64", "--threads").value() == 64U);
    for (const char* word : {"0", "65", "-1", "+2", "2x", " 2", "99999999999999999999"}) {
        const auto refused = parse_threads(word, "--threads");
        BOOST_REQUIRE(refused.has_error());
        BOOST_TEST((refused.error().kind == ErrorKind::usage));
        BOOST_TEST(refused.error().what.find("--threads is '" + std::string(word)) != std::string::npos);
    }
}

BOOST_AUTO_TEST_SUITE_END()
