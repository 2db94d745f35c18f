// SPDX-License-Identifier: Apache-2.0
#include "open/machine/machines.hpp"

#include "base/text.hpp"
#include "format/libvirt/libvirt.hpp"
#include "format/ova/ovf_machine.hpp"
#include "format/parallels/machine.hpp"
#include "format/proxmox/pmxcfs.hpp"
#include "format/proxmox/proxmox.hpp"
#include "format/proxmox/sqlite.hpp"
#include "format/utm/utm.hpp"
#include "format/vbox/described.hpp"
#include "format/vmx/vmx.hpp"
#include "open/machine/cluster.hpp"
#include "open/machine/hyperv.hpp"
#include "open/machine/machine_file.hpp"

#include <array>

namespace vdisk {
namespace {

using Opened = Result<std::shared_ptr<const DiskFile>>;

Match is_vbox(std::span<const std::byte> head, const ByteSource& /*source*/) {
    return is_xml_with(head, "<VirtualBox") ? Match::sure : Match::no;
}

Result<Machine> read_vbox(const ByteSource& source, const OpenContext& context) {
    const std::filesystem::path path = context.file ? context.file->path() : std::filesystem::path(source.name());
    VDISK_TRY(parsed, vbox::Machine::parse(source, path, context.limits));
    Machine machine = vbox::described(parsed);
    if (!parsed.damage.empty()) machine.problems.push_back(parsed.damage);
    const bool no_disk = machine.drives.empty() && machine.checkpoints.empty() && machine.unattached.empty();
    if (no_disk && machine.encrypted.empty())
        return fail(ErrorKind::corrupt, "{}: names no disk{}{}", source.name(), parsed.damage.empty() ? "" : ": ",
                    parsed.damage);
    return machine;
}

constexpr std::array kSqlite{Signature{.magic = sqlite::kMagic, .least_size = 512}};

// What all rows do with what their reader has read.
template<const Format& format, Result<Machine> (*read)(const ByteSource&, const OpenContext&)>
Opened open_machine(SourcePtr source, const OpenContext& context) {
    VDISK_TRY(machine, read(*source, context));
    return machine_file(format, std::move(machine), source, context);
}

Opened open_hyperv(SourcePtr source, const OpenContext& context) {
    VDISK_TRY(machine, hyperv_machine::read(source, context));
    return machine_file(kHypervFormat, std::move(machine), source, context);
}

} // namespace

const Format kHypervFormat{.name = "hyperv",
                           .description =
                               "Hyper-V machine (.vmcx, .xml), by the disks that it and its checkpoints name",
                           .probe = hyperv_machine::probe,
                           .open = open_hyperv,
                           .is_machine = true};

const Format kVboxFormat{.name = "vbox",
                         .description = "VirtualBox machine (.vbox), by the disks that it names",
                         .probe = is_vbox,
                         .open = open_machine<kVboxFormat, read_vbox>,
                         .is_machine = true};

const Format kVmxFormat{.name = "vmx",
                        .description = "VMware machine (.vmx), by the disks that it and its snapshots name",
                        .probe = vmx::probe,
                        .open = open_machine<kVmxFormat, vmx::read>,
                        .is_machine = true};

const Format kLibvirtFormat{.name = "libvirt",
                            .description = "libvirt machine (domain XML), by the disks that it and its snapshots name",
                            .probe = libvirt::probe,
                            .open = open_machine<kLibvirtFormat, libvirt::read>,
                            .is_machine = true};

const Format kProxmoxFormat{.name = "proxmox",
                            .description =
                                "Proxmox VE machine (ID.conf), by the volumes that it and its snapshots name",
                            .probe = proxmox::probe,
                            .open = open_machine<kProxmoxFormat, proxmox::read>,
                            .is_machine = true};

const Format kOvfFormat{.name = "ovf",
                        .description = "Machine by its OVF descriptor, with the disks beside it",
                        .probe = ova::probe_ovf,
                        .open = open_machine<kOvfFormat, ova::read_ovf>,
                        .is_machine = true};

const Format kPmxcfsFormat{.name = "pmxcfs",
                           .description = "Proxmox VE cluster (config.db), by the volumes of its machines",
                           .probe = proxmox::probe_cluster,
                           .open = cluster::open,
                           .signatures = kSqlite,
                           .is_machine = true};

const Format kPvsFormat{.name = "pvs",
                        .description = "Parallels machine (.pvm, config.pvs), by the disks that it names",
                        .probe = parallels::probe_machine,
                        .open = open_machine<kPvsFormat, parallels::read_machine>,
                        .file_in_folder = parallels::kSettingsName,
                        .is_machine = true};

const Format kUtmFormat{.name = "utm",
                        .description = "UTM machine (.utm, config.plist), by the disks that it names",
                        .probe = utm::probe,
                        .open = open_machine<kUtmFormat, utm::read>,
                        .file_in_folder = utm::kConfigName,
                        .is_machine = true};

} // namespace vdisk
