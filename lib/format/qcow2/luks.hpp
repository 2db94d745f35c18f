// SPDX-License-Identifier: Apache-2.0
/// The LUKS1 header inside a qcow2 image. Source: cryptsetup's LUKS1 on-disk format specification 1.2.
#pragma once

#include "base/facts.hpp"
#include "base/limits.hpp"
#include "codec/cipher.hpp"
#include "codec/key_derivation.hpp"
#include "io/byte_source.hpp"
#include "io/progress.hpp"

#include <boost/endian/buffers.hpp>

#include <array>
#include <optional>
#include <string>

namespace vdisk::qcow2 {

struct RawKeySlot {
    boost::endian::big_uint32_buf_t active;
    boost::endian::big_uint32_buf_t iterations;
    std::array<std::byte, 32> salt;
    boost::endian::big_uint32_buf_t key_material_offset;
    boost::endian::big_uint32_buf_t stripes;
};
static_assert(sizeof(RawKeySlot) == 48);

struct RawLuksHeader {
    std::array<char, 6> magic;
    boost::endian::big_uint16_buf_t version;
    std::array<char, 32> cipher_name;
    std::array<char, 32> cipher_mode;
    std::array<char, 32> hash_spec;
    boost::endian::big_uint32_buf_t payload_offset;
    boost::endian::big_uint32_buf_t key_bytes;
    std::array<std::byte, 20> mk_digest;
    std::array<std::byte, 32> mk_digest_salt;
    boost::endian::big_uint32_buf_t mk_digest_iterations;
    std::array<char, 40> uuid;
    std::array<RawKeySlot, 8> key_slots;
};
static_assert(sizeof(RawLuksHeader) == 592);

/// One of the eight places for a passphrase.
struct KeySlot {
    bool active = false;
    std::uint32_t iterations = 0;
    std::array<std::byte, 32> salt{};
    std::uint64_t offset = 0; ///< of the key material, in bytes from the header's start
    std::uint32_t stripes = 0;
};

/// A parsed LUKS1 header. Its texts are as stored; whether they name something that can be deciphered, unlock() tells.
struct LuksHeader {
    std::string cipher_name;
    std::string cipher_mode; ///< with the generator of initialization vectors: "xts-plain64"
    std::string hash_spec;
    std::string uuid;
    std::uint32_t key_bytes = 0;
    std::array<std::byte, 20> mk_digest{};
    std::array<std::byte, 32> mk_digest_salt{};
    std::uint32_t mk_digest_iterations = 0;
    std::array<KeySlot, 8> key_slots{};

    /// `area` starts with the header and ends with the key material. Checks magic and version.
    [[nodiscard]] static Result<LuksHeader> parse(const ByteSource& area);

    /// The master key's cipher, if `passphrase` opens one of the active slots; null if it opens none. Errors:
    /// `unsupported` for ciphers that are not read, `limit_exceeded` for iterations or stripes beyond reason, `corrupt`
    /// where not even one slot could be tried, `cancelled`. `progress` counts iterations, once it has taken a second.
    [[nodiscard]] Result<std::shared_ptr<const SectorCipher>> unlock(const ByteSource& area,
                                                                     std::span<const std::byte> passphrase,
                                                                     const Limits& limits,
                                                                     const Progress& progress = {}) const;

    /// Cipher, mode, hash, key length and slots, for `vdisk info`.
    [[nodiscard]] Facts facts() const;

private:
    [[nodiscard]] Result<CipherSpec> spec() const;
    [[nodiscard]] Result<void> check_limits(const Limits& limits) const;
    class Work;
    [[nodiscard]] Result<SecretBytes> key_in_slot(const KeySlot& slot, const ByteSource& area,
                                                  std::span<const std::byte> passphrase, Work& work) const;
    [[nodiscard]] Result<bool> is_master_key(std::span<const std::byte> key, Work& work) const;
};

} // namespace vdisk::qcow2
