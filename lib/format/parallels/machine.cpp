// SPDX-License-Identifier: Apache-2.0
#include "format/parallels/machine.hpp"

#include "base/parse.hpp"
#include "base/system/path.hpp"
#include "base/text.hpp"
#include "disk/nearby_files.hpp"
#include "disk/xml.hpp"
#include "format/parallels/bundle.hpp"

#include <pugixml.hpp>

#include <algorithm>
#include <array>

namespace fs = std::filesystem;

namespace vdisk::parallels {
namespace {

constexpr const char* kRoot = "ParallelsVirtualMachine";
constexpr std::string_view kSnapshotsName = "Snapshots.xml";

std::string said(const pugi::xml_node& node, const char* name) {
    return std::string(trimmed(node.child(name).text().get()));
}

bool is_set(const pugi::xml_node& node, const char* name, bool unless_told) {
    const std::string text = said(node, name);
    return text.empty() ? unless_told : text != "0";
}

// A number that stands for one of these words; other ones as they are.
std::string word_for(const std::string& number, std::span<const std::string_view> words) {
    const auto value = parse_number<std::uint32_t>(number);
    return value && *value < words.size() ? std::string(words[*value]) : number;
}

// As Parallels writes it, in whatever case it stands.
std::string same_guid(std::string_view text) {
    const auto uuid = Uuid::parse(trimmed(text));
    return uuid ? braced(*uuid) : std::string(text);
}

// A bundle's descriptor, or an image that is no bundle. One of another bundle is not it, though it has the name.
BackingName place_of_disk(const std::string& name) {
    BackingName place = host_path(name);
    place.paths.insert(place.paths.begin(), fmt::format("{}/{}", place.paths.front(), kDescriptorName));
    return place;
}

std::function<std::string(const FileSource&)> in_bundle(const std::string& name) {
    return [bundle = last_part(name)](const FileSource& file) {
        const fs::path path = file.path();
        const bool own = path.filename() != kDescriptorName || path.parent_path().filename() == bundle;
        return own ? std::string() : fmt::format("{} is of another disk", file.name());
    };
}

class Hardware {
public:
    // Stops at the first drive beyond `most`.
    Hardware(const pugi::xml_node& machine, std::size_t most) : hardware_(machine.child("Hardware")), most_(most) {}

    std::vector<Drive> drives() {
        for (const pugi::xml_node& node : hardware_.children("Hdd")) add(node, Drive::Kind::disk, "hdd");
        for (const pugi::xml_node& node : hardware_.children("CdRom")) add(node, Drive::Kind::cdrom, "cdrom");
        for (const pugi::xml_node& node : hardware_.children("Fdd")) add(node, Drive::Kind::floppy, "fdd");
        return std::move(drives_);
    }

private:
    void add(const pugi::xml_node& node, Drive::Kind kind, std::string_view word) {
        constexpr std::array<std::string_view, 3> kInterfaces{"IDE", "SCSI", "SATA"};
        if (drives_.size() > most_) return;
        if (!is_set(node, "Enabled", true) && kind != Drive::Kind::disk) return;
        Drive drive{.kind = kind};
        drive.controller = word_for(said(node, "InterfaceType"), kInterfaces);
        drive.port = said(node, "StackIndex");
        drive.name = name_of(said(node, "Index"), word);
        if (!is_set(node, "Enabled", true)) drive.facts["enabled"] = false;
        if (is_set(node, "Connected", true)) set_medium(drive, node);
        drives_.push_back(std::move(drive));
    }

    // As prlctl calls them: "hdd0".
    std::string name_of(const std::string& index, std::string_view word) {
        const bool told = parse_number<std::uint32_t>(index).has_value();
        return names_.unique(told ? fmt::format("{}{}", word, index) : "", word, drives_.size());
    }

    static void set_medium(Drive& drive, const pugi::xml_node& node) {
        drive.file = said(node, "SystemName");
        if (drive.file.empty()) return;
        const bool is_image = is_set(node, "EmulatedType", true);
        if (drive.is_removable()) {
            if (is_image) drive.where = host_path(drive.file); // else the host's own
            return;
        }
        if (!is_image) {
            drive.problem = "a physical disk of the host was given to the machine";
            return;
        }
        drive.where = place_of_disk(drive.file);
        drive.search.objection = in_bundle(drive.file);
        drive.format = "parallels";
    }

    pugi::xml_node hardware_;
    std::size_t most_;
    std::vector<Drive> drives_;
    DriveNames names_;
};

NetworkAdapter adapter_of(const pugi::xml_node& node) {
    constexpr std::array<std::string_view, 3> kNetworks{"host-only", "shared", "bridged"};
    constexpr std::array<std::string_view, 4> kModels{"", "RTL8029", "e1000", "virtio"};
    NetworkAdapter adapter{.name = fmt::format("net{}", said(node, "Index")),
                           .model = word_for(said(node, "AdapterType"), kModels),
                           .mac = mac_address(said(node, "MAC")),
                           .network = said(node, "VirtualNetworkID")};
    if (adapter.network.empty()) adapter.network = word_for(said(node, "EmulatedType"), kNetworks);
    return adapter;
}

void describe(const pugi::xml_node& node, std::size_t most, Machine& machine) {
    const pugi::xml_node identity = node.child("Identification"), settings = node.child("Settings"),
                         hardware = node.child("Hardware");
    machine.name = said(identity, "VmName");
    machine.id = trimmed(same_guid(said(identity, "VmUuid")), "{}");
    machine.owner = said(node.child("Security"), "Owner");
    const pugi::xml_node general = settings.child("General");
    machine.notes = said(general, "VmDescription");
    if (const std::string type = said(general, "OsType"); !type.empty())
        machine.system = fmt::format("Parallels' type {}, number {}", type, said(general, "OsNumber"));
    machine.memory = memory_in_mebibytes(said(hardware.child("Memory"), "RAM"));
    machine.processors = parse_number<std::uint64_t>(said(hardware.child("Cpu"), "Number"));
    const pugi::xml_node bios = settings.child("Startup").child("Bios");
    if (bios) machine.firmware = is_set(bios, "EfiEnabled", false) ? "UEFI" : "BIOS";
    if (is_set(settings.child("VmEncryptionInfo"), "Enabled", false)) machine.encrypted = "the machine with its disks";
    // Nothing says whose clock that is.
    if (const std::string created = said(identity, "VmCreationDate"); !created.empty())
        machine.facts["created as written"] = printable(created);
    if (const std::string linked = said(identity, "LinkedVmUuid"); !trimmed(linked, "{}").empty())
        machine.facts["linked clone of"] = printable(same_guid(linked));
    for (const pugi::xml_node& adapter : hardware.children("NetworkAdapter"))
        if (machine.adapters.size() <= most && is_set(adapter, "Enabled", true))
            machine.adapters.push_back(adapter_of(adapter));
}

// The tree of Snapshots.xml; the drives of each as its own settings say, where these were kept.
class Checkpoints {
public:
    Checkpoints(const OpenContext& context, Machine& machine) : context_(context), machine_(machine) {}

    void read() {
        for (const fs::path& folder : context_.references->folders()) {
            std::error_code error;
            if (!fs::exists(folder / kSnapshotsName, error)) continue;
            folder_ = folder;
            if (const auto got = read_tree(); got.has_error()) machine_.problems.push_back(got.error().what);
            return;
        }
    }

private:
    struct Pending {
        pugi::xml_node node;
        std::string parent;
    };

    Result<void> read_tree() {
        VDISK_TRY(file, context_.references->open_exact(folder_ / kSnapshotsName));
        VDISK_TRY(text, read_settings(*file, context_.limits));
        pugi::xml_document document;
        const pugi::xml_parse_result parsed = document.load_buffer(text.data(), text.size());
        machine_.files.emplace_back(file->name());
        if (!parsed) machine_.problems.push_back(fmt::format("{}: {}", file->name(), xml_damage(parsed)));
        std::vector<Pending> pending;
        push(pending, document.child("ParallelsSavedStates"), "");
        while (!pending.empty()) {
            const Pending next = pending.back();
            pending.pop_back();
            const std::string id = same_guid(next.node.attribute("guid").value());
            if (!id.empty()) add(next, id); // the first, of no snapshot, holds all others
            VDISK_CHECK(check_media(drives_, file->name(), context_.limits));
            push(pending, next.node, id);
        }
        return ok();
    }

    static void push(std::vector<Pending>& pending, const pugi::xml_node& node, const std::string& parent) {
        const std::size_t first = pending.size();
        for (const pugi::xml_node& child : node.children("SavedStateItem")) pending.push_back({child, parent});
        std::reverse(pending.begin() + static_cast<std::ptrdiff_t>(first), pending.end());
    }

    void add(const Pending& from, const std::string& id) {
        MachineState state{.id = id, .name = said(from.node, "Name"), .parent = from.parent};
        if (const std::string notes = said(from.node, "Description"); !notes.empty())
            state.facts["notes"] = printable(notes);
        if (const std::string time = said(from.node, "DateTime"); !time.empty())
            state.facts["time as written"] = printable(time);
        if (std::string_view(from.node.attribute("current").value()) == "yes") machine_.parent = id;
        for (Drive& drive : drives_at(from.node.attribute("guid").value())) {
            if (drive.is_removable()) continue;
            drive.snapshot = id;
            state.drives.push_back(std::move(drive));
        }
        drives_ += state.drives.size() + 1;
        machine_.checkpoints.push_back(std::move(state));
    }

    std::vector<Drive> drives_at(const std::string& id) {
        const fs::path path = folder_ / "Snapshots" / (id + ".pvs");
        std::error_code error;
        if (!Uuid::parse(id) || !fs::exists(path, error)) return machine_.drives;
        auto drives = drives_in(path);
        if (drives.has_value()) return std::move(drives).value();
        machine_.problems.push_back(drives.error().what);
        return machine_.drives;
    }

    Result<std::vector<Drive>> drives_in(const fs::path& path) {
        VDISK_TRY(file, context_.references->open_exact(path));
        VDISK_TRY(text, read_settings(*file, context_.limits));
        pugi::xml_document document;
        if (!document.load_buffer(text.data(), text.size()) || !document.child(kRoot))
            return fail(ErrorKind::corrupt, "{}: is no whole XML", file->name());
        machine_.files.emplace_back(file->name());
        return Hardware(document.child(kRoot), context_.limits.machine_media).drives();
    }

    const OpenContext& context_;
    Machine& machine_;
    fs::path folder_;
    std::size_t drives_ = 0; ///< of all checkpoints, and these
};

} // namespace

Match probe_machine(std::span<const std::byte> head, const ByteSource& /*source*/) {
    return is_xml_with(head, "<ParallelsVirtualMachine") ? Match::sure : Match::no;
}

Result<Machine> read_machine(const ByteSource& source, const OpenContext& context) {
    VDISK_TRY(text, read_settings(source, context.limits));
    pugi::xml_document document;
    const pugi::xml_parse_result parsed = document.load_buffer(text.data(), text.size());
    const pugi::xml_node root = document.child(kRoot);
    if (!root) return fail(ErrorKind::not_this_format, "{}: has no {} element", source.name(), kRoot);
    Machine machine;
    if (!parsed) machine.problems.push_back(xml_damage(parsed));
    describe(root, context.limits.machine_media, machine);
    machine.drives = Hardware(root, context.limits.machine_media).drives();
    VDISK_CHECK(check_media(machine.drives.size() + machine.adapters.size(), source.name(), context.limits));
    Checkpoints(context, machine).read();
    machine.sort_checkpoints();
    return machine;
}

} // namespace vdisk::parallels
