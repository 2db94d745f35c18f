// SPDX-License-Identifier: Apache-2.0
/// What reading a disk cost, for whoever tunes it: VDISK_STATS=1.
#pragma once

#include "image/image.hpp"
#include "io/stream_source.hpp"

namespace vdisk {

/// Called once, when the disk `name` is closed. Must not throw.
using StatisticsReport = std::function<void(std::string_view name, const std::string& text)>;

/// What $VDISK_STATS says: 1 prints to standard error; unset, empty or 0: nothing is reported. Another word is a
/// `usage` error.
[[nodiscard]] Result<StatisticsReport> statistics_from_environment();

/// `image`, reporting when the last who holds it lets go. `streams`: the compressed streams that its layers read from.
[[nodiscard]] ImagePtr with_statistics(ImagePtr image, std::vector<std::shared_ptr<const StreamSource>> streams,
                                       StatisticsReport report);

} // namespace vdisk
