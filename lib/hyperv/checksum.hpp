// SPDX-License-Identifier: Apache-2.0
/// The one checksum of HyperVStorage: CRC-32/ISO-HDLC.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace vdisk::hyperv {

[[nodiscard]] std::uint32_t crc32(std::span<const std::byte> bytes) noexcept;

/// The CRC-32 of a structure that holds its own checksum: the four bytes at `field` count as zero.
/// `bytes` must be at least field + 4 long.
[[nodiscard]] std::uint32_t crc32_without_field(std::span<const std::byte> bytes, std::size_t field) noexcept;

/// The same of an on-disk structure made of Boost.Endian buffers.
template<class Struct> [[nodiscard]] std::uint32_t crc32_of(const Struct& value, std::size_t field) noexcept {
    return crc32_without_field(std::as_bytes(std::span(&value, 1)), field);
}

} // namespace vdisk::hyperv
