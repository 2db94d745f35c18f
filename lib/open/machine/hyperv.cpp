// SPDX-License-Identifier: Apache-2.0
#include "open/machine/hyperv.hpp"

#include "base/checked.hpp"
#include "base/parse.hpp"
#include "base/text.hpp"
#include "disk/nearby_files.hpp"
#include "hyperv/machine.hpp"
#include "open/machine/machine_file.hpp"
#include "open/registry.hpp"

#include <algorithm>
#include <array>
#include <map>
#include <set>

namespace fs = std::filesystem;

namespace vdisk::hyperv_machine {
namespace {

constexpr std::uint64_t kMebibyte = 1U << 20;
constexpr std::string_view kMagic = "\x14\x20\x28\x01";
constexpr std::string_view kFloppyController = "8f0d2762-0b00-4e04-af4f-19010527cb93";

// The configuration in either form.
Result<hyperv::Machine> describe(const SourcePtr& source, const Limits& limits) {
    std::array<std::byte, kMagic.size()> start{};
    VDISK_TRY(got, source->read_at(0, start));
    if (got == start.size() && as_text(start) == kMagic) {
        VDISK_TRY(storage, hyperv::Storage::open(source));
        return hyperv::describe_machine(*storage);
    }
    VDISK_TRY(text, read_settings(*source, limits));
    return hyperv::describe_xml(text, source->name(), limits);
}

// The digits at the end of "drive1".
std::string number_in(std::string_view name) {
    const std::size_t last = name.find_last_not_of("0123456789");
    return std::string(name.substr(last == std::string_view::npos ? 0 : last + 1));
}

// Hyper-V goes by the end of a disk's name.
std::string format_called(const std::string& file) {
    if (NearbyFiles::has_extension(file, {".vhdx", ".avhdx"})) return "vhdx";
    if (NearbyFiles::has_extension(file, {".vhd", ".avhd"})) return "vhd";
    return "";
}

class Drives {
public:
    std::vector<Drive> of(const hyperv::Machine& machine) {
        std::vector<Drive> drives;
        for (const hyperv::Drive& drive : machine.drives)
            if (drive.type != "NONE") drives.push_back(described(drive));
        return drives;
    }

private:
    // "IDE-0-1": controller and drive; "SCSI-0-1": of several controllers each is a device of its own.
    void place(const hyperv::Drive& from, Drive& drive) {
        const std::size_t slash = from.location.find('/');
        const std::string controller = number_in(std::string_view(from.location).substr(0, slash));
        const std::string slot = number_in(from.location);
        if (from.device == kFloppyController) {
            drive.controller = "floppy";
            drive.port = slot;
        } else if (from.device == hyperv::kIdeController) {
            drive.controller = fmt::format("IDE-{}", controller);
            drive.port = slot;
        } else {
            const auto known = std::ranges::find(devices_, from.device);
            drive.controller = fmt::format("SCSI-{}", known - devices_.begin());
            if (known == devices_.end()) devices_.push_back(from.device);
            drive.port = slot;
        }
        drive.name = fmt::format("{}-{}", drive.controller, drive.port);
    }

    Drive described(const hyperv::Drive& from) {
        Drive drive;
        drive.kind = from.type == "ISO"   ? Drive::Kind::cdrom
                     : from.type == "VFD" ? Drive::Kind::floppy
                                          : Drive::Kind::disk;
        place(from, drive);
        drive.file = from.file;
        if (from.type == "PHYSICAL") {
            if (drive.file.empty()) drive.file = "a disk of the host";
            drive.problem = "a physical disk of the host was given to the machine";
        } else if (!drive.file.empty()) {
            drive.where = host_path(drive.file);
            if (!drive.is_removable()) drive.format = format_called(drive.file);
        }
        return drive;
    }

    std::vector<std::string> devices_;
};

// The files of disks, their parents behind them, as far as they are found. Most checkpoints share most files, so each
// is opened once.
class Chains {
public:
    explicit Chains(const OpenContext& context) : context_(context) {}

    std::vector<FileIdentity> of(const Drive& drive) {
        std::vector<FileIdentity> chain;
        if (drive.is_removable() || drive.where.paths.empty()) return chain;
        const auto found = context_.references->find(drive.where, drive.search);
        FilePtr file = found.has_value() ? found.value().file : nullptr;
        std::optional<FileIdentity> next = file ? std::optional(file->identity()) : std::nullopt;
        while (next && chain.size() < context_.limits.chain_depth && std::ranges::find(chain, *next) == chain.end()) {
            chain.push_back(*next);
            next = parent_of(*next, file);
        }
        return chain;
    }

private:
    // `file` is the one that is asked about, or null where that was opened before; becomes its parent.
    std::optional<FileIdentity> parent_of(const FileIdentity& identity, FilePtr& file) {
        if (const auto known = parents_.find(identity); known != parents_.end()) {
            file = nullptr;
            return known->second;
        }
        if (file) file = find_parent(file);
        const auto parent = file ? std::optional(file->identity()) : std::nullopt;
        parents_.emplace(identity, parent);
        return parent;
    }

    // Null where there is none, or none is found.
    FilePtr find_parent(const FilePtr& file) const {
        const auto format = detect_format(*file, Match::sure);
        if (format.has_error() || format.value() == nullptr || !is_disk(*format.value())) return nullptr;
        const OpenContext context = context_beside(context_, file);
        const auto opened = format.value()->open(file, context);
        if (opened.has_error() || opened.value()->disks().size() != 1) return nullptr;
        const auto layer = opened.value()->layer(0);
        if (layer.has_error() || !layer.value().parent) return nullptr;
        const auto found = layer.value().parent->locate(*context.references);
        return found.has_value() ? found.value().file : nullptr;
    }

    const OpenContext& context_;
    std::map<FileIdentity, std::optional<FileIdentity>> parents_;
};

// A checkpoint with the files of its disks.
struct Checkpoint {
    hyperv::Machine machine;
    MachineState state;
    std::vector<std::vector<FileIdentity>> chains; ///< of each drive
    std::string file;
    bool taken = false;
};

bool same_id(const std::string& left, const std::string& right) {
    return !left.empty() && lower(left) == lower(right);
}

class Reader {
public:
    explicit Reader(const OpenContext& context) : context_(context), files_(context) {}

    Result<Machine> run(const SourcePtr& source) {
        VDISK_TRY(from, describe(source, context_.limits));
        describe_to_all(from);
        machine_.drives = Drives().of(from);
        drives_ = machine_.drives.size();
        if (drives_ > context_.limits.search_files) return std::move(machine_); // machine_file() refuses it
        for (const Drive& drive : machine_.drives) chains_.push_back(files_.of(drive));
        for (const fs::path& folder : folders()) read_folder(folder);
        take(from);
        set_parents();
        for (Checkpoint& checkpoint : checkpoints_)
            if (checkpoint.taken) {
                machine_.files.push_back(checkpoint.file);
                machine_.checkpoints.push_back(std::move(checkpoint.state));
            }
        machine_.sort_checkpoints();
        return std::move(machine_);
    }

private:
    void describe_to_all(const hyperv::Machine& from) {
        machine_.name = from.name;
        machine_.encrypted = Machine::kNotTold;
        machine_.id = from.id;
        machine_.owner = from.owner;
        machine_.notes = from.notes;
        if (from.created) machine_.created = utc_time(*from.created);
        if (from.memory_mib && *from.memory_mib >= 0)
            machine_.memory = checked_mul(static_cast<std::uint64_t>(*from.memory_mib), kMebibyte);
        if (from.processors && *from.processors >= 0)
            machine_.processors = static_cast<std::uint64_t>(*from.processors);
        machine_.secure_boot = from.secure_boot;
        if (from.generation) {
            machine_.firmware = *from.generation == 1 ? "BIOS" : "UEFI";
            machine_.facts["generation"] = *from.generation;
        }
        for (const hyperv::NetworkAdapter& adapter : from.adapters)
            machine_.adapters.push_back(
                {.name = adapter.name, .mac = mac_address(adapter.mac_address), .network = adapter.switch_name});
        for (const hyperv::OtherFile& file : from.files)
            machine_.facts["other files"].push_back(
                Facts{{"what", printable(file.what)}, {"file", printable(file.file)}});
        for (const hyperv::ListedMachine& listed : from.listed)
            machine_.facts["listed"].push_back(Facts{
                {"id", printable(listed.id)}, {"file", printable(listed.file)}, {"checkpoint", listed.checkpoint}});
        for (const std::string& key : from.doubtful) machine_.problems.push_back(fmt::format("in doubt: {}", key));
    }

    // "Snapshots" beside the file's folder, as Hyper-V has it, or beside the file.
    std::vector<fs::path> folders() const {
        std::vector<fs::path> folders;
        std::error_code error;
        for (const fs::path& folder : context_.references->folders())
            for (const fs::path& place : {NearbyFiles::above(folder) / "Snapshots", folder / "Snapshots", folder})
                if (fs::is_directory(place, error)) folders.push_back(place);
        return folders;
    }

    void read_folder(const fs::path& folder) {
        const auto wanted = [](const fs::path& path) { return NearbyFiles::has_extension(path, {".vmcx", ".xml"}); };
        for (const fs::path& path : NearbyFiles::files_in(folder, wanted)) {
            if (std::max(seen_.size(), drives_) > context_.limits.search_files) {
                machine_.problems.push_back(fmt::format("{}: not all configurations are looked at, the limit is {}",
                                                        printable(utf8(folder)), context_.limits.search_files));
                return;
            }
            const auto file = context_.references->open_exact(path);
            if (file.has_error() || !seen_.insert(file.value()->identity()).second) continue;
            if (context_.file && file.value()->identity() == context_.file->identity()) continue;
            auto described = describe(file.value(), context_.limits);
            if (described.has_error() || described.value().type == "Virtual Machines") continue;
            add(std::move(described).value(), file.value()->name());
        }
    }

    void add(hyperv::Machine from, std::string_view file) {
        Checkpoint checkpoint{.state = {.id = from.id, .name = from.name}, .file = std::string(file)};
        if (from.created) checkpoint.state.time = utc_time(*from.created);
        checkpoint.state.drives = Drives().of(from);
        std::erase_if(checkpoint.state.drives, [](const Drive& drive) { return drive.is_removable(); });
        drives_ += checkpoint.state.drives.size();
        if (drives_ > context_.limits.search_files) return;
        for (const Drive& drive : checkpoint.state.drives) checkpoint.chains.push_back(files_.of(drive));
        checkpoint.machine = std::move(from);
        checkpoints_.push_back(std::move(checkpoint));
    }

    // Of other machines are those that say so, and those of which nothing says that they are this one's.
    void take(const hyperv::Machine& from) {
        for (Checkpoint& checkpoint : checkpoints_) {
            const std::string& machine = checkpoint.machine.logical_id;
            const bool listed = std::ranges::any_of(
                from.checkpoints, [&](const std::string& id) { return same_id(id, checkpoint.machine.id); });
            const bool told = same_id(machine, from.id) || same_id(machine, from.logical_id);
            const bool of_another = !machine.empty() && !told && !same_id(machine, checkpoint.machine.id);
            checkpoint.taken = listed || told || (!of_another && is_below(checkpoint, chains_));
        }
    }

    // Whether a disk of the checkpoint is among the parents of these.
    static bool is_below(const Checkpoint& checkpoint, const std::vector<std::vector<FileIdentity>>& chains) {
        return std::ranges::any_of(checkpoint.chains, [&](const std::vector<FileIdentity>& own) {
            return !own.empty() && std::ranges::any_of(chains, [&](const std::vector<FileIdentity>& chain) {
                return chain.size() > 1 &&
                       std::ranges::find(chain.begin() + 1, chain.end(), own.front()) != chain.end();
            });
        });
    }

    // A checkpoint was made upon the one whose disk is the nearest below its own.
    const Checkpoint* nearest_below(const std::vector<std::vector<FileIdentity>>& chains,
                                    const Checkpoint* self) const {
        const Checkpoint* nearest = nullptr;
        std::size_t best = context_.limits.chain_depth + 1;
        for (const Checkpoint& other : checkpoints_)
            for (const std::vector<FileIdentity>& own : other.chains)
                for (const std::vector<FileIdentity>& chain : chains) {
                    if (!other.taken || &other == self || own.empty() || chain.empty()) continue;
                    const auto found = std::ranges::find(chain.begin() + 1, chain.end(), own.front());
                    const auto distance = static_cast<std::size_t>(found - chain.begin());
                    if (found == chain.end() || distance >= best) continue;
                    best = distance;
                    nearest = &other;
                }
        return nearest;
    }

    void set_parents() {
        for (Checkpoint& checkpoint : checkpoints_)
            if (const Checkpoint* const below = nearest_below(checkpoint.chains, &checkpoint))
                checkpoint.state.parent = below->state.key();
        if (const Checkpoint* const below = nearest_below(chains_, nullptr)) machine_.parent = below->state.key();
    }

    const OpenContext& context_;
    Chains files_;
    Machine machine_;
    std::size_t drives_ = 0;                        ///< of all configurations
    std::vector<std::vector<FileIdentity>> chains_; ///< of the machine's drives
    std::vector<Checkpoint> checkpoints_;
    std::set<FileIdentity> seen_;
};

} // namespace

Match probe(std::span<const std::byte> head, const ByteSource& source) {
    if (as_text(head).starts_with(kMagic)) return ends_in(source.name(), ".vmcx") ? Match::sure : Match::no;
    std::string text;
    for (const char c : as_text(head)) // UTF-16 of ASCII without its zeros
        if (c != '\0') text += c;
    const bool marked = text.starts_with("\xFF\xFE") || text.starts_with("\xFE\xFF");
    const std::string_view words = std::string_view(text).substr(marked ? 2 : 0);
    if (!begins_as_text(std::as_bytes(std::span(words)), "<")) return Match::no;
    if (words.find("<configuration") == std::string_view::npos) return Match::no;
    for (const std::string_view telling : {"<VDEVVersion", "<global_id", "<type_id", "<vm_worker"})
        if (words.find(telling) != std::string_view::npos) return Match::sure;
    return Match::no;
}

Result<Machine> read(const SourcePtr& source, const OpenContext& context) {
    return Reader(context).run(source);
}

} // namespace vdisk::hyperv_machine
