// SPDX-License-Identifier: Apache-2.0
// VirtualBox's key stores. Whole machines are read in tests/oracle/vbox_encryption.py.
#include "format/vbox/key_store.hpp"

#include "base/parse.hpp"

#include <boost/test/unit_test.hpp>

#include <algorithm>

using namespace vdisk;
using vdisk::vbox::KeyStore;

BOOST_AUTO_TEST_SUITE(key_store)

namespace {

template<std::size_t Size> void put_hex(std::array<std::byte, Size>& field, std::string_view digits) {
    const auto bytes = parse_hex(digits);
    BOOST_REQUIRE(bytes.has_value());
    std::ranges::copy(*bytes, field.begin());
}

// The store behind the hash that hashcat publishes for its mode 27500; the password is "hashcat".
KeyStore published() {
    KeyStore store{.cipher = "AES-XTS128-PLAIN64",
                   .derivation = "PBKDF2-SHA256",
                   .key_bytes = 32,
                   .digest_bytes = 32,
                   .digest_iterations = 20000,
                   .iterations = 260000};
    put_hex(store.salt, "fcc37189521686699a43e49514b91f159306be108b98895666583cd15c3e206b");
    put_hex(store.enciphered_key, "288c3957db47e7c3dff2f7932121eb3395d21ab76b9cf3de2dc660310a25e7ad");
    put_hex(store.digest_salt, "8847cd90f8acef74bae41155392908780eebb1d16452aa09b2f7b6cd7d8a4096");
    put_hex(store.digest, "9f4d615b484f95c73944a98f392a3ce04f93403e8bb6257e6b6c854273d3a08a");
    return store;
}

std::span<const std::byte> word(std::string_view text) {
    return std::as_bytes(std::span(text));
}

ErrorKind refusal(const KeyStore& store, const Limits& limits = {}) {
    const auto opened = store.unlock(word("hashcat"), limits);
    BOOST_REQUIRE(opened.has_error());
    return opened.error().kind;
}

} // namespace

BOOST_AUTO_TEST_CASE(a_store_of_virtualbox_opens_with_its_password_and_with_no_other) {
    BOOST_TEST((published().unlock(word("hashcat"), {}).value() != nullptr));
    KeyStore quick = published(); // fewer iterations make another key, as another password does
    quick.iterations = 1;
    quick.digest_iterations = 1;
    BOOST_TEST((quick.unlock(word("hashcat"), {}).value() == nullptr));
}

BOOST_AUTO_TEST_CASE(what_a_store_says_is_checked_before_any_work) {
    KeyStore store = published();
    store.cipher = "AES-XTS128-PLAIN";
    BOOST_CHECK(refusal(store) == ErrorKind::unsupported);
    store = published();
    store.derivation = "PBKDF2-MD5";
    BOOST_CHECK(refusal(store) == ErrorKind::unsupported);
    store = published();
    store.key_bytes = 64;
    BOOST_CHECK(refusal(store) == ErrorKind::corrupt);
    store = published();
    store.iterations = 0;
    BOOST_CHECK(refusal(store) == ErrorKind::corrupt);
    store = published();
    store.digest_iterations = 0xFFFFFFFF;
    BOOST_CHECK(refusal(store) == ErrorKind::limit_exceeded);
    Limits limits;
    limits.key_iterations = 279'999;
    BOOST_CHECK(refusal(published(), limits) == ErrorKind::limit_exceeded);
}

BOOST_AUTO_TEST_CASE(a_person_can_stop_the_work) {
    const auto stopped = published().unlock(word("hashcat"), {}, [](std::uint64_t, std::uint64_t) { return false; });
    BOOST_REQUIRE(stopped.has_error());
    BOOST_CHECK(stopped.error().kind == ErrorKind::cancelled);
}

BOOST_AUTO_TEST_SUITE_END()
