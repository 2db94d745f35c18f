// SPDX-License-Identifier: Apache-2.0
/// Finding the parent of a differencing VHDX: by the paths of its locator, and always by the parent's data write GUID.
#pragma once

#include "disk/disk_file.hpp"
#include "format/vhdx/metadata.hpp"

namespace vdisk::vhdx {

/// The name of the fact that a child compares with its linkage.
constexpr const char* kFactDataWrite = "data write GUID";

/// How a differencing disk leads to its parent. Looks for it by the locator's paths, then by its GUID among the files
/// of the image's folder and the VHDXs around. A file with another GUID, which changes whenever the disk's content
/// does, is never taken unless a person names it; that is then a doubt.
[[nodiscard]] ParentLink parent_link(const Metadata& metadata, const Limits& limits);

} // namespace vdisk::vhdx
