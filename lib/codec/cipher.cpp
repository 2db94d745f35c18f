// SPDX-License-Identifier: Apache-2.0
#include "codec/cipher.hpp"

#include "codec/key_derivation.hpp"

#include <boost/endian/buffers.hpp>
#include <fmt/format.h>
#include <openssl/evp.h>

#include <algorithm>
#include <array>
#include <cstring>

namespace vdisk {
namespace {

constexpr std::size_t kBlockBytes = 16; // AES's
using IvBlock = std::array<std::byte, kBlockBytes>;

enum class Direction : std::uint8_t { decipher, encipher };

const unsigned char* raw(const std::byte* bytes) {
    return reinterpret_cast<const unsigned char*>(bytes);
}
unsigned char* raw(std::byte* bytes) {
    return reinterpret_cast<unsigned char*>(bytes);
}

Error failed(std::string_view what) {
    return fail(ErrorKind::io, "libcrypto failed: {}", what);
}

// A keyed state of libcrypto. Shared ones are copied before they are used: each copy has its own place for a running
// state.
class Keyed {
public:
    static Result<Keyed> make(const std::string& cipher_name, std::span<const std::byte> key, Direction direction) {
        const std::unique_ptr<EVP_CIPHER, decltype(&EVP_CIPHER_free)> cipher(
            EVP_CIPHER_fetch(nullptr, cipher_name.c_str(), nullptr), EVP_CIPHER_free);
        if (!cipher) return fail(ErrorKind::unsupported, "cipher {} is missing in this libcrypto", cipher_name);
        if (static_cast<std::size_t>(EVP_CIPHER_get_key_length(cipher.get())) != key.size())
            return fail(ErrorKind::unsupported, "cipher {} takes no key of {} bits", cipher_name, key.size() * 8);
        Keyed keyed;
        if (!keyed.context_ ||
            EVP_CipherInit_ex2(keyed.context_.get(), cipher.get(), raw(key.data()), nullptr,
                               direction == Direction::encipher ? 1 : 0, nullptr) != 1 ||
            EVP_CIPHER_CTX_set_padding(keyed.context_.get(), 0) != 1)
            return failed("setting a key");
        return keyed;
    }

    [[nodiscard]] Result<Keyed> copy() const {
        Keyed other;
        if (!other.context_ || EVP_CIPHER_CTX_copy(other.context_.get(), context_.get()) != 1)
            return failed("copying a cipher's state");
        return other;
    }

    // Whole blocks, in place, from `iv` on; null for modes that have none.
    Result<void> run(const IvBlock* iv, std::span<std::byte> bytes) {
        int written = 0;
        const bool done = EVP_CipherInit_ex2(context_.get(), nullptr, nullptr,
                                             iv == nullptr ? nullptr : raw(iv->data()), -1, nullptr) == 1 &&
                          EVP_CipherUpdate(context_.get(), raw(bytes.data()), &written, raw(bytes.data()),
                                           static_cast<int>(bytes.size())) == 1;
        if (!done || static_cast<std::size_t>(written) != bytes.size()) return failed("deciphering a sector");
        return ok();
    }

private:
    Keyed() : context_(EVP_CIPHER_CTX_new(), EVP_CIPHER_CTX_free) {}
    std::unique_ptr<EVP_CIPHER_CTX, decltype(&EVP_CIPHER_CTX_free)> context_;
};

std::string aes_name(std::size_t key_bytes, std::string_view mode) {
    return fmt::format("AES-{}-{}", key_bytes * 8, mode);
}

// Makes initialization vectors. Not shared between threads: see IvSource::session.
class IvSession {
public:
    IvSession(IvGenerator generator, std::optional<Keyed> essiv) : generator_(generator), essiv_(std::move(essiv)) {}

    Result<IvBlock> of_sector(std::uint64_t sector) {
        const boost::endian::little_uint64_buf_t number(generator_ == IvGenerator::plain ? sector & 0xFFFFFFFF
                                                                                         : sector);
        IvBlock iv{};
        std::memcpy(iv.data(), &number, sizeof number);
        if (essiv_) VDISK_CHECK(essiv_->run(nullptr, iv));
        return iv;
    }

private:
    IvGenerator generator_;
    std::optional<Keyed> essiv_;
};

class IvSource {
public:
    static Result<IvSource> make(const CipherSpec& spec, std::span<const std::byte> key) {
        IvSource source(spec.iv);
        if (spec.iv != IvGenerator::essiv) return source;
        VDISK_TRY(hash, Hash::find(spec.iv_hash));
        VDISK_TRY(salt, hash.digest(key));
        // As dm-crypt has it: the digest's length alone says which AES it is.
        VDISK_TRY(keyed, Keyed::make(aes_name(salt.size(), "ECB"), salt, Direction::encipher));
        source.essiv_ = std::move(keyed);
        return source;
    }

    [[nodiscard]] Result<IvSession> session() const {
        if (!essiv_) return IvSession(generator_, std::nullopt);
        VDISK_TRY(own, essiv_->copy());
        return IvSession(generator_, std::move(own));
    }

private:
    explicit IvSource(IvGenerator generator) : generator_(generator) {}
    IvGenerator generator_;
    std::optional<Keyed> essiv_;
};

Result<void> check_length(std::span<const std::byte> bytes) {
    if (bytes.size() % kBlockBytes != 0)
        return fail(ErrorKind::corrupt, "{} enciphered bytes are no whole blocks", bytes.size());
    return ok();
}

std::span<std::byte> sector_at(std::span<std::byte> bytes, std::size_t at) {
    return bytes.subspan(at, std::min(SectorCipher::kSectorBytes, bytes.size() - at));
}

// A mode that libcrypto has for this key length.
class NativeCipher final : public SectorCipher {
public:
    NativeCipher(Keyed data, IvSource ivs) : data_(std::move(data)), ivs_(std::move(ivs)) {}

    Result<void> decipher(std::uint64_t first_sector, std::span<std::byte> bytes) const override {
        VDISK_CHECK(check_length(bytes));
        VDISK_TRY(data, data_.copy());
        VDISK_TRY(ivs, ivs_.session());
        for (std::size_t at = 0; at < bytes.size(); at += kSectorBytes, ++first_sector) {
            VDISK_TRY(iv, ivs.of_sector(first_sector));
            VDISK_CHECK(data.run(&iv, sector_at(bytes, at)));
        }
        return ok();
    }

private:
    Keyed data_;
    IvSource ivs_;
};

// XTS (IEEE 1619) over two AES-192 keys, which libcrypto lacks.
class Xts192Cipher final : public SectorCipher {
public:
    Xts192Cipher(Keyed data, Keyed tweak, IvSource ivs)
        : data_(std::move(data)), tweak_(std::move(tweak)), ivs_(std::move(ivs)) {}

    Result<void> decipher(std::uint64_t first_sector, std::span<std::byte> bytes) const override {
        VDISK_CHECK(check_length(bytes));
        VDISK_TRY(data, data_.copy());
        VDISK_TRY(tweak, tweak_.copy());
        VDISK_TRY(ivs, ivs_.session());
        for (std::size_t at = 0; at < bytes.size(); at += kSectorBytes, ++first_sector) {
            VDISK_TRY(iv, ivs.of_sector(first_sector));
            VDISK_CHECK(tweak.run(nullptr, iv));
            const auto sector = sector_at(bytes, at);
            whiten(sector, iv);
            VDISK_CHECK(data.run(nullptr, sector));
            whiten(sector, iv);
        }
        return ok();
    }

private:
    // Adds to each block its power of alpha times the first tweak.
    static void whiten(std::span<std::byte> sector, IvBlock tweak) {
        for (std::size_t at = 0; at < sector.size(); at += kBlockBytes) {
            for (std::size_t i = 0; i < kBlockBytes; ++i) sector[at + i] ^= tweak[i];
            double_tweak(tweak);
        }
    }

    // Multiplication by alpha in GF(2^128), little endian, x^128 = x^7 + x^2 + x + 1.
    static void double_tweak(IvBlock& tweak) {
        std::byte carry{0};
        for (std::byte& byte : tweak) {
            const std::byte next = byte >> 7;
            byte = byte << 1 | carry;
            carry = next;
        }
        if (carry != std::byte{0}) tweak[0] ^= std::byte{0x87};
    }

    Keyed data_;
    Keyed tweak_;
    IvSource ivs_;
};

std::string_view mode_name(CipherMode mode) {
    switch (mode) {
    case CipherMode::ecb: return "ECB";
    case CipherMode::cbc: return "CBC";
    case CipherMode::ctr: return "CTR";
    case CipherMode::xts: return "XTS";
    }
    return "XTS";
}

} // namespace

Result<std::shared_ptr<const SectorCipher>> SectorCipher::aes(const CipherSpec& spec, std::span<const std::byte> key) {
    const std::size_t bytes = spec.mode == CipherMode::xts ? key.size() / 2 : key.size();
    if ((bytes != 16 && bytes != 24 && bytes != 32) || (spec.mode == CipherMode::xts && key.size() % 2 != 0))
        return fail(ErrorKind::unsupported, "AES-{} takes no key of {} bits", mode_name(spec.mode), key.size() * 8);
    VDISK_TRY(ivs, IvSource::make(spec, key));
    if (spec.mode == CipherMode::xts && bytes == 24) {
        VDISK_TRY(data, Keyed::make(aes_name(bytes, "ECB"), key.first(bytes), Direction::decipher));
        VDISK_TRY(tweak, Keyed::make(aes_name(bytes, "ECB"), key.last(bytes), Direction::encipher));
        return std::make_shared<const Xts192Cipher>(std::move(data), std::move(tweak), std::move(ivs));
    }
    VDISK_TRY(data, Keyed::make(aes_name(bytes, mode_name(spec.mode)), key, Direction::decipher));
    return std::make_shared<const NativeCipher>(std::move(data), std::move(ivs));
}

} // namespace vdisk
