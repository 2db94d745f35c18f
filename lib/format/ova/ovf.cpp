// SPDX-License-Identifier: Apache-2.0
#include "format/ova/ovf.hpp"

#include "base/checked.hpp"
#include "base/parse.hpp"
#include "base/text.hpp"

#include <pugixml.hpp>

#include <algorithm>
#include <array>
#include <map>

namespace vdisk::ova {
namespace {

constexpr std::size_t kUnknownLines = 20;

// Writers choose the prefixes of names: "ovf:Disk", "Disk".
std::string_view local(std::string_view name) {
    return name.substr(name.find(':') + 1);
}

std::vector<pugi::xml_node> children(const pugi::xml_node& node, std::string_view name) {
    std::vector<pugi::xml_node> found;
    for (const pugi::xml_node& child : node.children())
        if (local(child.name()) == name) found.push_back(child);
    return found;
}

pugi::xml_node child(const pugi::xml_node& node, std::string_view name) {
    const auto found = children(node, name);
    return found.empty() ? pugi::xml_node() : found.front();
}

std::string text_of(const pugi::xml_node& node, std::string_view attribute) {
    for (const pugi::xml_attribute& each : node.attributes())
        if (local(each.name()) == attribute) return each.value();
    return "";
}

std::string without_blanks(std::string_view text) {
    std::string kept;
    std::ranges::copy_if(text, std::back_inserter(kept), [](char c) { return c != ' '; });
    return kept;
}

// The programmatic units of DSP0004 that a capacity is counted in: "byte", "byte * 2^30"; older writers have
// "GigaBytes" or "MB".
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

std::optional<std::uint64_t> capacity_of(const pugi::xml_node& disk) {
    const auto number = parse_number<std::uint64_t>(text_of(disk, "capacity"));
    const auto unit = unit_of(text_of(disk, "capacityAllocationUnits"));
    return number && unit ? checked_mul(*number, *unit) : std::nullopt;
}

void take_file(const pugi::xml_node& file, OvfDisk& disk) {
    disk.href = text_of(file, "href");
    disk.compression = text_of(file, "compression");
    if (disk.compression == "identity") disk.compression.clear();
    disk.file_size = parse_number<std::uint64_t>(text_of(file, "size"));
    disk.chunk_size = parse_number<std::uint64_t>(text_of(file, "chunkSize"));
    if (disk.chunk_size == 0U) disk.chunk_size.reset();
}

// "SHA256(name)= 0123...", or with more blanks; a name may hold brackets itself.
std::optional<ManifestLine> line_of(std::string_view text) {
    const std::size_t equals = text.rfind('=');
    const std::string_view left = trimmed(text.substr(0, std::min(equals, text.size())));
    const std::size_t open = left.find('(');
    if (equals == std::string_view::npos || open == std::string_view::npos || !left.ends_with(')')) return std::nullopt;
    ManifestLine line{.algorithm = std::string(trimmed(left.substr(0, open))),
                      .name = std::string(left.substr(open + 1, left.size() - open - 2)),
                      .digest = parse_hex(trimmed(text.substr(equals + 1))).value_or(std::vector<std::byte>())};
    constexpr std::array<std::pair<std::string_view, std::size_t>, 3> kKnown{
        {{"SHA1", 20}, {"SHA256", 32}, {"SHA512", 64}}};
    const auto known = std::ranges::find(kKnown, line.algorithm, &std::pair<std::string_view, std::size_t>::first);
    if (known == kKnown.end() || known->second != line.digest.size()) return std::nullopt;
    return line;
}

} // namespace

Result<Ovf> Ovf::parse(std::string_view xml, std::string_view source, const Limits& limits) {
    pugi::xml_document document;
    const pugi::xml_parse_result parsed = document.load_buffer(xml.data(), xml.size());
    const pugi::xml_node envelope = child(document, "Envelope");
    if (!envelope) return fail(ErrorKind::not_this_format, "{}: has no Envelope element", source);
    Ovf ovf;
    if (!parsed) ovf.damage = fmt::format("XML breaks off at offset {}: {}", parsed.offset, parsed.description());
    std::map<std::string, pugi::xml_node> files;
    for (const pugi::xml_node& file : children(child(envelope, "References"), "File"))
        files.emplace(text_of(file, "id"), file);
    for (const pugi::xml_node& section : children(envelope, "DiskSection"))
        for (const pugi::xml_node& node : children(section, "Disk")) {
            OvfDisk disk{.id = text_of(node, "diskId"),
                         .file_ref = text_of(node, "fileRef"),
                         .capacity = capacity_of(node),
                         .format = text_of(node, "format")};
            if (const auto file = files.find(disk.file_ref); file != files.end()) take_file(file->second, disk);
            if (ovf.disks.size() == limits.search_files)
                return fail(ErrorKind::limit_exceeded, "{}: has more than {} disks, the limit", source,
                            limits.search_files);
            ovf.disks.push_back(std::move(disk));
        }
    const pugi::xml_node machine = child(envelope, "VirtualSystem");
    ovf.name = text_of(machine, "id");
    if (const pugi::xml_node name = child(machine, "Name")) ovf.name = name.child_value();
    ovf.operating_system = child(child(machine, "OperatingSystemSection"), "Description").child_value();
    return ovf;
}

Manifest parse_manifest(std::string_view text) {
    Manifest manifest;
    while (!text.empty()) {
        const std::string_view line = trimmed(take_line(text));
        if (line.empty()) continue;
        if (auto known = line_of(line)) manifest.lines.push_back(std::move(*known));
        else if (manifest.unknown.size() < kUnknownLines) manifest.unknown.emplace_back(line);
    }
    return manifest;
}

} // namespace vdisk::ova
