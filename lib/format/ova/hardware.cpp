// SPDX-License-Identifier: Apache-2.0
#include "format/ova/hardware.hpp"

#include "base/parse.hpp"
#include "base/text.hpp"
#include "format/ova/elements.hpp"

#include <algorithm>
#include <array>
#include <set>

namespace vdisk::ova {
namespace {

// ResourceType of an item (CIM_ResourceAllocationSettingData).
enum class Resource : std::uint8_t {
    processor = 3,
    memory = 4,
    ide = 5,
    scsi = 6,
    ethernet = 10,
    floppy = 14,
    cd = 15,
    dvd = 16,
    disk = 17,
    other_storage = 20,
    floppy_controller = 1, // VirtualBox's, of vendor type
};

std::optional<Resource> resource_of(const pugi::xml_node& item) {
    constexpr std::array kKnown{
        Resource::processor,        Resource::memory, Resource::ide, Resource::scsi, Resource::ethernet,
        Resource::floppy,           Resource::cd,     Resource::dvd, Resource::disk, Resource::other_storage,
        Resource::floppy_controller};
    const auto number = parse_number<std::uint8_t>(child_text(item, "ResourceType"));
    if (!number) return std::nullopt;
    const auto known =
        std::ranges::find(kKnown, *number, [](Resource each) { return static_cast<std::uint8_t>(each); });
    return known == kKnown.end() ? std::nullopt : std::optional(*known);
}

// As in VMware's names of drives; empty for what is no controller of drives.
std::string_view bus_of(Resource resource, std::string_view subtype) {
    switch (resource) {
    case Resource::ide: return "ide";
    case Resource::scsi: return "scsi";
    case Resource::other_storage: return lower(subtype).find("nvme") == std::string::npos ? "sata" : "nvme";
    case Resource::floppy_controller: return "floppy";
    case Resource::processor:
    case Resource::memory:
    case Resource::ethernet:
    case Resource::floppy:
    case Resource::cd:
    case Resource::dvd:
    case Resource::disk: break;
    }
    return "";
}

// "disk/vmdisk1" of "ovf:/disk/vmdisk1".
std::string_view resource_path(std::string_view text) {
    constexpr std::string_view kScheme = "ovf:";
    if (text.starts_with(kScheme)) text.remove_prefix(kScheme.size());
    while (text.starts_with('/')) text.remove_prefix(1);
    return text;
}

std::string without_braces(std::string_view text) {
    return std::string(trimmed(text, "{}"));
}

class System {
public:
    System(const std::vector<OvfDisk>& disks, const std::map<std::string, pugi::xml_node>& files, std::size_t most,
           Machine& machine)
        : disks_(disks), files_(files), most_(most), machine_(machine) {
        for (const OvfDisk& disk : disks) {
            by_name_.emplace("disk/" + disk.id, &disk);
            by_name_.emplace(disk.id, &disk); // as some writers have it
            by_name_.emplace(disk.file_ref, &disk);
        }
    }

    void read(const pugi::xml_node& system) {
        describe(system);
        const pugi::xml_node hardware = child(system, "VirtualHardwareSection");
        describe_hardware(hardware);
        describe_for_virtualbox(child(system, "Machine"));
        const std::vector<pugi::xml_node> items = items_of(hardware);
        for (const pugi::xml_node& item : items) read_controller(item);
        for (const pugi::xml_node& item : items) read_item(item);
        for (const OvfDisk& disk : disks_)
            if (!attached_.contains(disk.id)) add_unattached(disk);
    }

private:
    void describe(const pugi::xml_node& system) {
        machine_.name = child_text(system, "Name");
        if (machine_.name.empty()) machine_.name = attribute(system, "id");
        machine_.id = attribute(system, "id");
        const pugi::xml_node os = child(system, "OperatingSystemSection");
        machine_.system = child_text(os, "Description");
        if (machine_.system.empty()) machine_.system = attribute(os, "osType");
        machine_.notes = child_text(child(system, "AnnotationSection"), "Annotation");
        const pugi::xml_node product = child(system, "ProductSection");
        for (const char* key : {"Product", "Vendor", "Version"})
            if (const std::string text = child_text(product, key); !text.empty())
                machine_.facts[lower(key)] = printable(text);
    }

    void describe_hardware(const pugi::xml_node& hardware) {
        if (const std::string type = child_text(child(hardware, "System"), "VirtualSystemType"); !type.empty())
            machine_.facts["virtual system type"] = printable(type);
        for (const pugi::xml_node& config : children(hardware, "Config")) { // VMware's
            const std::string key = attribute(config, "key"), value = attribute(config, "value");
            if (key == "firmware") machine_.firmware = value == "efi" ? "UEFI" : "BIOS";
            if (key == "bootOptions.efiSecureBootEnabled") machine_.secure_boot = value == "true";
        }
    }

    // VirtualBox puts the settings of a .vbox behind the standard's own.
    void describe_for_virtualbox(const pugi::xml_node& settings) {
        if (!settings) return;
        if (const std::string uuid = without_braces(attribute(settings, "uuid")); !uuid.empty()) machine_.id = uuid;
        const pugi::xml_node hardware = child(settings, "Hardware");
        pugi::xml_node firmware = child(hardware, "Firmware");
        if (!firmware) firmware = child(child(hardware, "BIOS"), "Firmware");
        machine_.firmware = lower(attribute(firmware, "type")).starts_with("efi") ? "UEFI" : "BIOS";
    }

    // Of an item that comes several times, as ranges or for several configurations, the one that holds without any.
    static std::vector<pugi::xml_node> items_of(const pugi::xml_node& hardware) {
        std::vector<pugi::xml_node> items;
        std::set<std::string> ids;
        for (const bool is_for_one : {false, true})
            for (const pugi::xml_node& item : hardware.children()) {
                const std::string_view name = local_name(item.name());
                if (name != "Item" && name != "StorageItem" && name != "EthernetPortItem") continue;
                if (!attribute(item, "bound").empty() || is_for_one == attribute(item, "configuration").empty())
                    continue;
                const std::string id = child_text(item, "InstanceID");
                if (id.empty() || ids.insert(id).second) items.push_back(item);
            }
        return items;
    }

    void read_controller(const pugi::xml_node& item) {
        const auto resource = resource_of(item);
        const std::string subtype = child_text(item, "ResourceSubType");
        const std::string bus(resource ? bus_of(*resource, subtype) : "");
        if (bus.empty()) return;
        auto number = parse_up_to(kMostNumber, child_text(item, "Address"), 10).value_or(0);
        for (std::uint64_t& next = next_[bus]; !numbers_.insert({bus, number}).second; ++next) number = next;
        controllers_[child_text(item, "InstanceID")] = {.name = fmt::format("{}{}", bus, number), .model = subtype};
    }

    void read_item(const pugi::xml_node& item) {
        const auto resource = resource_of(item);
        if (!resource) return;
        switch (*resource) {
        case Resource::processor:
            machine_.processors = parse_number<std::uint64_t>(child_text(item, "VirtualQuantity"));
            break;
        case Resource::memory:
            machine_.memory = bytes_of(child_text(item, "VirtualQuantity"), child_text(item, "AllocationUnits"));
            break;
        case Resource::ethernet:
            if (machine_.adapters.size() > most_) return;
            machine_.adapters.push_back({.name = child_text(item, "ElementName"),
                                         .model = child_text(item, "ResourceSubType"),
                                         .mac = mac_address(child_text(item, "Address")),
                                         .network = child_text(item, "Connection")});
            break;
        case Resource::floppy: add_drive(item, Drive::Kind::floppy); break;
        case Resource::cd:
        case Resource::dvd: add_drive(item, Drive::Kind::cdrom); break;
        case Resource::disk: add_drive(item, Drive::Kind::disk); break;
        case Resource::ide:
        case Resource::scsi:
        case Resource::other_storage:
        case Resource::floppy_controller: break;
        }
    }

    void add_drive(const pugi::xml_node& item, Drive::Kind kind) {
        if (machine_.drives.size() > most_) return;
        Drive drive{.kind = kind};
        const auto controller = controllers_.find(child_text(item, "Parent"));
        if (controller != controllers_.end()) {
            drive.controller = controller->second.name;
            if (!controller->second.model.empty())
                drive.facts["controller model"] = printable(controller->second.model);
        }
        drive.port = child_text(item, "AddressOnParent");
        set_name(drive);
        if (const std::string label = child_text(item, "ElementName"); !label.empty())
            drive.facts["label"] = printable(label);
        set_medium(drive, std::string(resource_path(child_text(item, "HostResource"))));
        machine_.drives.push_back(std::move(drive));
    }

    // "scsi0:1"; by its number among all where it does not say where it hangs, or where another one hangs there.
    void set_name(Drive& drive) {
        const bool placed = !drive.controller.empty() && parse_number<std::uint32_t>(drive.port);
        drive.name = unique_name(placed ? fmt::format("{}:{}", drive.controller, drive.port) : "");
    }

    std::string unique_name(std::string wanted) { return names_.unique(std::move(wanted), "drive", names_.size() + 1); }

    void set_medium(Drive& drive, const std::string& resource) {
        if (resource.empty()) return;
        if (const auto disk = by_name_.find(resource); disk != by_name_.end()) {
            attached_.insert(disk->second->id);
            take(*disk->second, drive);
        } else if (const auto file = files_.find(resource.substr(resource.find('/') + 1)); file != files_.end()) {
            drive.file = attribute(file->second, "href");
        } else {
            drive.file = resource;
            drive.problem = fmt::format("the descriptor has no '{}'", printable(resource));
        }
    }

    static void take(const OvfDisk& disk, Drive& drive) {
        drive.identifier = disk.id;
        drive.facts["disk id"] = printable(disk.id);
        if (disk.file_ref.empty()) {
            drive.facts["new disk without content"] = true;
            return;
        }
        drive.file = disk.href.empty() ? disk.file_ref : disk.href;
        if (disk.href.empty()) drive.problem = fmt::format("the descriptor has no file '{}'", printable(disk.file_ref));
    }

    void add_unattached(const OvfDisk& disk) {
        Drive drive{.name = unique_name(disk.id)};
        take(disk, drive);
        machine_.unattached.push_back(std::move(drive));
    }

    struct Controller {
        std::string name;
        std::string model;
    };
    static constexpr std::uint64_t kMostNumber = 1000;

    const std::vector<OvfDisk>& disks_;
    const std::map<std::string, pugi::xml_node>& files_;
    std::size_t most_; ///< drives, and adapters
    Machine& machine_;
    std::map<std::string, Controller> controllers_; ///< by InstanceID
    std::map<std::string, const OvfDisk*> by_name_;
    std::set<std::pair<std::string, std::uint64_t>> numbers_; ///< of controllers, by their bus
    std::map<std::string, std::uint64_t> next_;
    DriveNames names_;
    std::set<std::string> attached_; ///< diskIds
};

} // namespace

void describe_system(const pugi::xml_node& system, const std::vector<OvfDisk>& disks,
                     const std::map<std::string, pugi::xml_node>& files, std::size_t most, Machine& machine) {
    System(disks, files, most, machine).read(system);
}

} // namespace vdisk::ova
