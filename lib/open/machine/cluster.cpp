// SPDX-License-Identifier: Apache-2.0
#include "open/machine/cluster.hpp"

#include "base/system/path.hpp"
#include "base/text.hpp"
#include "format/proxmox/pmxcfs.hpp"
#include "format/proxmox/proxmox.hpp"
#include "open/machine/machine_file.hpp"
#include "open/machine/machines.hpp"

#include <algorithm>
#include <map>

namespace vdisk::cluster {
namespace {

using proxmox::Cluster;
using proxmox::ClusterFile;

std::string id_of(const ClusterFile& file) {
    return utf8(std::filesystem::path(file.path).stem());
}

class ClusterDisks final : public DiskFile {
public:
    ClusterDisks(Cluster cluster, const OpenContext& context) : cluster_(std::move(cluster)), context_(context) {
        for (const ClusterFile& file : cluster_.machines) ++counts_[id_of(file)];
    }

    Result<void> read(const SourcePtr& source);

    const Format& format() const noexcept override { return kPmxcfsFormat; }
    const std::vector<Disk>& disks() const noexcept override { return disks_; }
    std::vector<std::string_view> keys() const override {
        return machines_.empty() ? std::vector<std::string_view>{} : machines_.front()->keys();
    }
    Result<Layer> layer(std::size_t index) const override {
        const Place& place = places_[index];
        return machines_[place.machine]->layer(place.disk);
    }
    std::vector<ParentLink> links() const override;
    Facts facts() const override;
    Result<std::vector<Configuration>> configurations() const override;

private:
    void add(const ClusterFile& file, const DiskFile& machine);
    // "100", or with the node in front where another one has a machine of that number.
    std::string name_of(const ClusterFile& file) const;

    struct Place {
        std::size_t machine;
        std::size_t disk;
    };

    Cluster cluster_;
    OpenContext context_;
    std::map<std::string, std::size_t> counts_;             ///< of machines, by their ids
    std::vector<std::shared_ptr<const DiskFile>> machines_; ///< in the order of cluster_.machines
    std::vector<Disk> disks_;
    std::vector<Place> places_; ///< of the disk with the same index
};

std::string ClusterDisks::name_of(const ClusterFile& file) const {
    const std::string id = id_of(file);
    return counts_.at(id) > 1 ? fmt::format("{}/{}", file.node, id) : id;
}

Result<void> ClusterDisks::read(const SourcePtr& source) {
    const proxmox::Storages storages = proxmox::parse_storages(cluster_.storages);
    for (const ClusterFile& file : cluster_.machines) {
        auto read = proxmox::machine_of(file.text, file.path, storages, context_.limits);
        if (read.has_error()) return std::move(read).error().in(source->name());
        Machine& machine = read.value();
        machine.facts["node"] = printable(file.node);
        machine.facts["file"] = printable(file.path);
        machine.facts["changed"] = utc_time(file.changed);
        VDISK_TRY(opened, machine_file(kPmxcfsFormat, std::move(machine), source, context_));
        machines_.push_back(std::move(opened));
        add(file, *machines_.back());
        VDISK_CHECK(check_media(disks_.size(), source->name(), context_.limits));
    }
    return ok();
}

void ClusterDisks::add(const ClusterFile& file, const DiskFile& machine) {
    const std::string name = name_of(file);
    const auto prefixed = [&](const std::string& text) { return text.empty() ? "" : fmt::format("{}/{}", name, text); };
    for (std::size_t i = 0; i < machine.disks().size(); ++i) {
        Disk disk = machine.disks()[i];
        disk.name = prefixed(disk.name);
        disk.id = prefixed(disk.id);
        for (std::string& alias : disk.aliases) alias = prefixed(alias);
        disk.facts["machine"] = printable(name);
        disks_.push_back(std::move(disk));
        places_.push_back({machines_.size() - 1, i});
    }
}

std::vector<ParentLink> ClusterDisks::links() const {
    std::vector<ParentLink> all;
    for (const auto& machine : machines_) {
        std::vector<ParentLink> links = machine->links();
        std::ranges::move(links, std::back_inserter(all));
    }
    return all;
}

Facts ClusterDisks::facts() const {
    Facts facts = Facts::object();
    facts["machines"] = Facts::array();
    for (const auto& machine : machines_) facts["machines"].push_back(machine->facts());
    for (const std::string& file : cluster_.files) facts["read with it"].push_back(file);
    if (!cluster_.problems.empty()) facts["problems"] = cluster_.problems;
    return facts;
}

Result<std::vector<Configuration>> ClusterDisks::configurations() const {
    std::vector<Configuration> all;
    for (const ClusterFile& file : cluster_.machines)
        all.push_back({.name = file.path, .data = file.text, .is_main = cluster_.machines.size() == 1});
    if (!cluster_.storages.empty()) all.push_back({.name = "storage.cfg", .data = cluster_.storages});
    return all;
}

} // namespace

Result<std::shared_ptr<const DiskFile>> open(SourcePtr source, const OpenContext& context) {
    VDISK_TRY(cluster, proxmox::read_cluster(source, context));
    auto file = std::make_shared<ClusterDisks>(std::move(cluster), context);
    VDISK_CHECK(file->read(source));
    return std::shared_ptr<const DiskFile>(std::move(file));
}

} // namespace vdisk::cluster
