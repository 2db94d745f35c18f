// SPDX-License-Identifier: Apache-2.0
/// Folders of the operating system, in which files are opened by their names alone.
#pragma once

#include "io/file_source.hpp"

#include <string>
#include <string_view>
#include <vector>

namespace vdisk {

class Folder;
using FolderPtr = std::shared_ptr<const Folder>;

/// A folder that is held open: whatever becomes of its path, what is opened in it lies in it. Immutable, thread-safe.
class Folder {
public:
    /// What a name in a folder stands for, as lstat() tells it.
    struct Entry {
        enum class Kind : std::uint8_t { file, folder, other };
        std::string name;
        Kind kind = Kind::other;
    };

    /// Of a path that was given or found: links in it are followed. Error: `io`.
    [[nodiscard]] static Result<FolderPtr> open(const std::filesystem::path& path);

    /// The folder `name` in this one, itself and no link to it. `name` is one component. Error: `io`.
    [[nodiscard]] Result<FolderPtr> folder(std::string_view name) const;

    /// The regular file `name` in this one: no link, no device, no FIFO. `name` is one component. Error: `io`.
    [[nodiscard]] Result<FilePtr> file(std::string_view name) const;

    /// What is called `name` here. Error: `io`, `ENOENT` included: nothing is.
    [[nodiscard]] std::optional<Entry::Kind> kind_of(std::string_view name) const;

    /// All entries but "." and "..", by name. Errors: `limit_exceeded` beyond `most`, `io`.
    [[nodiscard]] Result<std::vector<Entry>> entries(std::size_t most) const;

    [[nodiscard]] const std::filesystem::path& path() const noexcept { return path_; }

private:
    Folder(Descriptor descriptor, std::filesystem::path path)
        : descriptor_(std::move(descriptor)), path_(std::move(path)) {}

    Descriptor descriptor_;
    std::filesystem::path path_;
};

} // namespace vdisk
