// SPDX-License-Identifier: Apache-2.0
/// The gate: every file that an image names is opened here, or refused with a reason.
#pragma once

#include "base/limits.hpp"
#include "io/input_files.hpp"

#include <filesystem>
#include <string>
#include <string_view>

namespace vdisk {

/// What an image may name.
enum class ReferencePolicy : std::uint8_t {
    deny,     ///< nothing
    same_dir, ///< files in its own folder
    any,      ///< any regular file
};

/// The policy of $VDISK_REFERENCES (deny, same-dir, any); `any` if that is unset. Another word is a `usage` error.
[[nodiscard]] Result<ReferencePolicy> reference_policy_from_environment();

/// A file that an image named, opened.
struct FoundFile {
    FilePtr file;
    std::string how;      ///< how it was found, where that is not as the image says: "by its name beside the image"
    std::string format{}; ///< its format, where that was learnt while it was looked for; empty: as the link says
    std::filesystem::path
        registry{}; ///< the VirtualBox settings file that knows about it and its parents; may be empty
};

/// Opens what the image at `image` names. Regular files only: never a device, a FIFO, a socket or a URL. Relative names
/// are looked for in the image's folder, by the path as given and by the real one behind symbolic links; absolute ones
/// as they stand, then by their last component beside the image. Thread-safe.
class References {
public:
    /// `given`: what open_given() takes. Where a path that counts as given stands in a file, that is regular files
    /// only.
    /// `inputs`: told of each file that is looked for here, found or not; may be null.
    References(std::filesystem::path image, ReferencePolicy policy, const Limits& limits,
               FileKinds given = FileKinds::regular_or_block_device, InputFilesPtr inputs = nullptr);

    /// `name` as the image has it. Errors: `unsupported` for protocols, `usage` for what the policy forbids, `io` for
    /// what is not there, telling each path that was tried.
    [[nodiscard]] Result<FoundFile> open(std::string_view name) const;

    /// Exactly `path`, which a search for what the image names has led to: a regular file. Errors: `usage` for what the
    /// policy forbids, else `io`.
    [[nodiscard]] Result<FilePtr> open_exact(const std::filesystem::path& path) const;

    /// A path that a person gave (a `backing` key): as it stands, without a policy.
    [[nodiscard]] Result<FoundFile> open_given(const std::filesystem::path& path) const;

    /// The folders in which the image lies: as given, then, if that differs, the real one.
    [[nodiscard]] const std::vector<std::filesystem::path>& folders() const noexcept { return folders_; }

    /// What open_given() takes.
    [[nodiscard]] FileKinds given_kinds() const noexcept { return given_; }

    /// Whether the policy lets a file at `path` be opened.
    [[nodiscard]] bool allows(const std::filesystem::path& path) const;

private:
    [[nodiscard]] Result<FilePtr> open_file(const std::filesystem::path& path, FileKinds kinds) const;

    std::vector<std::filesystem::path> folders_;
    ReferencePolicy policy_;
    Limits limits_;
    FileKinds given_;
    InputFilesPtr inputs_;
};

} // namespace vdisk
