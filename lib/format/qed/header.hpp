// SPDX-License-Identifier: Apache-2.0
/// The header of a QED image. Source: QEMU's docs/interop/qed_spec.
#pragma once

#include "disk/cluster_file.hpp"

#include <boost/endian/buffers.hpp>

namespace vdisk::qed {

using boost::endian::little_uint32_buf_t;
using boost::endian::little_uint64_buf_t;

struct RawQedHeader {
    std::array<char, 4> magic;
    little_uint32_buf_t cluster_size;
    little_uint32_buf_t table_size;  // in clusters
    little_uint32_buf_t header_size; // in clusters
    little_uint64_buf_t features;
    little_uint64_buf_t compat_features;
    little_uint64_buf_t autoclear_features;
    little_uint64_buf_t l1_table_offset;
    little_uint64_buf_t image_size;
    little_uint32_buf_t backing_filename_offset;
    little_uint32_buf_t backing_filename_size;
};
static_assert(sizeof(RawQedHeader) == 64);

constexpr std::string_view kMagic("QED\0", 4);

/// Bits of `features`: a reader that does not know one must refuse the image.
enum Feature : std::uint64_t {
    kBackingFile = 1U << 0,
    kNeedCheck = 1U << 1,    ///< was not closed
    kBackingIsRaw = 1U << 2, ///< whatever it looks like
};

/// A parsed header. Its invariants: sizes that the specification allows, an L1 table in whole clusters that lies inside
/// the file as far as the disk needs it, no unknown feature.
struct Header {
    std::uint64_t cluster_size = 0;
    std::uint64_t table_size = 0;   ///< bytes of a table
    std::uint64_t header_bytes = 0; ///< of the clusters that are the header's
    std::uint64_t features = 0;
    std::uint64_t compat_features = 0;
    std::uint64_t autoclear_features = 0;
    std::uint64_t l1_table_offset = 0;
    std::uint64_t image_size = 0; ///< bytes of the virtual disk
    std::uint32_t backing_filename_offset = 0;
    std::uint32_t backing_filename_size = 0;
    std::optional<StoredName> backing{};

    [[nodiscard]] bool has(Feature feature) const noexcept { return (features & feature) != 0; }

    /// Errors name the field and its value.
    [[nodiscard]] static Result<Header> parse(const ByteSource& file);

    /// What has to be known to read and to audit the disk.
    [[nodiscard]] ClusterImage image() const;
};

} // namespace vdisk::qed
