// SPDX-License-Identifier: Apache-2.0
/// All formats, and which one a file is.
#pragma once

#include "disk/format.hpp"

namespace vdisk {

/// Every format with a probe of its own, and last `raw`, which no file is detected as.
[[nodiscard]] std::span<const Format* const> formats() noexcept;

/// The format of that name or alias, or nullptr.
[[nodiscard]] const Format* find_format(std::string_view name) noexcept;

/// The one format that is sure of the source, else the one that thinks so weakly; nullptr if none does or none is as
/// sure as `at_least`. Two that are equally sure: `not_this_format`, naming both, never a guess.
[[nodiscard]] Result<const Format*> detect_format(const ByteSource& source, Match at_least = Match::weak);

/// The same by what was seen of `source` already; of a compressed stream, `source` may be its first bytes alone. A file
/// that begins as one format and ends as another kind of image is `not_this_format` too.
[[nodiscard]] Result<const Format*> detect_format(const FirstLook& look, const ByteSource& source,
                                                  Match at_least = Match::weak);

} // namespace vdisk
