// SPDX-License-Identifier: Apache-2.0
/// How the stored bytes of a layer are enciphered.
#pragma once

#include "base/address.hpp"
#include "codec/cipher.hpp"
#include "io/byte_source.hpp"

namespace vdisk {

struct Encryption {
    /// Which offset, divided by the sector size, is the number of a sector.
    enum class Numbering : std::uint8_t { host, guest };

    std::shared_ptr<const SectorCipher> cipher{}; ///< null: nothing is enciphered
    Numbering numbering = Numbering::host;
};

/// Where stored bytes lie and which guest bytes they are. Both offsets have the same distance from a sector's start.
struct StoredAt {
    HostOffset host;
    GuestOffset guest;
};

/// Fills `out` with the deciphered bytes stored in `source` from `at`. Any alignment: sectors that `out` holds in part
/// go through a buffer. Reads whole sectors; a source that ends within one is `truncated`.
[[nodiscard]] Result<void> read_deciphered(const Encryption& encryption, const ByteSource& source, StoredAt at,
                                           std::span<std::byte> out);

} // namespace vdisk
