// SPDX-License-Identifier: Apache-2.0
/// Two address spaces, two types: swapped arguments do not compile.
#pragma once

#include <compare>
#include <cstdint>

namespace vdisk {

/// A byte of the virtual disk, as the guest numbers it.
struct GuestOffset {
    std::uint64_t value = 0;
    friend constexpr auto operator<=>(GuestOffset, GuestOffset) = default;
};

/// A byte of a file that holds (part of) an image.
struct HostOffset {
    std::uint64_t value = 0;
    friend constexpr auto operator<=>(HostOffset, HostOffset) = default;
};

} // namespace vdisk
