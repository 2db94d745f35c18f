// SPDX-License-Identifier: Apache-2.0
#include "open/machine/hyperv.hpp"

#include "base/checked.hpp"
#include "base/parse.hpp"
#include "base/text.hpp"
#include "disk/nearby_files.hpp"
#include "open/machine/hyperv_relations.hpp"

#include <algorithm>
#include <array>
#include <set>

namespace fs = std::filesystem;

namespace vdisk::hyperv_machine {
namespace {

constexpr std::uint64_t kMebibyte = 1U << 20;
constexpr std::string_view kMagic = "\x14\x20\x28\x01";

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

// In the words of Machine::encrypted. What the guest encrypts itself no setting tells.
std::string encrypted_of(const hyperv::Machine& from) {
    if (!from.encrypted_state && !from.shielded) return std::string(Machine::kNotTold);
    if (from.shielded.value_or(false)) return "saved states and migration; the machine is shielded";
    return from.encrypted_state.value_or(false) ? "saved states and migration" : "";
}

class Reader {
public:
    explicit Reader(const OpenContext& context) : context_(context) {}

    Result<Machine> run(const SourcePtr& source) {
        VDISK_TRY(from, describe(source, context_.limits));
        describe_to_all(from);
        machine_.drives = drives_of(from);
        media_ = machine_.drives.size();
        if (media_ > context_.limits.machine_media) return std::move(machine_); // machine_file() refuses it
        add(std::move(from), machine_.drives, source->name());
        for (const fs::path& folder : folders()) read_folder(folder);
        if (not_all_)
            machine_.problems.push_back(fmt::format("not all checkpoints are told: the limit is {} configurations, and "
                                                    "{} of them and their disks",
                                                    context_.limits.search_files, context_.limits.machine_media));
        tell_checkpoints();
        machine_.sort_checkpoints();
        return std::move(machine_);
    }

private:
    void describe_to_all(const hyperv::Machine& from) {
        machine_.name = from.name;
        machine_.tpm = from.tpm;
        machine_.encrypted = encrypted_of(from);
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
            not_all_ = not_all_ || seen_.size() > context_.limits.search_files;
            if (not_all_) return;
            const auto file = context_.references->open_exact(path);
            if (file.has_error() || !seen_.insert(file.value()->identity()).second) continue;
            if (context_.file && file.value()->identity() == context_.file->identity()) continue;
            auto described = describe(file.value(), context_.limits);
            if (described.has_error() || described.value().type == "Virtual Machines") continue;
            add_checkpoint(std::move(described).value(), file.value()->name());
        }
    }

    void add_checkpoint(hyperv::Machine from, std::string_view file) {
        std::vector<Drive> drives = drives_of(from);
        std::erase_if(drives, [](const Drive& drive) { return drive.is_removable(); });
        const std::size_t more = drives.size() + 1;
        not_all_ = not_all_ || media_ + more > context_.limits.machine_media;
        if (not_all_) return;
        media_ += more;
        add(std::move(from), std::move(drives), file);
    }

    // The machine is the first.
    void add(hyperv::Machine from, std::vector<Drive> drives, std::string_view file) {
        all_.push_back({.machine = std::move(from),
                        .drives = std::move(drives),
                        .references = context_.references,
                        .is_machine = all_.empty()});
        files_.emplace_back(file);
    }

    void tell_checkpoints() {
        const std::vector<Relation> relations = relate(all_, context_);
        const auto key_of = [&](std::size_t number) {
            const hyperv::Machine& below = all_[number].machine;
            return MachineState{.id = below.id, .name = below.name}.key();
        };
        if (const auto below = relations.front().after) machine_.parent = key_of(*below);
        for (std::size_t i = 1; i < all_.size(); ++i) {
            if (!relations[i].machine) continue;
            const hyperv::Machine& from = all_[i].machine;
            MachineState state{.id = from.id, .name = from.name};
            if (from.created) state.time = utc_time(*from.created);
            if (const auto below = relations[i].after) state.parent = key_of(*below);
            state.drives = std::move(all_[i].drives);
            machine_.files.push_back(std::move(files_[i]));
            machine_.checkpoints.push_back(std::move(state));
        }
    }

    const OpenContext& context_;
    Machine machine_;
    std::size_t media_ = 0; ///< drives of all configurations, and checkpoints
    bool not_all_ = false;  ///< there are more than the limits let in
    std::vector<Configuration> all_;
    std::vector<std::string> files_; ///< of each configuration
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
