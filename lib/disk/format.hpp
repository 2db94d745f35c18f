// SPDX-License-Identifier: Apache-2.0
/// One constant row a format.
#pragma once

#include "disk/disk_file.hpp"
#include "disk/selector.hpp"
#include "disk/signature.hpp"
#include "io/index_cache.hpp"
#include "io/progress.hpp"
#include "io/stream_source.hpp"

namespace vdisk {

/// How sure a format is that a file is its own.
enum class Match : std::uint8_t { no, weak, sure };

/// What opening a file needs to know. Copied freely.
struct OpenContext {
    Limits limits{};
    CachesPtr caches;                             ///< never null
    std::shared_ptr<const References> references; ///< the gate beside this file; never null
    Selector selector{};                          ///< what the user selected in this file
    FilePtr file;                           ///< the file of the operating system below the source; may be null in tests
    Progress progress{};                    ///< may be empty
    std::shared_ptr<StreamSource> stream{}; ///< what `source` is if the file is compressed, else null
    Unverified unverified = Unverified::refuse; ///< as that stream was opened with
    IndexCache index_cache{};                   ///< where a pass over the whole file may be remembered; off by default
    std::filesystem::path registry{};           ///< a VirtualBox settings file to find parents by; may be empty
};

/// Where a file leads that has no disks of its own.
struct Redirection {
    FilePtr file;
    Selector selector; ///< in that file
};

/// A format: adding one is one folder and one such row in the registry.
struct Format {
    std::string_view name;        ///< what `-i` takes; matches \w+
    std::string_view description; ///< for lists
    /// For what `signatures` can't tell: looks at the first bytes (FirstLook::kHeadBytes or the whole file) and, if it
    /// must, at the source. Must be quick. Asked where there are no signatures or one of them is there; may be null.
    Match (*probe)(std::span<const std::byte> head, const ByteSource& source);
    /// Parses the metadata. Errors name file, field and value.
    Result<std::shared_ptr<const DiskFile>> (*open)(SourcePtr source, const OpenContext& context);
    /// open() goes over a compressed stream by scan_forward() before it reads from the source, so the stream need not
    /// be indexed before.
    bool scans_forward = false;
    /// For a format whose files have no disks of their own: opens the file that one names. open() is not called then.
    /// Errors name the file and what it says.
    Result<Redirection> (*follow)(const ByteSource& source, const OpenContext& context) = nullptr;
    /// A file that shows one of these is surely of this format, if `probe` does not say otherwise.
    std::span<const Signature> signatures{};
    /// Of a file that no format knows: the name of the file beside it that describes it as a part of a disk, empty if
    /// there is none. May be null.
    std::string (*described_by)(const ByteSource& file, const References& gate, const Limits& limits) = nullptr;
    /// Whether a folder is one of this format: open() is then called with a source of no bytes, and finds the folder by
    /// its path. Must be quick. May be null.
    bool (*owns_folder)(const Folder& folder) = nullptr;
    /// A folder with a file of this name is one disk's: that file is opened instead of it. Empty: there is none.
    std::string_view file_in_folder{};
    bool is_machine = false;  ///< its disks are other files, which it names
    std::string_view alias{}; ///< the name by which QEMU's images state the format, where that is another one
};

/// Whether files of the format are disks, and not machines again, archives or references: a machine whose drive is one
/// of those is a trap, or a mistake.
[[nodiscard]] inline bool is_disk(const Format& format) noexcept {
    return format.follow == nullptr && !format.scans_forward && !format.is_machine;
}

} // namespace vdisk
