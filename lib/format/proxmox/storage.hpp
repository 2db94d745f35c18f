// SPDX-License-Identifier: Apache-2.0
/// Proxmox VE's storages: what `storage.cfg` says of them, and where they keep a volume.
#pragma once

#include "disk/backing_name.hpp"

#include <map>
#include <string>
#include <string_view>

namespace vdisk::proxmox {

struct Storage {
    std::string type;                                       ///< "dir", "lvmthin", "zfspool", ...
    std::map<std::string, std::string, std::less<>> keys{}; ///< "path", "vgname", "pool", ...
};

/// By their ids. Those that an installation has are there even if `text` does not name them.
using Storages = std::map<std::string, Storage, std::less<>>;

[[nodiscard]] Storages parse_storages(std::string_view text);

/// Where a volume is on its host.
struct Place {
    BackingName where;
    std::string format;     ///< of the file; empty: to be detected
    std::string snapshot{}; ///< inside the file
    std::string problem{};  ///< why it is no file
};

/// The place of `volume` ("local-lvm:vm-100-disk-0") as it is now, or as it was at `snapshot` if that is not empty.
[[nodiscard]] Place place_of(const Storages& storages, std::string_view volume, std::string_view snapshot);

} // namespace vdisk::proxmox
