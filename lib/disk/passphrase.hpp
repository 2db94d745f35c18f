// SPDX-License-Identifier: Apache-2.0
/// The passphrase of an encrypted image, and the encryption that versions 1 and 2 of qcow share.
#pragma once

#include "codec/secret.hpp"
#include "disk/format.hpp"

namespace vdisk {

/// A passphrase, and what to call its file in a message.
struct Passphrase {
    std::string file;
    SecretBytes bytes{};
};

/// What the selector's `key-file` or else $VDISK_KEY_FILE holds, byte for byte. A pipe is read once and remembered, and
/// taken only where a person named it, never where a reference file did. Errors: `usage` without either, and those of
/// opening the file.
[[nodiscard]] Result<Passphrase> read_passphrase(const OpenContext& context);

/// QEMU's old method: AES-128 in CBC mode over sectors that the disk numbers, keyed by the passphrase's first 16 bytes,
/// or fewer and zeros. It can't tell a wrong passphrase from the right one.
[[nodiscard]] Result<Encryption> open_qcow_aes(SecretBytes passphrase);

/// The same for `vdisk info`.
[[nodiscard]] Facts describe_qcow_aes();

} // namespace vdisk
