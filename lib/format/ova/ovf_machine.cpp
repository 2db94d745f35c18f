// SPDX-License-Identifier: Apache-2.0
#include "format/ova/ovf_machine.hpp"

#include "base/parse.hpp"
#include "base/text.hpp"
#include "format/ova/ovf.hpp"

#include <algorithm>
#include <array>
#include <map>

namespace vdisk::ova {
namespace {

constexpr std::string_view kGzip = "gzip";

// By the name's end: what the descriptor calls the format some writers have wrong. Empty: to be detected.
std::string format_by_name(std::string_view name) {
    constexpr std::string_view kPacked = ".gz";
    if (ends_in(name, kPacked)) name.remove_suffix(kPacked.size());
    constexpr std::array<std::pair<std::string_view, std::string_view>, 9> kEndings{{{".vmdk", "vmdk"},
                                                                                     {".vhd", "vhd"},
                                                                                     {".vhdx", "vhdx"},
                                                                                     {".vdi", "vdi"},
                                                                                     {".qcow2", "qcow2"},
                                                                                     {".raw", "raw"},
                                                                                     {".img", "raw"},
                                                                                     {".dd", "raw"},
                                                                                     {".hdd", "parallels"}}};
    const auto found = std::ranges::find_if(kEndings, [&](const auto& each) { return ends_in(name, each.first); });
    return found == kEndings.end() ? "" : std::string(found->second);
}

BackingName place_of(const std::string& href) {
    BackingName name = host_path(href);
    if (std::string decoded = percent_decoded(href); decoded != href) name.paths.push_back(std::move(decoded));
    return name;
}

void locate_disk(const OvfDisk& disk, const std::map<std::string, std::string>& names, Drive& drive) {
    drive.disk_bytes = disk.capacity;
    drive.file_bytes = disk.file_size;
    drive.packed = disk.compression == kGzip;
    if (!disk.compression.empty() && !drive.packed)
        drive.problem = fmt::format("'{}' is compressed by '{}', which is not read", printable(disk.href),
                                    printable(disk.compression));
    if (disk.parent.empty()) return;
    const auto parent = names.find(disk.parent);
    drive.base =
        fmt::format("disk '{}'{}", disk.parent, parent == names.end() ? "" : fmt::format(" in '{}'", parent->second));
    drive.facts["parent disk"] = printable(disk.parent);
}

} // namespace

Match probe_ovf(std::span<const std::byte> head, const ByteSource& /*source*/) {
    return is_xml_with(head, "<Envelope") || is_xml_with(head, "<ovf:Envelope") ? Match::sure : Match::no;
}

Result<Machine> read_ovf(const ByteSource& source, const OpenContext& context) {
    VDISK_TRY(text, read_settings(source, context.limits));
    VDISK_TRY(ovf, Ovf::parse(text, source.name(), context.limits));
    Machine machine = std::move(ovf.machine);
    if (!ovf.damage.empty()) machine.problems.push_back(ovf.damage);
    std::map<std::string, const OvfDisk*> disks;
    std::map<std::string, std::string> names;
    for (const OvfDisk& disk : ovf.disks) {
        disks.emplace(disk.id, &disk);
        names.emplace(disk.id, disk.href);
    }
    for (std::vector<Drive>* drives : {&machine.drives, &machine.unattached})
        for (Drive& drive : *drives) {
            if (drive.file.empty() || !drive.problem.empty()) continue;
            drive.where = place_of(drive.file);
            if (drive.is_removable()) continue;
            drive.format = format_by_name(drive.file);
            if (const auto disk = disks.find(drive.identifier); disk != disks.end())
                locate_disk(*disk->second, names, drive);
        }
    return machine;
}

} // namespace vdisk::ova
