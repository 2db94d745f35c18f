// SPDX-License-Identifier: Apache-2.0
/// Finding the parent of a differencing image, which names it by its UUID alone.
#pragma once

#include "disk/references.hpp"
#include "format/vdi/header.hpp"

namespace vdisk::vdi {

/// Which image is looked for, and for whom.
struct ParentSearch {
    Uuid uuid{};   ///< the parent's uuid_create
    Uuid modify{}; ///< the uuid_modify that it had; of several images with the same UUID, one with this is preferred
    std::filesystem::path registry{}; ///< a VirtualBox settings file to ask first; may be empty
};

/// Asks the VirtualBox settings files in the image's folder and in the one above it; then reads the headers of the
/// `.vdi` files in the image's folder, the one above it and its `Snapshots` folder. Opens at most Limits::search_files.
/// Errors: `usage` where the policy forbids to look, `io` where nothing was found, naming the UUID and each place that
/// was looked at.
[[nodiscard]] Result<FoundFile> find_parent(const ParentSearch& search, const References& gate, const Limits& limits);

/// Whether a VirtualBox settings file in the image's folder or in the one above it, of those that the policy lets be
/// opened, says that the blocks of the image with `search.uuid` are enciphered, which the image itself does not tell:
/// `unsupported` then. What can't be read of such files says nothing.
[[nodiscard]] Result<void> refuse_encrypted(const ParentSearch& search, const References& gate, const Limits& limits);

} // namespace vdisk::vdi
