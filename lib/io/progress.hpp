// SPDX-License-Identifier: Apache-2.0
/// How long work tells its caller where it is and asks whether to go on.
#pragma once

#include "base/error.hpp"

#include <cstdint>
#include <functional>

namespace vdisk {

/// Told of long work; returns false to have it stopped (`cancelled`). `done` never exceeds `total`.
using Progress = std::function<bool(std::uint64_t done, std::uint64_t total)>;

/// Tells `progress`, if there is one. Error: `cancelled`, if it says stop.
[[nodiscard]] inline Result<void> tell(const Progress& progress, std::uint64_t done, std::uint64_t total) {
    if (progress && !progress(done, total)) return fail(ErrorKind::cancelled, "cancelled at {} of {}", done, total);
    return ok();
}

} // namespace vdisk
