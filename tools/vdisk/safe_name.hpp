// SPDX-License-Identifier: Apache-2.0
/// Names of files that are made of what stands in an image, and so are any bytes.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace vdisk::tools {

/// Which letters a name may have.
enum class Letters : std::uint8_t {
    every_script, ///< all that file systems take
    ascii,        ///< those that every program takes, Autopsy 2 too
};

/// `text` as a part of a file's name, at most 103 bytes of it: letters, digits, '_', '.' and '-' as they are, all else
/// as '_'. Never begins with a '.' or '-'. Two texts may come to one name; an empty text stays empty.
[[nodiscard]] std::string safe_name(std::string_view text, Letters letters);

} // namespace vdisk::tools
