// SPDX-License-Identifier: Apache-2.0
/// The key of an encrypted medium, as VirtualBox's settings keep it: CRYPT/KeyStore, 250 bytes in base64. The layout is
/// that which password-recovery tools read (hashcat's modes 27500 and 27600, John's vdi2john).
#pragma once

#include "base/facts.hpp"
#include "base/limits.hpp"
#include "codec/cipher.hpp"
#include "io/progress.hpp"

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace vdisk::vbox {

struct KeyStore {
    std::string cipher;     ///< "AES-XTS256-PLAIN64"
    std::string derivation; ///< "PBKDF2-SHA256"
    std::uint32_t key_bytes = 0;
    std::array<std::byte, 32> digest{}; ///< of the key, as far as digest_bytes goes
    std::uint32_t digest_bytes = 0;
    std::array<std::byte, 32> digest_salt{};
    std::uint32_t digest_iterations = 0;
    std::array<std::byte, 32> salt{};
    std::uint32_t iterations = 0;
    std::array<std::byte, 64> enciphered_key{}; ///< as far as key_bytes goes

    /// Of the property's value, which may have line breaks in it. Errors: `corrupt` for what can't be one.
    [[nodiscard]] static Result<KeyStore> parse(std::string_view text);

    /// The cipher of the medium's sectors; null if it is not the password. Errors: `unsupported` for ciphers and hashes
    /// that are not read, `limit_exceeded` for iterations beyond reason, `cancelled`. `progress` counts iterations.
    [[nodiscard]] Result<std::shared_ptr<const SectorCipher>>
    unlock(std::span<const std::byte> password, const Limits& limits, const Progress& progress = {}) const;

    /// Cipher, derivation and iterations, for `vdisk info`.
    [[nodiscard]] Facts facts() const;
};

} // namespace vdisk::vbox
