// SPDX-License-Identifier: Apache-2.0
/// A file that gets its name when it is whole.
#pragma once

#include "base/error.hpp"
#include "base/system/file.hpp"

#include <filesystem>
#include <memory>
#include <optional>

namespace vdisk::tools {

/// A new file in the folder of the one that it is to become, named after it with ".partial" at the end. It is removed
/// with this object and when a signal ends the tool, unless it was committed: until then what had its name stays. One
/// at a time.
class UnfinishedFile {
public:
    /// For a file at `path`; with `replacing`, one that may be there: a regular file that the user could write to,
    /// whose permissions the new one gets. Errors: `io`.
    static Result<std::unique_ptr<UnfinishedFile>> create(const std::filesystem::path& path, bool replacing);
    /// The same, but called "NAME.partial", and left where it is if it does not come to commit(): then the next call
    /// takes it up with what is in it. Errors: `io`, also where another process has it; `usage` where what has that
    /// name is no regular file of one name that the user owns.
    static Result<std::unique_ptr<UnfinishedFile>> keep(const std::filesystem::path& path, bool replacing);
    ~UnfinishedFile();
    UnfinishedFile(const UnfinishedFile&) = delete;
    UnfinishedFile& operator=(const UnfinishedFile&) = delete;

    /// Where keep() has what is to become `path`.
    [[nodiscard]] static std::filesystem::path kept_path(const std::filesystem::path& path);
    [[nodiscard]] std::filesystem::path kept_path() const { return kept_path(path_); }

    [[nodiscard]] int descriptor() const noexcept { return descriptor_.get(); }

    /// Puts it on the disk and gives it its name. Errors: `io`, also where a file of that name appeared that is not the
    /// one to be replaced.
    Result<void> commit();

private:
    UnfinishedFile(std::filesystem::path path, Descriptor folder)
        : path_(std::move(path)), folder_(std::move(folder)) {}
    static Result<std::unique_ptr<UnfinishedFile>> beside(const std::filesystem::path& path, bool replacing);
    Result<void> look_at_replaced();
    Result<void> make();
    Result<void> take_up();
    Result<void> rename();

    std::filesystem::path path_;
    Descriptor folder_;
    Descriptor descriptor_;
    std::string name_{}; ///< its own, in the folder; empty: there is no such file
    bool kept_ = false;
    struct Replaced {
        FileIdentity identity;
        std::uint32_t permissions;
    };
    std::optional<Replaced> replaced_{};
};

} // namespace vdisk::tools
