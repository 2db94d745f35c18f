// SPDX-License-Identifier: Apache-2.0
/// The key of an encrypted backup, and the file that a client keeps it in.
#pragma once

#include "codec/secret.hpp"
#include "disk/format.hpp"

#include <array>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

namespace vdisk::pbs {

using Digest = std::array<std::byte, 32>;

/// A key of AES-256. Immutable, thread-safe.
class Key {
public:
    static constexpr std::size_t kBytes = 32;

    /// `bytes` must be kBytes. Error: `io` where libcrypto fails.
    [[nodiscard]] static Result<Key> of(SecretBytes bytes);

    [[nodiscard]] std::span<const std::byte, kBytes> bytes() const noexcept {
        return std::span<const std::byte, kBytes>(bytes_.data(), kBytes);
    }
    /// What is hashed behind each chunk's content, so that two keys never share a digest; signs manifests, too.
    [[nodiscard]] std::span<const std::byte> id() const noexcept { return id_; }
    [[nodiscard]] const Digest& fingerprint() const noexcept { return fingerprint_; }

private:
    Key() = default;
    SecretBytes bytes_;
    SecretBytes id_;
    Digest fingerprint_{};
};

using KeyPtr = std::shared_ptr<const Key>;

/// "b4:61:fd:...", as Proxmox prints it.
[[nodiscard]] std::string fingerprint_text(const Digest& fingerprint);
/// From that text, in either case; nothing if it is something else.
[[nodiscard]] std::optional<Digest> parse_fingerprint(std::string_view text);

/// The key in the key file that a person names (`key-file`, VDISK_KEY_FILE) with the passphrase in another one
/// (`passphrase-file`, VDISK_PASSPHRASE_FILE), where it has one. `wanted`: the fingerprint of the key that is needed,
/// if it is known; another key is refused before a passphrase is tried, as far as its file tells. Errors, which name
/// the file: `usage` for a key or a passphrase that is missing or wrong, `corrupt`, `unsupported`, `limit_exceeded`,
/// `io`.
[[nodiscard]] Result<KeyPtr> read_key(const OpenContext& context, const std::optional<Digest>& wanted);

/// A key file's text, and where its passphrase comes from.
struct KeyFile {
    std::string name; ///< for messages
    std::string_view text;
    /// Asked only where the key has one; is told the fingerprint, if the file has that.
    std::function<Result<SecretBytes>(const std::optional<Digest>& fingerprint)> passphrase;
};

/// The same of such a text.
[[nodiscard]] Result<KeyPtr> parse_key(const KeyFile& file, const std::optional<Digest>& wanted, const Limits& limits);

} // namespace vdisk::pbs
