// SPDX-License-Identifier: Apache-2.0
/// The descriptor of a VMDK: a text that names the disk, its parent and the extents that it is made of. Source:
/// VMware's technical note "Virtual Disk Format 5.0", and what its writers make of it.
#pragma once

#include "base/limits.hpp"
#include "base/uuid.hpp"
#include "io/byte_source.hpp"

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace vdisk::vmdk {

constexpr std::uint64_t kSector = 512;

/// A line that says where some sectors of the disk are.
struct ExtentLine {
    enum class Type : std::uint8_t {
        flat,   ///< FLAT, VMFS: as they are
        sparse, ///< SPARSE, VMFSSPARSE, SESPARSE: in grains, in one of three ways
        zero,   ///< ZERO: nowhere
    };

    std::string text; ///< the line, safe to show
    Type type = Type::zero;
    std::uint64_t sectors = 0; ///< > 0
    std::string name{};        ///< of the file, UTF-8 as far as the encoding is known
    std::uint64_t offset = 0;  ///< in the file, sectors
};

/// A parsed descriptor. The sectors of its extents, of which there is at least one, come to less than 2^64 bytes.
struct Descriptor {
    std::string create_type{};
    std::optional<std::uint32_t> cid{};        ///< changes with the first write after each opening
    std::optional<std::uint32_t> parent_cid{}; ///< kNoParentCid: there is none
    std::string parent_hint{};                 ///< the parent's path as its writer knew it; UTF-8
    std::string change_tracking{};             ///< a file that tells what changed, which is not read
    // VirtualBox's identifiers; null where there are none.
    Uuid image{};
    Uuid modification{};
    Uuid parent{};
    Uuid parent_modification{};
    std::vector<ExtentLine> extents{};
    std::vector<std::pair<std::string, std::string>> database{}; ///< a few entries of the "disk data base" to show

    /// `name` is that of the file, for errors: `corrupt`, `unsupported` (an extent that is a device), `limit_exceeded`.
    [[nodiscard]] static Result<Descriptor> parse(std::string_view text, std::string_view name, const Limits& limits);

    [[nodiscard]] std::uint64_t disk_size() const noexcept; ///< bytes
    /// Whether anything in it speaks of a parent.
    [[nodiscard]] bool has_parent() const noexcept;
    /// Whether it says that there is none.
    [[nodiscard]] bool is_base() const noexcept { return parent_cid.has_value() && !has_parent(); }
};

constexpr std::uint32_t kNoParentCid = 0xFFFFFFFF;

/// Whether a file begins as a descriptor does.
[[nodiscard]] bool begins_descriptor(std::span<const std::byte> head) noexcept;

} // namespace vdisk::vmdk
