// SPDX-License-Identifier: Apache-2.0
/// DiskDescriptor.xml: the images of a Parallels disk, its pieces and its snapshots. Source: QEMU's
/// docs/interop/prl-xml.
#pragma once

#include "base/limits.hpp"
#include "base/uuid.hpp"
#include "io/byte_source.hpp"

#include <optional>
#include <string>
#include <vector>

namespace vdisk::parallels {

/// A file with what one snapshot has of one piece.
struct ImageFile {
    Uuid shot{};
    bool plain = false; ///< the bytes as they are; else an image with a table, above that of the parent
    std::string name;   ///< as stored: perhaps an absolute path of another system
};

/// A piece of the disk, in sectors of 512 bytes.
struct Storage {
    std::uint64_t start = 0;
    std::uint64_t end = 0;
    std::vector<ImageFile> images;

    [[nodiscard]] const ImageFile* find(const Uuid& shot) const noexcept;
};

/// A state of the disk: what was written since its parent was.
struct Shot {
    Uuid uuid{};
    Uuid parent{}; ///< null: there is none
};

/// What the file says. Invariants: the pieces lie one behind the other from sector 0 on, each at least a sector long,
/// and `top` is a shot.
struct Descriptor {
    std::vector<Storage> storages;
    std::vector<Shot> shots; ///< in the file's order
    Uuid top{};              ///< what the guest saw last
    std::uint64_t sector_size = 512;

    /// Errors: `not_this_format` without the element Parallels_disk_image, `unsupported` for an encrypted disk,
    /// `corrupt`, `limit_exceeded`, `io`.
    [[nodiscard]] static Result<Descriptor> parse(const ByteSource& source, const Limits& limits);

    /// The shot and its ancestors, the eldest last. Errors: `corrupt` for a circle or a parent that is no shot, without
    /// the file's name.
    [[nodiscard]] Result<std::vector<Uuid>> chain(const Uuid& shot) const;

    [[nodiscard]] const Shot* find(const Uuid& shot) const noexcept;
    [[nodiscard]] std::uint64_t sectors() const noexcept { return storages.back().end; }
};

/// As Parallels writes it: in braces.
[[nodiscard]] std::string braced(const Uuid& uuid);

} // namespace vdisk::parallels
