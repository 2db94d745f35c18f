// SPDX-License-Identifier: Apache-2.0
#include "base/digest.hpp"

#include <openssl/evp.h>

namespace vdisk {

Hasher::Hasher(const char* algorithm)
    : algorithm_(EVP_MD_fetch(nullptr, algorithm, nullptr), EVP_MD_free), context_(EVP_MD_CTX_new(), EVP_MD_CTX_free) {
    start();
}

void Hasher::start() {
    good_ = algorithm_ && context_ && EVP_DigestInit_ex(context_.get(), algorithm_.get(), nullptr) == 1;
}

void Hasher::add(std::span<const std::byte> bytes) {
    good_ = good_ && EVP_DigestUpdate(context_.get(), bytes.data(), bytes.size()) == 1;
}

std::size_t Hasher::size() const noexcept {
    return good_ ? static_cast<std::size_t>(EVP_MD_get_size(algorithm_.get())) : 0;
}

std::optional<std::vector<std::byte>> Hasher::finish() {
    std::vector<std::byte> digest(size());
    if (!finish_into(digest)) return std::nullopt;
    return digest;
}

bool Hasher::finish_into(std::span<std::byte> digest) {
    const bool fitting = good_ && size() == digest.size();
    const bool done =
        fitting && EVP_DigestFinal_ex(context_.get(), reinterpret_cast<unsigned char*>(digest.data()), nullptr) == 1;
    start();
    return done;
}

} // namespace vdisk
