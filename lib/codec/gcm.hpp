// SPDX-License-Identifier: Apache-2.0
/// Deciphering what authenticates itself: AES in Galois/Counter Mode.
#pragma once

#include "base/error.hpp"

#include <cstddef>
#include <span>

namespace vdisk {

constexpr std::size_t kGcmKeyBytes = 32;
constexpr std::size_t kGcmTagBytes = 16;

/// What a message was enciphered with, AES-256-GCM without additional data. The initialization vector may have any
/// length.
struct GcmSeal {
    std::span<const std::byte, kGcmKeyBytes> key;
    std::span<const std::byte> iv;
    std::span<const std::byte, kGcmTagBytes> tag;
};

/// Deciphers `bytes` in place. Errors: `corrupt` where the tag is not that of these bytes under this key, and then
/// nothing in `bytes` may be used; `io` where libcrypto fails. Thread-safe.
[[nodiscard]] Result<void> decipher_gcm(const GcmSeal& seal, std::span<std::byte> bytes);

} // namespace vdisk
