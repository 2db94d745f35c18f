// SPDX-License-Identifier: Apache-2.0
#include "format/pbs/datastore.hpp"

#include "base/parse.hpp"
#include "base/system/path.hpp"
#include "base/text.hpp"
#include "format/pbs/store.hpp"

#include <algorithm>
#include <array>

namespace vdisk::pbs {
namespace {

using Entry = Folder::Entry;

constexpr std::array<std::string_view, 3> kTypes{"ct", "host", "vm"};
constexpr std::string_view kNamespaces = "ns";
constexpr std::string_view kBucketContent = ".cnt"; // of a copied S3 bucket: all but the chunks
constexpr std::size_t kMostNested = 8;              // namespaces: Proxmox has 7
constexpr std::size_t kTextBytes = 65536;           // of a group's owner and notes
constexpr std::size_t kFoldersLookedAt = 64;        // to see what a folder is

bool is_index(std::string_view name) {
    return name.ends_with(".fidx") || name.ends_with(".didx");
}

bool is_snapshot(const std::vector<Entry>& entries) {
    return std::ranges::any_of(entries, [](const Entry& entry) {
        return entry.kind == Entry::Kind::file &&
               (entry.name == Manifest::kName || is_index(entry.name) || entry.name.ends_with(".tmp_fidx"));
    });
}

Result<Manifest> manifest_in(const Folder& folder, const Limits& limits) {
    VDISK_TRY(file, folder.file(Manifest::kName));
    return Manifest::read(*file, limits);
}

// The first folders in `folder`, hidden ones left out; none where it can't be listed.
std::vector<std::string> folders_in(const Folder& folder, std::size_t most) {
    std::vector<std::string> names;
    const auto entries = folder.entries(Limits{}.folder_entries);
    if (entries.has_error()) return names;
    for (const Entry& entry : entries.value())
        if (entry.kind == Entry::Kind::folder && !entry.name.starts_with('.') && names.size() < most)
            names.push_back(entry.name);
    return names;
}

bool is_snapshot_folder(const Folder& folder) {
    const auto entries = folder.entries(Limits{}.folder_entries);
    return entries.has_value() && is_snapshot(entries.value());
}

template<class Test> bool any_folder_in(const Folder& folder, const Test& test) {
    for (const std::string& name : folders_in(folder, kFoldersLookedAt))
        if (const auto inner = folder.folder(name); inner.has_value() && test(*inner.value())) return true;
    return false;
}

bool is_group(const Folder& folder) {
    return any_folder_in(folder, is_snapshot_folder);
}

bool is_type(const Folder& folder) {
    return std::ranges::find(kTypes, utf8(folder.path().filename())) != kTypes.end() && any_folder_in(folder, is_group);
}

bool is_namespace(const Folder& folder, std::size_t depth) {
    for (const std::string_view type : kTypes)
        if (const auto inner = folder.folder(type); inner.has_value() && is_type(*inner.value())) return true;
    const auto spaces = folder.folder(kNamespaces);
    return spaces.has_value() && depth < kMostNested &&
           any_folder_in(*spaces.value(), [&](const Folder& inner) { return is_namespace(inner, depth + 1); });
}

bool is_root(const Folder& folder) {
    return folder.kind_of(ChunkStore::kFolder) == Entry::Kind::folder ||
           folder.kind_of(kBucketContent) == Entry::Kind::folder;
}

std::string joined(const std::string& path, std::string_view name) {
    return path.empty() ? std::string(name) : fmt::format("{}/{}", path, name);
}

// Goes down from a folder. What can't be listed below it is a line of the listing.
class Walk {
public:
    explicit Walk(const Limits& limits) : limits_(limits) {}

    Result<void> snapshot(const FolderPtr& folder, const std::string& name, const std::vector<Entry>& entries) {
        Snapshot found{.folder = folder,
                       .name = name,
                       .manifest = std::make_shared<const Result<Manifest>>(manifest_in(*folder, limits_))};
        for (const Entry& entry : entries) {
            if (entry.name == ".protected") found.is_protected = true;
            if (entry.name.ends_with(".fidx")) found.disks.push_back(entry.name);
            else if (entry.name.ends_with(".didx")) found.archives.push_back(entry.name);
            else if (entry.name.ends_with(".tmp_fidx")) found.unfinished.push_back(entry.name);
            else if (entry.name.ends_with(".blob") && entry.name != Manifest::kName) found.blobs.push_back(entry.name);
        }
        indexes_ += found.disks.size() + found.archives.size() + 1;
        if (indexes_ > limits_.backup_indexes)
            return fail(ErrorKind::limit_exceeded, "{}: has more than {} indexes: list a part of the datastore",
                        printable(utf8(folder->path())), limits_.backup_indexes);
        listing_.snapshots.push_back(std::move(found));
        return ok();
    }

    Result<void> group(const FolderPtr& folder, const std::string& name) {
        listing_.groups.push_back({.name = name, .owner = text(*folder, "owner"), .notes = text(*folder, "notes")});
        return each_folder(*folder, name, [this](const FolderPtr& inner, const std::string& path) -> Result<void> {
            const auto entries = inner->entries(limits_.folder_entries);
            if (entries.has_error()) return tell(entries.error());
            return is_snapshot(entries.value()) ? snapshot(inner, path, entries.value()) : Result<void>(ok());
        });
    }

    Result<void> type(const FolderPtr& folder, const std::string& name) {
        return each_folder(*folder, name,
                           [this](const FolderPtr& inner, const std::string& path) { return group(inner, path); });
    }

    Result<void> space(const FolderPtr& folder, const std::string& name, std::size_t depth) {
        for (const std::string_view each : kTypes) {
            if (folder->kind_of(each) != Entry::Kind::folder) continue;
            const auto inner = folder->folder(each);
            VDISK_CHECK(inner.has_value() ? type(inner.value(), joined(name, each)) : tell(inner.error()));
        }
        if (folder->kind_of(kNamespaces) != Entry::Kind::folder) return ok();
        if (depth >= kMostNested)
            return tell(fail(ErrorKind::limit_exceeded, "{}: namespaces are nested deeper than {} times",
                             printable(utf8(folder->path())), kMostNested));
        const auto spaces = folder->folder(kNamespaces);
        if (spaces.has_error()) return tell(spaces.error());
        return each_folder(
            *spaces.value(), joined(name, kNamespaces),
            [&](const FolderPtr& inner, const std::string& path) { return space(inner, path, depth + 1); });
    }

    Listing result() && { return std::move(listing_); }

private:
    template<class Visit> Result<void> each_folder(const Folder& folder, const std::string& name, const Visit& visit) {
        const auto entries = folder.entries(limits_.folder_entries);
        if (entries.has_error()) return tell(entries.error());
        for (const Entry& entry : entries.value()) {
            if (entry.kind != Entry::Kind::folder || entry.name.starts_with('.')) continue;
            const auto inner = folder.folder(entry.name);
            VDISK_CHECK(inner.has_value() ? visit(inner.value(), joined(name, entry.name)) : tell(inner.error()));
        }
        return ok();
    }

    Result<void> tell(const Error& error) {
        listing_.problems.push_back(error.what);
        return ok();
    }

    std::string text(const Folder& folder, std::string_view name) {
        if (!folder.kind_of(name)) return {};
        const auto read = [&]() -> Result<std::string> {
            VDISK_TRY(file, folder.file(name));
            if (file->size() > kTextBytes)
                return fail(ErrorKind::limit_exceeded, "{}: has {} bytes, the limit is {}", file->name(), file->size(),
                            kTextBytes);
            VDISK_TRY(text, read_text(*file, 0, file->size(), name));
            return std::string(trimmed(text));
        };
        auto found = read();
        if (found.has_value()) return std::move(found).value();
        listing_.problems.push_back(found.error().what);
        return {};
    }

    const Limits& limits_;
    Listing listing_;
    std::size_t indexes_ = 0;
};

// A copied S3 bucket has the folders one below its own.
FolderPtr root_of(const FolderPtr& folder) {
    const auto content = folder->folder(kBucketContent);
    return content.has_value() ? content.value() : folder;
}

} // namespace

std::string_view kind_of_archive(std::string_view name) noexcept {
    if (name.ends_with(".mpxar.didx")) return "metadata of a file archive (mpxar)";
    if (name.ends_with(".ppxar.didx")) return "contents of a file archive (ppxar)";
    if (name.ends_with(".pxar.didx")) return "file archive (pxar)";
    if (name.ends_with(".pcat1.didx")) return "catalog of a file archive";
    return "archive";
}

std::string Snapshot::path_of(std::string_view file) const {
    return joined(name, file);
}

bool is_backup_folder(const Folder& folder) {
    return is_root(folder) || is_snapshot_folder(folder) || is_group(folder) || is_type(folder) ||
           is_namespace(folder, 0);
}

Result<Listing> list_backups(const FolderPtr& folder, const Limits& limits) {
    VDISK_TRY(entries, folder->entries(limits.folder_entries));
    Walk walk(limits);
    if (is_snapshot(entries)) VDISK_CHECK(walk.snapshot(folder, "", entries));
    else if (is_root(*folder)) VDISK_CHECK(walk.space(root_of(folder), "", 0));
    else if (is_group(*folder)) VDISK_CHECK(walk.group(folder, ""));
    else if (is_type(*folder)) VDISK_CHECK(walk.type(folder, ""));
    else VDISK_CHECK(walk.space(folder, "", 0));
    return std::move(walk).result();
}

} // namespace vdisk::pbs
