// SPDX-License-Identifier: Apache-2.0
#include "open/machine/machine_file.hpp"

#include "base/system/path.hpp"
#include "base/text.hpp"
#include "image/uniform_layout.hpp"
#include "open/open.hpp"
#include "open/registry.hpp"

#include <algorithm>
#include <map>
#include <tuple>

namespace vdisk {
namespace {

// What was found for a drive.
struct Medium {
    std::string path;
    std::string how;    ///< FoundFile::how
    std::string format; ///< as it will be read
    std::uint64_t size = 0;
    std::uint32_t sector_size = 512;
    std::vector<std::string> doubts{};
    NamedChain chain{};
};

Result<FoundFile> locate(const Drive& drive, const References& gate) {
    if (!drive.problem.empty()) return fail(ErrorKind::unsupported, "{}", drive.problem);
    if (drive.where.paths.empty())
        return fail(ErrorKind::unsupported, "'{}' names no file that could be opened", printable(drive.file));
    VDISK_TRY(found, gate.find(drive.where, drive.search));
    found.format = drive.format;
    found.snapshot = drive.snapshot;
    found.packed = drive.packed;
    found.registry = drive.registry;
    return std::move(found);
}

// What the machine knows of a medium and its files don't bear out.
std::vector<std::string> contradictions(const Drive& drive, const OpenedFile& opened, const Disk& disk) {
    std::vector<std::string> doubts;
    const auto compare = [&](const char* what, std::uint64_t size, const std::optional<std::uint64_t>& told) {
        if (told && *told != size)
            doubts.push_back(fmt::format("the {} '{}' has {} bytes, but its machine's file says {}", what,
                                         printable(drive.file), size, *told));
    };
    compare("file", opened.context.file->size(), drive.file_bytes);
    compare("disk in", disk.size, drive.disk_bytes);
    return doubts;
}

// What holds changes alone must lead to what they were made to: without it they would read as a disk.
Result<void> require_base(const Drive& drive, const OpenedFile& opened, std::size_t index) {
    if (drive.base.empty()) return ok();
    VDISK_TRY(layer, opened.disks->layer(index));
    if (layer.parent) return ok();
    return fail(ErrorKind::unsupported, "{}: holds changes to {}, by its machine's file, but names no parent itself",
                opened.source->name(), printable(drive.base));
}

// `chain_files`: how many names of files may still be told of; goes down.
Result<Medium> look_at(const Drive& drive, const OpenContext& context, std::size_t& chain_files) {
    VDISK_TRY(found, locate(drive, *context.references));
    if (!found.format.empty() && find_format(found.format) == nullptr)
        return fail(ErrorKind::unsupported, "format '{}' is not read here", printable(found.format));
    VDISK_TRY(opened, open_medium(found, context));
    VDISK_TRY(index, select_disk(opened));
    VDISK_CHECK(require_base(drive, opened, index));
    const Disk& disk = opened.disks->disks()[index];
    if (disk.size == 0) return fail(ErrorKind::corrupt, "{}: is empty", found.file->name());
    Medium medium{.path = utf8(found.file->path()),
                  .how = found.how,
                  .format = std::string(opened.disks->format().name),
                  .size = disk.size,
                  .sector_size = disk.sector_size,
                  .doubts = contradictions(drive, opened, disk)};
    if (chain_files > 0) {
        medium.chain = chain_of(std::move(opened), index);
        chain_files -= std::min(chain_files, medium.chain.files.size());
    }
    return medium;
}

// Whether nothing is at any place where the medium may be.
bool is_missing(const Drive& drive, const References& gate) {
    return drive.problem.empty() && !drive.where.paths.empty() && gate.places(drive.where, drive.search).empty();
}

struct Looked {
    Result<Medium> medium;
    bool missing = false; ///< nothing is there
};

// What drives that have the same medium agree in.
using Key = std::tuple<std::string, std::string, std::string, std::string, std::string>;

Key key_of(const Drive& drive) {
    return {drive.file, drive.identifier, drive.format, drive.snapshot, drive.problem};
}

class MachineFile final : public DiskFile {
public:
    MachineFile(const Format& format, Machine machine, std::string_view name, const OpenContext& context)
        : format_(format), name_(name), machine_(std::make_shared<const Machine>(std::move(machine))),
          context_(context), chain_files_(context.limits.search_files) {
        for (const Drive& drive : machine_->drives) add_current(drive);
        for (const MachineState& state : machine_->checkpoints)
            for (const Drive& drive : state.drives) add_earlier(state, drive);
        for (const Drive& drive : machine_->unattached) add_unattached(drive);
    }

    const Format& format() const noexcept override { return format_; }
    const std::vector<Disk>& disks() const noexcept override { return disks_; }
    std::vector<std::string_view> keys() const override {
        return {"parent", "backing", "root", "key-file", "passphrase-file"};
    }
    Result<Layer> layer(std::size_t index) const override;
    std::vector<ParentLink> links() const override;
    Facts facts() const override { return describe(*machine_); }

private:
    void add_current(const Drive& drive);
    void add_earlier(const MachineState& state, const Drive& drive);
    void add_unattached(const Drive& drive);
    void add(Disk disk, const Drive& drive);
    const Looked& medium_of(const Drive& drive);
    ParentLink link_to(const Drive& drive) const;

    const Format& format_;
    std::string name_;                       ///< of the machine's file
    std::shared_ptr<const Machine> machine_; ///< whose drives links point into
    OpenContext context_;
    std::vector<Disk> disks_;
    std::vector<const Drive*> drives_; ///< of the disk with the same index
    std::map<Key, Looked> media_;
    std::size_t chain_files_; ///< while it is made: of how many files chains may still tell
};

// Removable media are told, and are no disks of the machine.
bool holds_disk(const Drive& drive) {
    return !drive.is_removable() && !drive.file.empty();
}

void MachineFile::add_current(const Drive& drive) {
    if (!holds_disk(drive)) return;
    add({.kind = Disk::Kind::device, .name = drive.name, .chosen_by_default = drive.kind == Drive::Kind::disk}, drive);
}

void MachineFile::add_earlier(const MachineState& state, const Drive& drive) {
    if (!holds_disk(drive)) return;
    const bool alone =
        drive.kind == Drive::Kind::disk && 1 == std::ranges::count_if(state.drives, [](const Drive& each) {
                                               return holds_disk(each) && each.kind == Drive::Kind::disk;
                                           });
    const auto at = [&](const std::string& checkpoint) { return fmt::format("{}@{}", drive.name, checkpoint); };
    Disk disk{.kind = Disk::Kind::snapshot, .chosen_by_default = false};
    disk.name = alone ? state.name : at(state.name);
    if (!state.id.empty()) disk.id = alone ? state.id : at(state.id);
    for (const std::string& checkpoint : {state.name, state.id})
        if (!checkpoint.empty()) {
            disk.aliases.push_back(at(checkpoint));
            disk.aliases.push_back(fmt::format("{}/{}", checkpoint, drive.name));
        }
    if (!state.time.empty()) disk.facts["time"] = printable(state.time);
    const auto parent = std::ranges::find(machine_->checkpoints, state.parent, &MachineState::key);
    if (!state.parent.empty() && parent != machine_->checkpoints.end()) disk.facts["after"] = printable(parent->name);
    disk.facts["drive"] = printable(drive.name);
    add(std::move(disk), drive);
}

void MachineFile::add_unattached(const Drive& drive) {
    if (!holds_disk(drive)) return;
    Disk disk{.kind = Disk::Kind::device, .name = drive.name, .chosen_by_default = false};
    disk.facts["attached"] = false;
    add(std::move(disk), drive);
}

void MachineFile::add(Disk disk, const Drive& drive) {
    if (!drive.controller.empty()) disk.facts["controller"] = printable(drive.controller);
    if (!drive.port.empty()) disk.facts["port"] = printable(drive.port);
    if (drive.kind == Drive::Kind::state) disk.facts["holds"] = "state";
    disk.facts["image"] = printable(drive.file);
    if (!drive.snapshot.empty()) disk.facts["image snapshot"] = printable(drive.snapshot);
    disk.facts.update(drive.facts);
    const auto& [medium, missing] = medium_of(drive);
    if (medium.has_value()) {
        disk.facts["format"] = medium.value().format;
        disk.facts["found at"] = printable(medium.value().path);
        if (!medium.value().how.empty()) disk.facts["found"] = medium.value().how;
        if (!medium.value().doubts.empty()) disk.facts["doubts"] = medium.value().doubts;
        for (const NamedChain::File& file : medium.value().chain.files)
            disk.facts["chain"].push_back(Facts{{"file", file.name}, {"format", file.format}});
        if (const std::string& problem = medium.value().chain.problem; !problem.empty())
            disk.facts["chain breaks off"] = problem;
        disk.size = medium.value().size;
        disk.sector_size = medium.value().sector_size;
    } else {
        disk.facts["unreadable"] = medium.error().what;
        if (missing) disk.facts["missing"] = true;
    }
    disks_.push_back(std::move(disk));
    drives_.push_back(&drive);
}

// Checkpoints share most images.
const Looked& MachineFile::medium_of(const Drive& drive) {
    Key key = key_of(drive);
    if (const auto known = media_.find(key); known != media_.end()) return known->second;
    Looked looked{look_at(drive, context_, chain_files_)};
    looked.missing = looked.medium.has_error() && is_missing(drive, *context_.references);
    return media_.emplace(std::move(key), std::move(looked)).first->second;
}

ParentLink MachineFile::link_to(const Drive& drive) const {
    return {.described = fmt::format("image '{}'", printable(drive.file)),
            .format = drive.format,
            .key = "parent",
            .locate = [machine = machine_, &drive](const References& gate) { return locate(drive, gate); }};
}

Result<Layer> MachineFile::layer(std::size_t index) const {
    const Drive& drive = *drives_[index];
    const auto& medium = media_.at(key_of(drive)).medium;
    if (medium.has_error())
        return Error(medium.error()).in(fmt::format("{}: drive '{}'", name_, printable(drive.name)));
    // No bytes of its own: the disk is the image's.
    Layer layer(std::make_shared<const UniformLayout>(Mapping::ask_parent(disks_[index].size)), {});
    layer.parent = link_to(drive);
    for (const std::string& doubt : medium.value().doubts) layer.remarks.push_back(Remark::doubt(doubt));
    return layer;
}

std::vector<ParentLink> MachineFile::links() const {
    std::vector<ParentLink> links;
    for (const Drive* drive : drives_) links.push_back(link_to(*drive));
    for (const Drive& drive : machine_->drives)
        if (drive.is_removable() && !drive.where.paths.empty()) links.push_back(link_to(drive));
    return links;
}

// Media that are no disks are looked for, to say where they are; nothing of them is read.
void look_for_removable(Machine& machine, const References& gate) {
    for (Drive& drive : machine.drives) {
        if (!drive.is_removable() || drive.where.paths.empty()) continue;
        const auto found = locate(drive, gate);
        if (found.has_value()) drive.facts["found at"] = found.value().file->name();
        else drive.facts["missing"] = found.error().what;
    }
}

std::size_t media_of(const Machine& machine) {
    std::size_t count = machine.drives.size() + machine.unattached.size() + machine.checkpoints.size();
    for (const MachineState& state : machine.checkpoints) count += state.drives.size();
    return count;
}

} // namespace

Result<std::shared_ptr<const DiskFile>> machine_file(const Format& format, Machine machine, const SourcePtr& source,
                                                     const OpenContext& context) {
    VDISK_CHECK(check_media(media_of(machine), source->name(), context.limits));
    look_for_removable(machine, *context.references);
    return std::shared_ptr<const DiskFile>(
        std::make_shared<MachineFile>(format, std::move(machine), source->name(), context));
}

OpenContext context_beside(const OpenContext& machine, const FilePtr& file) {
    OpenContext context = machine;
    context.selector = {.path = file->path()};
    context.references = machine.references->beside(file->path());
    context.file = file;
    context.stream = nullptr;
    return context;
}

} // namespace vdisk
