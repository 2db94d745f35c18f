// SPDX-License-Identifier: Apache-2.0
/// The machine that an OVF descriptor describes (DMTF DSP0243, VirtualHardwareSection), with what VMware and VirtualBox
/// add to it.
#pragma once

#include "format/ova/ovf.hpp"

#include <pugixml.hpp>

#include <map>

namespace vdisk::ova {

/// Describes the VirtualSystem `system`, whose drives hold `disks` or the files of `References`, by their ids.
/// `machine.drives` are those of its items, `unattached` those of `disks` that no item names. Stops at the first
/// drive and adapter beyond `most`.
void describe_system(const pugi::xml_node& system, const std::vector<OvfDisk>& disks,
                     const std::map<std::string, pugi::xml_node>& files, std::size_t most, Machine& machine);

} // namespace vdisk::ova
