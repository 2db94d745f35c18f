// SPDX-License-Identifier: Apache-2.0
/// What a format makes of a file: the disks in it, and what is known about them.
#pragma once

#include "base/facts.hpp"
#include "disk/audit.hpp"
#include "disk/dirty_bitmap.hpp"
#include "disk/references.hpp"
#include "disk/remark.hpp"
#include "image/image.hpp"

#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace vdisk {

struct Format;

/// One disk inside a file.
struct Disk {
    enum class Kind : std::uint8_t {
        active,   ///< the state that the guest saw last
        snapshot, ///< an earlier one, kept inside the file
        device,   ///< one of several disks of a machine
        memory,   ///< a machine's saved state: RAM and devices
    };
    Kind kind = Kind::active;
    std::string name;                   ///< as stored; empty for the active state
    std::string id;                     ///< a second way to name it; may be empty
    std::vector<std::string> aliases{}; ///< further ways, which count only where no name or id fits
    std::uint64_t size = 0;             ///< bytes
    std::uint32_t sector_size = 512;    ///< bytes in which the guest counts the disk
    bool chosen_by_default = true;      ///< a candidate where no selector is given
    Facts facts = Facts::object();
};

/// A stable word for a kind.
std::string_view to_string(Disk::Kind kind) noexcept;

/// A text that a file keeps beside its disks: a machine's configuration.
struct Configuration {
    std::string name;     ///< as stored: any bytes, and never to be used as a path
    std::string data;     ///< any bytes
    std::string problem;  ///< what is damaged about it; empty if nothing
    bool is_main = false; ///< the machine's own, which is meant where no name is given
};

/// The key of a fact: bytes of the virtual disk that is read.
constexpr const char* kFactSize = "virtual size";

/// How a layer names the one below it. The walker in open.hpp follows it; a format only says how to look.
struct ParentLink {
    std::string described;   ///< for messages: "backing file 'base.qcow2'", "parent {uuid}"
    std::string format;      ///< the parent's format as the child states it; empty: to be detected
    std::string_view key;    ///< of a selector, by which a person names the parent: "backing" or "parent"
    bool shares_key = false; ///< the key file that a person gave for the child is the parent's too
    /// Finds and opens it. Called at most once.
    std::function<Result<FoundFile>(const References&)> locate;
    /// Looks at the parent's facts(), to which kFactSize was added, once it is open and says what does not fit; may be
    /// empty.
    std::function<std::vector<Remark>(const Facts& parent)> remarks{};
};

/// One file's share of a disk.
struct Layer {
    Layer() = default;
    /// A layer whose extents lie in one source, or in none.
    Layer(std::shared_ptr<const Layout> where, std::vector<SourcePtr> bytes)
        : layout(std::move(where)), sources(std::move(bytes)) {}

    std::shared_ptr<const Layout> layout;
    std::vector<SourcePtr> sources; ///< what Extent::source counts
    std::optional<ParentLink> parent{};
    Encryption encryption{};         ///< for the extents that are enciphered
    Facts files = Facts::object();   ///< for `vdisk info`: the files beside the image's own that were opened for it
    std::vector<Remark> remarks{};   ///< about those files
    std::uint64_t cluster_bytes = 0; ///< of the largest of its compressed clusters; 0: the usual 2 MiB at most
};

/// A machine's state (RAM and devices), saved where no disk of the file reaches.
struct SavedState {
    Layer layer;            ///< reads the disk and behind it the state; has no parent
    GuestOffset start{};    ///< where in it the state begins
    std::uint64_t size = 0; ///< bytes, > 0; the layer ends with them
};

/// A file of one format, its header parsed and found good. Immutable and thread-safe. What not every format has is a
/// virtual member here whose default refuses by name, so that no tool asks which format it is.
class DiskFile {
public:
    DiskFile() = default;
    DiskFile(const DiskFile&) = delete;
    DiskFile& operator=(const DiskFile&) = delete;
    virtual ~DiskFile() = default;

    [[nodiscard]] virtual const Format& format() const noexcept = 0;

    /// The disks in it, in the file's order. Some archives have none.
    [[nodiscard]] virtual const std::vector<Disk>& disks() const noexcept = 0;

    /// The keys of a selector, besides those that choose a disk, that mean something to this file: "key-file" to an
    /// encrypted one. A key that means nothing is refused, as the one who gave it believes that it was used.
    [[nodiscard]] virtual std::vector<std::string_view> keys() const { return {}; }

    /// What `disks()[index]` reads from.
    [[nodiscard]] virtual Result<Layer> layer(std::size_t index) const = 0;

    /// Every other file that this one names, whichever of its disks needs it: parents and data files. Needs no key, for
    /// nothing is read through these links: they only tell which files are not to be touched.
    [[nodiscard]] virtual std::vector<ParentLink> links() const { return {}; }

    /// The file's own facts: what it says of itself and what is odd about it. Never fails: what can't be read is told
    /// there.
    [[nodiscard]] virtual Facts facts() const = 0;

    /// The stored bitmap of this name. Errors: `usage` if there is none.
    [[nodiscard]] virtual Result<DirtyBitmap> bitmap(std::string_view name) const;

    /// Checks the file's bookkeeping as a whole, without its parents: reads all metadata, and no bytes that the disk
    /// shows. Damage is a finding; errors: `unsupported` where the format has no bookkeeping, `limit_exceeded`,
    /// `cancelled`, `io`.
    [[nodiscard]] virtual Result<AuditReport> audit(const AuditRequest& request) const;

    /// The machine state saved together with `disks()[index]`. Errors: `usage` if there is none.
    [[nodiscard]] virtual Result<SavedState> saved_state(std::size_t index) const;

    /// The configurations kept beside the disks, in the file's order.
    [[nodiscard]] virtual Result<std::vector<Configuration>> configurations() const;

    /// Reads all of the file, guest data included, and checks it by whatever the format has for that: checksums,
    /// invariants. Damage is a finding, one for each range of a disk that is lost; errors: `unsupported` where the
    /// format has no checksums, `cancelled`, `io`.
    [[nodiscard]] virtual Result<AuditReport> verify(const Progress& progress) const;
};

} // namespace vdisk
