// SPDX-License-Identifier: Apache-2.0
/// The 128-bit names of disks and machines.
#pragma once

#include <array>
#include <compare>
#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace vdisk {

struct Uuid {
    std::array<std::byte, 16> bytes{}; ///< in the order in which the text shows them

    /// From Microsoft's order, in which the first three fields are little-endian.
    [[nodiscard]] static Uuid from_mixed(std::span<const std::byte, 16> stored) noexcept;

    /// From the usual text, in any case, with or without braces; nothing if it is something else.
    [[nodiscard]] static std::optional<Uuid> parse(std::string_view text) noexcept;

    [[nodiscard]] bool is_null() const noexcept { return *this == Uuid{}; }
    friend auto operator<=>(const Uuid&, const Uuid&) = default;
};

/// "00112233-4455-6677-8899-aabbccddeeff".
[[nodiscard]] std::string to_string(const Uuid& uuid);

} // namespace vdisk
