// SPDX-License-Identifier: Apache-2.0
/// Texts and times that the system knows how to convert.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace vdisk::system {

/// `text` as UTF-8 from the encoding that Windows calls `name`: "cp1252", "gbk", "big5", "shift_jis" and the like.
/// Nothing where the system does not know the encoding, or `text` is none in it.
[[nodiscard]] std::optional<std::string> to_utf8(const std::string& text, const std::string& name);

/// Seconds since 1970 as this machine's clocks show them, with the zone: "2024-01-02T04:04:05+0100 (CET)".
[[nodiscard]] std::string local_time(std::int64_t seconds);

} // namespace vdisk::system
