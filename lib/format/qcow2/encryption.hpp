// SPDX-License-Identifier: Apache-2.0
/// How a qcow2 image is encrypted, and the key to it. Source: QEMU's docs/interop/qcow2, "Data encryption".
#pragma once

#include "disk/format.hpp"
#include "format/qcow2/header.hpp"

namespace vdisk::qcow2 {

/// What deciphers the guest's data: nothing where crypt_method is 0. The passphrase is the content of the selector's
/// `key-file` or of $VDISK_KEY_FILE, byte for byte; if a LUKS header refuses that and it ends with a newline, what
/// stands before the newline. Errors: `usage` without a passphrase or with one that opens nothing.
[[nodiscard]] Result<Encryption> open_encryption(const Header& header, const SourcePtr& file,
                                                 const OpenContext& context);

/// Where the encryption header lies in the file; empty where the method has none. Errors: `corrupt`.
struct EncryptionArea {
    std::uint64_t offset = 0;
    std::uint64_t length = 0;
};
[[nodiscard]] Result<EncryptionArea> encryption_area(const Header& header, const ByteSource& file);

/// Method, cipher and key slots, for `vdisk info`: needs no passphrase. Null where nothing is encrypted; what is
/// damaged is told in it.
[[nodiscard]] Facts describe_encryption(const Header& header, const SourcePtr& file);

} // namespace vdisk::qcow2
