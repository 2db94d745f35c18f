// SPDX-License-Identifier: Apache-2.0
/// Deciphering a disk's sectors, each with an initialization vector made of its number.
#pragma once

#include "base/error.hpp"

#include <cstddef>
#include <memory>
#include <span>
#include <string>

namespace vdisk {

enum class CipherMode : std::uint8_t { ecb, cbc, ctr, xts };

/// How a sector's number becomes its initialization vector.
enum class IvGenerator : std::uint8_t {
    plain,   ///< its low 32 bits, little endian
    plain64, ///< 64 bits, little endian
    essiv,   ///< plain64, enciphered by AES under the hash of the key
};

struct CipherSpec {
    CipherMode mode = CipherMode::xts;
    IvGenerator iv = IvGenerator::plain64;
    std::string iv_hash{}; ///< essiv alone: a name that Hash::find knows
};

/// Deciphers AES sectors of 512 bytes. Immutable and thread-safe: each call works on its own copy of the keyed state.
/// The key itself is not kept; what libcrypto made of it is wiped with this object.
class SectorCipher {
public:
    static constexpr std::size_t kSectorBytes = 512;

    /// AES with keys of 128, 192 and 256 bits; for xts the key is two of them. `unsupported` for other lengths.
    [[nodiscard]] static Result<std::shared_ptr<const SectorCipher>> aes(const CipherSpec& spec,
                                                                         std::span<const std::byte> key);

    virtual ~SectorCipher() = default;
    SectorCipher(const SectorCipher&) = delete;
    SectorCipher& operator=(const SectorCipher&) = delete;

    /// Deciphers `bytes` in place: sectors numbered from `first_sector`. The last may be cut off at a multiple of 16
    /// bytes.
    [[nodiscard]] virtual Result<void> decipher(std::uint64_t first_sector, std::span<std::byte> bytes) const = 0;

protected:
    SectorCipher() = default;
};

} // namespace vdisk
