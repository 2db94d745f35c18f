// SPDX-License-Identifier: Apache-2.0
/// Files whose disk cluster tables map, and what these tables as a whole say of the file's bytes.
#pragma once

#include "disk/backing_link.hpp"
#include "disk/cluster_tables.hpp"
#include "disk/format.hpp"
#include "disk/table_pieces.hpp"

namespace vdisk {

/// An image whose disk cluster tables map: what its format has read of it.
struct ClusterImage {
    ClusterTables tables;
    std::vector<Claim> structures;       ///< what header and names take up, the tables not among them
    std::string unusual{};               ///< field and value that no known writer sets so; empty if there is none
    std::vector<std::string> problems{}; ///< what the header contradicts: field and value. Such a disk is not read
    std::optional<ParentLink> parent{};
    std::vector<Remark> remarks{};
};

/// What the tables say of the file as a whole.
struct ClusterLook {
    ClusterDoubts doubts;
    /// Without the file's name; empty if nothing is wrong. A header with an unusual field is believed only where the
    /// tables account for all bytes of the file, and tables that name nothing only where nothing is left over: a wrong
    /// number in the header looks so.
    std::vector<std::string> contradictions;
    /// Bytes that are no zeros, in gaps that a cluster fits into: writers leave none, so they may be what is left of a
    /// lost entry.
    std::uint64_t lost = 0;
    LostPieces unread{}; ///< of the tables

    /// Looks at the first Limits::table_bytes of tables. Error: `cancelled`.
    [[nodiscard]] static Result<ClusterLook> at(const ClusterImage& image, const ByteSource& file,
                                                const Limits& limits);
};

/// The disk with all that the image says of it. Clusters and tables that share bytes are not believed, as far as `look`
/// has found them. Error: `corrupt` for contradictions.
[[nodiscard]] Result<Layer> open_clusters(const ClusterImage& image, const ClusterLook& look, const SourcePtr& file,
                                          const OpenContext& context);

/// Adds to `report` what is wrong with the header and the tables, and the bytes that nothing refers to and that are no
/// zeros. Errors: as DiskFile::audit.
[[nodiscard]] Result<void> audit_clusters(const ClusterImage& image, const ClusterLook& look, const ByteSource& file,
                                          const Limits& limits, const AuditRequest& request, AuditReport& report);

/// A file whose one disk cluster tables map; a format adds its row and its facts. It looks at the tables once, when it
/// is made, for whoever asks.
class ClusterFile : public DiskFile {
public:
    ClusterFile(ClusterImage image, SourcePtr source, OpenContext context);

    const std::vector<Disk>& disks() const noexcept override { return disks_; }
    /// Those of a parent, if the image names one.
    std::vector<std::string_view> keys() const override;
    /// Errors: `corrupt` for contradictions, `io`.
    Result<Layer> layer(std::size_t index) const override;
    std::vector<ParentLink> links() const override;
    Result<AuditReport> audit(const AuditRequest& request) const override;

protected:
    const ClusterImage& image() const noexcept { return image_; }
    const SourcePtr& source() const noexcept { return source_; }
    const OpenContext& context() const noexcept { return context_; }

    /// The fact that every such file ends with: its contradictions, if it has any.
    void add_damage(Facts& facts) const;

private:
    /// Adds to an audit what the image's remarks are.
    virtual void tell(AuditReport& report) const;

    ClusterImage image_;
    SourcePtr source_;
    OpenContext context_;
    std::vector<Disk> disks_;
    Result<ClusterLook> look_;
};

} // namespace vdisk
