// SPDX-License-Identifier: Apache-2.0
#include "image/encryption.hpp"

#include <algorithm>
#include <array>
#include <cstring>

namespace vdisk {
namespace {

constexpr std::size_t kCipherSector = SectorCipher::kSectorBytes;

// `sectors` holds whole ones.
Result<void> read_sectors(const Encryption& encryption, const ByteSource& source, StoredAt at,
                          std::span<std::byte> sectors) {
    VDISK_CHECK(read_exact(source, at.host.value, sectors));
    const std::uint64_t numbered = encryption.numbering == Encryption::Numbering::host ? at.host.value : at.guest.value;
    return encryption.cipher->decipher(numbered / kCipherSector, sectors);
}

} // namespace

Result<void> read_deciphered(const Encryption& encryption, const ByteSource& source, StoredAt at,
                             std::span<std::byte> out) {
    while (!out.empty()) {
        const auto skipped = static_cast<std::size_t>(at.host.value % kCipherSector);
        std::size_t count = 0;
        if (skipped == 0 && out.size() >= kCipherSector) {
            count = out.size() - out.size() % kCipherSector;
            VDISK_CHECK(read_sectors(encryption, source, at, out.first(count)));
        } else {
            std::array<std::byte, kCipherSector> sector;
            count = std::min(out.size(), kCipherSector - skipped);
            const StoredAt start{HostOffset{at.host.value - skipped}, GuestOffset{at.guest.value - skipped}};
            VDISK_CHECK(read_sectors(encryption, source, start, sector));
            std::memcpy(out.data(), sector.data() + skipped, count);
        }
        out = out.subspan(count);
        at = {HostOffset{at.host.value + count}, GuestOffset{at.guest.value + count}};
    }
    return ok();
}

} // namespace vdisk
