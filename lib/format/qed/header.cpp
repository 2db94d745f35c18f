// SPDX-License-Identifier: Apache-2.0
#include "format/qed/header.hpp"

namespace vdisk::qed {
namespace {

constexpr std::uint64_t kSector = 512;
constexpr std::uint64_t kEntryBytes = 8;
constexpr std::uint64_t kMinCluster = 4096;
constexpr std::uint64_t kMaxCluster = 64U << 20;
constexpr std::uint64_t kMaxTableClusters = 16;
constexpr std::uint64_t kMaxDiskSize = std::uint64_t{1} << 62;

Error bad(const ByteSource& file, std::uint64_t offset, std::string_view field, std::uint64_t value,
          std::string_view rule) {
    return fail_at(offset, ErrorKind::corrupt, "{}: {} is {}, {}", file.name(), field, value, rule);
}

Result<void> check_sizes(const ByteSource& file, const RawQedHeader& raw) {
    const std::uint64_t cluster = raw.cluster_size.value();
    if (!is_power_of_two(cluster) || cluster < kMinCluster || cluster > kMaxCluster)
        return bad(file, 4, "cluster_size", cluster, "must be a power of two from 4 KiB to 64 MiB");
    const std::uint64_t table = raw.table_size.value();
    if (!is_power_of_two(table) || table > kMaxTableClusters)
        return bad(file, 8, "table_size", table, "must be 1, 2, 4, 8 or 16 clusters");
    if (raw.header_size.value() == 0) return bad(file, 12, "header_size", 0, "must be at least a cluster");
    const std::uint64_t known = kBackingFile | kNeedCheck | kBackingIsRaw;
    if ((raw.features.value() & ~known) != 0)
        return fail_at(16, ErrorKind::unsupported, "{}: features is {:#x}, known are the bits {:#x}", file.name(),
                       raw.features.value(), known);
    return ok();
}

Result<void> check_disk(const ByteSource& file, const Header& header) {
    const std::uint64_t entries = header.table_size / kEntryBytes;
    const std::uint64_t needed = div_ceil(header.image_size, entries * header.cluster_size);
    if (header.image_size % kSector != 0 || header.image_size > kMaxDiskSize || needed > entries)
        return bad(file, 48, "image_size", header.image_size,
                   fmt::format("must be whole sectors that {} L1 entries can map", entries));
    if (header.l1_table_offset % header.cluster_size != 0 || header.l1_table_offset == 0 ||
        !fits(header.l1_table_offset, needed * kEntryBytes, file.size()))
        return bad(file, 40, "l1_table_offset", header.l1_table_offset,
                   fmt::format("no place of a table of {} entries in a file of {} bytes", needed, file.size()));
    return ok();
}

ClusterEntry decode(std::uint64_t entry, std::uint64_t cluster_size) {
    using Kind = ClusterEntry::Kind;
    if (entry == 0) return {};
    if (entry == 1) return {.kind = Kind::zero};
    if (entry % cluster_size != 0)
        return {.kind = Kind::broken, .rule = "has an offset that is no multiple of the cluster size"};
    return {.kind = Kind::stored, .host = entry};
}

std::vector<Claim> structures(const Header& header, const ClusterTables& tables) {
    // What the disk needs of the L1 table is claimed with the tables.
    const std::uint64_t needed = tables.tables() * kEntryBytes;
    std::vector<Claim> claims{{.offset = 0, .length = header.header_bytes},
                              {.offset = header.l1_table_offset + needed, .length = header.table_size - needed}};
    if (header.backing && header.backing_filename_offset >= header.header_bytes)
        claims.push_back({.offset = header.backing_filename_offset, .length = header.backing_filename_size});
    return claims;
}

} // namespace

Result<Header> Header::parse(const ByteSource& file) {
    VDISK_TRY(raw, read_struct<RawQedHeader>(file, 0, "QED header"));
    if (std::string_view(raw.magic.data(), raw.magic.size()) != kMagic)
        return fail_at(0, ErrorKind::not_this_format, "{}: no QED image: the magic is missing", file.name());
    VDISK_CHECK(check_sizes(file, raw));
    const std::uint64_t cluster = raw.cluster_size.value();
    Header header{.cluster_size = cluster,
                  .table_size = cluster * raw.table_size.value(),
                  .header_bytes = cluster * raw.header_size.value(),
                  .features = raw.features.value(),
                  .compat_features = raw.compat_features.value(),
                  .autoclear_features = raw.autoclear_features.value(),
                  .l1_table_offset = raw.l1_table_offset.value(),
                  .image_size = raw.image_size.value(),
                  .backing_filename_offset = raw.backing_filename_offset.value(),
                  .backing_filename_size = raw.backing_filename_size.value()};
    VDISK_CHECK(check_disk(file, header));
    if (!header.has(kBackingFile) || header.backing_filename_size == 0) return header;
    // By the specification the name lies in the header's clusters; VirtualBox puts it behind the tables.
    VDISK_TRY(name, read_backing_name(file, header.backing_filename_offset, header.backing_filename_size,
                                      sizeof(RawQedHeader)));
    header.backing = std::move(name);
    return header;
}

ClusterImage Header::image() const {
    ClusterImage image{
        .tables = {.disk_size = image_size,
                   .cluster_size = cluster_size,
                   .table_entries = table_size / kEntryBytes,
                   .directory = l1_table_offset,
                   .table_alignment = cluster_size,
                   .decode = [size = cluster_size](std::uint64_t entry) { return decode(entry, size); }}};
    image.structures = structures(*this, image.tables);
    if (l1_table_offset != header_bytes) image.unusual = fmt::format("l1_table_offset is {}", l1_table_offset);
    if (has(kNeedCheck))
        image.remarks.push_back(Remark::note("was not closed and needs a check: the last writes may be missing"));
    if (has(kBackingFile) != (backing_filename_size != 0))
        image.problems.push_back(fmt::format("features {} a backing file, but backing_filename_size is {}",
                                             has(kBackingFile) ? "has" : "lacks", backing_filename_size));
    if (!backing) return image;
    if (!backing->problem.empty()) image.problems.push_back(backing->problem);
    image.parent = backing_link(backing->name, has(kBackingIsRaw) ? "raw" : "");
    return image;
}

} // namespace vdisk::qed
