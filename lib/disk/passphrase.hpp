// SPDX-License-Identifier: Apache-2.0
/// The passphrase of an encrypted image, and the encryption that versions 1 and 2 of qcow share.
#pragma once

#include "codec/secret.hpp"
#include "disk/format.hpp"

#include <functional>

namespace vdisk {

/// A passphrase or a key, and what to call its file in a message.
struct Passphrase {
    std::string file;
    SecretBytes bytes{};
};

/// A file with a secret: a key of a selector names it, or else a variable of the environment.
struct SecretFile {
    std::string_view words; ///< for messages
    std::optional<std::string> Selector::*key;
    const char* variable;
};
constexpr SecretFile kKeyFile{"key file", &Selector::key_file, "VDISK_KEY_FILE"};
constexpr SecretFile kPassphraseFile{"passphrase file", &Selector::passphrase_file, "VDISK_PASSPHRASE_FILE"};

/// Whether it is named.
[[nodiscard]] bool is_given(const SecretFile& secret, const OpenContext& context);

/// What it holds, byte for byte; it must be given. A pipe is read once and remembered, and taken only where a person
/// named it, never where a reference file did. Errors: those of opening the file.
[[nodiscard]] Result<Passphrase> read_secret(const SecretFile& secret, const OpenContext& context);

/// What kKeyFile holds. Errors: `usage` where it is not given, else as read_secret().
[[nodiscard]] Result<Passphrase> read_passphrase(const OpenContext& context);

/// What `open` makes of the passphrase; if that is null and a newline or CR LF ends the passphrase, what it makes of
/// the rest, as an editor or another system may have put that there. Errors: `usage` if all is null: "the passphrase of
/// ... WHAT_IS_WRONG", with what may be why; those of `open`.
[[nodiscard]] Result<std::shared_ptr<const SectorCipher>>
try_passphrase(const Passphrase& given, std::string_view what_is_wrong,
               const std::function<Result<std::shared_ptr<const SectorCipher>>(std::span<const std::byte>)>& open);

/// QEMU's old method: AES-128 in CBC mode over sectors that the disk numbers, keyed by the passphrase's first 16 bytes,
/// or fewer and zeros. It can't tell a wrong passphrase from the right one.
[[nodiscard]] Result<Encryption> open_qcow_aes(SecretBytes passphrase);

/// The same for `vdisk info`.
[[nodiscard]] Facts describe_qcow_aes();

} // namespace vdisk
