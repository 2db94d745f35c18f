// SPDX-License-Identifier: Apache-2.0
/// Settings in XML, of which what stands before damage is read.
#pragma once

#include <fmt/format.h>
#include <pugixml.hpp>

#include <string>

namespace vdisk {

/// Where the text breaks off and why; empty if it is whole.
[[nodiscard]] inline std::string xml_damage(const pugi::xml_parse_result& parsed) {
    return parsed ? "" : fmt::format("XML breaks off at offset {}: {}", parsed.offset, parsed.description());
}

} // namespace vdisk
