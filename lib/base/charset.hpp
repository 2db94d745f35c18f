// SPDX-License-Identifier: Apache-2.0
/// Texts in the encodings that programs on Windows wrote before UTF-8.
#pragma once

#include <string>
#include <string_view>

namespace vdisk {

/// `text` as UTF-8, from the encoding of that name: windows-125x, GBK, Big5, Shift_JIS and the like, in any case. As it
/// is where the encoding is not known here or `text` is none in it.
[[nodiscard]] std::string to_utf8(std::string_view text, std::string_view encoding);

} // namespace vdisk
