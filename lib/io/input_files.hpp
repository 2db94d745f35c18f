// SPDX-License-Identifier: Apache-2.0
/// The files that are read, and those that something which is read names: so that a program writes over none of them.
#pragma once

#include "base/fork_guard.hpp"
#include "io/file_source.hpp"

#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <vector>

namespace vdisk {

/// One of them, by what it is and not by its path.
struct InputFile {
    std::string name;                     ///< the path that led to it, safe to show
    std::optional<FileIdentity> identity; ///< nothing if there is no such file
    bool block_device = false;            ///< `identity` is then {0, the device's own number}
    FileIdentity folder{};                ///< in which the path's last component stands; {0, 0} if there is none
    std::string last{};                   ///< that component

    friend auto operator<=>(const InputFile&, const InputFile&) = default;
};

/// What is at `path`, behind symbolic links. Opens nothing.
[[nodiscard]] InputFile look_at(const std::filesystem::path& path);

/// Collects input files. Thread-safe.
class InputFiles {
public:
    /// `path` is read, or is named and would be read if it were there.
    void add(const std::filesystem::path& path);

    /// Whatever lies in the folder at `path`, or in one below it, may be read.
    void add_folder(const std::filesystem::path& path);

    /// `file` is read, from now until it is closed; each of its parts, those that are missing too.
    void add(const FilePtr& file);

    /// All that were added, each once.
    [[nodiscard]] std::vector<InputFile> all() const;

    /// The folders of add_folder() that are there.
    [[nodiscard]] std::vector<InputFile> folders() const;

    /// Those that were added as open files and still are.
    [[nodiscard]] std::vector<FilePtr> open() const;

private:
    mutable std::mutex mutex_; ///< guards the others
    ForkGuard guard_{&mutex_};
    std::set<InputFile> files_;
    std::set<InputFile> folders_;
    std::vector<std::weak_ptr<const FileSource>> open_;
};

using InputFilesPtr = std::shared_ptr<InputFiles>;

} // namespace vdisk
