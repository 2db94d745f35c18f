// SPDX-License-Identifier: Apache-2.0
/// From a passphrase to a key: hashes, PBKDF2 and LUKS's anti-forensic splitting.
#pragma once

#include "base/error.hpp"
#include "codec/secret.hpp"

#include <array>
#include <cstdint>
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

    /// PBKDF2 (RFC 8018) with HMAC over this hash: `length` bytes. `iterations` must not be 0; the caller bounds it.
    [[nodiscard]] Result<SecretBytes> pbkdf2(std::span<const std::byte> passphrase, std::span<const std::byte> salt,
                                             std::uint32_t iterations, std::size_t length) const;

private:
    explicit Hash(std::shared_ptr<const evp_md_st> md) : md_(std::move(md)) {}
    std::shared_ptr<const evp_md_st> md_;
};

/// Merges `material`, which is `stripes` times as long as the key that was split (LUKS1 on-disk format, "anti-forensic
/// splitter"). `corrupt` if it can't be divided so.
[[nodiscard]] Result<SecretBytes> anti_forensic_merge(const Hash& hash, std::span<const std::byte> material,
                                                      std::uint32_t stripes);

} // namespace vdisk
