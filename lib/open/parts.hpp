// SPDX-License-Identifier: Apache-2.0
/// Files that were cut into parts, put together again.
#pragma once

#include "disk/format.hpp"

namespace vdisk {

/// `first` and the parts of it that lie beside it, by their names; `first` alone where there are none, where it is none
/// itself, or where those of such names are files of their own. `parts`: what the selector says of it. What is missing
/// in between, or has another length, can't be read, and is a doubt. Errors: `corrupt`, naming the part, where nobody
/// knows where the bytes of the parts lie; `usage` for what `parts` says.
[[nodiscard]] Result<WholeFile> with_parts(const FilePtr& first, const References& gate,
                                           const std::optional<std::string>& parts);

/// `first` and the parts of it that a person named, in that order, be they called what they will. Errors: as
/// with_parts(), and those of opening them.
[[nodiscard]] Result<WholeFile> with_given_parts(const FilePtr& first, std::span<const std::string> more,
                                                 const References& gate, const std::optional<std::string>& parts);

/// The parts of `file`, for `vdisk info`; empty of one that is one. Those that can't be read say why.
[[nodiscard]] Facts describe_parts(const FileSource& file);

} // namespace vdisk
