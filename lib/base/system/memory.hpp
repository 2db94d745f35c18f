// SPDX-License-Identifier: Apache-2.0
/// Memory from the system.
#pragma once

#include <cstddef>

namespace vdisk::system {

/// `size` zeros, of which pages that nobody touches take no memory. nullptr if there is no room. Given back by
/// release_zeros() alone. Thread-safe.
[[nodiscard]] std::byte* reserve_zeros(std::size_t size) noexcept;
void release_zeros(std::byte* memory, std::size_t size) noexcept;

} // namespace vdisk::system
