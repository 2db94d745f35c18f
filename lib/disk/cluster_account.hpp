// SPDX-License-Identifier: Apache-2.0
/// What an image's cluster tables as a whole say of the file's bytes: the look before its disk is opened, and the
/// audit.
#pragma once

#include "disk/backing_link.hpp"
#include "disk/cluster_tables.hpp"
#include "disk/format.hpp"

namespace vdisk {

/// An image whose disk cluster tables map: what its format has read of it.
struct ClusterImage {
    ClusterTables tables;
    std::vector<Claim> structures;       ///< what header and names take up, the tables not among them
    std::string unusual{};               ///< field and value that no known writer sets so; empty if there is none
    std::vector<std::string> problems{}; ///< what the header contradicts: field and value. Such a disk is not read
    std::optional<ParentLink> parent{};
    std::vector<Remark> remarks{};
    Encryption encryption{};
};

/// What is wrong with the image as a whole, without the file's name; empty if nothing is. A header with an unusual
/// field is believed only where the tables account for all bytes of the file, and tables that name nothing only where
/// nothing is left over: a wrong number in the header looks so. Error: `io`.
[[nodiscard]] Result<std::vector<std::string>> find_contradictions(const ClusterImage& image, const ByteSource& file,
                                                                   const Limits& limits);

/// The disk with all that the image says of it. Clusters and tables that share bytes are not believed, as far as they
/// are found in the first Limits::table_bytes of tables. Errors: `corrupt` for contradictions, `io`.
[[nodiscard]] Result<Layer> open_clusters(const ClusterImage& image, const SourcePtr& file, const OpenContext& context);

/// Adds to `report` what is wrong with the tables, and the bytes that nothing refers to and that are no zeros. Errors:
/// as DiskFile::audit.
[[nodiscard]] Result<void> audit_clusters(const ClusterImage& image, const ByteSource& file, const Limits& limits,
                                          const AuditRequest& request, AuditReport& report);

} // namespace vdisk
