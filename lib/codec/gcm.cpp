// SPDX-License-Identifier: Apache-2.0
#include "codec/gcm.hpp"

#include <openssl/evp.h>

#include <algorithm>
#include <array>
#include <limits>
#include <memory>

namespace vdisk {
namespace {

const unsigned char* octets(const std::byte* bytes) {
    return reinterpret_cast<const unsigned char*>(bytes);
}

} // namespace

Result<void> decipher_gcm(const GcmSeal& seal, std::span<std::byte> bytes) {
    if (bytes.size() > static_cast<std::size_t>(std::numeric_limits<int>::max()))
        return fail(ErrorKind::limit_exceeded, "{} bytes are enciphered in one piece", bytes.size());
    const std::unique_ptr<EVP_CIPHER, decltype(&EVP_CIPHER_free)> cipher(
        EVP_CIPHER_fetch(nullptr, "AES-256-GCM", nullptr), EVP_CIPHER_free);
    const std::unique_ptr<EVP_CIPHER_CTX, decltype(&EVP_CIPHER_CTX_free)> context(EVP_CIPHER_CTX_new(),
                                                                                  EVP_CIPHER_CTX_free);
    if (!cipher || !context) return fail(ErrorKind::unsupported, "cipher AES-256-GCM is missing in this libcrypto");
    std::array<std::byte, kGcmTagBytes> tag{};
    std::ranges::copy(seal.tag, tag.begin());
    auto* const out = reinterpret_cast<unsigned char*>(bytes.data());
    int done = 0;
    // The length comes before the vector: of other lengths than 12 bytes the counter's start is made another way.
    const bool fed =
        EVP_CipherInit_ex2(context.get(), cipher.get(), nullptr, nullptr, 0, nullptr) == 1 &&
        EVP_CIPHER_CTX_ctrl(context.get(), EVP_CTRL_AEAD_SET_IVLEN, static_cast<int>(seal.iv.size()), nullptr) == 1 &&
        EVP_CipherInit_ex2(context.get(), nullptr, octets(seal.key.data()), octets(seal.iv.data()), 0, nullptr) == 1 &&
        EVP_CIPHER_CTX_ctrl(context.get(), EVP_CTRL_AEAD_SET_TAG, static_cast<int>(tag.size()), tag.data()) == 1 &&
        (bytes.empty() || EVP_CipherUpdate(context.get(), out, &done, out, static_cast<int>(bytes.size())) == 1);
    if (!fed || static_cast<std::size_t>(done) != bytes.size())
        return fail(ErrorKind::io, "libcrypto failed: deciphering");
    if (EVP_CipherFinal_ex(context.get(), out + done, &done) != 1)
        return fail(ErrorKind::corrupt, "the authentication tag does not fit");
    return ok();
}

} // namespace vdisk
