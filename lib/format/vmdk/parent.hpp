// SPDX-License-Identifier: Apache-2.0
/// Finding the parent of a VMDK: by the name that its descriptor has for it, and always by what identifies it there,
/// the content ID of VMware or the UUID of VirtualBox.
#pragma once

#include "disk/disk_file.hpp"
#include "disk/format.hpp"
#include "format/vmdk/parsed.hpp"

namespace vdisk::vmdk {

// Names of facts that a child compares with its own descriptor.
constexpr const char* kFactCid = "CID";
constexpr const char* kFactUuid = "UUID";
constexpr const char* kFactModification = "modification UUID";

/// A content ID as people read it.
[[nodiscard]] std::string cid_text(std::uint32_t cid);

/// How a disk leads to its parent: by parentFileNameHint, then by identifier among the files of the image's folder and
/// the VMDKs around. A file with another identifier is never taken unless a person names it; that is then a doubt.
[[nodiscard]] ParentLink parent_link(const Descriptor& descriptor, const OpenContext& context);

/// The descriptor beside `file` that names it as one of its extents; empty if there is none.
[[nodiscard]] std::string descriptor_of(const ByteSource& file, const References& gate, const Limits& limits);

} // namespace vdisk::vmdk
