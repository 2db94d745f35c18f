// SPDX-License-Identifier: Apache-2.0
/// The gate: every file that an image names is opened here, or refused with a reason.
#pragma once

#include "base/limits.hpp"
#include "disk/backing_name.hpp"
#include "disk/remark.hpp"
#include "io/folder.hpp"
#include "io/input_files.hpp"

#include <atomic>
#include <filesystem>
#include <functional>
#include <memory>

namespace vdisk {

/// What an image may name.
enum class ReferencePolicy : std::uint8_t {
    deny,     ///< nothing
    same_dir, ///< files in its own folder
    any,      ///< any regular file
};

/// The policy of $VDISK_REFERENCES (deny, same-dir, any); `any` if that is unset. Another word is a `usage` error.
[[nodiscard]] Result<ReferencePolicy> reference_policy_from_environment();

/// The folder below which the evidence's file system is mounted or copied: absolute names are looked for there first.
struct EvidenceRoot {
    std::filesystem::path folder;           ///< empty: there is none
    mutable std::atomic<bool> used = false; ///< whether a name was looked for below it
};

/// $VDISK_ROOT; null if that is unset. Errors: `usage` where it is no folder.
[[nodiscard]] Result<std::shared_ptr<const EvidenceRoot>> evidence_root_from_environment();

/// `folder` as the evidence's root; `what` names it in errors: `usage` where it is no folder.
[[nodiscard]] Result<std::shared_ptr<const EvidenceRoot>> evidence_root(const std::filesystem::path& folder,
                                                                        std::string_view what);

/// A file that an image named, opened.
struct FoundFile {
    FilePtr file;
    std::string how;      ///< how it was found, where that is not as the image says: "by its name beside the image"
    std::string format{}; ///< its format, where that was learnt while it was looked for; empty: as the link says
    std::filesystem::path
        registry{};                 ///< the VirtualBox settings file that knows about it and its parents; may be empty
    std::optional<Window> window{}; ///< the part of the file that is meant; nothing: all of it
    std::vector<Remark> remarks{};  ///< what else the name could have meant
    bool may_be_part = false;       ///< nothing of that name is there, but parts of it, or a person gave it
    std::string snapshot{};         ///< the snapshot inside it that is meant; empty: its disk as it is
    bool packed = false;            ///< who named it says that it is compressed
};

/// What is known about a file that is looked for, besides its name.
struct NameSearch {
    /// What becomes of a name that fits different files in the evidence, none of them in the very place that it says.
    enum class Several : std::uint8_t {
        refused, ///< an error that lists two of them
        noted    ///< the first is taken, and a remark names another: for who knows more than the name
    };

    /// Folders that count like the image's own, before them: they need not be there.
    std::vector<std::filesystem::path> folders{};
    /// Why a file of that name is not the one, a sentence that names it; empty if nothing speaks against it. May be
    /// null.
    std::function<std::string(const FileSource&)> objection{};
    Several several = Several::refused;
};

/// A file with all of its parts.
struct WholeFile {
    FilePtr file;
    std::vector<Remark> remarks{};
};

class References;

/// Puts a file that was cut together with the parts that lie beside it. `parts`: what a person says of that.
using JoinParts = Result<WholeFile> (*)(const FilePtr& first, const References& gate,
                                        const std::optional<std::string>& parts);

/// Opens what the image at `image` names. Regular files only: never a device, a FIFO, a socket or a URL; but an image
/// on a block device may name one beside it, except in /dev itself. The evidence comes before this machine's own files:
/// an absolute name is looked for below the evidence's root, then where a copied tree has it (its last folders and its
/// last part below a folder that the image lies in), beside the image, and only then as it stands. A relative one is
/// looked for in the image's folder, by the path as given and by the real one behind symbolic links, then as an
/// absolute one. Different files in the evidence that a name could mean are an error. Thread-safe.
class References {
public:
    using RootPtr = std::shared_ptr<const EvidenceRoot>;

    /// `given`: what open_given() takes. Where a path that counts as given stands in a file, that is regular files
    /// only. `inputs`: told of each file that is looked for here, found or not; may be null. `root` may be null.
    /// `join`: for joined(); null: no file has parts.
    References(std::filesystem::path image, ReferencePolicy policy, const Limits& limits,
               FileKinds given = FileKinds::regular_or_block_device, InputFilesPtr inputs = nullptr,
               RootPtr root = nullptr, JoinParts join = nullptr);

    /// `name` as the image has it: a path, also one of Windows, a `file:` URI, a `json:` object of QEMU. Of a file that
    /// lies there in parts it is the first. Errors: `unsupported` for what names no local file, `usage` for what the
    /// policy forbids, `io` for what is not there, telling each path that was tried, and for a name that could mean
    /// different files of the evidence.
    [[nodiscard]] Result<FoundFile> open(std::string_view name) const;

    /// The file that a machine's or an image's host knows by that name. Errors: as open(); `io` too where the name
    /// could mean several files, as `search` says.
    [[nodiscard]] Result<FoundFile> find(const BackingName& name, const NameSearch& search) const;

    /// The places at which a file or folder of that name is, those first that find() takes first. Opens nothing, so
    /// that the policy has its say when something there is opened.
    [[nodiscard]] std::vector<std::filesystem::path> places(const BackingName& name, const NameSearch& search) const;

    /// The same gate beside another file, which was found through this one.
    [[nodiscard]] std::shared_ptr<const References> beside(const std::filesystem::path& file) const;

    /// open(), of a folder too: for formats that have some.
    [[nodiscard]] Result<FoundFile> open_file_or_folder(std::string_view name) const;

    /// Exactly `path`, which a search for what the image names has led to: a regular file. Errors: `usage` for what the
    /// policy forbids, else `io`.
    [[nodiscard]] Result<FilePtr> open_exact(const std::filesystem::path& path) const;

    /// A further part of the image's own file, which was cut: a regular file. It is nothing that the image names; but
    /// a link to another folder is followed only where the policy lets an image name files there, and one below the
    /// evidence's root stays there. Errors: `usage`, `io`.
    [[nodiscard]] Result<FilePtr> open_part(const std::filesystem::path& path) const;

    /// A folder that the image's bytes lie in, found by where the image lies or given by a person. It is nothing that
    /// the image names, so the policy has no say; what is opened in it lies in it, and no link leads out. Error: `io`.
    [[nodiscard]] Result<FolderPtr> open_folder(const std::filesystem::path& path) const;

    /// A path that a person gave (a `backing` key): as it stands, without a policy.
    [[nodiscard]] Result<FoundFile> open_given(const std::filesystem::path& path) const;

    /// `found` with its other parts, if it was cut, for whoever reads its bytes as they are; where a file of the very
    /// name is there it is that. Errors: those of joining them.
    [[nodiscard]] Result<FoundFile> joined(FoundFile found) const;

    /// The folders in which the image lies: as given, then, if that differs, the real one.
    [[nodiscard]] const std::vector<std::filesystem::path>& folders() const noexcept { return folders_; }

    /// Where the evidence is mounted; may be null.
    [[nodiscard]] const RootPtr& root() const noexcept { return root_; }

    /// What an image may name.
    [[nodiscard]] ReferencePolicy policy() const noexcept { return policy_; }

    /// Who is told of each file that is looked for; may be null.
    [[nodiscard]] const InputFilesPtr& inputs() const noexcept { return inputs_; }

    /// What open_given() takes.
    [[nodiscard]] FileKinds given_kinds() const noexcept { return given_; }

    /// Whether the policy lets a file at `path` be opened.
    [[nodiscard]] bool allows(const std::filesystem::path& path) const;

private:
    // Nothing is opened, and nobody wants to know where it would have been looked for.
    [[nodiscard]] bool denies_unseen() const noexcept { return policy_ == ReferencePolicy::deny && !inputs_; }
    [[nodiscard]] bool lies_beside(const std::filesystem::path& path) const;
    [[nodiscard]] Result<FilePtr> open_file(const std::filesystem::path& path, FileKinds kinds) const;
    struct Candidate {
        std::filesystem::path path;
        std::string how;
        FileKinds kinds = FileKinds::regular_only;
        bool guessed = false; ///< the name does not say this place
        bool in_parts = false;
    };
    using Folders = std::vector<std::filesystem::path>;
    Folders folders_of(const NameSearch& search) const;
    Result<FoundFile> open_named(std::string_view name, bool or_folder) const;
    std::vector<Candidate> candidates(const BackingName& name, const Folders& folders) const;
    void add_evidence(const std::filesystem::path& name, const std::filesystem::path& own, const Folders& folders,
                      std::vector<Candidate>& list) const;
    FileKinds kinds_in(const std::filesystem::path& folder) const;
    Result<FoundFile> find(std::vector<Candidate> list, const BackingName& name, const NameSearch& search) const;
    Result<FoundFile> open_first(const std::vector<Candidate>& list, std::string_view name,
                                 const NameSearch& search) const;

    std::filesystem::path image_;
    std::vector<std::filesystem::path> folders_;
    bool on_device_ = false; ///< the image is a block device
    ReferencePolicy policy_;
    Limits limits_;
    FileKinds given_;
    InputFilesPtr inputs_;
    RootPtr root_;
    JoinParts join_;
};

} // namespace vdisk
