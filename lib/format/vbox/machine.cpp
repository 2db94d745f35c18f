// SPDX-License-Identifier: Apache-2.0
#include "format/vbox/machine.hpp"

#include "base/parse.hpp"
#include "disk/xml.hpp"

#include <pugixml.hpp>

#include <algorithm>
#include <map>
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

std::string_view property_of(const pugi::xml_node& disk, std::string_view name) {
    for (const pugi::xml_node& property : disk.children("Property"))
        if (property.attribute("name").value() == name) return property.attribute("value").value();
    return "";
}

bool is_encrypted(const pugi::xml_node& disk) {
    for (const pugi::xml_node& property : disk.children("Property"))
        if (std::string_view(property.attribute("name").value()).starts_with("CRYPT/")) return true;
    return false;
}

std::shared_ptr<const MediumKey> key_of(const pugi::xml_node& disk) {
    const std::string_view store = property_of(disk, "CRYPT/KeyStore");
    if (store.empty()) return nullptr;
    return std::make_shared<const MediumKey>(
        MediumKey{std::string(property_of(disk, "CRYPT/KeyId")), std::string(store)});
}

// Locations of images of removable media.
using Removable = std::map<Uuid, std::string>;

Removable removable_images(const pugi::xml_node& registry) {
    Removable images;
    for (const char* list : {"DVDImages", "FloppyImages"})
        for (const pugi::xml_node& image : registry.child(list).children("Image"))
            images.emplace(uuid_of(image), image.attribute("location").value());
    return images;
}

// Stops at the first one beyond `most`.
void read_media(const pugi::xml_node& registry, std::size_t most, Machine& machine) {
    struct Above {
        Uuid uuid;
        bool encrypted;
        std::shared_ptr<const MediumKey> key;
    };
    std::vector<Pending<Above>> pending;
    push_children(pending, registry.child("HardDisks"), "HardDisk", Above{});
    while (!pending.empty() && machine.media.size() <= most) {
        const auto [disk, above] = pending.back();
        pending.pop_back();
        std::shared_ptr<const MediumKey> key = key_of(disk);
        if (!key) key = above.key;
        const Medium medium{.uuid = uuid_of(disk),
                            .parent = above.uuid,
                            .location = disk.attribute("location").value(),
                            .format = disk.attribute("format").value(),
                            .encrypted = above.encrypted || is_encrypted(disk),
                            .key = std::move(key)};
        push_children(pending, disk, "HardDisk", Above{medium.uuid, medium.encrypted, medium.key});
        machine.media.push_back(medium);
    }
}

// Calls `take` with each device that is attached. Newer versions have the controllers inside Hardware, older ones
// beside it.
template<class Take> void for_each_device(const pugi::xml_node& state, Take take) {
    for (const pugi::xml_node& place : {state, state.child("Hardware")})
        for (const pugi::xml_node& controller : place.child("StorageControllers").children("StorageController"))
            for (const pugi::xml_node& device : controller.children("AttachedDevice"))
                take(device, fmt::format("{}-{}-{}", controller.attribute("name").value(),
                                         device.attribute("port").as_uint(), device.attribute("device").as_uint()));
}

void read_devices(const pugi::xml_node& node, const Removable& images, MachineState& state) {
    for_each_device(node, [&](const pugi::xml_node& device, const std::string& port) {
        const std::string_view type = device.attribute("type").value();
        const Uuid medium = uuid_of(device.child("Image"));
        if (type == "HardDisk" && !medium.is_null()) state.attachments.push_back({port, medium});
        if (type != "DVD" && type != "Floppy") return;
        const auto image = images.find(medium);
        const std::string host = device.child("HostDrive").attribute("src").value();
        state.removable.push_back({port, type == "Floppy", image != images.end() ? image->second : host});
    });
}

// Stops at the first one beyond `most`.
void read_snapshots(const pugi::xml_node& machine_node, const Removable& images, std::size_t most, Machine& machine) {
    std::vector<Pending<Uuid>> pending;
    push_children(pending, machine_node, "Snapshot", Uuid{});
    while (!pending.empty() && machine.states.size() <= most) {
        const auto [node, above] = pending.back();
        pending.pop_back();
        const Uuid uuid = uuid_of(node);
        machine.states.push_back({.is_snapshot = true,
                                  .uuid = uuid,
                                  .parent = above,
                                  .name = node.attribute("name").value(),
                                  .time = node.attribute("timeStamp").value(),
                                  .attachments = {}});
        read_devices(node, images, machine.states.back());
        push_children(pending, node.child("Snapshots"), "Snapshot", uuid);
    }
}

NetworkAdapter adapter_of(const pugi::xml_node& node) {
    NetworkAdapter adapter{.name = fmt::format("adapter {}", node.attribute("slot").as_uint() + 1),
                           .model = node.attribute("type").value(),
                           .mac = mac_address(node.attribute("MACAddress").value())};
    for (const pugi::xml_node& mode : node.children()) {
        if (std::string_view(mode.name()) == "DisabledModes") continue;
        const std::string name = mode.attribute("name").value();
        adapter.network = name.empty() ? mode.name() : fmt::format("{} {}", mode.name(), name);
    }
    return adapter;
}

void describe(const pugi::xml_node& node, vdisk::Machine& machine) {
    constexpr std::uint64_t kMebibyte = 1U << 20;
    const pugi::xml_node hardware = node.child("Hardware");
    machine.name = node.attribute("name").value();
    machine.system = node.attribute("OSType").value();
    machine.notes = node.child("Description").child_value();
    if (const auto memory = hardware.child("Memory").attribute("RAMSize"))
        machine.memory = memory.as_uint() * kMebibyte;
    if (hardware) machine.processors = hardware.child("CPU").attribute("count").as_uint(1);
    pugi::xml_node firmware = hardware.child("Firmware");
    if (!firmware) firmware = hardware.child("BIOS").child("Firmware");
    if (hardware) machine.firmware = lower(firmware.attribute("type").value()).starts_with("efi") ? "UEFI" : "BIOS";
    pugi::xml_node tpm = hardware.child("TrustedPlatformModule");
    if (!tpm) tpm = hardware.child("BIOS").child("TrustedPlatformModule");
    if (tpm) machine.tpm = lower(tpm.attribute("type").value()) != "none";
    for (const pugi::xml_node& adapter : hardware.child("Network").children("Adapter"))
        if (adapter.attribute("enabled").as_bool()) machine.adapters.push_back(adapter_of(adapter));
}

void read_machine(const pugi::xml_node& node, const Removable& images, std::size_t most, Machine& machine) {
    machine.uuid = uuid_of(node);
    machine.snapshot_folder = node.attribute("snapshotFolder").value();
    machine.current = Uuid::parse(node.attribute("currentSnapshot").value()).value_or(Uuid{});
    machine.states.emplace_back();
    read_devices(node, images, machine.states.back());
    read_media(node.child("MediaRegistry"), most, machine);
    read_snapshots(node, images, most, machine);
    describe(node, machine.described);
}

std::size_t media_of(const Machine& machine) {
    std::size_t count = machine.media.size() + machine.states.size();
    for (const MachineState& state : machine.states) count += state.attachments.size() + state.removable.size();
    return count;
}

} // namespace

Result<Machine> Machine::parse(const ByteSource& source, const std::filesystem::path& file, const Limits& limits) {
    VDISK_TRY(text, read_settings(source, limits));
    pugi::xml_document document;
    const pugi::xml_parse_result parsed = document.load_buffer(text.data(), text.size());
    const pugi::xml_node root = document.child("VirtualBox");
    if (!root) return fail(ErrorKind::not_this_format, "{}: has no VirtualBox element", source.name());

    Machine machine;
    machine.damage = xml_damage(parsed);
    machine.file = file;
    machine.folder = file.parent_path();
    if (root.child("MachineEncrypted"))
        machine.described.encrypted = "the machine as a whole: its settings can't be read without the password";
    if (const pugi::xml_node node = root.child("Machine"))
        read_machine(node, removable_images(node.child("MediaRegistry")), limits.machine_media, machine);
    read_media(root.child("Global").child("MediaRegistry"), limits.machine_media, machine);
    VDISK_CHECK(check_media(media_of(machine), source.name(), limits));
    for (Medium& medium : machine.media)
        if (medium.location.size() > limits.name_bytes) medium.location.clear();
    return machine;
}

const Medium* Machine::find(const Uuid& wanted) const noexcept {
    const auto found = std::ranges::find(media, wanted, &Medium::uuid);
    return found == media.end() ? nullptr : &*found;
}

} // namespace vdisk::vbox
