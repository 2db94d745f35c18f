// SPDX-License-Identifier: Apache-2.0
#include "format/vbox/machine.hpp"

#include <pugixml.hpp>

#include <algorithm>
#include <string_view>

namespace vdisk::vbox {
namespace {

Uuid uuid_of(const pugi::xml_node& node) {
    return Uuid::parse(node.attribute("uuid").value()).value_or(Uuid{});
}

// A node still to visit and what its parent hands down. Documents may nest as deep as they like, so nothing here
// recurses.
template<class Above> struct Pending {
    pugi::xml_node node;
    Above above;
};

// The first child becomes the next one to be visited.
template<class Above>
void push_children(std::vector<Pending<Above>>& pending, const pugi::xml_node& node, const char* name,
                   const Above& above) {
    const auto first = static_cast<std::ptrdiff_t>(pending.size());
    for (const pugi::xml_node& child : node.children(name)) pending.push_back({child, above});
    std::reverse(pending.begin() + first, pending.end());
}

bool is_encrypted(const pugi::xml_node& disk) {
    for (const pugi::xml_node& property : disk.children("Property"))
        if (std::string_view(property.attribute("name").value()).starts_with("CRYPT/")) return true;
    return false;
}

void read_media(const pugi::xml_node& registry, Machine& machine) {
    struct Above {
        Uuid uuid;
        bool encrypted;
    };
    std::vector<Pending<Above>> pending;
    push_children(pending, registry.child("HardDisks"), "HardDisk", Above{});
    while (!pending.empty()) {
        const auto [disk, above] = pending.back();
        pending.pop_back();
        const Medium medium{.uuid = uuid_of(disk),
                            .parent = above.uuid,
                            .location = disk.attribute("location").value(),
                            .format = disk.attribute("format").value(),
                            .encrypted = above.encrypted || is_encrypted(disk)};
        push_children(pending, disk, "HardDisk", Above{medium.uuid, medium.encrypted});
        machine.media.push_back(medium);
    }
}

// Newer versions have the controllers inside Hardware, older ones beside it.
std::vector<Attachment> read_attachments(const pugi::xml_node& state) {
    std::vector<Attachment> attachments;
    for (const pugi::xml_node& place : {state, state.child("Hardware")})
        for (const pugi::xml_node& controller : place.child("StorageControllers").children("StorageController"))
            for (const pugi::xml_node& device : controller.children("AttachedDevice")) {
                const Uuid medium = uuid_of(device.child("Image"));
                if (std::string_view(device.attribute("type").value()) != "HardDisk" || medium.is_null()) continue;
                attachments.push_back(
                    {fmt::format("{}-{}-{}", controller.attribute("name").value(), device.attribute("port").as_uint(),
                                 device.attribute("device").as_uint()),
                     medium});
            }
    return attachments;
}

void read_snapshots(const pugi::xml_node& machine_node, Machine& machine) {
    std::vector<Pending<Uuid>> pending;
    push_children(pending, machine_node, "Snapshot", Uuid{});
    while (!pending.empty()) {
        const auto [node, above] = pending.back();
        pending.pop_back();
        const Uuid uuid = uuid_of(node);
        machine.states.push_back({.is_snapshot = true,
                                  .uuid = uuid,
                                  .parent = above,
                                  .name = node.attribute("name").value(),
                                  .time = node.attribute("timeStamp").value(),
                                  .attachments = read_attachments(node)});
        push_children(pending, node.child("Snapshots"), "Snapshot", uuid);
    }
}

void read_machine(const pugi::xml_node& node, Machine& machine) {
    machine.name = node.attribute("name").value();
    machine.uuid = uuid_of(node);
    machine.snapshot_folder = node.attribute("snapshotFolder").value();
    machine.states.push_back({.attachments = read_attachments(node)});
    read_media(node.child("MediaRegistry"), machine);
    read_snapshots(node, machine);
}

} // namespace

Result<Machine> Machine::parse(const ByteSource& source, const std::filesystem::path& file, const Limits& limits) {
    if (source.size() > limits.registry_bytes)
        return fail(ErrorKind::limit_exceeded, "{}: has {} bytes, the limit for a VirtualBox settings file is {}",
                    source.name(), source.size(), limits.registry_bytes);
    VDISK_TRY(bytes, read_bytes(source, 0, source.size(), "VirtualBox settings"));
    pugi::xml_document document;
    const pugi::xml_parse_result parsed = document.load_buffer(bytes.data(), bytes.size());
    const pugi::xml_node root = document.child("VirtualBox");
    if (!root) return fail(ErrorKind::not_this_format, "{}: has no VirtualBox element", source.name());

    Machine machine;
    if (!parsed) machine.damage = fmt::format("XML breaks off at offset {}: {}", parsed.offset, parsed.description());
    machine.file = file;
    machine.folder = file.parent_path();
    if (const pugi::xml_node node = root.child("Machine")) read_machine(node, machine);
    read_media(root.child("Global").child("MediaRegistry"), machine);
    for (Medium& medium : machine.media)
        if (medium.location.size() > limits.name_bytes) medium.location.clear();
    return machine;
}

const Medium* Machine::find(const Uuid& wanted) const noexcept {
    const auto found = std::ranges::find(media, wanted, &Medium::uuid);
    return found == media.end() ? nullptr : &*found;
}

} // namespace vdisk::vbox
