// SPDX-License-Identifier: Apache-2.0
#include "format/vbox/key_store.hpp"

#include "base/checked.hpp"
#include "base/parse.hpp"
#include "base/text.hpp"
#include "codec/key_derivation.hpp"

#include <boost/endian/buffers.hpp>

#include <algorithm>
#include <cstring>

namespace vdisk::vbox {
namespace {

using namespace boost::endian;

struct KeyStoreRecord {
    std::array<char, 4> magic;
    little_uint16_buf_t version;
    std::array<char, 32> cipher;
    std::array<char, 32> derivation;
    little_uint32_buf_t key_bytes;
    std::array<std::byte, 32> digest;
    little_uint32_buf_t digest_bytes;
    std::array<std::byte, 32> digest_salt;
    little_uint32_buf_t digest_iterations;
    std::array<std::byte, 32> salt;
    little_uint32_buf_t iterations;
    little_uint32_buf_t enciphered_bytes;
    std::array<std::byte, 64> enciphered_key;
};
static_assert(sizeof(KeyStoreRecord) == 250);

constexpr std::string_view kKeyStoreMagic = "SCNE";
constexpr std::uint16_t kKeyStoreVersion = 0x0100;
constexpr std::size_t kLongestText = 4096; ///< some 340, and line breaks

struct MediumCipher {
    std::string_view name;
    std::uint32_t key_bytes;
};
constexpr std::array kMediumCiphers{MediumCipher{"AES-XTS128-PLAIN64", 32}, MediumCipher{"AES-XTS256-PLAIN64", 64}};

struct DerivationHash {
    std::string_view name;
    std::string_view hash; ///< as LUKS calls it
};
constexpr std::array kDerivationHashes{DerivationHash{"PBKDF2-SHA1", "sha1"}, DerivationHash{"PBKDF2-SHA256", "sha256"},
                                       DerivationHash{"PBKDF2-SHA512", "sha512"}};

template<std::size_t Size> std::string text_of(const std::array<char, Size>& field) {
    const std::string_view all(field.data(), field.size());
    return std::string(all.substr(0, all.find('\0')));
}

Result<Hash> hash_of(const KeyStore& store) {
    const auto* const found = std::ranges::find(kDerivationHashes, store.derivation, &DerivationHash::name);
    if (found == kDerivationHashes.end())
        return fail(ErrorKind::unsupported, "key derivation '{}' of the key store is not supported",
                    printable(store.derivation));
    return Hash::find(found->hash);
}

Result<void> check(const KeyStore& store, const Limits& limits) {
    const auto* const cipher = std::ranges::find(kMediumCiphers, store.cipher, &MediumCipher::name);
    if (cipher == kMediumCiphers.end())
        return fail(ErrorKind::unsupported, "cipher '{}' of the key store is not supported", printable(store.cipher));
    if (store.key_bytes != cipher->key_bytes)
        return fail(ErrorKind::corrupt, "the key store has a key of {} bytes, and {} takes {}", store.key_bytes,
                    store.cipher, cipher->key_bytes);
    if (store.iterations == 0 || store.digest_iterations == 0)
        return fail(ErrorKind::corrupt, "the key store wants {} and {} iterations", store.iterations,
                    store.digest_iterations);
    const std::uint64_t iterations = std::uint64_t{store.iterations} + store.digest_iterations;
    if (iterations > limits.key_iterations)
        return fail(ErrorKind::limit_exceeded, "the key store wants {} iterations, the limit is {}", iterations,
                    limits.key_iterations);
    return ok();
}

} // namespace

Result<KeyStore> KeyStore::parse(std::string_view text) {
    if (text.size() > kLongestText)
        return fail(ErrorKind::corrupt, "the key store has {} characters, at most {} are one", text.size(),
                    kLongestText);
    std::string digits;
    std::ranges::copy_if(text, std::back_inserter(digits),
                         [](char c) { return c != '\r' && c != '\n' && c != ' ' && c != '\t'; });
    const auto bytes = parse_base64(digits);
    if (!bytes || bytes->size() != sizeof(KeyStoreRecord))
        return fail(ErrorKind::corrupt, "the key store is not base64 of {} bytes", sizeof(KeyStoreRecord));
    KeyStoreRecord record;
    std::memcpy(&record, bytes->data(), sizeof record);
    if (std::string_view(record.magic.data(), record.magic.size()) != kKeyStoreMagic ||
        record.version.value() != kKeyStoreVersion)
        return fail(ErrorKind::corrupt, "the key store's magic or version {:#06x} is not known",
                    record.version.value());
    KeyStore store{.cipher = text_of(record.cipher),
                   .derivation = text_of(record.derivation),
                   .key_bytes = record.key_bytes.value(),
                   .digest = record.digest,
                   .digest_bytes = record.digest_bytes.value(),
                   .digest_salt = record.digest_salt,
                   .digest_iterations = record.digest_iterations.value(),
                   .salt = record.salt,
                   .iterations = record.iterations.value(),
                   .enciphered_key = record.enciphered_key};
    constexpr std::uint32_t kLeastDigest = 16; // fewer bytes would let wrong passwords pass
    if (store.digest_bytes < kLeastDigest || store.digest_bytes > store.digest.size())
        return fail(ErrorKind::corrupt, "the key store has a digest of {} bytes", store.digest_bytes);
    if (record.enciphered_bytes.value() != store.key_bytes || store.key_bytes > store.enciphered_key.size())
        return fail(ErrorKind::corrupt, "the key store has {} bytes of a key of {}", record.enciphered_bytes.value(),
                    store.key_bytes);
    return store;
}

Result<std::shared_ptr<const SectorCipher>> KeyStore::unlock(std::span<const std::byte> password, const Limits& limits,
                                                             const Progress& progress) const {
    VDISK_CHECK(check(*this, limits));
    VDISK_TRY(hash, hash_of(*this));
    const std::uint64_t total = std::uint64_t{iterations} * div_ceil(key_bytes, hash.size());
    const auto keep_going = [&](std::uint64_t done) { return !progress || progress(std::min(done, total), total); };
    VDISK_TRY(outer, hash.pbkdf2(password, salt, iterations, key_bytes, keep_going));
    const CipherSpec xts{.mode = CipherMode::xts, .iv = IvGenerator::plain64};
    VDISK_TRY(opener, SectorCipher::aes(xts, outer));
    SecretBytes key(enciphered_key.begin(), enciphered_key.begin() + key_bytes);
    VDISK_CHECK(opener->decipher(0, key));
    VDISK_TRY(found, hash.pbkdf2(key, digest_salt, digest_iterations, digest_bytes));
    if (!std::ranges::equal(found, std::span(digest).first(digest_bytes))) return std::shared_ptr<const SectorCipher>();
    return SectorCipher::aes(xts, key);
}

Facts KeyStore::facts() const {
    return {{"method", "VirtualBox"},
            {"cipher", printable(cipher)},
            {"key bits", std::uint64_t{key_bytes} * 8},
            {"key derivation", printable(derivation)},
            {"iterations", iterations}};
}

} // namespace vdisk::vbox
