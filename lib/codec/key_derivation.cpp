// SPDX-License-Identifier: Apache-2.0
#include "codec/key_derivation.hpp"

#include "base/checked.hpp"

#include <boost/endian/buffers.hpp>
#include <openssl/crypto.h>
#include <openssl/evp.h>

#include <algorithm>
#include <atomic>
#include <limits>
#include <system_error>
#include <thread>
#include <vector>

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

Error derivation_failed(std::string_view what) {
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

Result<SecretBytes> libcrypto_pbkdf2(const EVP_MD& md, std::span<const std::byte> passphrase,
                                     std::span<const std::byte> salt, std::uint32_t iterations, std::size_t length) {
    SecretBytes key(length);
    const int done = PKCS5_PBKDF2_HMAC(
        reinterpret_cast<const char*>(passphrase.data()), static_cast<int>(passphrase.size()),
        reinterpret_cast<const unsigned char*>(salt.data()), static_cast<int>(salt.size()),
        static_cast<int>(iterations), &md, static_cast<int>(length), reinterpret_cast<unsigned char*>(key.data()));
    if (done != 1) return derivation_failed("PBKDF2");
    return key;
}

// Iterates each of `blocks`: one in this thread, which tells `keep_going`, the others in threads of their own, or here
// too where the system gives no thread. Returns false if it was stopped.
bool iterate_side_by_side(std::string_view hash, const HmacPads& pads, std::span<SecretBytes> blocks,
                          std::uint32_t iterations, const Hash::KeepGoing& keep_going) {
    std::atomic<std::uint64_t> done{0};
    std::atomic<bool> stopped{false};
    const auto beside = [&](std::uint32_t count) {
        done += count;
        return !stopped;
    };
    const auto here = [&](std::uint32_t count) {
        done += count;
        if (keep_going && !keep_going(done)) stopped = true;
        return !stopped;
    };
    std::vector<std::jthread> threads;
    for (std::size_t i = 0; i < blocks.size(); ++i) {
        const auto work = [&, i](const Iterated& iterated) {
            if (!stopped && !iterate(hash, pads, blocks[i], iterations, iterated)) stopped = true;
        };
        try {
            if (i + 1 < blocks.size()) threads.emplace_back([work, beside] { work(beside); });
            else work(here);
        } catch (const std::system_error&) {
            work(here);
        }
    }
    threads.clear(); // waits for them
    return !stopped;
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
    return Hash(known->luks, std::shared_ptr<const EVP_MD>(
                                 md, [](const EVP_MD* fetched) { EVP_MD_free(const_cast<EVP_MD*>(fetched)); }));
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
    if (!done) return derivation_failed("digest");
    return digest;
}

Result<HmacPads> Hash::pads(std::span<const std::byte> key) const {
    const auto size = static_cast<std::size_t>(EVP_MD_get_block_size(md_.get()));
    SecretBytes block(key.begin(), key.end());
    if (key.size() > size) {
        VDISK_TRY(shorter, digest(key));
        block = std::move(shorter);
    }
    block.resize(size);
    HmacPads pads{.inner = block, .outer = block};
    for (std::byte& byte : pads.inner) byte ^= std::byte{0x36};
    for (std::byte& byte : pads.outer) byte ^= std::byte{0x5C};
    return pads;
}

Result<SecretBytes> Hash::first_iteration(const HmacPads& pads, std::span<const std::byte> salt,
                                          std::uint32_t block) const {
    const boost::endian::big_uint32_buf_t number(block + 1);
    const auto counter = std::as_bytes(std::span(&number, 1));
    SecretBytes message(salt.begin(), salt.end());
    message.insert(message.end(), counter.begin(), counter.end());
    VDISK_TRY(inside, digest(pads.inner, message));
    return digest(pads.outer, inside);
}

Result<SecretBytes> Hash::pbkdf2(std::span<const std::byte> passphrase, std::span<const std::byte> salt,
                                 std::uint32_t iterations, std::size_t length, const KeepGoing& keep_going) const {
    constexpr std::size_t kMost = std::numeric_limits<int>::max();
    if (passphrase.size() > kMost || salt.size() > kMost || length > kMost || iterations > kMost || iterations == 0)
        return fail(ErrorKind::limit_exceeded, "PBKDF2 with {} iterations for {} bytes", iterations, length);
    if (!can_iterate(name_)) return libcrypto_pbkdf2(*md_, passphrase, salt, iterations, length);
    VDISK_TRY(pads, this->pads(passphrase));
    std::vector<SecretBytes> blocks;
    for (std::size_t done = 0; done < length; done += size()) {
        VDISK_TRY(first, first_iteration(pads, salt, static_cast<std::uint32_t>(blocks.size())));
        blocks.push_back(std::move(first));
    }
    if (!iterate_side_by_side(name_, pads, blocks, iterations, keep_going))
        return fail(ErrorKind::cancelled, "deriving a key from the passphrase was stopped");
    SecretBytes key;
    for (const SecretBytes& block : blocks) key.insert(key.end(), block.begin(), block.end());
    key.resize(length);
    return key;
}

Result<SecretBytes> scrypt(std::span<const std::byte> passphrase, std::span<const std::byte> salt,
                           const ScryptCost& cost, std::size_t length, std::uint64_t most_memory) {
    constexpr std::uint64_t kMostBlocks = (std::uint64_t{1} << 30) - 1; // RFC 7914: r * p
    const auto blocks = checked_mul(cost.r, cost.p);
    if (cost.n < 2 || !is_power_of_two(cost.n) || cost.r == 0 || cost.p == 0 || !blocks || *blocks > kMostBlocks)
        return fail(ErrorKind::corrupt, "scrypt can't have n {}, r {}, p {}", cost.n, cost.r, cost.p);
    const auto units = checked_add(cost.n, cost.p);
    const auto memory = units ? checked_mul(*units, 128 * cost.r) : std::nullopt;
    if (!memory || *memory > most_memory)
        return fail(ErrorKind::limit_exceeded, "scrypt with n {}, r {}, p {} needs more memory than {} bytes", cost.n,
                    cost.r, cost.p, most_memory);
    SecretBytes key(length);
    constexpr std::uint64_t kSlack = 1U << 20; // what libcrypto adds to that
    if (EVP_PBE_scrypt(reinterpret_cast<const char*>(passphrase.data()), passphrase.size(),
                       reinterpret_cast<const unsigned char*>(salt.data()), salt.size(), cost.n, cost.r, cost.p,
                       *memory + kSlack, reinterpret_cast<unsigned char*>(key.data()), length) != 1)
        return derivation_failed("scrypt");
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
