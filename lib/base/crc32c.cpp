// SPDX-License-Identifier: Apache-2.0
#include "base/crc32c.hpp"

#include <boost/crc.hpp>

#include <array>

namespace vdisk {
namespace {

using Crc32c = boost::crc_optimal<32, 0x1EDC6F41, 0xFFFFFFFF, 0xFFFFFFFF, true, true>;

void add(Crc32c& sum, std::span<const std::byte> bytes) noexcept {
    sum.process_bytes(bytes.data(), bytes.size());
}

} // namespace

std::uint32_t crc32c(std::span<const std::byte> bytes) noexcept {
    Crc32c sum;
    add(sum, bytes);
    return sum.checksum();
}

std::uint32_t crc32c_without_field(std::span<const std::byte> bytes, std::size_t field) noexcept {
    static constexpr std::array<std::byte, 4> kZero{};
    Crc32c sum;
    add(sum, bytes.first(field));
    add(sum, kZero);
    add(sum, bytes.subspan(field + kZero.size()));
    return sum.checksum();
}

} // namespace vdisk
