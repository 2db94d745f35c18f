// SPDX-License-Identifier: Apache-2.0
#include "format/vbox/described.hpp"

#include "base/text.hpp"
#include "format/vbox/media.hpp"

#include <algorithm>
#include <set>

namespace vdisk::vbox {
namespace {

class Describer {
public:
    explicit Describer(const Machine& machine) : machine_(machine), described_(machine.described) {}

    vdisk::Machine run() {
        if (!machine_.uuid.is_null()) described_.id = to_string(machine_.uuid);
        if (!machine_.current.is_null()) described_.parent = to_string(machine_.current);
        for (const MachineState& state : machine_.states) add(state);
        for (const Medium& medium : machine_.media)
            if (!attached_.contains(medium.uuid))
                described_.unattached.push_back(drive(medium, to_string(medium.uuid)));
        if (described_.encrypted.empty() && std::ranges::any_of(machine_.media, &Medium::encrypted))
            described_.encrypted = "disks";
        described_.sort_checkpoints();
        return std::move(described_);
    }

private:
    void add(const MachineState& state) {
        std::vector<Drive> drives;
        for (const Attachment& attachment : state.attachments) {
            attached_.insert(attachment.medium);
            drives.push_back(drive(attachment));
        }
        for (const RemovableDrive& removable : state.removable)
            drives.push_back(
                placed({.kind = removable.floppy ? Drive::Kind::floppy : Drive::Kind::cdrom, .file = removable.medium},
                       removable.port));
        if (!state.is_snapshot) {
            described_.drives = std::move(drives);
            return;
        }
        described_.checkpoints.push_back({.id = to_string(state.uuid),
                                          .name = state.name,
                                          .parent = state.parent.is_null() ? "" : to_string(state.parent),
                                          .time = state.time,
                                          .drives = std::move(drives)});
    }

    Drive drive(const Attachment& attachment) const {
        if (const Medium* const medium = machine_.find(attachment.medium)) return drive(*medium, attachment.port);
        const std::string uuid = to_string(attachment.medium);
        Drive unknown{.file = uuid, .identifier = uuid};
        unknown.problem = fmt::format("the registry does not know image {}", uuid);
        unknown.facts["image UUID"] = uuid;
        return placed(std::move(unknown), attachment.port);
    }

    Drive drive(const Medium& medium, const std::string& name) const {
        Drive drive = placed(drive_of(machine_, medium), name);
        drive.facts["image UUID"] = to_string(medium.uuid);
        if (!medium.parent.is_null()) drive.facts["parent UUID"] = to_string(medium.parent);
        return drive;
    }

    // "SATA-0-0": the controller's name, the port, the device; a UUID for what is not attached.
    static Drive placed(Drive drive, const std::string& name) {
        drive.name = name;
        const std::size_t device = name.rfind('-');
        const std::size_t port = device == std::string::npos || device == 0 ? device : name.rfind('-', device - 1);
        if (port == std::string::npos || name == drive.identifier) return drive;
        drive.controller = name.substr(0, port);
        drive.port = name.substr(port + 1);
        return drive;
    }

    const Machine& machine_;
    vdisk::Machine described_;
    std::set<Uuid> attached_;
};

} // namespace

vdisk::Machine described(const Machine& machine) {
    return Describer(machine).run();
}

} // namespace vdisk::vbox
