// SPDX-License-Identifier: Apache-2.0
/// Finding the parent of a differencing VHD: by the names that it has, and always by its unique ID.
#pragma once

#include "disk/disk_file.hpp"
#include "format/vhd/header.hpp"

namespace vdisk::vhd {

// Names of facts that a child compares with its own header.
constexpr const char* kFactId = "unique ID";
constexpr const char* kFactTime = "time stamp";

/// Seconds of a time stamp as people read them.
[[nodiscard]] std::string time_of(std::uint32_t stamp);

/// How a differencing disk leads to its parent. Looks for it by the locators' names and that of the header, then by its
/// unique ID among the files of the image's folder and the VHDs around. A file with another unique ID is never taken
/// unless a person names it; that is then a doubt.
[[nodiscard]] ParentLink parent_link(const Header& header, const Limits& limits);

} // namespace vdisk::vhd
