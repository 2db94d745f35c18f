// SPDX-License-Identifier: Apache-2.0
/// XPRESS plain LZ77 ([MS-XCA] 2.4; format 3 of RtlDecompressBuffer).
#pragma once

#include "base/error.hpp"

#include <cstddef>
#include <span>

namespace vdisk::hyperv {

/// Expands `packed` to exactly `out.size()` bytes, or an error (`corrupt`): then `out`'s content is unspecified. A
/// stream that would give more is an error, too.
[[nodiscard]] Result<void> expand_xpress(std::span<const std::byte> packed, std::span<std::byte> out);

} // namespace vdisk::hyperv
