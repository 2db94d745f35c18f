// SPDX-License-Identifier: Apache-2.0
#include "exports.hpp"

#include <algorithm>

namespace vdisk::nbd {
namespace {

// The NBD protocol lets a name have 4096 bytes, but asks for at most 255 so that all clients can handle it.
constexpr std::size_t kLongestName = 255;

std::string_view kind_name(vdisk_disk_kind kind) {
    switch (kind) {
    case VDISK_KIND_ACTIVE: return "active";
    case VDISK_KIND_SNAPSHOT: return "snapshot";
    case VDISK_KIND_DEVICE: return "device";
    case VDISK_KIND_MEMORY: return "memory";
    }
    return "disk";
}

} // namespace

DiskPtr Export::open(const vdisk_file& file) {
    const std::lock_guard lock(mutex_);
    DiskPtr disk = disk_.lock();
    if (disk) return disk;
    if (vdisk_disk* opened = vdisk_file_open_disk(&file, index_)) disk = DiskPtr(opened, vdisk_close);
    disk_ = disk;
    return disk;
}

std::unique_ptr<Exports> Exports::open(const std::string& path, const std::string& format) {
    vdisk_open_options options{};
    options.struct_size = sizeof options;
    options.format = format.empty() ? nullptr : format.c_str();
    FilePtr file(vdisk_file_open(path.c_str(), &options), vdisk_file_close);
    return file ? std::unique_ptr<Exports>(new Exports(std::move(file))) : nullptr;
}

Exports::Exports(FilePtr file) : file_(std::move(file)) {
    for (std::size_t index = 0; index < vdisk_file_disk_count(file_.get()); ++index) {
        vdisk_disk_info info;
        if (vdisk_file_disk_info(file_.get(), index, &info) != 0) continue;
        Export& one = exports_.emplace_back(free_name(info, index), info.description, index);
        by_name_.emplace(one.name(), &one);
    }
}

// The disk's name, else its id, else its kind, else its kind and number.
std::string Exports::free_name(const vdisk_disk_info& info, std::size_t index) const {
    const std::string kind(kind_name(info.kind));
    for (const std::string& name : {std::string(info.name), std::string(info.id), kind})
        if (!name.empty() && name.size() <= kLongestName && find(name) == nullptr) return name;
    std::string name = kind + '-' + std::to_string(index);
    while (find(name) != nullptr) name += '\'';
    return name;
}

Export* Exports::find(std::string_view name) const {
    const auto found = by_name_.find(name);
    return found == by_name_.end() ? nullptr : found->second;
}

bool Exports::opens(bool any) {
    const std::int64_t index = vdisk_file_selected(file_.get());
    if (index >= 0 && exports_[static_cast<std::size_t>(index)].open(*file_)) return true;
    if (!any || exports_.size() == (index >= 0 ? 1U : 0U)) return false;
    return std::ranges::any_of(exports_, [&](Export& one) { return one.open(*file_) != nullptr; });
}

const Export* Exports::selected() const {
    const std::int64_t index = vdisk_file_selected(file_.get());
    return index < 0 ? nullptr : &exports_[static_cast<std::size_t>(index)];
}

} // namespace vdisk::nbd
