// SPDX-License-Identifier: Apache-2.0
/// The header of a Parallels image. Source: QEMU's docs/interop/parallels.
#pragma once

#include "disk/cluster_file.hpp"

#include <boost/endian/buffers.hpp>

namespace vdisk::parallels {

using boost::endian::little_uint32_buf_t;
using boost::endian::little_uint64_buf_t;

struct RawParallelsHeader {
    std::array<char, 16> magic;
    little_uint32_buf_t version;
    little_uint32_buf_t heads;
    little_uint32_buf_t cylinders;
    little_uint32_buf_t tracks; // sectors of a cluster
    little_uint32_buf_t bat_entries;
    little_uint64_buf_t nb_sectors;
    little_uint32_buf_t in_use;
    little_uint32_buf_t data_offset;
    little_uint32_buf_t flags;
    little_uint64_buf_t ext_offset;
};
static_assert(sizeof(RawParallelsHeader) == 64);

constexpr std::uint64_t kSector = 512;
constexpr std::string_view kMagicSectors = "WithoutFreeSpace";  ///< entries of the table count sectors
constexpr std::string_view kMagicClusters = "WithouFreSpacExt"; ///< they count clusters

/// A parsed header. Its invariants: a known version, a table in the file that is as long as the disk needs.
struct Header {
    bool counts_clusters = false; ///< what the table's entries count; else sectors
    std::uint64_t cluster_size = 0;
    std::uint64_t table_entries = 0;
    std::uint64_t disk_size = 0; ///< bytes
    bool in_use = false;
    bool by_virtualbox = false; ///< has what only its images have; these say nowhere that they have a parent
    std::uint32_t flags = 0;
    std::vector<Claim> extension{}; ///< what the format extension and its bitmaps take up

    /// Errors name the field and its value.
    [[nodiscard]] static Result<Header> parse(const ByteSource& file);

    /// What has to be known to read and to audit the disk. Nothing in it leads to a parent.
    [[nodiscard]] ClusterImage image() const;
};

} // namespace vdisk::parallels
