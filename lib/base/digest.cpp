// SPDX-License-Identifier: Apache-2.0
#include "base/digest.hpp"

#include <openssl/evp.h>

#include <utility>

namespace vdisk {

Hasher::Hasher(const char* algorithm)
    : algorithm_(EVP_MD_fetch(nullptr, algorithm, nullptr)), context_(EVP_MD_CTX_new()) {
    start();
}

Hasher::Hasher(Hasher&& other) noexcept
    : algorithm_(std::exchange(other.algorithm_, nullptr)), context_(std::exchange(other.context_, nullptr)),
      good_(std::exchange(other.good_, false)) {}

Hasher& Hasher::operator=(Hasher&& other) noexcept {
    std::swap(algorithm_, other.algorithm_);
    std::swap(context_, other.context_);
    std::swap(good_, other.good_);
    return *this;
}

Hasher::~Hasher() {
    EVP_MD_CTX_free(context_);
    EVP_MD_free(algorithm_);
}

void Hasher::start() {
    good_ = algorithm_ != nullptr && context_ != nullptr && EVP_DigestInit_ex(context_, algorithm_, nullptr) == 1;
}

void Hasher::add(std::span<const std::byte> bytes) {
    good_ = good_ && EVP_DigestUpdate(context_, bytes.data(), bytes.size()) == 1;
}

std::size_t Hasher::size() const noexcept {
    return good_ ? static_cast<std::size_t>(EVP_MD_get_size(algorithm_)) : 0;
}

std::optional<std::vector<std::byte>> Hasher::finish() {
    std::vector<std::byte> digest(size());
    if (!finish_into(digest)) return std::nullopt;
    return digest;
}

bool Hasher::finish_into(std::span<std::byte> digest) {
    const bool fitting = good_ && size() == digest.size();
    const bool done =
        fitting && EVP_DigestFinal_ex(context_, reinterpret_cast<unsigned char*>(digest.data()), nullptr) == 1;
    start();
    return done;
}

} // namespace vdisk
