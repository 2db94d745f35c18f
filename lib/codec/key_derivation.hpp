// SPDX-License-Identifier: Apache-2.0
/// From a passphrase to a key: hashes, PBKDF2 and LUKS's anti-forensic splitting.
#pragma once

#include "base/error.hpp"
#include "codec/pbkdf2.hpp"
#include "codec/secret.hpp"

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>

struct evp_md_st;

namespace vdisk {

/// A hash function of libcrypto. Immutable, cheap to copy, thread-safe.
class Hash {
public:
    /// Of the name that LUKS headers use: md5, sha1, sha224, sha256, sha384, sha512, ripemd160. `unsupported` for
    /// another one, or if this libcrypto lacks it.
    [[nodiscard]] static Result<Hash> find(std::string_view name);

    /// Bytes of a digest.
    [[nodiscard]] std::size_t size() const noexcept;

    /// The digest of `first` followed by `second`.
    [[nodiscard]] Result<SecretBytes> digest(std::span<const std::byte> first,
                                             std::span<const std::byte> second = {}) const;

    /// Told in the caller's thread of iterations as they are done, those of all blocks of the key added up; returns
    /// false to have the work stopped.
    using KeepGoing = std::function<bool(std::uint64_t done)>;

    /// PBKDF2 (RFC 8018) with HMAC over this hash: `length` bytes, their blocks side by side in threads that end before
    /// it returns. `iterations` must not be 0; the caller bounds it. `keep_going` may be empty, and for hashes other
    /// than SHA-1, SHA-256 and SHA-512 is not asked. Errors: `cancelled`, `io`.
    [[nodiscard]] Result<SecretBytes> pbkdf2(std::span<const std::byte> passphrase, std::span<const std::byte> salt,
                                             std::uint32_t iterations, std::size_t length,
                                             const KeepGoing& keep_going = {}) const;

private:
    Hash(std::string_view name, std::shared_ptr<const evp_md_st> md) : name_(name), md_(std::move(md)) {}
    [[nodiscard]] Result<HmacPads> pads(std::span<const std::byte> key) const;
    [[nodiscard]] Result<SecretBytes> first_iteration(const HmacPads& pads, std::span<const std::byte> salt,
                                                      std::uint32_t block) const;
    std::string_view name_; ///< LUKS's
    std::shared_ptr<const evp_md_st> md_;
};

/// What scrypt (RFC 7914) costs: some 128 * r * (n + p) bytes of memory, and work as n * r * p.
struct ScryptCost {
    std::uint64_t n = 0; ///< a power of two above 1
    std::uint64_t r = 0;
    std::uint64_t p = 0;
};

/// `length` bytes by scrypt. The caller bounds the work; `most_memory` bounds the memory, in bytes. Errors: `corrupt`
/// for a cost that can't be, `limit_exceeded`, `io`.
[[nodiscard]] Result<SecretBytes> scrypt(std::span<const std::byte> passphrase, std::span<const std::byte> salt,
                                         const ScryptCost& cost, std::size_t length, std::uint64_t most_memory);

/// Merges `material`, which is `stripes` times as long as the key that was split (LUKS1 on-disk format, "anti-forensic
/// splitter"). `corrupt` if it can't be divided so.
[[nodiscard]] Result<SecretBytes> anti_forensic_merge(const Hash& hash, std::span<const std::byte> material,
                                                      std::uint32_t stripes);

} // namespace vdisk
