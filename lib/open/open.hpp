// SPDX-License-Identifier: Apache-2.0
/// The library's front door: from what a user typed to a disk that can be read.
#pragma once

#include "disk/format.hpp"
#include "open/statistics.hpp"

namespace vdisk {

struct OpenOptions {
    Limits limits{};
    ReferencePolicy references = ReferencePolicy::any;
    std::string format{};             ///< a format's name; empty: detect it
    Progress progress{};              ///< told of long work at opening; may be empty
    IndexCache index_cache{};         ///< off unless given
    std::filesystem::path registry{}; ///< a VirtualBox settings file to find parents by, before others; may be empty
    Unverified unverified = Unverified::placed; ///< of compressed streams
    References::RootPtr root{};    ///< where the evidence is mounted; null: absolute names mean what they say
    StatisticsReport statistics{}; ///< told what reading a disk cost when it is closed; may be empty
    InputFilesPtr inputs{};        ///< told which files are opened and looked for; may be null

    /// What the environment says: $VDISK_REFERENCES, $VDISK_ROOT, $VDISK_UNVERIFIED, $VDISK_STATS, $VDISK_THREADS, and
    /// the index cache of IndexCache::from_environment(). What every program starts with. A word that means nothing is
    /// a `usage` error.
    [[nodiscard]] static Result<OpenOptions> from_environment();
};

/// A file of a known format, not yet a disk.
struct OpenedFile {
    OpenContext context;
    SourcePtr source; ///< what the format reads
    std::shared_ptr<const DiskFile> disks;
    std::string reference{};       ///< the reference file that led here, safe to show; empty if none did
    std::vector<Remark> decided{}; ///< how its format was decided
    bool taken_as_raw = false;     ///< nobody said that it is raw; but nothing shows that it is anything else

    /// All that has to be said of this file, whatever disk in it is read: how its format was decided, and what of its
    /// compressed stream nothing vouches for. Each line names the file.
    [[nodiscard]] std::vector<Remark> remarks() const;
};

/// One layer of an opened disk, for `vdisk info`.
struct ChainLink {
    std::string path;
    const Format* format = nullptr;
    std::uint64_t size = 0;                  ///< bytes of this layer's virtual disk
    std::shared_ptr<const DiskFile> disks{}; ///< the layer's file; null for a parent that was left out
    std::size_t index = 0;                   ///< which of its disks
    std::string how;                         ///< how it was found, if not as its child says
    std::vector<Remark>
        remarks;                ///< what does not fit between it and its child, what its format and name were taken for
    std::vector<Remark> damage; ///< what of its compressed stream nothing vouches for
    Facts files = Facts::object(); ///< further files that it is read from
};

/// A disk that can be read.
struct OpenedDisk {
    OpenedFile file;
    std::size_t index = 0; ///< which of file.disks->disks()
    ImagePtr image;
    std::vector<ChainLink> chain; ///< the file itself first

    /// All that has to be said of the disk: the remarks of each link, which name its file. Every program tells them.
    [[nodiscard]] std::vector<Remark> remarks() const;
};

/// The format that the file named by `text` (a path, perhaps with a selector) surely has; nullptr where none is sure.
/// Parses no metadata. Errors: as open_file(); `not_this_format` only where two formats are sure.
[[nodiscard]] Result<const Format*> identify_file(std::string_view text, std::span<const std::string> more_parts = {});

/// The same of bytes that a program has, FileSource::over().
[[nodiscard]] Result<const Format*> identify_given(const FilePtr& file);

/// The format that the image surely has to which the reference file `text` leads; never nullptr. Errors, which name
/// both files: as open_file(), and `not_this_format` where no format is sure.
[[nodiscard]] Result<const Format*> identify_target(std::string_view text, const OpenOptions& options);

/// Opens `text` (a path, perhaps with a selector) and parses its metadata; follows no parent. A compressed file is read
/// as what it decompresses to, which is a raw image if it is of no other format. A reference file is followed; errors
/// then name both files. A file that was cut into parts is opened by its first (parts.hpp says which are joined).
[[nodiscard]] Result<OpenedFile> open_file(std::string_view text, const OpenOptions& options);

/// The same of a file in parts of which a person names each: `text` the first, `more_parts` the paths of the others in
/// their order. No reference file is followed then, and none is joined but these.
[[nodiscard]] Result<OpenedFile> open_file(std::string_view text, std::span<const std::string> more_parts,
                                           const OpenOptions& options);

/// The same of bytes that a program has, FileSource::over(), in the place of a file: `selector` is what would stand
/// behind its name's '#', or empty. What they name, and what lies beside files, is not opened, whatever
/// `options.references` says: only what the selector gives. No reference file is followed.
[[nodiscard]] Result<OpenedFile> open_given(const FilePtr& file, std::string_view selector, OpenOptions options);

/// Opens a file that a machine names, as open_disk() does when it comes to it as a parent: with its parts, and as what
/// it decompresses to. `machine`: of the file that names it. Errors: as open_file().
[[nodiscard]] Result<OpenedFile> open_medium(const FoundFile& found, const OpenContext& machine);

/// The files that a disk is read from, the first its own, by their names and formats.
struct NamedChain {
    struct File {
        std::string name; ///< safe to show
        std::string format;
    };
    std::vector<File> files;
    std::string problem{}; ///< why it can't be followed further; empty if it is whole
};

/// Follows the chain of disk number `index` of `file` as far as it goes. Reads nothing of the disks.
[[nodiscard]] NamedChain chain_of(OpenedFile file, std::size_t index);

/// The context in which a format would open `file`: for who reads a file that is no disk and names some. Errors: as
/// open_file().
[[nodiscard]] Result<OpenContext> context_for(const FilePtr& file, const OpenOptions& options);

/// Tells `options.inputs` of every file that `file` leads to, and those in turn, by names and selectors, as far as they
/// can be followed: for who writes something without having opened the disks. Needs no key.
void find_inputs(const OpenedFile& file, const OpenOptions& options);

/// Opens the selected disk of `file` with its whole chain of parents.
[[nodiscard]] Result<OpenedDisk> open_disk(OpenedFile file, const OpenOptions& options);

/// As open_disk(), for disk number `index` of file.disks->disks(), whatever the selector names. `index` must be one of
/// them.
[[nodiscard]] Result<OpenedDisk> open_disk_at(OpenedFile file, std::size_t index, const OpenOptions& options);

/// open_file() and open_disk() in one.
[[nodiscard]] Result<OpenedDisk> open_disk(std::string_view text, const OpenOptions& options);
[[nodiscard]] Result<OpenedDisk> open_disk(std::string_view text, std::span<const std::string> more_parts,
                                           const OpenOptions& options);

/// A machine's saved state: `size` bytes from `start` of `image`.
struct OpenedState {
    ImagePtr image;
    GuestOffset start{};
    std::uint64_t size = 0;
};

/// The state that was saved together with the selected disk of `file`. Errors: `usage` if there is none.
[[nodiscard]] Result<OpenedState> open_saved_state(const OpenedFile& file);

/// The name or id that selects this disk of `file` and no other, as stored: the id where the name is missing, not
/// unique or can't be typed.
[[nodiscard]] const std::string& selecting_name(const DiskFile& file, const Disk& disk);

/// What to type behind '#' to reach this disk of `file`: its selecting_name(), escaped and safe to show.
[[nodiscard]] std::string selecting_word(const DiskFile& file, const Disk& disk);

/// The disk of `file` that its selector names; of several that fit, the one whose id it is. Without a selector: the
/// only one that is chosen by default. Errors: `usage`, listing what there is and the text to type for each.
[[nodiscard]] Result<std::size_t> select_disk(const DiskFile& file, const Selector& selector);

/// select_disk() by the file's own selector.
[[nodiscard]] Result<std::size_t> select_disk(const OpenedFile& file);

} // namespace vdisk
