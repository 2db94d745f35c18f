// SPDX-License-Identifier: Apache-2.0
#include "format/ova/ovf.hpp"

#include "base/parse.hpp"
#include "disk/xml.hpp"
#include "format/ova/elements.hpp"
#include "format/ova/hardware.hpp"

#include <pugixml.hpp>

#include <algorithm>
#include <array>
#include <map>

namespace vdisk::ova {
namespace {

constexpr std::size_t kUnknownLines = 20;

void take_file(const pugi::xml_node& file, OvfDisk& disk) {
    disk.href = attribute(file, "href");
    disk.compression = attribute(file, "compression");
    if (disk.compression == "identity") disk.compression.clear();
    disk.file_size = parse_number<std::uint64_t>(attribute(file, "size"));
    disk.chunk_size = parse_number<std::uint64_t>(attribute(file, "chunkSize"));
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

// The machines, also of collections, which may lie in one another.
std::vector<pugi::xml_node> systems_in(const pugi::xml_node& envelope, const Limits& limits) {
    std::vector<pugi::xml_node> systems;
    std::vector<pugi::xml_node> ahead{envelope};
    while (!ahead.empty() && systems.size() < limits.search_files) {
        const pugi::xml_node node = ahead.back();
        ahead.pop_back();
        for (const pugi::xml_node& system : children(node, "VirtualSystem")) systems.push_back(system);
        for (const pugi::xml_node& collection : children(node, "VirtualSystemCollection")) ahead.push_back(collection);
    }
    return systems;
}

} // namespace

Result<Ovf> Ovf::parse(std::string_view xml, std::string_view source, const Limits& limits) {
    pugi::xml_document document;
    const pugi::xml_parse_result parsed = document.load_buffer(xml.data(), xml.size());
    const pugi::xml_node envelope = child(document, "Envelope");
    if (!envelope) return fail(ErrorKind::not_this_format, "{}: has no Envelope element", source);
    Ovf ovf;
    ovf.damage = xml_damage(parsed);
    std::map<std::string, pugi::xml_node> files;
    for (const pugi::xml_node& file : children(child(envelope, "References"), "File"))
        files.emplace(attribute(file, "id"), file);
    for (const pugi::xml_node& section : children(envelope, "DiskSection"))
        for (const pugi::xml_node& node : children(section, "Disk")) {
            OvfDisk disk{.id = attribute(node, "diskId"),
                         .parent = attribute(node, "parentRef"),
                         .file_ref = attribute(node, "fileRef"),
                         .capacity = bytes_of(attribute(node, "capacity"), attribute(node, "capacityAllocationUnits")),
                         .format = attribute(node, "format")};
            if (const auto file = files.find(disk.file_ref); file != files.end()) take_file(file->second, disk);
            if (ovf.disks.size() == limits.search_files)
                return fail(ErrorKind::limit_exceeded, "{}: has more than {} disks, the limit", source,
                            limits.search_files);
            ovf.disks.push_back(std::move(disk));
        }
    const std::vector<pugi::xml_node> systems = systems_in(envelope, limits);
    if (systems.size() > 1)
        ovf.machine.problems.push_back(fmt::format(
            "describes {} machines: the first is told, and the disks of the others by their ids", systems.size()));
    describe_system(systems.empty() ? pugi::xml_node() : systems.front(), ovf.disks, files, limits.machine_media,
                    ovf.machine);
    VDISK_CHECK(check_media(ovf.machine.drives.size() + ovf.machine.unattached.size() + ovf.machine.adapters.size(),
                            source, limits));
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
