// SPDX-License-Identifier: Apache-2.0
#include "format/vmx/vmx.hpp"

#include "base/parse.hpp"
#include "base/system/path.hpp"
#include "base/text.hpp"
#include "disk/nearby_files.hpp"
#include "format/vmx/dictionary.hpp"

#include <algorithm>
#include <array>

namespace fs = std::filesystem;

namespace vdisk::vmx {
namespace {

constexpr std::uint64_t kMebibyte = 1U << 20;
constexpr std::string_view kFileKey = ".filename";
constexpr std::array kBuses{"scsi", "sata", "nvme", "ide", "floppy"};

// "scsi0:1" of "scsi0:1.filename"; nothing of other keys.
std::optional<std::string> drive_named_by(std::string_view key) {
    if (!key.ends_with(kFileKey)) return std::nullopt;
    const std::string_view name = key.substr(0, key.size() - kFileKey.size());
    for (const std::string_view bus : kBuses) {
        const std::string_view place = name.starts_with(bus) ? name.substr(bus.size()) : std::string_view();
        if (!place.empty() && place.find_first_not_of("0123456789:") == std::string_view::npos)
            return std::string(name);
    }
    return std::nullopt;
}

Drive::Kind kind_of(const Dictionary& settings, const std::string& name) {
    if (name.starts_with("floppy")) return Drive::Kind::floppy;
    return lower(settings.text(name + ".devicetype")).find("cdrom") == std::string::npos ? Drive::Kind::disk
                                                                                         : Drive::Kind::cdrom;
}

void set_file(Drive& drive, const std::string& file) {
    drive.file = file;
    if (drive.is_removable() && (file == "auto detect" || file == "emptyBackingString")) drive.file.clear();
    if (drive.file.empty()) return;
    drive.where = datastore_path(file);
    if (drive.kind == Drive::Kind::disk) drive.format = "vmdk";
}

Drive drive_of(const Dictionary& settings, const std::string& name) {
    Drive drive{.name = name, .kind = kind_of(settings, name)};
    const std::size_t colon = name.find(':');
    drive.controller = name.substr(0, colon);
    if (colon != std::string::npos) drive.port = name.substr(colon + 1);
    set_file(drive, settings.text(name + std::string(kFileKey)));
    if (const std::string model = settings.text(drive.controller + ".virtualdev"); !model.empty())
        drive.facts["controller model"] = printable(model);
    if (const std::string mode = settings.text(name + ".mode"); !mode.empty()) drive.facts["mode"] = printable(mode);
    if (settings.text(name + ".devicetype") == "rawDisk") drive.facts["device"] = "physical disk of the host";
    return drive;
}

NetworkAdapter adapter_of(const Dictionary& settings, const std::string& name) {
    NetworkAdapter adapter{.name = name, .model = settings.text(name + ".virtualdev")};
    for (const char* key : {".address", ".generatedaddress"})
        if (adapter.mac.empty()) adapter.mac = mac_address(settings.text(name + key));
    for (const char* key : {".networkname", ".vnet", ".connectiontype"})
        if (adapter.network.empty()) adapter.network = settings.text(name + key);
    return adapter;
}

void describe(const Dictionary& settings, Machine& machine) {
    machine.name = settings.text("displayname");
    machine.id = settings.text("uuid.bios");
    machine.notes = settings.text("annotation");
    machine.system = settings.text("guestos");
    machine.firmware = lower(settings.text("firmware")) == "efi" ? "UEFI" : "BIOS";
    if (const auto memory = settings.number("memsize"); memory && *memory < (std::uint64_t{1} << 40))
        machine.memory = *memory * kMebibyte;
    machine.processors = settings.number("numvcpus");
    if (!machine.processors && settings.find("memsize") != nullptr) machine.processors = 1; // as VMware has it
    machine.secure_boot = settings.truth("uefi.secureboot.enabled");
    machine.tpm = settings.truth("vtpm.present");
    if (settings.find("encryption.data") != nullptr)
        machine.encrypted = "the settings, with which disks the machine has, and perhaps these";
    else if (settings.find("encryption.keysafe") != nullptr) machine.encrypted = "parts of it";
    if (const std::string uuid = settings.text("vc.uuid"); !uuid.empty()) machine.facts["vCenter id"] = printable(uuid);
    constexpr int kMostAdapters = 10;
    for (int i = 0; i < kMostAdapters; ++i)
        if (const std::string name = fmt::format("ethernet{}", i); settings.truth(name + ".present").value_or(false))
            machine.adapters.push_back(adapter_of(settings, name));
}

// A drive whose file stands there but that is not present is one of which the machine keeps the settings.
void add_drives(const Dictionary& settings, Machine& machine) {
    for (const auto& [key, file] : settings.values()) {
        const auto name = drive_named_by(key);
        if (!name) continue;
        Drive drive = drive_of(settings, *name);
        const bool present = settings.truth(*name + ".present").value_or(true);
        if (present) machine.drives.push_back(std::move(drive));
        else if (drive.kind == Drive::Kind::disk) machine.unattached.push_back(std::move(drive));
    }
}

// Microseconds since 1970, in two halves of which the lower one is written as a signed number.
std::string time_of(const Dictionary& database, const std::string& snapshot) {
    const auto half = [&](const std::string& key) -> std::optional<std::uint64_t> {
        const std::string text = database.text(key);
        const bool negative = text.starts_with('-');
        const auto number = parse_up_to(std::uint64_t{1} << 32, std::string_view(text).substr(negative ? 1 : 0), 10);
        if (!number) return std::nullopt;
        return (negative ? (std::uint64_t{1} << 32) - *number : *number) & 0xFFFFFFFFU;
    };
    const auto high = half(snapshot + ".createtimehigh"), low = half(snapshot + ".createtimelow");
    if (!high || !low) return "";
    constexpr std::uint64_t kSecond = 1'000'000;
    return utc_time(static_cast<std::int64_t>((*high << 32 | *low) / kSecond));
}

MachineState state_of(const Dictionary& database, const std::string& snapshot, const Dictionary& settings,
                      const Limits& limits) {
    MachineState state{.id = database.text(snapshot + ".uid"),
                       .name = database.text(snapshot + ".displayname"),
                       .parent = database.text(snapshot + ".parent"),
                       .time = time_of(database, snapshot)};
    if (state.parent == "0") state.parent.clear();
    if (const std::string notes = database.text(snapshot + ".description"); !notes.empty())
        state.facts["notes"] = printable(notes);
    if (const std::string memory = database.text(snapshot + ".filename"); !memory.empty())
        state.facts["state file"] = printable(memory);
    const std::uint64_t disks =
        std::min<std::uint64_t>(database.number(snapshot + ".numdisks").value_or(0), limits.search_files);
    for (std::uint64_t i = 0; i < disks; ++i) {
        const std::string disk = fmt::format("{}.disk{}", snapshot, i);
        const std::string* const file = database.find(disk + std::string(kFileKey));
        if (file == nullptr) continue;
        Drive drive = drive_of(settings, database.text(disk + ".node"));
        drive.kind = Drive::Kind::disk;
        set_file(drive, *file);
        state.drives.push_back(std::move(drive));
    }
    return state;
}

// The machine's snapshots: its own name with another ending; or the only one there, as a .vmx may have been renamed.
std::vector<fs::path> databases(const OpenContext& context) {
    const fs::path file = context.file ? context.file->path() : fs::path();
    std::error_code error;
    for (const fs::path& folder : context.references->folders()) {
        const fs::path own = folder / file.filename().replace_extension(".vmsd");
        if (fs::exists(own, error)) return {own};
    }
    const auto is_database = [](const fs::path& path) { return NearbyFiles::has_extension(path, {".vmsd"}); };
    return NearbyFiles::files_in(context.references->folders().front(), is_database);
}

Result<void> read_snapshots(const fs::path& path, const Dictionary& settings, const OpenContext& context,
                            Machine& machine) {
    VDISK_TRY(file, context.references->open_exact(path));
    VDISK_TRY(text, read_settings(*file, context.limits));
    const Dictionary database = Dictionary::parse(text);
    machine.files.emplace_back(file->name());
    machine.parent = database.text("snapshot.current");
    std::size_t media = 0;
    // Numbers are used again and have gaps.
    for (const auto& [key, uid] : database.values()) {
        constexpr std::string_view kStart = "snapshot", kEnd = ".uid";
        if (!key.starts_with(kStart) || !key.ends_with(kEnd) || key.find('.') + kEnd.size() != key.size()) continue;
        const std::string name = key.substr(0, key.size() - kEnd.size());
        if (!parse_number<std::uint32_t>(std::string_view(name).substr(kStart.size()))) continue;
        machine.checkpoints.push_back(state_of(database, name, settings, context.limits));
        media += 1 + machine.checkpoints.back().drives.size();
        VDISK_CHECK(check_media(media, file->name(), context.limits));
    }
    return ok();
}

} // namespace

BackingName datastore_path(std::string_view name) {
    const std::size_t end = name.find(']');
    if (!name.starts_with('[') || end == std::string_view::npos) return host_path(name);
    BackingName path =
        host_path(fmt::format("/vmfs/volumes/{}/{}", name.substr(1, end - 1), trimmed(name.substr(end + 1))));
    path.windows = true; // no path of this machine
    return path;
}

Match probe(std::span<const std::byte> head, const ByteSource& /*source*/) {
    const std::string_view text = as_text(head);
    if (text.find('\0') != std::string_view::npos) return Match::no;
    const std::string words = lower(text);
    const auto begins_line = [&](std::string_view key) {
        for (std::size_t at = words.find(key); at != std::string::npos; at = words.find(key, at + 1))
            if (at == 0 || words[at - 1] == '\n' || words[at - 1] == '\xBF')
                return trimmed(std::string_view(words).substr(at + key.size(), 8)).starts_with('=');
        return false;
    };
    return begins_line("config.version") || begins_line("virtualhw.version") ? Match::sure : Match::no;
}

Result<Machine> read(const ByteSource& source, const OpenContext& context) {
    VDISK_TRY(text, read_settings(source, context.limits));
    const Dictionary settings = Dictionary::parse(text);
    Machine machine;
    describe(settings, machine);
    add_drives(settings, machine);
    const std::vector<fs::path> found = databases(context);
    if (found.size() > 1)
        machine.problems.push_back(
            fmt::format("{} snapshot databases are here and none has the machine's name: {} and others", found.size(),
                        printable(utf8(found.front()))));
    if (found.size() == 1)
        if (const auto got = read_snapshots(found.front(), settings, context, machine); got.has_error())
            machine.problems.push_back(got.error().what);
    machine.sort_checkpoints();
    return machine;
}

} // namespace vdisk::vmx
