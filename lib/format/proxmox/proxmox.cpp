// SPDX-License-Identifier: Apache-2.0
#include "format/proxmox/proxmox.hpp"

#include "base/parse.hpp"
#include "base/system/path.hpp"
#include "base/text.hpp"
#include "disk/nearby_files.hpp"
#include "format/proxmox/storage.hpp"

#include <algorithm>
#include <array>
#include <map>

namespace fs = std::filesystem;

namespace vdisk::proxmox {
namespace {

constexpr std::string_view kDigits = "0123456789";
constexpr std::array kDiskKeys{"ide", "sata", "scsi", "virtio", "efidisk", "tpmstate", "unused"};

// One section: the settings now, or those of a snapshot.
struct Section {
    std::string name; ///< empty: now
    std::vector<std::pair<std::string, std::string>> lines{};

    [[nodiscard]] std::string text(std::string_view key) const {
        const auto found = std::ranges::find(lines, key, &std::pair<std::string, std::string>::first);
        return found == lines.end() ? "" : found->second;
    }
};

// "scsi" of "scsi0"; empty if it is no drive.
std::string_view bus_of(std::string_view key) {
    const std::string_view bus = key.substr(0, key.find_first_of(kDigits));
    const bool numbered =
        bus.size() < key.size() && key.find_first_not_of(kDigits, bus.size()) == std::string_view::npos;
    return numbered && std::ranges::find(kDiskKeys, bus) != kDiskKeys.end() ? bus : std::string_view();
}

std::vector<Section> parse(std::string_view text, std::string& notes) {
    std::vector<Section> sections(1);
    while (!text.empty()) {
        const std::string_view line = trimmed(take_line(text));
        if (line.starts_with('#') && sections.size() == 1)
            notes += fmt::format("{}{}", notes.empty() ? "" : "\n", percent_decoded(trimmed(line.substr(1))));
        if (line.empty() || line.starts_with('#')) continue;
        const std::size_t colon = line.find(':');
        if (line.starts_with('[') && line.ends_with(']'))
            sections.push_back({.name = std::string(trimmed(line.substr(1, line.size() - 2)))});
        else if (colon != std::string_view::npos)
            sections.back().lines.emplace_back(line.substr(0, colon), trimmed(line.substr(colon + 1)));
    }
    return sections;
}

// "size" of "local:100/vm-100-disk-0.qcow2,size=8G".
std::string option(std::string_view value, std::string_view name) {
    while (!value.empty()) {
        const std::string_view part = value.substr(0, value.find(','));
        value.remove_prefix(std::min(part.size() + 1, value.size()));
        const std::size_t equals = part.find('=');
        if (equals != std::string_view::npos && part.substr(0, equals) == name)
            return std::string(part.substr(equals + 1));
    }
    return "";
}

// The volume comes first, or behind "file=".
std::string volume_of(std::string_view value) {
    const std::string_view first = value.substr(0, value.find(','));
    if (first.find('=') == std::string_view::npos) return std::string(first);
    return option(value, first.starts_with("volume=") ? "volume" : "file");
}

Drive::Kind kind_of(std::string_view bus, std::string_view value) {
    if (bus == "efidisk" || bus == "tpmstate") return Drive::Kind::state;
    return option(value, "media") == "cdrom" ? Drive::Kind::cdrom : Drive::Kind::disk;
}

Drive drive_of(const std::string& key, const std::string& value, const Section& section, const Storages& storages) {
    const std::string_view bus = bus_of(key);
    Drive drive{.name = key, .kind = kind_of(bus, value)};
    drive.controller = bus;
    drive.port = key.substr(bus.size());
    const std::string volume = volume_of(value);
    if (volume == "none" || volume.empty()) return drive;
    drive.file = volume;
    if (volume == "cdrom") return drive; // the host's own
    // A medium in a drive is not part of a snapshot.
    Place place = place_of(storages, volume, drive.is_removable() ? "" : section.name);
    drive.where = std::move(place.where);
    drive.format = drive.is_removable() ? "" : std::move(place.format);
    drive.snapshot = std::move(place.snapshot);
    drive.problem = std::move(place.problem);
    if (const std::string size = option(value, "size"); !size.empty()) drive.facts["stated size"] = printable(size);
    return drive;
}

// Stops at the first one beyond `most`.
std::vector<Drive> drives_of(const Section& section, const Storages& storages, bool unused, std::size_t most) {
    std::vector<Drive> drives;
    for (const auto& [key, value] : section.lines) {
        if (drives.size() > most) break;
        if (const std::string_view bus = bus_of(key); !bus.empty() && (bus == "unused") == unused)
            drives.push_back(drive_of(key, value, section, storages));
    }
    return drives;
}

// "virtio=BC:24:11:12:34:56,bridge=vmbr0".
NetworkAdapter adapter_of(const std::string& key, std::string_view value) {
    NetworkAdapter adapter{.name = key, .network = option(value, "bridge")};
    const std::string_view first = value.substr(0, value.find(','));
    const std::size_t equals = first.find('=');
    adapter.model = first.substr(0, equals);
    adapter.mac = mac_address(equals == std::string_view::npos ? option(value, "macaddr") : first.substr(equals + 1));
    return adapter;
}

void describe(const Section& now, const fs::path& file, Machine& machine) {
    machine.name = now.text("name");
    machine.encrypted = Machine::kNotTold;
    if (const std::string stem = utf8(file.stem()); parse_number<std::uint32_t>(stem)) machine.id = stem;
    machine.system = now.text("ostype");
    machine.firmware = now.text("bios") == "ovmf" ? "UEFI" : "BIOS";
    const std::string memory = now.text("memory");
    machine.memory = memory_in_mebibytes(memory.find('=') == std::string::npos ? memory : option(memory, "current"));
    const auto count = [&](const char* key) { return parse_up_to(1U << 16, now.text(key), 10).value_or(1); };
    machine.processors = count("sockets") * count("cores");
    if (const std::string efi = now.text("efidisk0"); !efi.empty()) // the guest may have turned it off
        machine.facts["made for secure boot"] = option(efi, "pre-enrolled-keys") == "1";
    machine.tpm = !now.text("tpmstate0").empty();
    if (const std::string smbios = option(now.text("smbios1"), "uuid"); !smbios.empty())
        machine.facts["SMBIOS id"] = printable(smbios);
    if (const std::string created = option(now.text("meta"), "ctime"); !created.empty())
        if (const auto seconds = parse_up_to(std::uint64_t{1} << 40, created, 10))
            machine.created = utc_time(static_cast<std::int64_t>(*seconds));
    for (const auto& [key, value] : now.lines)
        if (key.starts_with("net") && parse_number<std::uint32_t>(std::string_view(key).substr(3)))
            machine.adapters.push_back(adapter_of(key, value));
}

MachineState state_of(const Section& section, const Storages& storages, std::size_t most) {
    MachineState state{.name = section.name, .parent = section.text("parent")};
    if (const auto seconds = parse_up_to(std::uint64_t{1} << 40, section.text("snaptime"), 10))
        state.time = utc_time(static_cast<std::int64_t>(*seconds));
    if (const std::string memory = section.text("vmstate"); !memory.empty())
        state.facts["state file"] = printable(memory);
    state.drives = drives_of(section, storages, false, most);
    return state;
}

// A configuration is at /etc/pve/qemu-server or /etc/pve/nodes/NODE/qemu-server.
Result<FoundFile> find_storages(const References& gate) {
    constexpr int kFolders = 4;
    NameSearch search;
    fs::path folder = gate.folders().front();
    for (int i = 0; i < kFolders; ++i, folder = NearbyFiles::above(folder)) search.folders.push_back(folder);
    const BackingName below_root{.paths = {"storage.cfg", "/etc/pve/storage.cfg"}, .windows = true};
    return gate.find(below_root, search);
}

Storages read_storages(const OpenContext& context, Machine& machine) {
    const auto found = find_storages(*context.references);
    if (found.has_error()) {
        machine.facts["storages"] = "storage.cfg was not found: those of an installation are taken";
        return parse_storages("");
    }
    const auto text = read_settings(*found.value().file, context.limits);
    if (text.has_error()) machine.problems.push_back(text.error().what);
    machine.files.emplace_back(found.value().file->name());
    return parse_storages(text.has_value() ? std::string_view(text.value()) : "");
}

// "key: value", a comment, or a section's head.
bool is_line(std::string_view line) {
    if (line.empty() || line.starts_with('#')) return true;
    if (line.starts_with('[')) return line.ends_with(']');
    const std::size_t colon = line.find(':');
    if (colon == std::string_view::npos || colon == 0) return false;
    return std::ranges::all_of(line.substr(0, colon), [](char c) {
        return ('a' <= c && c <= 'z') || ('0' <= c && c <= '9') || c == '_' || c == '-';
    });
}

} // namespace

// Every line has the form, and some of them name what a machine of QEMU has.
Match probe(std::span<const std::byte> head, const ByteSource& /*source*/) {
    constexpr std::array kTelling{"cores", "sockets", "memory",  "ostype", "bootdisk",
                                  "boot",  "smbios1", "vmgenid", "scsihw"};
    constexpr int kEnough = 2;
    std::string_view text = as_text(head);
    int telling = 0;
    bool drive = false;
    while (!text.empty()) {
        const bool goes_on = text.find('\n') == std::string_view::npos && head.size() == FirstLook::kHeadBytes;
        if (goes_on) break;
        const std::string_view line = trimmed(take_line(text));
        if (!is_line(line)) return Match::no;
        const std::string_view key = line.substr(0, line.find(':'));
        if (std::ranges::find(kTelling, key) != kTelling.end()) ++telling;
        drive = drive || !bus_of(key).empty();
    }
    return telling >= kEnough || (drive && telling > 0) ? Match::sure : Match::no;
}

Result<Machine> machine_of(std::string_view text, const fs::path& file, const Storages& storages,
                           const Limits& limits) {
    Machine machine;
    const std::vector<Section> sections = parse(text, machine.notes);
    describe(sections.front(), file, machine);
    const std::size_t most = limits.machine_media;
    machine.drives = drives_of(sections.front(), storages, false, most);
    machine.unattached = drives_of(sections.front(), storages, true, most);
    machine.parent = sections.front().text("parent");
    const std::string name = printable(utf8(file));
    std::size_t media = machine.drives.size() + machine.unattached.size();
    VDISK_CHECK(check_media(media, name, limits));
    for (const Section& section : sections) {
        // What is not in force yet, and what belongs to the machine's templates.
        if (section.name.empty() || section.name == "PENDING" || section.name.find(':') != std::string::npos) continue;
        machine.checkpoints.push_back(state_of(section, storages, most));
        media += 1 + machine.checkpoints.back().drives.size();
        VDISK_CHECK(check_media(media, name, limits));
    }
    machine.sort_checkpoints();
    return machine;
}

Result<Machine> read(const ByteSource& source, const OpenContext& context) {
    VDISK_TRY(text, read_settings(source, context.limits));
    Machine found;
    const Storages storages = read_storages(context, found);
    VDISK_TRY(machine, machine_of(text, context.file ? context.file->path() : fs::path(std::string(source.name())),
                                  storages, context.limits));
    machine.facts.update(found.facts);
    machine.files = std::move(found.files);
    machine.problems.insert(machine.problems.begin(), found.problems.begin(), found.problems.end());
    return std::move(machine);
}

} // namespace vdisk::proxmox
