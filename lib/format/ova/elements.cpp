// SPDX-License-Identifier: Apache-2.0
#include "format/ova/elements.hpp"

#include "base/checked.hpp"
#include "base/parse.hpp"

#include <algorithm>
#include <array>
#include <iterator>

namespace vdisk::ova {
namespace {

std::string without_blanks(std::string_view text) {
    std::string kept;
    std::ranges::copy_if(text, std::back_inserter(kept), [](char c) { return c != ' '; });
    return kept;
}

std::optional<std::uint64_t> unit_of(std::string_view text) {
    const std::string unit = without_blanks(text);
    if (unit.empty() || unit == "byte" || unit == "bytes") return 1;
    constexpr std::string_view kPower = "byte*2^";
    if (unit.starts_with(kPower)) {
        const auto power = parse_number<unsigned>(std::string_view(unit).substr(kPower.size()));
        return power && *power < 64 ? std::optional(std::uint64_t{1} << *power) : std::nullopt;
    }
    constexpr std::array<std::pair<std::string_view, unsigned>, 8> kOlder{{{"KiloBytes", 10},
                                                                           {"KB", 10},
                                                                           {"MegaBytes", 20},
                                                                           {"MB", 20},
                                                                           {"GigaBytes", 30},
                                                                           {"GB", 30},
                                                                           {"TeraBytes", 40},
                                                                           {"TB", 40}}};
    const auto found = std::ranges::find(kOlder, unit, &std::pair<std::string_view, unsigned>::first);
    return found == kOlder.end() ? std::nullopt : std::optional(std::uint64_t{1} << found->second);
}

} // namespace

std::string_view local_name(std::string_view name) noexcept {
    return name.substr(name.find(':') + 1);
}

std::vector<pugi::xml_node> children(const pugi::xml_node& node, std::string_view name) {
    std::vector<pugi::xml_node> found;
    for (const pugi::xml_node& child : node.children())
        if (local_name(child.name()) == name) found.push_back(child);
    return found;
}

pugi::xml_node child(const pugi::xml_node& node, std::string_view name) {
    for (const pugi::xml_node& child : node.children())
        if (local_name(child.name()) == name) return child;
    return {};
}

std::string attribute(const pugi::xml_node& node, std::string_view name) {
    for (const pugi::xml_attribute& each : node.attributes())
        if (local_name(each.name()) == name) return each.value();
    return "";
}

std::string child_text(const pugi::xml_node& node, std::string_view name) {
    return std::string(trimmed(child(node, name).child_value()));
}

std::optional<std::uint64_t> bytes_of(std::string_view number, std::string_view unit) {
    const auto count = parse_number<std::uint64_t>(number);
    const auto each = unit_of(unit);
    return count && each ? checked_mul(*count, *each) : std::nullopt;
}

} // namespace vdisk::ova
