// SPDX-License-Identifier: Apache-2.0
/// nbdkit's callbacks: `nbdkit vdisk backup.vma.zst device=drive-scsi0`. Read only; no exception gets out of them.
#include "config.h"
#include "exports.hpp"
#include "parameters.hpp"

#define NBDKIT_API_VERSION 2
#define THREAD_MODEL NBDKIT_THREAD_MODEL_PARALLEL
#include <nbdkit-plugin.h>

#include <algorithm>
#include <cerrno>
#include <cinttypes>
#include <cstdio>
#include <exception>
#include <limits>
#include <sstream>
#include <string>

namespace {

using namespace vdisk::nbd;

// One process serves one file. Set up before the first client comes, not changed afterwards.
struct Server {
    Parameters parameters;
    std::unique_ptr<Exports> exports;
};
Server* server = nullptr;

// One a client.
struct Connection {
    DiskPtr disk;
    const Export* of;
};

// Bytes that are called data where the extents can't be told.
constexpr std::uint64_t kUntold = 1 << 20;

// nbdkit takes no longer list.
constexpr std::size_t kMostListed = 10000;

// Runs `body`; `failed` if it throws, which only the standard library does, for want of memory.
template<class T, class Body> T guarded(T failed, Body&& body) noexcept {
    try {
        return body();
    } catch (const std::exception& error) {
        nbdkit_error("%s", error.what());
    }
    return failed;
}

int fail_with_last_error(int code) {
    nbdkit_error("%s", vdisk_last_error());
    nbdkit_set_error(code);
    return -1;
}

const vdisk_disk* disk_of(void* handle) {
    return static_cast<Connection*>(handle)->disk.get();
}

void load() {
    server = guarded<Server*>(nullptr, [] { return new Server; });
}
void unload() {
    delete server;
}

int config(const char* key, const char* value) {
    return guarded(-1, [&] { return server != nullptr && server->parameters.set(key, value) ? 0 : -1; });
}

int config_complete() {
    return guarded(-1, [] {
        if (server != nullptr && !server->parameters.path().empty()) return 0;
        nbdkit_error("which image? Say file=PATH, or just PATH");
        return -1;
    });
}

// Before the server goes into the background, so that what is wrong is told where it was started: also what only
// opening a disk tells, a wrong passphrase or a missing parent. A file leaves no thread behind, which a fork would end;
// disks may, so they are closed again and opened anew by the clients.
int get_ready() {
    return guarded(-1, [] {
        const Parameters& given = server->parameters;
        server->exports = Exports::open(given.path(), given.format());
        if (!server->exports) return fail_with_last_error(EINVAL);
        if (!server->exports->opens(!given.selects_a_disk())) return fail_with_last_error(EINVAL);
        if (server->exports->selected() != nullptr) return 0;
        if (given.selects_a_disk()) return fail_with_last_error(EINVAL);
        nbdkit_debug("no default export: %s", vdisk_last_error());
        return 0;
    });
}

int list_exports(int /*readonly*/, int /*is_tls*/, nbdkit_exports* list) {
    const std::deque<Export>& all = server->exports->all();
    if (all.size() > kMostListed)
        nbdkit_debug("%zu exports, of which the first %zu are listed", all.size(), kMostListed);
    for (std::size_t i = 0; i < std::min(all.size(), kMostListed); ++i)
        if (nbdkit_add_export(list, all[i].name().c_str(), all[i].description().c_str()) != 0) return -1;
    return 0;
}

const char* default_export(int /*readonly*/, int /*is_tls*/) {
    const Export* selected = server->exports->selected();
    if (selected == nullptr) nbdkit_error("%s", vdisk_last_error());
    return selected == nullptr ? nullptr : selected->name().c_str();
}

// A client sees bytes only; what has to be said of them goes into the server's log.
void log_remarks(const vdisk_disk& disk) {
    std::istringstream lines(vdisk_remarks(&disk));
    for (std::string line; std::getline(lines, line);) nbdkit_error("%s", line.c_str());
}

void* open_export(int /*readonly*/) {
    return guarded<void*>(nullptr, []() -> void* {
        const char* name = nbdkit_export_name();
        Export* wanted = name == nullptr ? nullptr : server->exports->find(name);
        if (wanted == nullptr) {
            nbdkit_error("there is no export '%s'", name == nullptr ? "" : name);
            nbdkit_set_error(ENOENT);
            return nullptr;
        }
        DiskPtr disk = wanted->open(server->exports->file());
        if (disk) {
            log_remarks(*disk);
            return new Connection{std::move(disk), wanted};
        }
        fail_with_last_error(EIO);
        return nullptr;
    });
}

void close_export(void* handle) {
    delete static_cast<Connection*>(handle);
}

const char* export_description(void* handle) {
    return static_cast<Connection*>(handle)->of->description().c_str();
}

std::int64_t get_size(void* handle) {
    const std::uint64_t size = vdisk_size(disk_of(handle));
    if (size <= std::uint64_t{std::numeric_limits<std::int64_t>::max()}) return static_cast<std::int64_t>(size);
    nbdkit_error("a disk of %" PRIu64 " bytes is larger than the protocol allows", size);
    return -1;
}

// Any number of connections see the same bytes: nobody writes.
int can_multi_conn(void* /*handle*/) {
    return 1;
}

int pread(void* handle, void* buffer, std::uint32_t count, std::uint64_t offset, std::uint32_t /*flags*/) {
    const std::int64_t got = vdisk_read(disk_of(handle), buffer, count, offset);
    if (got == std::int64_t{count}) return 0;
    if (got < 0) return fail_with_last_error(EIO);
    nbdkit_error("the disk ends within a read of %" PRIu32 " bytes at offset %" PRIu64, count, offset);
    nbdkit_set_error(EIO);
    return -1;
}

std::uint32_t to_nbd(vdisk_extent_kind kind) {
    switch (kind) {
    case VDISK_EXTENT_ZERO: return NBDKIT_EXTENT_HOLE | NBDKIT_EXTENT_ZERO;
    case VDISK_EXTENT_STORED:
    case VDISK_EXTENT_PACKED:
    case VDISK_EXTENT_UNREADABLE: return 0; // data: a client has to read it to be told that it can't
    }
    return 0;
}

int extents(void* handle, std::uint32_t count, std::uint64_t offset, std::uint32_t flags, nbdkit_extents* list) {
    const std::uint64_t end = offset + count;
    while (offset < end) {
        vdisk_extent extent;
        if (vdisk_extent_at(disk_of(handle), offset, end - offset, &extent) != 0) {
            // Where that can't be told, the read will fail, not the question: a copy goes on behind it.
            nbdkit_debug("%s", vdisk_last_error());
            extent = {VDISK_EXTENT_UNREADABLE, 0, offset, std::min(kUntold, end - offset)};
        }
        if (nbdkit_add_extent(list, offset, extent.length, to_nbd(extent.kind)) != 0) return -1;
        if ((flags & NBDKIT_FLAG_REQ_ONE) != 0) break;
        offset += extent.length;
    }
    return 0;
}

void dump_plugin() {
    std::printf("libvdisk_version=%s\n", vdisk_version());
}

nbdkit_plugin make_plugin() {
    nbdkit_plugin plugin{};
    plugin.name = "vdisk";
    plugin.longname = "virtual disks of hypervisors";
    plugin.version = PACKAGE_VERSION;
    plugin.description = "Serves disks and snapshots inside qcow2, vdi and vma files, read only";
    plugin.magic_config_key = "file";
    plugin.config_help = "[file=]PATH        (required) The image, PATH or PATH#SELECTOR.\n"
                         "format=NAME        Do not detect the image's format.\n"
                         "device=NAME, snapshot=NAME\n"
                         "                   The default export.\n"
                         "key-file=PATH, passphrase-file=PATH, chunks=FOLDER,\n"
                         "backing=PATH, data-file=PATH, parent=PATH\n"
                         "                   Files that the image needs.";
    plugin.load = load;
    plugin.unload = unload;
    plugin.config = config;
    plugin.config_complete = config_complete;
    plugin.get_ready = get_ready;
    plugin.list_exports = list_exports;
    plugin.default_export = default_export;
    plugin.open = open_export;
    plugin.close = close_export;
    plugin.export_description = export_description;
    plugin.get_size = get_size;
    plugin.can_multi_conn = can_multi_conn;
    plugin.pread = pread;
    plugin.extents = extents;
    plugin.dump_plugin = dump_plugin;
    return plugin;
}

nbdkit_plugin plugin = make_plugin();

} // namespace

NBDKIT_REGISTER_PLUGIN(plugin)
