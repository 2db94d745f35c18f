// SPDX-License-Identifier: Apache-2.0
#include "image_types.hpp"

#include "open/registry.hpp"

#include <algorithm>
#include <array>
#include <vector>

namespace vdisk::tsk {
namespace {

struct Numbered {
    TypeId id;
    std::string_view name;
    std::string_view format;
    std::string_view description; ///< empty: the format's
    bool compressed = false;
    std::string_view also{}; ///< as ImageType's
};

// 0x0400 is what later versions of The Sleuth Kit use for QCOW themselves; 0x0800 and 0x2000 are free in every version
// up to 4.15, and so is 0x0002, which Java knows as a raw image in several files; 0x8000 is a folder of files
// since 4.12. With that all 16 bits are taken, so the others have the next ones. A number must never change its
// meaning: case databases keep it. "vhd" and "vmdk" are libtsk's own words and numbers, and what its libraries, where
// it has them, read under these is read here instead: they know no chains, cut disks that were enlarged, take a VHDX
// for what it was before its log, a child of VirtualBox for a whole disk, and of some descriptors the text for the
// disk.
constexpr std::array kNumbers{
    Numbered{0x0400, "qcow2", "qcow2", ""},
    Numbered{0x0800, "vdi", "vdi", ""},
    Numbered{0x2000, "vma", "vma", ""},
    Numbered{0x0100, "vhd", "vhd", "", false, "vhdx"},
    Numbered{0x0080, "vmdk", "vmdk", ""},
    Numbered{0x10000, "vhdx", "vhdx", ""},
    Numbered{0x20000, "qcow", "qcow", ""},
    Numbered{0x40000, "qed", "qed", ""},
    Numbered{0x80000, "parallels", "parallels", ""},
    Numbered{0x100000, "ova", "ova", ""},
    Numbered{0x200000, "pbs", "pbs", ""},
    Numbered{0x0002, "rawz", "raw", "Raw image, compressed (.zst, .gz, .lzo)", true},
};

std::vector<ImageType> types_of_this_build() {
    std::vector<ImageType> types;
    for (const Numbered& type : kNumbers)
        if (const Format* format = find_format(type.format))
            types.push_back(
                {.id = type.id,
                 .name = std::string(type.name),
                 .description = std::string(type.description.empty() ? format->description : type.description),
                 .format = format->name,
                 .also = type.also,
                 .compressed = type.compressed});
    return types;
}

} // namespace

std::span<const ImageType> image_types() {
    static const std::vector<ImageType> types = types_of_this_build();
    return types;
}

namespace {

// A machine's file is shown as what its disks mostly are.
constexpr std::array<std::pair<std::string_view, std::string_view>, 9> kDisksOfMachines{{{"vbox", "vdi"},
                                                                                         {"vmx", "vmdk"},
                                                                                         {"libvirt", "qcow2"},
                                                                                         {"proxmox", "qcow2"},
                                                                                         {"hyperv", "vhdx"},
                                                                                         {"ovf", "vmdk"},
                                                                                         {"pvs", "parallels"},
                                                                                         {"utm", "qcow2"},
                                                                                         {"pmxcfs", "qcow2"}}};

} // namespace

const ImageType* type_of(const Format& format) {
    const auto machine =
        std::ranges::find(kDisksOfMachines, format.name, &std::pair<std::string_view, std::string_view>::first);
    const std::string_view shown = machine == kDisksOfMachines.end() ? format.name : machine->second;
    const auto found = std::ranges::find(image_types(), shown, &ImageType::format);
    return found == image_types().end() ? nullptr : &*found;
}

const ImageType* find_type(TypeId id) {
    const auto found = std::ranges::find(image_types(), id, &ImageType::id);
    return found == image_types().end() ? nullptr : &*found;
}

const ImageType* find_type(std::string_view name) {
    const auto found = std::ranges::find(image_types(), name, &ImageType::name);
    return found == image_types().end() ? nullptr : &*found;
}

} // namespace vdisk::tsk
