// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstring>
#include <span>

namespace vdisk {

/// Whether all `bytes` are zeros; true of none. By memcmp(), which is many times as fast as looking at each.
[[nodiscard]] inline bool all_zeros(std::span<const std::byte> bytes) noexcept {
    return bytes.empty() ||
           (bytes.front() == std::byte{0} && std::memcmp(bytes.data(), bytes.data() + 1, bytes.size() - 1) == 0);
}

} // namespace vdisk
