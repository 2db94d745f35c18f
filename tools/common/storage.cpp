// SPDX-License-Identifier: Apache-2.0
#include "common/storage.hpp"

namespace vdisk::tools {
std::optional<Storage> storage_of(const InputFile& file) {
    if (!file.identity) return std::nullopt;
    return Storage{.block_device = file.block_device, .device = file.identity->device, .number = file.identity->inode};
}

std::set<Storage> storage_below(const InputFile& file) {
    std::set<Storage> below;
    system::for_each_below(file.block_device ? file.identity->inode
                           : file.identity   ? file.identity->device
                                             : file.folder.device,
                           !file.block_device, [&](const Storage& storage) { below.insert(storage); });
    if (const auto own = storage_of(file)) below.erase(*own);
    return below;
}

} // namespace vdisk::tools
