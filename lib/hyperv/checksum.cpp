// SPDX-License-Identifier: Apache-2.0
#include "hyperv/checksum.hpp"

#include <libdeflate.h>

#include <array>

namespace vdisk::hyperv {

std::uint32_t crc32(std::span<const std::byte> bytes) noexcept {
    return libdeflate_crc32(0, bytes.data(), bytes.size());
}

std::uint32_t crc32_without_field(std::span<const std::byte> bytes, std::size_t field) noexcept {
    static constexpr std::array<std::byte, 4> kZero{};
    std::uint32_t sum = libdeflate_crc32(0, bytes.data(), field);
    sum = libdeflate_crc32(sum, kZero.data(), kZero.size());
    const auto rest = bytes.subspan(field + kZero.size());
    return rest.empty() ? sum : libdeflate_crc32(sum, rest.data(), rest.size());
}

} // namespace vdisk::hyperv
