// SPDX-License-Identifier: Apache-2.0
/// Memory from the system.
#pragma once

#include <cstddef>

namespace vdisk::system {

/// `size` zeros, of which pages that nobody touches take no memory. nullptr if there is no room. Given back by
/// release_zeros() alone. Thread-safe.
[[nodiscard]] std::byte* reserve_zeros(std::size_t size) noexcept;
void release_zeros(std::byte* memory, std::size_t size) noexcept;

/// Memory of `size` bytes in place of such memory of `now` bytes, with whatever bytes it or its new pages have: pages
/// that are touched already stay, where the system can do that. nullptr if there is no room: then `memory` is gone.
[[nodiscard]] std::byte* resize_zeros(std::byte* memory, std::size_t now, std::size_t size) noexcept;

/// Says that all of such memory will be touched, so that the system may give it in large pages.
void expect_all_used(std::byte* memory, std::size_t size) noexcept;

} // namespace vdisk::system
