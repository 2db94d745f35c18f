// SPDX-License-Identifier: Apache-2.0
#include "format/qcow2/header.hpp"

#include "format/qcow2/features.hpp"

#include <fmt/ranges.h>

#include <algorithm>

namespace vdisk::qcow2 {
namespace {

// Cluster sizes of 512 bytes to 2 MiB: what the specification's text allows below and QEMU above.
constexpr std::uint32_t kMinClusterBits = 9;
constexpr std::uint32_t kMaxClusterBits = 21;
// The specification's limit for the backing file's name.
constexpr std::uint32_t kMaxBackingName = 1023;
// Where in a version 3 header the compression type stands.
constexpr std::uint64_t kCompressionTypeAt = 104;

// Subclusters have at least a sector.
constexpr std::uint32_t kMinClusterBitsExtendedL2 = 14;
constexpr std::uint64_t kReadableFeatures = kDirty | kCorrupt | kDataFile | kCompressionType | kExtendedL2;

Error bad(const ByteSource& file, std::uint64_t offset, std::string_view field, std::uint64_t value,
          std::string_view rule) {
    return fail_at(offset, ErrorKind::corrupt, "{}: {} is {}, {}", file.name(), field, value, rule);
}

Result<void> read_version_2(const ByteSource& file, Header& header) {
    VDISK_TRY(raw, read_struct<RawQcow2Header>(file, 0, "qcow2 header"));
    if (raw.magic.value() != kMagic)
        return fail_at(0, ErrorKind::not_this_format, "{}: no qcow2 image (magic is {:#010x})", file.name(),
                       raw.magic.value());
    header.version = raw.version.value();
    if (header.version != 2 && header.version != 3)
        return fail_at(4, ErrorKind::unsupported, "{}: version is {}, known are 2 and 3", file.name(), header.version);
    header.cluster_bits = raw.cluster_bits.value();
    header.size = raw.size.value();
    header.crypt_method = raw.crypt_method.value();
    header.backing_file_offset = raw.backing_file_offset.value();
    header.backing_file_size = raw.backing_file_size.value();
    header.l1_size = raw.l1_size.value();
    header.l1_table_offset = raw.l1_table_offset.value();
    header.refcount_table_offset = raw.refcount_table_offset.value();
    header.refcount_table_clusters = raw.refcount_table_clusters.value();
    header.nb_snapshots = raw.nb_snapshots.value();
    header.snapshots_offset = raw.snapshots_offset.value();
    return ok();
}

Result<void> read_version_3(const ByteSource& file, Header& header) {
    if (header.version < 3) return ok();
    VDISK_TRY(raw, read_struct<RawQcow2HeaderV3>(file, sizeof(RawQcow2Header), "qcow2 version 3 header"));
    header.incompatible_features = raw.incompatible_features.value();
    header.compatible_features = raw.compatible_features.value();
    header.autoclear_features = raw.autoclear_features.value();
    header.refcount_order = raw.refcount_order.value();
    header.header_length = raw.header_length.value();
    if (header.header_length < kCompressionTypeAt || header.header_length > header.cluster_size())
        return bad(file, 100, "header_length", header.header_length, "must be 104 to the cluster size");
    if (header.has(kExtendedL2) && header.cluster_bits < kMinClusterBitsExtendedL2)
        return bad(file, 20, "cluster_bits", header.cluster_bits, "must be at least 14 with extended L2 entries");
    if (header.refcount_order > 6) return bad(file, 96, "refcount_order", header.refcount_order, "must be at most 6");
    return ok();
}

Result<void> check_geometry(const ByteSource& file, const Header& header) {
    if (header.cluster_bits < kMinClusterBits || header.cluster_bits > kMaxClusterBits)
        return bad(file, 20, "cluster_bits", header.cluster_bits, "must be 9 to 21");
    if (header.size > kMaxDiskSize) return bad(file, 24, "size", header.size, "is beyond 2^62");
    return ok();
}

Result<void> read_codec(const ByteSource& file, Header& header) {
    if (header.version < 3 || header.header_length <= kCompressionTypeAt) return ok();
    VDISK_TRY(type, read_struct<std::uint8_t>(file, kCompressionTypeAt, "compression_type"));
    if (type > 1)
        return fail_at(kCompressionTypeAt, ErrorKind::unsupported,
                       "{}: compression_type is {}, known are 0 (zlib) and 1 (zstd)", file.name(), type);
    header.codec = type == 0 ? Codec::deflate : Codec::zstd;
    return ok();
}

// Extensions lie between the header and the backing file's name, or the end of the first cluster.
Result<void> read_extensions(const ByteSource& file, Header& header) {
    const std::uint64_t backing_offset = header.backing_file_offset;
    if (backing_offset > header.cluster_size())
        return bad(file, 8, "backing_file_offset", backing_offset, "lies behind the first cluster");
    const std::uint64_t end = std::min(backing_offset != 0 ? backing_offset : header.cluster_size(), file.size());
    std::uint64_t at = header.header_length;
    header.extensions_end = at;
    while (fits(at, sizeof(RawExtension), end)) {
        VDISK_TRY(raw, read_struct<RawExtension>(file, at, "header extension"));
        const Extension extension{raw.type.value(), at + sizeof(RawExtension), raw.length.value()};
        header.extensions_end = extension.offset;
        if (extension.type == 0) break;
        if (!fits(extension.offset, extension.length, end))
            return fail_at(at, ErrorKind::corrupt,
                           "{}: header extension {:#010x} at offset {} is {} bytes long and runs past {}", file.name(),
                           extension.type, at, extension.length, end);
        header.extensions.push_back(extension);
        at = extension.offset + *align_up(extension.length, 8);
        header.extensions_end = extension.offset + extension.length;
    }
    return ok();
}

Result<void> read_backing(const ByteSource& file, Header& header) {
    if (header.backing_file_offset == 0) return ok();
    const std::uint32_t length = header.backing_file_size;
    if (length == 0) return ok();
    if (length > kMaxBackingName) return bad(file, 16, "backing_file_size", length, "must be at most 1023");
    VDISK_TRY(name, read_text(file, header.backing_file_offset, length, "backing file name"));
    header.backing_file = std::move(name);
    for (const Extension& extension : header.extensions) {
        if (extension.type != kExtensionBackingFormat) continue;
        VDISK_TRY(format, read_text(file, extension.offset, std::min<std::uint64_t>(extension.length, 64),
                                    "backing file format"));
        header.backing_format = std::move(format);
    }
    return ok();
}

Result<void> read_data_file_name(const ByteSource& file, Header& header) {
    if (!header.has(kDataFile)) return ok();
    for (const Extension& extension : header.extensions) {
        if (extension.type != kExtensionDataFile) continue;
        VDISK_TRY(name, read_text(file, extension.offset, extension.length, "data file name"));
        header.data_file = std::move(name);
    }
    return ok();
}

Result<void> refuse_unknown_features(const ByteSource& file, const Header& header) {
    const std::uint64_t unknown = header.incompatible_features & ~kReadableFeatures;
    if (unknown == 0) return ok();
    const std::vector<std::string> names = feature_names(file, header, FeatureType::incompatible, unknown);
    return fail_at(72, ErrorKind::unsupported, "{}: needs incompatible feature {}, which is not supported", file.name(),
                   fmt::join(names, ", "));
}

} // namespace

Result<Header> Header::parse(const ByteSource& file) {
    Header header;
    VDISK_CHECK(read_version_2(file, header));
    VDISK_CHECK(check_geometry(file, header));
    VDISK_CHECK(read_version_3(file, header));
    VDISK_CHECK(read_codec(file, header));
    VDISK_CHECK(read_extensions(file, header));
    VDISK_CHECK(refuse_unknown_features(file, header));
    VDISK_CHECK(read_backing(file, header));
    VDISK_CHECK(read_data_file_name(file, header));
    if (header.crypt_method > 2)
        return fail_at(32, ErrorKind::unsupported, "{}: crypt_method is {}, known are 0 (none), 1 (AES) and 2 (LUKS)",
                       file.name(), header.crypt_method);
    return header;
}

} // namespace vdisk::qcow2
