// SPDX-License-Identifier: Apache-2.0
// Machines' settings as large as they may be, of nothing but one piece again and again.

#include "limits.hpp"
#include "open/open.hpp"
#include "system_reads.hpp"

#include <fstream>

namespace vdisk::test {
namespace {

struct Settings {
    std::string format;
    std::string file;
    std::string before;
    std::string piece;
    std::string end{}; ///< of a piece, behind all that are in it
    std::string after{};
};

LimitCase settings(const std::string& what, const Settings& settings) {
    return {.name = settings.format + ": 2^22 pieces or as many as fit: " + what,
            .make =
                [=](const Folder& folder) {
                    const std::size_t count =
                        (Limits{}.registry_bytes - settings.before.size() - settings.after.size()) /
                        (settings.piece.size() + settings.end.size());
                    std::ofstream out(folder / settings.file, std::ios::binary);
                    out << settings.before;
                    for (std::size_t i = 0; i < count; ++i) out << settings.piece;
                    for (std::size_t i = 0; i < count; ++i) out << settings.end;
                    out << settings.after;
                },
            .check =
                [=](const Folder& folder) {
                    const CountedReads reads;
                    const auto disk = open_disk((folder / settings.file).string(), {.format = settings.format});
                    require(disk.has_error(), "a machine without disks opens");
                    require_at_most(reads.bytes(), 2 * Limits{}.registry_bytes, "bytes read");
                }};
}

Settings media(const std::string& piece, const std::string& end) {
    return {.format = "vbox",
            .file = "machine.vbox",
            .before = "<VirtualBox><Machine><MediaRegistry><HardDisks>",
            .piece = piece,
            .end = end,
            .after = "</HardDisks></MediaRegistry></Machine></VirtualBox>"};
}

} // namespace

std::vector<LimitCase> machine_limits() {
    return {
        settings("elements", media("<a/>", "")),
        settings("disks side by side", media("<HardDisk/>", "")),
        settings("disks one in the other", media("<HardDisk>", "</HardDisk>")),
        settings("snapshots one in the other", {.format = "vbox",
                                                .file = "machine.vbox",
                                                .before = "<VirtualBox><Machine>",
                                                .piece = "<Snapshot><Snapshots>",
                                                .end = "</Snapshots></Snapshot>",
                                                .after = "</Machine></VirtualBox>"}),
        settings("drives", {.format = "vbox",
                            .file = "machine.vbox",
                            .before = "<VirtualBox><Machine><StorageControllers><StorageController>",
                            .piece = "<AttachedDevice type='DVD'/>",
                            .after = "</StorageController></StorageControllers></Machine></VirtualBox>"}),
        settings("disks", {.format = "libvirt",
                           .file = "machine.xml",
                           .before = "<domain><devices>",
                           .piece = "<disk/>",
                           .after = "</devices></domain>"}),
        settings("snapshots", {.format = "proxmox",
                               .file = "100.conf",
                               .before = "scsi0: local:100/a.qcow2\nmemory: 1\ncores: 1\nboot: a\n",
                               .piece = "[a]\n"}),
        settings(
            "disks",
            {.format = "proxmox", .file = "100.conf", .before = "memory: 1\ncores: 1\nboot: a\n", .piece = "ide0:\n"}),
        settings("disks", {.format = "ovf",
                           .file = "machine.ovf",
                           .before = "<Envelope><VirtualSystem><VirtualHardwareSection>",
                           .piece = "<Item><ResourceType>17</ResourceType></Item>",
                           .after = "</VirtualHardwareSection></VirtualSystem></Envelope>"}),
        settings("adapters", {.format = "ovf",
                              .file = "machine.ovf",
                              .before = "<Envelope><VirtualSystem><VirtualHardwareSection>",
                              .piece = "<Item><ResourceType>10</ResourceType></Item>",
                              .after = "</VirtualHardwareSection></VirtualSystem></Envelope>"}),
        settings("disks", {.format = "pvs",
                           .file = "config.pvs",
                           .before = "<ParallelsVirtualMachine><Hardware>",
                           .piece = "<Hdd/>",
                           .after = "</Hardware></ParallelsVirtualMachine>"}),
        settings("adapters", {.format = "pvs",
                              .file = "config.pvs",
                              .before = "<ParallelsVirtualMachine><Hardware>",
                              .piece = "<NetworkAdapter/>",
                              .after = "</Hardware></ParallelsVirtualMachine>"}),
        settings("disks", {.format = "utm",
                           .file = "config.plist",
                           .before = "<plist><dict><key>ConfigurationVersion</key><a/><key>Drive</key><array>",
                           .piece = "<dict/>",
                           .after = "</array></dict></plist>"}),
        settings("adapters", {.format = "utm",
                              .file = "config.plist",
                              .before = "<plist><dict><key>ConfigurationVersion</key><a/><key>Network</key><array>",
                              .piece = "<dict/>",
                              .after = "</array></dict></plist>"}),
        settings("lines", {.format = "vmx",
                           .file = "machine.vmx",
                           .before = "config.version = \"8\"\n",
                           .piece = "ide0:0.present = \"TRUE\"\n"}),
        settings("disks", {.format = "hyperv",
                           .file = "machine.xml",
                           .before = "<configuration><properties/>",
                           .piece = "<a><pathname/></a>",
                           .after = "</configuration>"})};
}

} // namespace vdisk::test
