// SPDX-License-Identifier: Apache-2.0
/// CRC-32C (Castagnoli), by which VHDX protects its headers and its log.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace vdisk {

[[nodiscard]] std::uint32_t crc32c(std::span<const std::byte> bytes) noexcept;

/// The CRC-32C of a structure that holds its own checksum: the four bytes at `field` count as zero. `bytes` must be at
/// least field + 4 long.
[[nodiscard]] std::uint32_t crc32c_without_field(std::span<const std::byte> bytes, std::size_t field) noexcept;

} // namespace vdisk
