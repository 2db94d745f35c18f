// SPDX-License-Identifier: Apache-2.0
/// Finding the parent of a differencing image, which names it by its UUID alone.
#pragma once

#include "disk/references.hpp"
#include "format/vbox/machine.hpp"
#include "format/vdi/header.hpp"

#include <optional>

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

/// How an image is encrypted, which the image itself does not tell.
struct MediumEncryption {
    std::string settings;                       ///< the file that says so, safe to show
    std::shared_ptr<const vbox::MediumKey> key; ///< null: it does not say with what
};

/// What the VirtualBox settings files in the image's folder and in the one above it, those that the policy lets be
/// opened, say of the image with `search.uuid`; nothing where none says that it is encrypted. What can't be read of
/// such files says nothing.
[[nodiscard]] std::optional<MediumEncryption> find_encryption(const ParentSearch& search, const References& gate,
                                                              const Limits& limits);

} // namespace vdisk::vdi
