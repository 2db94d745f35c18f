// SPDX-License-Identifier: Apache-2.0
/// The elements of an OVF descriptor, by their names without prefixes, which each writer chooses: "ovf:Disk", "Disk".
#pragma once

#include <pugixml.hpp>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace vdisk::ova {

/// A name without its prefix.
[[nodiscard]] std::string_view local_name(std::string_view name) noexcept;

/// The children of that name, in their order.
[[nodiscard]] std::vector<pugi::xml_node> children(const pugi::xml_node& node, std::string_view name);

/// The first child of that name; an empty node if there is none.
[[nodiscard]] pugi::xml_node child(const pugi::xml_node& node, std::string_view name);

/// The value of the attribute of that name; empty if there is none.
[[nodiscard]] std::string attribute(const pugi::xml_node& node, std::string_view name);

/// What the first child of that name says, without blanks around it; empty if there is none.
[[nodiscard]] std::string child_text(const pugi::xml_node& node, std::string_view name);

/// `number` counted in `unit`, a programmatic unit of DSP0004 ("byte", "byte * 2^30") or a word of older writers
/// ("GigaBytes", "MB"). Nothing if one is none or the product too large.
[[nodiscard]] std::optional<std::uint64_t> bytes_of(std::string_view number, std::string_view unit);

} // namespace vdisk::ova
