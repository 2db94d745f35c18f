// SPDX-License-Identifier: Apache-2.0
/// The search for a parent that an image names by an identifier: perhaps with names, which may be out of date.
#pragma once

#include "disk/references.hpp"

#include <functional>
#include <initializer_list>
#include <set>

namespace vdisk {

/// Looks through the folders near an image, through its gate, and remembers where for the message that tells of a vain
/// search. One thread; holds `gate` and `limits` by reference.
class NearbyFiles {
public:
    NearbyFiles(const References& gate, const Limits& limits) : gate_(gate), limits_(limits) {}

    /// The folders of the image, those above them, and `Snapshots` in them: each once.
    [[nodiscard]] std::vector<std::filesystem::path> folders() const;

    /// The folder above, in the way in which `folder` was written.
    [[nodiscard]] static std::filesystem::path above(const std::filesystem::path& folder);

    /// The files of a folder that `wanted` takes, sorted by name: the order of a directory is not the same twice.
    [[nodiscard]] static std::vector<std::filesystem::path>
    files_in(const std::filesystem::path& folder, const std::function<bool(const std::filesystem::path&)>& wanted);

    /// Whether a file's extension (".vdi") is one of these, in whatever case.
    [[nodiscard]] static bool has_extension(const std::filesystem::path& path,
                                            std::initializer_list<std::string_view> extensions);

    /// The file, if it is a regular one that the policy lets be opened and was not opened here before; else null. Opens
    /// at most Limits::search_files.
    [[nodiscard]] FilePtr open_once(const std::filesystem::path& path);

    /// What was looked at in vain, or why something found is not what is looked for.
    void looked_at(const std::string& what);

    /// A file was not opened because of the policy.
    void forbidden() { ++forbidden_; }

    /// All of that: `usage` where the policy forbade to look, else `io`.
    [[nodiscard]] Error not_found() const;

private:
    const References& gate_;
    const Limits& limits_;
    std::set<FileIdentity> opened_;
    std::string looked_;
    std::size_t forbidden_ = 0;
    bool cut_short_ = false;
};

/// A relative path as Windows writes it, as one of this system.
[[nodiscard]] std::string relative_path(std::string windows_path);

/// The last part of a path of Windows or of this system.
[[nodiscard]] std::string last_part(std::string_view path);

/// What a link to a parent is called: "parent", the identifier in words, and the name if there is one.
[[nodiscard]] std::string described_parent(std::string_view identifier, std::string_view name);

/// A parent by its identifier.
struct IdentifiedParent {
    std::string_view identifier;                  ///< what its identifier is called: "unique ID"
    std::vector<std::string> names{};             ///< of the file as the image has them, the likeliest first
    std::string_view format;                      ///< that such a file has
    bool (*may_be)(const std::filesystem::path&); ///< which files of the folders around the image's own are looked at
    /// Why a file is not the parent; empty if it is.
    std::function<std::string(const ByteSource&)> objection;
};

/// Opens the file by its names, through the gate, and takes the first that is the parent; else looks at all files in
/// the image's own folders and at some of those around. Errors: `usage` where the policy forbids to look, `io` where
/// nothing was found, telling what was looked at and what is wrong with the files that were found by their names.
[[nodiscard]] Result<FoundFile> find_identified(const IdentifiedParent& parent, const References& gate,
                                                const Limits& limits);

} // namespace vdisk
