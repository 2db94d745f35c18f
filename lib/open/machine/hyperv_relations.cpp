// SPDX-License-Identifier: Apache-2.0
#include "open/machine/hyperv_relations.hpp"

#include "base/parse.hpp"
#include "base/text.hpp"
#include "disk/nearby_files.hpp"
#include "open/machine/machine_file.hpp"
#include "open/registry.hpp"

#include <algorithm>
#include <map>

namespace vdisk::hyperv_machine {
namespace {

constexpr std::string_view kFloppyController = "8f0d2762-0b00-4e04-af4f-19010527cb93";

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

class DriveList {
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

    std::vector<FileIdentity> of(const Drive& drive, const References& gate) {
        std::vector<FileIdentity> chain;
        if (drive.is_removable() || drive.where.paths.empty()) return chain;
        const auto found = gate.find(drive.where, drive.search);
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

class Relations {
public:
    Relations(std::span<const Configuration> all, const OpenContext& context) : all_(all), relations_(all.size()) {
        Chains files(context);
        for (const Configuration& each : all) {
            chains_.emplace_back();
            for (const Drive& drive : each.drives) chains_.back().push_back(files.of(drive, *each.references));
        }
    }

    std::vector<Relation> run() {
        for (std::size_t i = 0; i < all_.size(); ++i)
            if (all_[i].is_machine) learn_machine(i);
        for (std::size_t i = 0; i < all_.size(); ++i)
            if (!all_[i].is_machine) find_machine(i);
        for (std::size_t i = 0; i < all_.size(); ++i)
            if (relations_[i].machine) relations_[i].after = nearest_below(i);
        return std::move(relations_);
    }

private:
    void learn_machine(std::size_t number) {
        relations_[number].machine = number;
        const hyperv::Machine& machine = all_[number].machine;
        for (const std::string& id : {machine.id, machine.logical_id})
            if (!id.empty()) by_id_.emplace(lower(id), number);
        for (const std::string& id : machine.checkpoints)
            if (!id.empty()) by_list_.emplace(lower(id), number);
        for (const std::vector<FileIdentity>& chain : chains_[number])
            for (std::size_t i = 1; i < chain.size(); ++i) by_parent_.emplace(chain[i], number);
    }

    // Of other machines are those that say so, and those of which nothing says that they are of one of these.
    void find_machine(std::size_t number) {
        const hyperv::Machine& checkpoint = all_[number].machine;
        const std::string machine = lower(checkpoint.logical_id);
        const std::string own = lower(checkpoint.id);
        if (const auto listed = by_list_.find(own); listed != by_list_.end()) take(number, listed->second);
        else if (const auto told = by_id_.find(machine); told != by_id_.end()) take(number, told->second);
        else if (machine.empty() || machine == own) find_by_disks(number);
    }

    void find_by_disks(std::size_t number) {
        for (const std::vector<FileIdentity>& chain : chains_[number]) {
            if (chain.empty()) continue;
            const auto found = by_parent_.find(chain.front());
            if (found != by_parent_.end()) return take(number, found->second);
        }
    }

    void take(std::size_t number, std::size_t machine) {
        relations_[number].machine = machine;
        for (const std::vector<FileIdentity>& chain : chains_[number])
            if (!chain.empty()) by_disk_.emplace(chain.front(), number);
    }

    // A checkpoint was made upon the one whose disk is the nearest below its own.
    std::optional<std::size_t> nearest_below(std::size_t number) const {
        std::optional<std::size_t> nearest;
        std::size_t best = ~std::size_t{0};
        for (const std::vector<FileIdentity>& chain : chains_[number])
            for (std::size_t i = 1; i < std::min(chain.size(), best); ++i) {
                const auto [first, last] = by_disk_.equal_range(chain[i]);
                const auto found = std::find_if(first, last, [&](const auto& entry) {
                    return entry.second != number && relations_[entry.second].machine == relations_[number].machine;
                });
                if (found == last) continue;
                best = i;
                nearest = found->second;
            }
        return nearest;
    }

    std::span<const Configuration> all_;
    std::vector<Relation> relations_;
    std::vector<std::vector<std::vector<FileIdentity>>> chains_; ///< of each configuration's drives
    std::map<std::string, std::size_t> by_id_;                   ///< machines by their ids, in small letters
    std::map<std::string, std::size_t> by_list_;                 ///< machines by the checkpoints that they list
    std::map<FileIdentity, std::size_t> by_parent_;              ///< machines by what their disks stand upon
    std::multimap<FileIdentity, std::size_t> by_disk_;           ///< checkpoints by their own disks
};

} // namespace

std::vector<Drive> drives_of(const hyperv::Machine& machine) {
    return DriveList().of(machine);
}

std::vector<Relation> relate(std::span<const Configuration> all, const OpenContext& context) {
    return Relations(all, context).run();
}

} // namespace vdisk::hyperv_machine
