// SPDX-License-Identifier: Apache-2.0
// The compression functions are deprecated in favour of an interface that keeps state in memory of its own, which
// costs more than they do.
#define OPENSSL_SUPPRESS_DEPRECATED

#include "codec/pbkdf2.hpp"

#include <boost/endian/conversion.hpp>
#include <openssl/sha.h>

#include <algorithm>
#include <array>
#include <cstring>

namespace vdisk {
namespace {

// A hash function by its compression: `words` are the state, which is the digest in big-endian order.
struct Sha1 {
    static constexpr std::size_t kBlock = SHA_CBLOCK;
    static constexpr std::size_t kDigest = SHA_DIGEST_LENGTH;
    using Words = std::array<std::uint32_t, 5>;
    using Context = SHA_CTX;
    static void init(Context& context) { SHA1_Init(&context); }
    static void compress(Context& context, const unsigned char* block) { SHA1_Transform(&context, block); }
    static Words words(const Context& context) { return {context.h0, context.h1, context.h2, context.h3, context.h4}; }
};

struct Sha256 {
    static constexpr std::size_t kBlock = SHA256_CBLOCK;
    static constexpr std::size_t kDigest = SHA256_DIGEST_LENGTH;
    using Words = std::array<std::uint32_t, 8>;
    using Context = SHA256_CTX;
    static void init(Context& context) { SHA256_Init(&context); }
    static void compress(Context& context, const unsigned char* block) { SHA256_Transform(&context, block); }
    static Words words(const Context& context) { return std::to_array(context.h); }
};

struct Sha512 {
    static constexpr std::size_t kBlock = SHA512_CBLOCK;
    static constexpr std::size_t kDigest = SHA512_DIGEST_LENGTH;
    using Words = std::array<std::uint64_t, 8>;
    using Context = SHA512_CTX;
    static void init(Context& context) { SHA512_Init(&context); }
    static void compress(Context& context, const unsigned char* block) { SHA512_Transform(&context, block); }
    static Words words(const Context& context) {
        Words words;
        std::ranges::copy(context.h, words.begin());
        return words;
    }
};

// HMAC of messages that are as long as a digest: each of its two hashes is then one block behind that of the pad.
template<class Sha> class ShortHmac {
public:
    explicit ShortHmac(const HmacPads& pads) {
        Sha::init(inner_);
        Sha::init(outer_);
        Sha::compress(inner_, reinterpret_cast<const unsigned char*>(pads.inner.data()));
        Sha::compress(outer_, reinterpret_cast<const unsigned char*>(pads.outer.data()));
        message_[Sha::kDigest] = 0x80;
        boost::endian::store_big_u64(message_.data() + Sha::kBlock - 8, (Sha::kBlock + Sha::kDigest) * 8);
    }
    ~ShortHmac() { cleanse(this, sizeof *this); }
    ShortHmac(const ShortHmac&) = delete;
    ShortHmac& operator=(const ShortHmac&) = delete;

    void set(std::span<const std::byte> message) { std::memcpy(message_.data(), message.data(), Sha::kDigest); }

    /// The HMAC of the message, which is the next message.
    typename Sha::Words next() {
        hash(inner_);
        return hash(outer_);
    }

private:
    typename Sha::Words hash(const typename Sha::Context& begun) {
        context_ = begun;
        Sha::compress(context_, message_.data());
        const typename Sha::Words words = Sha::words(context_);
        for (std::size_t i = 0; i < words.size(); ++i)
            boost::endian::endian_store<typename Sha::Words::value_type, sizeof words[0], boost::endian::order::big>(
                message_.data() + i * sizeof words[0], words[i]);
        return words;
    }

    typename Sha::Context inner_{};
    typename Sha::Context outer_{};
    typename Sha::Context context_{};
    std::array<unsigned char, Sha::kBlock> message_{};
};

template<class Sha>
bool iterate_over(const HmacPads& pads, std::span<std::byte> sum, std::uint32_t iterations, const Iterated& iterated) {
    constexpr std::uint32_t kTold = 1U << 14;
    ShortHmac<Sha> hmac(pads);
    hmac.set(sum);
    typename Sha::Words total{};
    for (std::uint32_t done = 1; done < iterations; ++done) {
        const typename Sha::Words words = hmac.next();
        for (std::size_t i = 0; i < total.size(); ++i) total[i] ^= words[i];
        if (done % kTold == 0 && !iterated(kTold)) return false;
    }
    for (std::size_t i = 0; i < total.size(); ++i) {
        boost::endian::native_to_big_inplace(total[i]);
        const auto bytes = std::as_bytes(std::span(&total[i], 1));
        for (std::size_t j = 0; j < bytes.size(); ++j) sum[i * bytes.size() + j] ^= bytes[j];
    }
    cleanse(&total, sizeof total);
    return iterated(iterations % kTold);
}

struct Known {
    std::string_view hash;
    bool (*iterate)(const HmacPads&, std::span<std::byte>, std::uint32_t, const Iterated&);
};
constexpr std::array kKnownHashes{Known{"sha1", iterate_over<Sha1>}, Known{"sha256", iterate_over<Sha256>},
                                  Known{"sha512", iterate_over<Sha512>}};

} // namespace

bool can_iterate(std::string_view hash) noexcept {
    return std::ranges::find(kKnownHashes, hash, &Known::hash) != kKnownHashes.end();
}

bool iterate(std::string_view hash, const HmacPads& pads, std::span<std::byte> sum, std::uint32_t iterations,
             const Iterated& iterated) {
    return std::ranges::find(kKnownHashes, hash, &Known::hash)->iterate(pads, sum, iterations, iterated);
}

} // namespace vdisk
