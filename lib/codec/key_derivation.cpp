// SPDX-License-Identifier: Apache-2.0
#include "codec/key_derivation.hpp"

#include <boost/endian/buffers.hpp>
#include <openssl/crypto.h>
#include <openssl/evp.h>

#include <algorithm>
#include <limits>

namespace vdisk {
namespace {

struct HashName {
    std::string_view luks;
    const char* libcrypto;
};

constexpr std::array kHashNames{HashName{"md5", "MD5"},
                                HashName{"sha1", "SHA1"},
                                HashName{"sha224", "SHA224"},
                                HashName{"sha256", "SHA256"},
                                HashName{"sha384", "SHA384"},
                                HashName{"sha512", "SHA512"},
                                HashName{"ripemd160", "RIPEMD160"}};

Error failed(std::string_view what) {
    return fail(ErrorKind::io, "libcrypto failed: {}", what);
}

// One round of the splitter's diffusion: each digest-sized piece becomes the digest of its number and itself.
Result<void> diffuse(const Hash& hash, std::span<std::byte> block) {
    std::uint32_t number = 0;
    for (std::size_t at = 0; at < block.size(); at += hash.size(), ++number) {
        const auto piece = block.subspan(at, std::min(hash.size(), block.size() - at));
        const boost::endian::big_uint32_buf_t counter(number);
        VDISK_TRY(digest, hash.digest(std::as_bytes(std::span(&counter, 1)), piece));
        std::copy_n(digest.begin(), piece.size(), piece.begin());
    }
    return ok();
}

} // namespace

void cleanse(void* bytes, std::size_t count) noexcept {
    OPENSSL_cleanse(bytes, count);
}

Result<Hash> Hash::find(std::string_view name) {
    const auto* const known = std::ranges::find(kHashNames, name, &HashName::luks);
    if (known == kHashNames.end()) return fail(ErrorKind::unsupported, "hash '{}' is not supported", name);
    EVP_MD* const md = EVP_MD_fetch(nullptr, known->libcrypto, nullptr);
    if (md == nullptr) return fail(ErrorKind::unsupported, "hash '{}' is missing in this libcrypto", name);
    return Hash(
        std::shared_ptr<const EVP_MD>(md, [](const EVP_MD* fetched) { EVP_MD_free(const_cast<EVP_MD*>(fetched)); }));
}

std::size_t Hash::size() const noexcept {
    return static_cast<std::size_t>(EVP_MD_get_size(md_.get()));
}

Result<SecretBytes> Hash::digest(std::span<const std::byte> first, std::span<const std::byte> second) const {
    const std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context(EVP_MD_CTX_new(), EVP_MD_CTX_free);
    SecretBytes digest(size());
    const bool done = context && EVP_DigestInit_ex(context.get(), md_.get(), nullptr) == 1 &&
                      EVP_DigestUpdate(context.get(), first.data(), first.size()) == 1 &&
                      EVP_DigestUpdate(context.get(), second.data(), second.size()) == 1 &&
                      EVP_DigestFinal_ex(context.get(), reinterpret_cast<unsigned char*>(digest.data()), nullptr) == 1;
    if (!done) return failed("digest");
    return digest;
}

Result<SecretBytes> Hash::pbkdf2(std::span<const std::byte> passphrase, std::span<const std::byte> salt,
                                 std::uint32_t iterations, std::size_t length) const {
    constexpr std::size_t kMost = std::numeric_limits<int>::max();
    if (passphrase.size() > kMost || salt.size() > kMost || length > kMost || iterations > kMost || iterations == 0)
        return fail(ErrorKind::limit_exceeded, "PBKDF2 with {} iterations for {} bytes", iterations, length);
    SecretBytes key(length);
    const int done =
        PKCS5_PBKDF2_HMAC(reinterpret_cast<const char*>(passphrase.data()), static_cast<int>(passphrase.size()),
                          reinterpret_cast<const unsigned char*>(salt.data()), static_cast<int>(salt.size()),
                          static_cast<int>(iterations), md_.get(), static_cast<int>(length),
                          reinterpret_cast<unsigned char*>(key.data()));
    if (done != 1) return failed("PBKDF2");
    return key;
}

Result<SecretBytes> anti_forensic_merge(const Hash& hash, std::span<const std::byte> material, std::uint32_t stripes) {
    if (stripes == 0 || material.empty() || material.size() % stripes != 0)
        return fail(ErrorKind::corrupt, "key material of {} bytes in {} stripes", material.size(), stripes);
    SecretBytes key(material.size() / stripes);
    for (std::uint32_t stripe = 0; stripe < stripes; ++stripe) {
        const auto piece = material.subspan(stripe * key.size(), key.size());
        for (std::size_t i = 0; i < key.size(); ++i) key[i] ^= piece[i];
        if (stripe + 1 < stripes) VDISK_CHECK(diffuse(hash, key));
    }
    return key;
}

} // namespace vdisk
