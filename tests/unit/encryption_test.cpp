// SPDX-License-Identifier: Apache-2.0
#include "base/text.hpp"
#include "codec/key_derivation.hpp"
#include "disk/passphrase.hpp"
#include "image/encryption.hpp"
#include "io/memory_source.hpp"

#include <boost/test/unit_test.hpp>

#include <random>
#include <thread>

using namespace vdisk;

BOOST_AUTO_TEST_SUITE(encryption)

namespace {

std::vector<std::byte> bytes_of(std::string_view digits) {
    std::vector<std::byte> bytes;
    for (std::size_t i = 0; i + 1 < digits.size(); i += 2)
        bytes.push_back(static_cast<std::byte>(std::stoul(std::string(digits.substr(i, 2)), nullptr, 16)));
    return bytes;
}

std::vector<std::byte> counting(std::size_t count) {
    std::vector<std::byte> bytes(count);
    for (std::size_t i = 0; i < count; ++i) bytes[i] = static_cast<std::byte>(i);
    return bytes;
}

std::span<const std::byte> text(std::string_view characters) {
    return std::as_bytes(std::span(characters));
}

std::string deciphered(const CipherSpec& spec, std::span<const std::byte> key, std::uint64_t sector,
                       std::string_view digits) {
    auto bytes = bytes_of(digits);
    BOOST_TEST(SectorCipher::aes(spec, key).value()->decipher(sector, bytes).has_value());
    return hex(bytes);
}

// A stream cipher: enciphering is deciphering, so that a test needs nothing else to make its data.
Encryption stream(Encryption::Numbering numbering) {
    return {SectorCipher::aes({.mode = CipherMode::ctr, .iv = IvGenerator::plain64}, counting(32)).value(), numbering};
}

} // namespace

// NIST SP 800-38A, F.1: at sector 0 the first block of CBC is that of ECB.
BOOST_AUTO_TEST_CASE(aes_of_each_key_length_gives_the_standards_vectors) {
    constexpr std::string_view kPlain = "6bc1bee22e409f96e93d7e117393172a";
    const auto key128 = bytes_of("2b7e151628aed2a6abf7158809cf4f3c");
    const auto key192 = bytes_of("8e73b0f7da0e6452c810f32b809079e562f8ead2522c6b7b");
    const auto key256 = bytes_of("603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4");
    for (const CipherMode mode : {CipherMode::ecb, CipherMode::cbc}) {
        BOOST_TEST(deciphered({.mode = mode}, key128, 0, "3ad77bb40d7a3660a89ecaf32466ef97") == kPlain);
        BOOST_TEST(deciphered({.mode = mode}, key192, 0, "bd334f1d6e45f25ff712a214571fa5cc") == kPlain);
        BOOST_TEST(deciphered({.mode = mode}, key256, 0, "f3eed1bdb5d2a03c064b5a7e3db181f8") == kPlain);
    }
}

// IEEE 1619-2007, vector 2.
BOOST_AUTO_TEST_CASE(xts_gives_the_standards_vector) {
    const auto key = bytes_of("1111111111111111111111111111111122222222222222222222222222222222");
    BOOST_TEST(deciphered({.mode = CipherMode::xts}, key, 0x3333333333,
                          "c454185e6a16936e39334038acef838bfb186fff7480adc4289382ecd6d394f0") ==
               "4444444444444444444444444444444444444444444444444444444444444444");
}

BOOST_AUTO_TEST_CASE(plain_drops_what_plain64_keeps_of_a_sectors_number) {
    const auto key = counting(32);
    const std::uint64_t beyond = (std::uint64_t{1} << 32) + 5;
    constexpr std::string_view kZeros = "00000000000000000000000000000000";
    constexpr std::string_view kOfSector5 = "7ac7ca021c443d95a43733c83d9321f6";
    BOOST_TEST(deciphered({.iv = IvGenerator::plain}, key, beyond, kOfSector5) == kZeros);
    BOOST_TEST(deciphered({.iv = IvGenerator::plain64}, key, 5, kOfSector5) == kZeros);
    BOOST_TEST(deciphered({.iv = IvGenerator::plain64}, key, beyond, kOfSector5) != kZeros);
}

BOOST_AUTO_TEST_CASE(essiv_takes_the_cipher_that_its_hash_has_the_length_for) {
    const CipherSpec spec{.mode = CipherMode::cbc, .iv = IvGenerator::essiv, .iv_hash = "sha256"};
    BOOST_TEST(deciphered(spec, counting(16), (std::uint64_t{1} << 32) + 5,
                          "3059d84689da69397690556b734bf2a2893e13a52a29e1b9e35ddbe73430ddc6") ==
               "0000000000000000000000000000000000000000000000000000000000000000");
    for (const char* hash : {"sha1", "sha512", "", "whirlpool"})
        BOOST_TEST((SectorCipher::aes({.iv = IvGenerator::essiv, .iv_hash = hash}, counting(32)).error().kind ==
                    ErrorKind::unsupported));
}

BOOST_AUTO_TEST_CASE(keys_of_other_lengths_are_refused) {
    for (const std::size_t length : {0U, 15U, 17U, 33U, 64U})
        BOOST_TEST(
            (SectorCipher::aes({.mode = CipherMode::cbc}, counting(length)).error().kind == ErrorKind::unsupported));
    for (const std::size_t length : {0U, 16U, 33U, 65U, 128U})
        BOOST_TEST(
            (SectorCipher::aes({.mode = CipherMode::xts}, counting(length)).error().kind == ErrorKind::unsupported));
}

BOOST_AUTO_TEST_CASE(half_a_block_is_refused) {
    auto bytes = counting(520);
    BOOST_TEST((SectorCipher::aes({}, counting(48)).value()->decipher(0, bytes).error().kind == ErrorKind::corrupt));
    BOOST_TEST((SectorCipher::aes({}, counting(64)).value()->decipher(0, bytes).error().kind == ErrorKind::corrupt));
}

BOOST_AUTO_TEST_CASE(hashes_and_pbkdf2_give_known_keys) {
    const auto of = [](const char* hash, std::string_view passphrase, std::uint32_t iterations, std::size_t length) {
        return hex(Hash::find(hash).value().pbkdf2(text(passphrase), text("salt"), iterations, length).value());
    };
    BOOST_TEST(of("sha1", "password", 4096, 20) == "4b007901b765489abead49d926f721d065a429c1"); // RFC 6070
    BOOST_TEST(of("sha256", "password", 4096, 32) ==
               "c5e478d59288c841aa530db6845c4c8d962893a001ce4e11a4963873aa98134a");
    BOOST_TEST(of("sha512", "", 2, 70) ==
               "cc5eacbb057f2a5982fce67bf70f79fccf4adf285f5cbae1a5a1c5df012a630a5cd035da88803f2a8b7ad7d3118025e9d8"
               "48280b733c39c57a76d3fa895f244cf286c14d011f");
    BOOST_TEST((Hash::find("sha256").value().pbkdf2({}, {}, 0, 16).error().kind == ErrorKind::limit_exceeded));
    BOOST_TEST((Hash::find("whirlpool").error().kind == ErrorKind::unsupported));
    BOOST_TEST(hex(Hash::find("sha256").value().digest(text("a"), text("bc")).value()) ==
               "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

// Expected keys by Python's hashlib. The passphrases end at and behind a block of the hash function.
BOOST_AUTO_TEST_CASE(keys_of_several_blocks_are_derived_from_passphrases_of_any_length) {
    struct Row {
        const char* hash;
        std::size_t passphrase;
        std::uint32_t iterations;
        std::size_t length;
        std::string_view key;
    };
    for (const Row& row : {
             Row{"sha1", 64, 1, 64,
                 "0ee153b147985a0d7bb6ead7ef72e56d45bd2396683caac4383eb786188aed3ab14d6fa551176ea1a757e50a5003a4406084c"
                 "f9fb901973c1ae15f9758be535f"},
             Row{"sha1", 65, 16385, 61,
                 "8e094c0562d1e670cc500c78ff3d4471059fd83d277770ed8d4fb049d1f705e181c16a245d1450de25b717133ab34753f2bb2"
                 "1aa06323af09134bc0576"},
             Row{"sha256", 64, 16384, 64,
                 "ca325467c0989efbdac44a161c49e644df1a1742b0e820f1a6f4deaf87628fa8be4b7d0f413430cfff2bb1c620c7d989b1443"
                 "c251277c0548a5588c7ece1a0e4"},
             Row{"sha256", 65, 2, 33, "6f3553a14dcf0e73271c6e26ca06693c24a7d8c0092da9dd4252f8013d559608ca"},
             Row{"sha256", 0, 1, 32, "f135c27993baf98773c5cdb40a5706ce6a345cde61b000a67858650cd6a324d7"},
             Row{"sha512", 128, 20000, 64,
                 "df420556d0e8236e466e6a1180fefa55daf3b4b58783d1acf925c03d7cac0cfe15a231799a7be72e8522ecc07f1c11cf8999a"
                 "7b5274c2dee788455b9a8da95dc"},
             Row{"sha512", 129, 3, 65,
                 "fc17be54909918c01aac2de22ea457327fdc0b70b730cef9ce4904a1579467dc87584ddbfccf5c9f448e1436eeb0afdb99572"
                 "476afa6fe189f1ac54f708b1c1fd7"},
             Row{"ripemd160", 65, 5, 64,
                 "e5c7a628bf9e62f3db0359ec03ca0c708ec7bf053ba62c73b880b42484aa89be75b53af29d27eb765cd39dfcc927493099a0f"
                 "9edf3c10ba6ed2e276abec916a2"},
         }) {
        const std::string passphrase(row.passphrase, 'p');
        const auto key =
            Hash::find(row.hash).value().pbkdf2(text(passphrase), text("salt"), row.iterations, row.length);
        BOOST_TEST(hex(key.value()) == row.key);
    }
}

BOOST_AUTO_TEST_CASE(deriving_a_key_tells_how_far_it_is_and_can_be_stopped) {
    const Hash hash = Hash::find("sha256").value();
    std::uint64_t last = 0;
    const auto count = [&](std::uint64_t done) {
        BOOST_TEST(done >= last);
        last = done;
        return true;
    };
    BOOST_TEST(hash.pbkdf2(text("p"), text("salt"), 100'000, 64, count).has_value());
    BOOST_TEST(last <= 200'000U);
    BOOST_TEST(last >= 100'000U - (100'000U % 16384U));
    const auto stopped = hash.pbkdf2(text("p"), text("salt"), 1'000'000'000, 64, [](std::uint64_t) { return false; });
    BOOST_TEST((stopped.error().kind == ErrorKind::cancelled));
}

// Expected keys by an implementation in Python. The lengths leave whole, cut-off and several digests a stripe.
BOOST_AUTO_TEST_CASE(split_keys_are_merged) {
    const auto merged = [](const char* hash, std::size_t length, std::uint32_t stripes) {
        return hex(anti_forensic_merge(Hash::find(hash).value(), counting(length), stripes).value());
    };
    BOOST_TEST(merged("sha1", 144, 3) ==
               "f0fc51dd134a362be08eed8f88616432fd8acec7857f6384ed68073807bc53772a4e5d88c2b7ff3faba1f28096ae6430");
    BOOST_TEST(merged("sha256", 96, 3) == "2ec9dd1c376c60c2a1048733968915ec517b026e72b9bb588b696969840225ec");
    BOOST_TEST(merged("sha512", 64, 4) == "b5bfc91e1f72bc66b87f778bedfaba2c");
    BOOST_TEST(merged("md5", 16, 1) == hex(counting(16)));
}

BOOST_AUTO_TEST_CASE(material_that_no_key_was_split_into_is_refused) {
    const Hash hash = Hash::find("sha1").value();
    for (const std::uint32_t stripes : {0U, 5U, 4000U})
        BOOST_TEST((anti_forensic_merge(hash, counting(64), stripes).error().kind == ErrorKind::corrupt));
    BOOST_TEST((anti_forensic_merge(hash, {}, 4).error().kind == ErrorKind::corrupt));
}

BOOST_AUTO_TEST_CASE(deciphered_reads_of_any_alignment_equal_the_plain_bytes) {
    for (const auto numbering : {Encryption::Numbering::host, Encryption::Numbering::guest}) {
        const Encryption encryption = stream(numbering);
        constexpr std::size_t kSize = 16 * 512;
        constexpr std::uint64_t kGuest = 77 * 512; // where host byte 0 stands on the disk
        const auto plain = counting(kSize);
        auto stored = plain;
        BOOST_TEST(encryption.cipher->decipher(numbering == Encryption::Numbering::host ? 0 : 77, stored).has_value());
        const MemorySource source(stored, "stored");
        std::mt19937 random(1);
        for (int round = 0; round < 500; ++round) {
            const std::size_t at = random() % kSize;
            std::vector<std::byte> out(random() % (kSize - at) + 1);
            BOOST_TEST(
                read_deciphered(encryption, source, {HostOffset{at}, GuestOffset{kGuest + at}}, out).has_value());
            BOOST_TEST(std::ranges::equal(out, std::span(plain).subspan(at, out.size())));
        }
    }
}

BOOST_AUTO_TEST_CASE(a_sector_that_is_cut_off_is_an_error) {
    const MemorySource source(counting(1000), "stored");
    std::vector<std::byte> out(10);
    const auto read =
        read_deciphered(stream(Encryption::Numbering::host), source, {HostOffset{600}, GuestOffset{600}}, out);
    BOOST_TEST((read.error().kind == ErrorKind::truncated));
}

BOOST_AUTO_TEST_CASE(one_cipher_serves_many_threads) {
    for (const std::size_t key_length : {48U, 64U}) { // both implementations of XTS
        const auto cipher =
            SectorCipher::aes({.iv = IvGenerator::essiv, .iv_hash = "sha256"}, counting(key_length)).value();
        auto expected = counting(8192);
        BOOST_TEST(cipher->decipher(9, expected).has_value());
        std::atomic<int> wrong = 0;
        std::vector<std::jthread> threads;
        for (int i = 0; i < 4; ++i)
            threads.emplace_back([&] {
                for (int round = 0; round < 50; ++round) {
                    auto bytes = counting(8192);
                    if (cipher->decipher(9, bytes).has_error() || bytes != expected) ++wrong;
                }
            });
        threads.clear();
        BOOST_TEST(wrong == 0);
    }
}

BOOST_AUTO_TEST_CASE(a_refused_passphrase_is_told_by_what_an_editor_may_have_put_there) {
    const auto told = [](std::string_view passphrase) {
        Passphrase given{.file = "file"};
        for (const char each : passphrase) given.bytes.push_back(static_cast<std::byte>(each));
        const auto refused = try_passphrase(
            given, "opens nothing", [](auto) -> Result<std::shared_ptr<const SectorCipher>> { return nullptr; });
        return refused.error().what;
    };
    const std::string refused = "the passphrase of file opens nothing";
    const std::string newline = ", neither as it is nor without the newline ";
    BOOST_TEST(told("x") == refused);
    BOOST_TEST(told("") == refused + "; it is empty");
    BOOST_TEST(told("\xEF\xBB") == refused);
    for (const char* const begun : {"\xEF\xBB\xBF", "\xEF\xBB\xBFx"})
        BOOST_TEST(told(begun) == refused + "; it begins with a byte order mark");
    for (const char* const begun : {"\xFF\xFE", "\xFE\xFF", "\xFE\xFFx\n"})
        BOOST_TEST(told(begun) == refused + "; it is UTF-16");
    for (const char* const ended : {"\n", "x\n"}) BOOST_TEST(told(ended) == refused + newline + "at its end");
    for (const char* const ended : {"\r\n", "x\r\n"})
        BOOST_TEST(told(ended) == refused + newline + "or the CR LF at its end");
}

BOOST_AUTO_TEST_SUITE_END()
