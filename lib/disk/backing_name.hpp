// SPDX-License-Identifier: Apache-2.0
/// The names by which images name files: paths of this system or of Windows, `file:` URIs, QEMU's `json:` objects.
#pragma once

#include "base/error.hpp"

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace vdisk {

/// A part of a file: what of a raw image's file the disk is.
struct Window {
    std::uint64_t offset = 0;
    std::optional<std::uint64_t> length{}; ///< nothing: to the file's end
};

/// What a name says.
struct BackingName {
    /// The paths that it can mean, the likeliest first, with '/' between folders: never empty.
    std::vector<std::string> paths;
    bool windows = false;            ///< the path is one of Windows, of which `paths` have what is below its drive
    std::vector<std::string> here{}; ///< on Windows: the same as `paths`, with their drives; may be empty
    std::string format{};            ///< the format that the name states; may be empty
    std::optional<Window> window{};
};

/// Reads `name` as an image has it. Errors: `unsupported` for what names no local file (protocols) or says something
/// of it that changes its bytes and is not read here, `corrupt` for JSON that is none.
[[nodiscard]] Result<BackingName> parse_backing_name(std::string_view name);

/// A path as a machine's settings have it: one of this system, or one of Windows, also a relative one with '\\' between
/// folders. Nothing in it is a protocol.
[[nodiscard]] BackingName host_path(std::string_view path);

} // namespace vdisk
