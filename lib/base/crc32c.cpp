// SPDX-License-Identifier: Apache-2.0
#include "base/crc32c.hpp"

#include <boost/crc.hpp>

#include <array>
#include <cstring>
#include <initializer_list>

namespace vdisk {
namespace {

using Parts = std::initializer_list<std::span<const std::byte>>;

std::uint32_t by_table(Parts parts) noexcept {
    boost::crc_optimal<32, 0x1EDC6F41, 0xFFFFFFFF, 0xFFFFFFFF, true, true> sum;
    for (const auto part : parts) sum.process_bytes(part.data(), part.size());
    return sum.checksum();
}

#if defined(__x86_64__)

// x86 has an instruction for this very sum: some twenty times as fast.
[[gnu::target("sse4.2")]] std::uint32_t by_instruction(Parts parts) noexcept {
    std::uint64_t sum = 0xFFFFFFFF;
    for (auto part : parts) {
        for (; part.size() >= sizeof sum; part = part.subspan(sizeof sum)) {
            std::uint64_t word = 0;
            std::memcpy(&word, part.data(), sizeof word);
            sum = __builtin_ia32_crc32di(sum, word);
        }
        for (const std::byte byte : part)
            sum = __builtin_ia32_crc32qi(static_cast<std::uint32_t>(sum), std::to_integer<std::uint8_t>(byte));
    }
    return ~static_cast<std::uint32_t>(sum);
}

std::uint32_t of(Parts parts) noexcept {
    static const bool has_instruction = __builtin_cpu_supports("sse4.2") != 0;
    return has_instruction ? by_instruction(parts) : by_table(parts);
}

#else

std::uint32_t of(Parts parts) noexcept {
    return by_table(parts);
}

#endif

} // namespace

std::uint32_t crc32c(std::span<const std::byte> bytes) noexcept {
    return of({bytes});
}

std::uint32_t crc32c_without_field(std::span<const std::byte> bytes, std::size_t field) noexcept {
    static constexpr std::array<std::byte, 4> kZero{};
    return of({bytes.first(field), kZero, bytes.subspan(field + kZero.size())});
}

} // namespace vdisk
