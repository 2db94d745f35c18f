// SPDX-License-Identifier: Apache-2.0
#include "open/vbox/vbox.hpp"

#include "base/text.hpp"
#include "format/vbox/media.hpp"
#include "image/uniform_layout.hpp"
#include "open/registry.hpp"

#include <algorithm>
#include <map>
#include <set>

namespace vdisk {
namespace vbox {
namespace {

// The size of a medium's disk, by its own header.
Result<std::uint64_t> size_of(const Machine& machine, const Medium& medium, const OpenContext& context) {
    VDISK_TRY(found, open_medium(machine, medium, *context.references));
    const Format* const format = find_format(found.format);
    if (format == nullptr) return fail(ErrorKind::unsupported, "format '{}' is not read here", found.format);
    OpenContext inner = context;
    inner.selector = {};
    inner.file = found.file;
    VDISK_TRY(file, format->open(found.file, inner));
    return file->disks().front().size;
}

class VboxFile final : public DiskFile {
public:
    VboxFile(Machine machine, const OpenContext& context)
        : machine_(std::make_shared<const Machine>(std::move(machine))), context_(context) {
        for (const MachineState& state : machine_->states)
            for (const Attachment& attachment : state.attachments) add(state, attachment);
        for (const Medium& medium : machine_->media)
            if (!attached_.contains(medium.uuid)) add_unattached(medium);
    }

    const Format& format() const noexcept override { return kVboxFormat; }
    const std::vector<Disk>& disks() const noexcept override { return disks_; }
    std::vector<std::string_view> keys() const override { return {"parent", "backing"}; }
    Result<Layer> layer(std::size_t index) const override;
    Facts facts() const override;

private:
    void add(const MachineState& state, const Attachment& attachment);
    void add_unattached(const Medium& medium);
    void add_medium(Disk disk, const Uuid& uuid);
    std::string snapshot_name(const Uuid& uuid) const;

    std::shared_ptr<const Machine> machine_;
    OpenContext context_;
    std::vector<Disk> disks_;
    std::vector<Uuid> media_; ///< of the disk with the same index
    std::set<Uuid> attached_;
    std::map<Uuid, Result<std::uint64_t>> sizes_;
};

void VboxFile::add(const MachineState& state, const Attachment& attachment) {
    attached_.insert(attachment.medium);
    Disk disk{.kind = state.is_snapshot ? Disk::Kind::snapshot : Disk::Kind::device,
              .chosen_by_default = !state.is_snapshot};
    const bool alone = state.attachments.size() == 1;
    if (!state.is_snapshot) {
        disk.name = attachment.port;
    } else {
        disk.name = alone ? state.name : fmt::format("{}/{}", state.name, attachment.port);
        disk.id = alone ? to_string(state.uuid) : fmt::format("{}/{}", to_string(state.uuid), attachment.port);
        disk.facts["port"] = printable(attachment.port);
        disk.facts["time"] = printable(state.time);
        if (!state.parent.is_null()) disk.facts["after"] = snapshot_name(state.parent);
    }
    add_medium(std::move(disk), attachment.medium);
}

void VboxFile::add_unattached(const Medium& medium) {
    Disk disk{.kind = Disk::Kind::device, .name = to_string(medium.uuid), .chosen_by_default = false};
    disk.facts["attached"] = false;
    add_medium(std::move(disk), medium.uuid);
}

void VboxFile::add_medium(Disk disk, const Uuid& uuid) {
    const Medium* const medium = machine_->find(uuid);
    disk.facts["image UUID"] = to_string(uuid);
    if (medium == nullptr) {
        disk.facts["unreadable"] = "the registry does not know the image";
    } else {
        disk.facts["image"] = printable(medium->location);
        if (!medium->parent.is_null()) disk.facts["parent UUID"] = to_string(medium->parent);
        const auto size = sizes_.try_emplace(uuid, size_of(*machine_, *medium, context_)).first;
        if (size->second.has_value()) disk.size = size->second.value();
        else disk.facts["unreadable"] = size->second.error().what;
    }
    disks_.push_back(std::move(disk));
    media_.push_back(uuid);
}

std::string VboxFile::snapshot_name(const Uuid& uuid) const {
    const auto found = std::ranges::find(machine_->states, uuid, &MachineState::uuid);
    return found == machine_->states.end() ? to_string(uuid) : printable(found->name);
}

Result<Layer> VboxFile::layer(std::size_t index) const {
    const Medium* const medium = machine_->find(media_[index]);
    if (medium == nullptr)
        return fail(ErrorKind::corrupt, "{}: the registry does not know image {}", printable(machine_->file.native()),
                    to_string(media_[index]));
    if (const auto& size = sizes_.at(medium->uuid); size.has_error()) return Error(size.error());
    // No bytes of its own: the disk is the medium's.
    Layer layer(std::make_shared<const UniformLayout>(Mapping::ask_parent(disks_[index].size)), {});
    layer.parent = ParentLink{.described = fmt::format("image {}", to_string(medium->uuid)),
                              .locate = [machine = machine_, medium](const References& references) {
                                  return open_medium(*machine, *medium, references);
                              }};
    return layer;
}

Facts VboxFile::facts() const {
    Facts facts = Facts::object();
    facts["machine"] = printable(machine_->name);
    facts["machine UUID"] = to_string(machine_->uuid);
    if (!machine_->damage.empty()) facts["damage"] = machine_->damage;
    return facts;
}

Match probe(std::span<const std::byte> head, const ByteSource& /*source*/) {
    return is_xml_with(head, "<VirtualBox") ? Match::sure : Match::no;
}

Result<std::shared_ptr<const DiskFile>> open(SourcePtr source, const OpenContext& context) {
    const std::filesystem::path path = context.file ? context.file->path() : std::filesystem::path(source->name());
    VDISK_TRY(machine, Machine::parse(*source, path, context.limits));
    std::size_t disks = machine.media.size();
    for (const MachineState& state : machine.states) disks += state.attachments.size();
    if (disks > context.limits.search_files)
        return fail(ErrorKind::limit_exceeded, "{}: names {} disks, the limit is {}", source->name(), disks,
                    context.limits.search_files);
    auto file = std::make_shared<VboxFile>(std::move(machine), context);
    if (file->disks().empty())
        return fail(ErrorKind::corrupt, "{}: names no disk{}", source->name(),
                    file->facts().contains("damage") ? fmt::format(": {}", *file->facts()["damage"].text()) : "");
    return std::shared_ptr<const DiskFile>(std::move(file));
}

} // namespace
} // namespace vbox

const Format kVboxFormat{"vbox", "VirtualBox machine (.vbox), by the disks that it names", vbox::probe, vbox::open};

} // namespace vdisk
