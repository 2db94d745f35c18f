// SPDX-License-Identifier: Apache-2.0
/// The folders of a datastore: root, namespaces, groups, snapshots.
#pragma once

#include "format/pbs/manifest.hpp"
#include "io/folder.hpp"

namespace vdisk::pbs {

using ManifestPtr = std::shared_ptr<const Result<Manifest>>;

/// One backup: the folder with its indexes.
struct Snapshot {
    FolderPtr folder;
    std::string name;     ///< the folder's, from the one that is listed: "vm/100/2024-05-01T10:00:00Z"; empty: itself
    ManifestPtr manifest; ///< never null
    bool is_protected = false;             ///< from being pruned
    std::vector<std::string> disks{};      ///< names of the .fidx files
    std::vector<std::string> archives{};   ///< of the .didx files
    std::vector<std::string> blobs{};      ///< of the others that are blobs, but the manifest
    std::vector<std::string> unfinished{}; ///< of indexes of a backup that did not end

    /// `file` as what lies in this snapshot is called in the listing.
    [[nodiscard]] std::string path_of(std::string_view file) const;
};

/// All snapshots of one machine.
struct Group {
    std::string name;    ///< "ns/a/vm/100"; empty: the folder that is listed
    std::string owner{}; ///< as its file says; any bytes
    std::string notes{};
};

struct Listing {
    std::vector<Snapshot> snapshots{}; ///< by namespace, kind, identifier and name
    std::vector<Group> groups{};
    std::vector<std::string> problems{}; ///< what could not be listed, and why
};

/// What an archive is, by its name as clients give it: "file archive (pxar)".
[[nodiscard]] std::string_view kind_of_archive(std::string_view name) noexcept;

/// Whether the folder is a datastore, a namespace, a kind ("vm"), a group or a snapshot, as what lies in it shows.
[[nodiscard]] bool is_backup_folder(const Folder& folder);

/// What lies in such a folder. Errors: `limit_exceeded`, `io` where the folder itself can't be listed.
[[nodiscard]] Result<Listing> list_backups(const FolderPtr& folder, const Limits& limits);

} // namespace vdisk::pbs
