// SPDX-License-Identifier: Apache-2.0
#include "format/proxmox/pmxcfs.hpp"

#include "base/parse.hpp"
#include "base/system/path.hpp"
#include "base/text.hpp"
#include "format/proxmox/sqlite.hpp"

#include <algorithm>
#include <map>

namespace fs = std::filesystem;

namespace vdisk::proxmox {
namespace {

// Columns of the table "tree"; the inode is the row's number.
enum Column : std::size_t { kInode, kParent, kVersion, kWriter, kTime, kType, kName, kData };
constexpr std::int64_t kFile = 8;
constexpr std::string_view kTree = "tree";
constexpr std::string_view kStorages = "storage.cfg";
constexpr std::size_t kMostInodes = std::size_t{256} * 1024; ///< pmxcfs' own limit

struct Entry {
    std::int64_t parent = 0;
    std::string name;
    bool is_file = false;
    std::string text{}; ///< of a file
    std::int64_t changed = 0;
};
using Entries = std::map<std::int64_t, Entry>;

// "nodes/pve1/qemu-server/100.conf"; empty if it hangs at nothing, or below itself.
std::string path_of(const Entries& entries, std::int64_t inode) {
    constexpr int kMostFolders = 16;
    std::string path;
    for (int i = 0; i < kMostFolders; ++i) {
        if (inode == 0) return path;
        const auto entry = entries.find(inode);
        if (entry == entries.end()) return "";
        path = path.empty() ? entry->second.name : fmt::format("{}/{}", entry->second.name, path);
        inode = entry->second.parent;
    }
    return "";
}

bool is_configuration(std::string_view name) {
    constexpr std::string_view kEnd = ".conf";
    return name.ends_with(kEnd) && parse_number<std::uint32_t>(name.substr(0, name.size() - kEnd.size()));
}

// "pve1" of "nodes/pve1/qemu-server/100.conf"; empty for what is no machine's.
std::string node_of(std::string_view path) {
    constexpr std::string_view kStart = "nodes/", kBetween = "/qemu-server/";
    const std::size_t between = path.find(kBetween);
    if (!path.starts_with(kStart) || between == std::string_view::npos || between < kStart.size()) return "";
    return std::string(path.substr(kStart.size(), between - kStart.size()));
}

// What was written since the log was last merged is in a file beside the database alone.
Result<SourcePtr> log_beside(const OpenContext& context, Cluster& cluster) {
    if (!context.file || !context.file->is_regular()) return SourcePtr();
    std::error_code error;
    const auto beside = [&](const char* end) {
        fs::path path = context.file->path();
        path += end;
        return path;
    };
    if (fs::exists(beside("-journal"), error) && fs::file_size(beside("-journal"), error) > 0)
        cluster.problems.push_back(
            fmt::format("{} lies beside it: a write was under way, which is not undone here, so that the database may "
                        "be of no one time",
                        printable(utf8(beside("-journal")))));
    if (!fs::exists(beside("-wal"), error)) return SourcePtr();
    VDISK_TRY(log, context.references->open_exact(beside("-wal")));
    cluster.files.emplace_back(log->name());
    return SourcePtr(std::move(log));
}

} // namespace

// The names of tables stand at the end of the first page, which may be longer than what is given of a file's start.
Match probe_cluster(std::span<const std::byte> /*head*/, const ByteSource& source) {
    constexpr std::uint64_t kLargestPage = 65536;
    const auto page = read_bytes(source, 0, std::min(source.size(), kLargestPage), "first page");
    if (page.has_error()) return Match::no;
    const std::string words = lower(as_text(page.value()));
    return words.find("create table") != std::string::npos && words.find("tree") != std::string::npos &&
                   words.find("inode") != std::string::npos && words.find("writer") != std::string::npos
               ? Match::sure
               : Match::no;
}

Result<Cluster> read_cluster(const SourcePtr& source, const OpenContext& context) {
    Cluster cluster;
    VDISK_TRY(log, log_beside(context, cluster));
    VDISK_TRY(database, sqlite::Database::open(source, std::move(log), context.limits));
    Entries entries;
    const auto take = [&](const sqlite::Row& row) {
        if (entries.size() > kMostInodes) return;
        const std::string name = row.text(kName);
        if (row.integer(kType) != kFile) entries.emplace(row.id, Entry{row.integer(kParent), name});
        // What is no folder and has another name leads to nothing that is looked for.
        else if (is_configuration(name) || name == kStorages)
            entries.emplace(row.id, Entry{row.integer(kParent), name, true, row.text(kData), row.integer(kTime)});
    };
    VDISK_CHECK(database.read(kTree, context.limits, take, cluster.problems));
    if (entries.size() > kMostInodes)
        return fail(ErrorKind::limit_exceeded, "{}: has more than {} files and folders, the limit", source->name(),
                    kMostInodes);
    for (auto& [inode, entry] : entries) {
        if (!entry.is_file) continue;
        std::string path = path_of(entries, inode);
        std::string node = node_of(path);
        if (path == kStorages) cluster.storages = std::move(entry.text);
        else if (!node.empty() && cluster.machines.size() <= context.limits.search_files)
            cluster.machines.push_back({std::move(path), std::move(node), std::move(entry.text), entry.changed});
    }
    if (cluster.machines.size() > context.limits.search_files)
        return fail(ErrorKind::limit_exceeded, "{}: has more than {} machines, the limit", source->name(),
                    context.limits.search_files);
    std::ranges::sort(cluster.machines, {}, &ClusterFile::path);
    return cluster;
}

} // namespace vdisk::proxmox
