// SPDX-License-Identifier: Apache-2.0
#include "format/proxmox/storage.hpp"

#include "base/parse.hpp"
#include "base/text.hpp"

#include <algorithm>
#include <array>

namespace vdisk::proxmox {
namespace {

// Those that keep volumes as files below a folder.
constexpr std::array kFolders{"dir", "nfs", "cifs", "glusterfs", "cephfs", "btrfs"};

std::string key(const Storage& storage, std::string_view name) {
    const auto found = storage.keys.find(name);
    return found == storage.keys.end() ? "" : found->second;
}

// "100/vm-100-disk-0.qcow2": behind the base volume of a linked clone, "9000/base-9000-disk-0.qcow2/100/vm-...".
std::string_view without_base(std::string_view volume, bool is_file) {
    std::size_t at = volume.rfind('/');
    if (at == std::string_view::npos) return volume;
    if (is_file) {
        if (at == 0) return volume;
        at = volume.rfind('/', at - 1);
        return at == std::string_view::npos ? volume : volume.substr(at + 1);
    }
    return volume.substr(at + 1);
}

std::string format_by_suffix(std::string_view volume) {
    for (const std::string_view format : {"qcow2", "raw", "vmdk"})
        if (volume.ends_with(fmt::format(".{}", format))) return std::string(format);
    return "";
}

// A snapshot of a volume in a file: QEMU's own inside it, else there can be none.
void set_snapshot(Place& place, std::string_view snapshot) {
    if (snapshot.empty()) return;
    if (place.format == "qcow2") place.snapshot = snapshot;
    else
        place.problem = fmt::format("a volume in the format '{}' has no snapshots in its file",
                                    place.format.empty() ? "unknown" : place.format);
}

Place in_folder(const std::string& folder, std::string_view volume, std::string_view snapshot) {
    const bool is_image = !volume.starts_with("iso/");
    Place place{.where = {.paths = {fmt::format("{}/{}/{}", folder, is_image ? "images" : "template",
                                                is_image ? without_base(volume, true) : volume)}},
                .format = format_by_suffix(volume)};
    set_snapshot(place, snapshot);
    return place;
}

// A block device of the host, which is copied to a file of its name, often with an ending.
Place on_device(const std::string& folder, std::string name, std::string_view volume) {
    Place place{.where = {}, .format = format_by_suffix(volume)};
    const std::string path = fmt::format("{}/{}", folder, name);
    if (place.format.empty()) {
        place.format = "raw";
        place.where.paths = {path, path + ".raw"};
    } else {
        place.where.paths = {path};
    }
    return place;
}

Place in_group(const Storage& storage, std::string_view volume, std::string_view snapshot) {
    const std::string name(without_base(volume, false));
    const std::string folder = "/dev/" + key(storage, "vgname");
    if (snapshot.empty()) return on_device(folder, name, volume);
    if (storage.type == "lvmthin") return on_device(folder, fmt::format("snap_{}_{}", name, snapshot), volume);
    Place place = on_device(folder, name, volume);
    set_snapshot(place, snapshot);
    return place;
}

Place in_pool(std::string_view folder, const Storage& storage, std::string_view volume, std::string_view snapshot) {
    std::string name(without_base(volume, false));
    if (!snapshot.empty()) name += fmt::format("@{}", snapshot);
    const std::string pool = key(storage, "pool");
    return on_device(fmt::format("{}/{}", folder, pool.empty() ? "rbd" : pool), std::move(name), volume);
}

// Of a storage that nothing tells of: its volumes' names are enough where their files were copied.
Place unknown_place(std::string_view id, std::string_view volume, std::string_view snapshot) {
    if (volume.find('/') != std::string_view::npos) return in_folder(fmt::format("/{}", id), volume, snapshot);
    Place place = on_device(fmt::format("/dev/{}", id), std::string(volume), volume);
    if (!snapshot.empty()) place.problem = fmt::format("storage '{}' is not known", printable(id));
    return place;
}

} // namespace

Storages parse_storages(std::string_view text) {
    Storages storages{{"local", {"dir", {{"path", "/var/lib/vz"}}}},
                      {"local-lvm", {"lvmthin", {{"vgname", "pve"}}}},
                      {"local-zfs", {"zfspool", {{"pool", "rpool/data"}}}}};
    Storage* current = nullptr;
    while (!text.empty()) {
        const std::string_view line = take_line(text);
        const std::string_view words = trimmed(line);
        if (words.empty() || words.starts_with('#')) continue;
        const bool is_key = line.starts_with(' ') || line.starts_with('\t');
        const std::size_t end = words.find_first_of(is_key ? " \t" : ":");
        const std::string_view first = words.substr(0, end);
        const std::string_view rest = end == std::string_view::npos ? "" : trimmed(words.substr(end + 1));
        if (!is_key) {
            current = &(storages[std::string(rest)] = Storage{.type = std::string(first)});
            if (first == "nfs" || first == "cifs" || first == "cephfs" || first == "glusterfs")
                current->keys["path"] = fmt::format("/mnt/pve/{}", rest);
        } else if (current != nullptr) {
            current->keys[std::string(first)] = rest;
        }
    }
    return storages;
}

Place place_of(const Storages& storages, std::string_view volume, std::string_view snapshot) {
    const std::size_t colon = volume.find(':');
    if (volume.starts_with('/') || colon == std::string_view::npos) {
        Place place{.where = host_path(volume), .format = format_by_suffix(volume)};
        if (place.format.empty()) place.format = "raw";
        set_snapshot(place, snapshot);
        return place;
    }
    const std::string_view id = volume.substr(0, colon);
    const std::string_view name = volume.substr(colon + 1);
    const auto storage = storages.find(id);
    Place place;
    if (storage == storages.end()) {
        place = unknown_place(id, name, snapshot);
        place.where.windows = true; // a guess is no path of this machine
    } else if (std::ranges::find(kFolders, storage->second.type) != kFolders.end()) {
        place = in_folder(key(storage->second, "path"), name, snapshot);
    } else if (storage->second.type == "lvm" || storage->second.type == "lvmthin") {
        place = in_group(storage->second, name, snapshot);
    } else if (storage->second.type == "zfspool") {
        place = in_pool("/dev/zvol", storage->second, name, snapshot);
    } else if (storage->second.type == "rbd") {
        place = in_pool("/dev/rbd", storage->second, name, snapshot);
    } else {
        place = unknown_place(id, name, snapshot);
        place.where.windows = true;
    }
    return place;
}

} // namespace vdisk::proxmox
