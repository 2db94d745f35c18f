// SPDX-License-Identifier: Apache-2.0
#include "format/libvirt/libvirt.hpp"

#include "base/checked.hpp"
#include "base/parse.hpp"
#include "base/system/path.hpp"
#include "base/text.hpp"
#include "disk/nearby_files.hpp"
#include "disk/xml.hpp"

#include <pugixml.hpp>

#include <algorithm>
#include <array>

namespace fs = std::filesystem;

namespace vdisk::libvirt {
namespace {

std::string attribute(const pugi::xml_node& node, const char* name) {
    return node.attribute(name).value();
}

// libvirt's own files have the domain inside others: a snapshot's, a running machine's.
pugi::xml_node domain_in(const pugi::xml_document& document) {
    for (const char* around : {"domainsnapshot", "domstatus"})
        if (const pugi::xml_node domain = document.child(around).child("domain")) return domain;
    return document.child("domain");
}

std::optional<std::uint64_t> memory_of(const pugi::xml_node& domain) {
    const pugi::xml_node node = domain.child("memory");
    const auto number = parse_number<std::uint64_t>(trimmed(node.child_value()));
    constexpr std::array<std::pair<std::string_view, std::uint64_t>, 12> kUnits{{{"", 1024},
                                                                                 {"b", 1},
                                                                                 {"bytes", 1},
                                                                                 {"kb", 1000},
                                                                                 {"k", 1024},
                                                                                 {"kib", 1024},
                                                                                 {"mb", 1000000},
                                                                                 {"m", 1U << 20},
                                                                                 {"mib", 1U << 20},
                                                                                 {"gb", 1000000000},
                                                                                 {"g", 1U << 30},
                                                                                 {"gib", 1U << 30}}};
    const auto unit =
        std::ranges::find(kUnits, lower(attribute(node, "unit")), &std::pair<std::string_view, std::uint64_t>::first);
    return number && unit != kUnits.end() ? checked_mul(*number, unit->second) : std::nullopt;
}

NetworkAdapter adapter_of(const pugi::xml_node& node) {
    NetworkAdapter adapter{.name = attribute(node.child("target"), "dev"),
                           .model = attribute(node.child("model"), "type"),
                           .mac = mac_address(attribute(node.child("mac"), "address"))};
    for (const char* key : {"network", "bridge", "dev"})
        if (adapter.network.empty()) adapter.network = attribute(node.child("source"), key);
    if (adapter.network.empty()) adapter.network = attribute(node, "type");
    return adapter;
}

void describe(const pugi::xml_node& domain, Machine& machine) {
    machine.name = domain.child("name").child_value();
    machine.id = domain.child("uuid").child_value();
    machine.notes = domain.child("description").child_value();
    machine.memory = memory_of(domain);
    machine.processors = parse_number<std::uint64_t>(trimmed(domain.child("vcpu").child_value()));
    const pugi::xml_node os = domain.child("os");
    const bool uefi = attribute(os, "firmware") == "efi" || attribute(os.child("loader"), "type") == "pflash";
    machine.firmware = uefi ? "UEFI" : "BIOS";
    if (os.child("loader").attribute("secure")) machine.secure_boot = attribute(os.child("loader"), "secure") == "yes";
    machine.tpm = static_cast<bool>(domain.child("devices").child("tpm"));
    if (const std::string type = attribute(domain.child("launchSecurity"), "type"); !type.empty())
        machine.encrypted = fmt::format("memory ({})", printable(type));
    for (const pugi::xml_node& node : domain.child("devices").children("interface"))
        machine.adapters.push_back(adapter_of(node));
}

// "0-0-0-1": controller, bus, target, unit; or of PCI "0000:00:05.0".
std::string port_of(const pugi::xml_node& address) {
    if (attribute(address, "type") == "drive")
        return fmt::format("{}-{}-{}-{}", address.attribute("controller").as_uint(), address.attribute("bus").as_uint(),
                           address.attribute("target").as_uint(), address.attribute("unit").as_uint());
    if (attribute(address, "type") == "pci")
        return fmt::format("{:04x}:{:02x}:{:02x}.{:x}", address.attribute("domain").as_uint(),
                           address.attribute("bus").as_uint(), address.attribute("slot").as_uint(),
                           address.attribute("function").as_uint());
    return "";
}

void set_source(Drive& drive, const std::string& type, const pugi::xml_node& source) {
    if (type == "network") {
        drive.file = fmt::format("{}:{}", attribute(source, "protocol"), attribute(source, "name"));
        drive.problem = fmt::format("'{}' is on a server, and no file", printable(drive.file));
    } else if (type == "volume") {
        const std::string pool = attribute(source, "pool"), volume = attribute(source, "volume");
        drive.file = fmt::format("{}/{}", pool, volume);
        // The pool that every installation has is that folder; of others the name has to do.
        drive.where = host_path(pool == "default" ? "/var/lib/libvirt/images/" + volume : volume);
    } else {
        for (const char* key : {"file", "dev", "dir"})
            if (drive.file.empty()) drive.file = attribute(source, key);
        if (!drive.file.empty()) drive.where = host_path(drive.file);
        if (type == "dir" && !drive.file.empty())
            drive.problem = "a folder of the host was shown to the guest as a disk";
    }
}

Drive::Kind kind_of(const std::string& device) {
    return device == "cdrom" ? Drive::Kind::cdrom : device == "floppy" ? Drive::Kind::floppy : Drive::Kind::disk;
}

Drive drive_of(const pugi::xml_node& node) {
    const pugi::xml_node target = node.child("target");
    Drive drive{.name = attribute(target, "dev"), .kind = kind_of(attribute(node, "device"))};
    drive.controller = attribute(target, "bus");
    drive.port = port_of(node.child("address"));
    drive.format = attribute(node.child("driver"), "type");
    set_source(drive, attribute(node, "type"), node.child("source"));
    if (const std::string serial = node.child("serial").child_value(); !serial.empty())
        drive.facts["serial number"] = printable(serial);
    if (node.child("encryption") || node.child("source").child("encryption")) drive.facts["image encrypted"] = true;
    return drive;
}

// Stops at the first one beyond `most`.
std::vector<Drive> drives_of(const pugi::xml_node& domain, std::size_t most) {
    std::vector<Drive> drives;
    for (const pugi::xml_node& node : domain.child("devices").children("disk")) {
        if (drives.size() > most) break;
        drives.push_back(drive_of(node));
    }
    return drives;
}

// The disks when the snapshot was made: as the domain had them then. What was kept inside a file is there by the
// snapshot's name; where the machine went on in another file, the one that it left is as it was.
MachineState state_of(const pugi::xml_node& snapshot, std::size_t most) {
    MachineState state{.name = snapshot.child("name").child_value(),
                       .parent = snapshot.child("parent").child("name").child_value()};
    if (const auto seconds =
            parse_up_to(std::uint64_t{1} << 40, trimmed(snapshot.child("creationTime").child_value()), 10))
        state.time = utc_time(static_cast<std::int64_t>(*seconds));
    if (const std::string notes = snapshot.child("description").child_value(); !notes.empty())
        state.facts["notes"] = printable(notes);
    if (const std::string memory = attribute(snapshot.child("memory"), "file"); !memory.empty())
        state.facts["state file"] = printable(memory);
    for (Drive& drive : drives_of(snapshot.child("domain"), most)) {
        std::string kept = "internal"; // all disks' snapshots, where nothing is said of each
        for (const pugi::xml_node& disk : snapshot.child("disks").children("disk"))
            if (const std::string name = attribute(disk, "name"); name == drive.name || name == drive.file)
                kept = attribute(disk, "snapshot");
        if (drive.is_removable()) continue;
        if (kept == "internal") drive.snapshot = state.name;
        else if (kept != "external")
            drive.problem = fmt::format("drive '{}' was not part of the snapshot", printable(drive.name));
        state.drives.push_back(std::move(drive));
    }
    return state;
}

// Reads snapshots from files that may be such.
class Snapshots {
public:
    Snapshots(const OpenContext& context, Machine& machine)
        : context_(context), machine_(machine), media_(machine.drives.size()) {}

    // Error: `limit_exceeded`.
    Result<void> run() {
        for (const fs::path& folder : folders()) VDISK_CHECK(read_folder(folder, true));
        if (machine_.checkpoints.empty())
            for (const fs::path& folder : context_.references->folders()) VDISK_CHECK(read_folder(folder, false));
        return ok();
    }

private:
    // The folder that libvirt has, then one of its name beside the file.
    std::vector<fs::path> folders() const {
        const std::string& name = machine_.name;
        if (name.empty() || name.find_first_of(std::string_view("/\0", 2)) != std::string::npos || name == "..")
            return {};
        BackingName libvirts{.paths = {"/var/lib/libvirt/qemu/snapshot/" + name, "snapshot/" + name}};
        std::vector<fs::path> folders;
        for (fs::path& place : context_.references->places(libvirts, {})) {
            std::error_code error;
            if (fs::is_directory(place, error)) folders.push_back(std::move(place));
        }
        if (folders.size() > 1) folders.resize(1);
        return folders;
    }

    Result<void> read_folder(const fs::path& folder, bool is_own) {
        const auto is_xml = [](const fs::path& path) { return NearbyFiles::has_extension(path, {".xml"}); };
        const std::vector<fs::path> files = NearbyFiles::files_in(folder, is_xml);
        if (files.size() > context_.limits.search_files) {
            machine_.problems.push_back(fmt::format("{}: has {} files, the limit is {}", printable(utf8(folder)),
                                                    files.size(), context_.limits.search_files));
            return ok();
        }
        for (const fs::path& path : files) {
            read_file(path, is_own);
            VDISK_CHECK(check_media(media_, printable(utf8(path)), context_.limits));
        }
        return ok();
    }

    void read_file(const fs::path& path, bool is_own) {
        const auto file = context_.references->open_exact(path);
        const auto text =
            file.has_value() ? read_settings(*file.value(), context_.limits) : Result<std::string>(Error(file.error()));
        if (text.has_error()) {
            if (is_own) machine_.problems.push_back(text.error().what);
            return;
        }
        pugi::xml_document document;
        const pugi::xml_parse_result parsed = document.load_buffer(text.value().data(), text.value().size());
        const pugi::xml_node snapshot = document.child("domainsnapshot");
        const std::string uuid = snapshot.child("domain").child("uuid").child_value();
        if (!snapshot || (uuid != machine_.id && !uuid.empty())) return;
        if (!parsed) machine_.problems.push_back(fmt::format("{}: {}", printable(utf8(path)), xml_damage(parsed)));
        machine_.files.push_back(printable(utf8(path)));
        machine_.checkpoints.push_back(state_of(snapshot, context_.limits.machine_media));
        media_ += 1 + machine_.checkpoints.back().drives.size();
        if (trimmed(snapshot.child("active").child_value()) == "1") machine_.parent = machine_.checkpoints.back().name;
    }

    const OpenContext& context_;
    Machine& machine_;
    std::size_t media_; // of the machine and its snapshots so far
};

} // namespace

Match probe(std::span<const std::byte> head, const ByteSource& /*source*/) {
    if (!begins_as_text(head, "<")) return Match::no;
    const std::string_view text = as_text(head);
    for (const std::string_view element : {"<domain", "<domainsnapshot", "<domstatus"}) {
        const std::size_t at = text.find(element);
        if (at == std::string_view::npos) continue;
        const char next = at + element.size() < text.size() ? text[at + element.size()] : '>';
        if (next == '>' || next == ' ' || next == '\n' || next == '\t' || next == '\r') return Match::sure;
    }
    return Match::no;
}

Result<Machine> read(const ByteSource& source, const OpenContext& context) {
    VDISK_TRY(text, read_settings(source, context.limits));
    pugi::xml_document document;
    const pugi::xml_parse_result parsed = document.load_buffer(text.data(), text.size());
    const pugi::xml_node domain = domain_in(document);
    if (!domain) return fail(ErrorKind::not_this_format, "{}: has no domain element", source.name());
    Machine machine;
    if (!parsed) machine.problems.push_back(xml_damage(parsed));
    describe(domain, machine);
    machine.drives = drives_of(domain, context.limits.machine_media);
    VDISK_CHECK(check_media(machine.drives.size(), source.name(), context.limits));
    if (machine.encrypted.empty() &&
        std::ranges::any_of(machine.drives, [](const Drive& drive) { return drive.facts.contains("image encrypted"); }))
        machine.encrypted = "disks";
    VDISK_CHECK(Snapshots(context, machine).run());
    machine.sort_checkpoints();
    return machine;
}

} // namespace vdisk::libvirt
