// SPDX-License-Identifier: Apache-2.0
/// One index of a backup, read as the disk or archive that it describes.
#pragma once

#include "format/pbs/layout.hpp"
#include "format/pbs/manifest.hpp"

namespace vdisk::pbs {

/// Where an index stands: its file, and the backup that it belongs to.
struct IndexPlace {
    SourcePtr file;
    std::string name;                                 ///< the file's, without folders
    std::shared_ptr<const Result<Manifest>> manifest; ///< of its backup
    std::shared_ptr<const Result<ChunkStorePtr>> store;
};

/// Immutable, thread-safe.
class IndexDisk {
public:
    /// Reads the header and all entries. Errors name the file: as IndexHeader::read() and IndexSurvey::of().
    [[nodiscard]] static Result<IndexDisk> open(IndexPlace place, const OpenContext& context);

    [[nodiscard]] const IndexHeader& header() const noexcept { return header_; }
    /// Whether a key means something to it: it is encrypted or signed.
    [[nodiscard]] bool takes_key() const noexcept;
    /// Whether it can't be read without a key: as its manifest says, or else as its chunks look.
    [[nodiscard]] bool is_encrypted() const noexcept { return encrypted_; }

    /// Errors: those of read_key() and of finding the chunks; `usage` for a wrong key.
    [[nodiscard]] Result<Layer> layer() const;

    /// Whether a key is named that it could be read with, be it the right one or not.
    [[nodiscard]] bool has_key() const;

    enum class WithoutKey : std::uint8_t {
        refused,
        allowed ///< an encrypted disk's layout then maps what can't be read
    };
    /// Where its chunks are. Errors: as layer().
    [[nodiscard]] Result<std::shared_ptr<const ChunkLayout>> layout(WithoutKey without) const;

    /// What is odd about the index and about what its manifest says of it, whatever key is given.
    [[nodiscard]] const std::vector<Remark>& remarks() const noexcept { return remarks_; }

    [[nodiscard]] Facts facts() const;

    /// Adds a finding for each range whose chunk is missing, and what remarks() are. Opens no chunk. `disk`: how the
    /// findings call it. Errors: `cancelled`, `io`.
    [[nodiscard]] Result<void> audit(const Progress& progress, const std::string& disk, AuditReport& report) const;

private:
    IndexDisk(IndexPlace place, OpenContext context) : place_(std::move(place)), context_(std::move(context)) {}
    const Manifest* manifest() const noexcept;
    const Manifest::File* claim() const noexcept;
    Result<KeyPtr> key() const;
    Result<std::shared_ptr<const ChunkLayout>> layout_with(const KeyPtr& key) const;
    bool look_at_chunks() const;
    void compare_checksums(const IndexSurvey& survey);
    void compare_manifest();
    Result<void> check_signature(const KeyPtr& key, std::vector<Remark>& remarks) const;

    IndexPlace place_;
    OpenContext context_;
    IndexHeader header_;
    bool encrypted_ = false;
    std::vector<Remark> remarks_;
};

} // namespace vdisk::pbs
