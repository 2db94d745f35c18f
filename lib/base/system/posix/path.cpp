// SPDX-License-Identifier: Apache-2.0
#include "base/system/path.hpp"

namespace vdisk {

std::string utf8(const std::filesystem::path& path) {
    return path.native();
}

} // namespace vdisk
