// SPDX-License-Identifier: Apache-2.0
#include "format/parallels/header.hpp"

namespace vdisk::parallels {
namespace {

constexpr std::uint64_t kEntryBytes = 4;
constexpr std::uint64_t kMaxHeaderSectors = std::uint64_t{1} << 53;
constexpr std::uint32_t kInUse = 0x746F6E59;
constexpr std::uint64_t kExtensionMagic = 0xAB234CEF23DCEA87;
constexpr std::uint64_t kBitmapMagic = 0x20385FAE252CB34A;

struct RawExtension {
    little_uint64_buf_t magic;
    std::array<std::byte, 16> md5;
};
static_assert(sizeof(RawExtension) == 24);

struct RawSection {
    little_uint64_buf_t magic;
    little_uint64_buf_t flags;
    little_uint32_buf_t data_size;
    little_uint32_buf_t unused;
};
static_assert(sizeof(RawSection) == 24);

struct RawBitmap {
    little_uint64_buf_t size;
    std::array<std::byte, 16> id;
    little_uint32_buf_t granularity;
    little_uint32_buf_t l1_size;
};
static_assert(sizeof(RawBitmap) == 32);

Error bad(const ByteSource& file, std::uint64_t offset, std::string_view field, std::uint64_t value,
          std::string_view rule) {
    return fail_at(offset, ErrorKind::corrupt, "{}: {} is {}, {}", file.name(), field, value, rule);
}

// The clusters of a bitmap of changed blocks: nobody needs them to read the disk.
Result<void> claim_bitmap(const ByteSource& file, std::uint64_t at, std::uint64_t end, Header& header) {
    VDISK_TRY(raw, read_struct<RawBitmap>(file, at, "dirty bitmap"));
    const std::uint64_t table = at + sizeof raw;
    const std::uint64_t count = raw.l1_size.value();
    if (table > end || count > (end - table) / sizeof(std::uint64_t)) return ok();
    std::vector<little_uint64_buf_t> entries(static_cast<std::size_t>(count));
    VDISK_CHECK(read_exact(file, table, std::as_writable_bytes(std::span(entries))));
    for (const auto& entry : entries)
        if (entry.value() > 1 && entry.value() < file.size() / kSector)
            header.extension.push_back({.offset = entry.value() * kSector, .length = header.cluster_size});
    return ok();
}

Result<void> claim_extension(const ByteSource& file, std::uint64_t offset, Header& header) {
    const auto place = checked_mul(offset, kSector);
    if (!place || !fits(*place, sizeof(RawExtension), file.size())) return ok();
    VDISK_TRY(raw, read_struct<RawExtension>(file, *place, "format extension"));
    if (raw.magic.value() != kExtensionMagic) return ok();
    const std::uint64_t end = std::min(*place + header.cluster_size, file.size());
    header.extension.push_back({.offset = *place, .length = end - *place});
    for (std::uint64_t at = *place + sizeof(RawExtension); fits(at, sizeof(RawSection), end);) {
        VDISK_TRY(section, read_struct<RawSection>(file, at, "section of the format extension"));
        if (section.magic.value() == 0) break;
        at += sizeof(RawSection);
        if (section.magic.value() == kBitmapMagic && fits(at, sizeof(RawBitmap), end))
            VDISK_CHECK(claim_bitmap(file, at, end, header));
        at += *align_up(section.data_size.value(), 8);
    }
    return ok();
}

Result<void> check_geometry(const ByteSource& file, const RawParallelsHeader& raw, std::uint64_t sectors) {
    if (raw.version.value() != 2)
        return fail_at(16, ErrorKind::unsupported, "{}: version is {}, known is 2", file.name(), raw.version.value());
    if (raw.tracks.value() == 0) return bad(file, 28, "the cluster size", 0, "must be at least a sector");
    if (sectors > kMaxHeaderSectors) return bad(file, 36, "the number of sectors", sectors, "must be at most 2^53");
    const std::uint64_t entries = raw.bat_entries.value();
    const std::uint64_t needed = div_ceil(sectors, raw.tracks.value());
    if (entries < needed || entries == 0)
        return bad(file, 32, "the number of table entries", entries, fmt::format("but the disk needs {}", needed));
    if (!fits(sizeof(RawParallelsHeader), entries * kEntryBytes, file.size()))
        return bad(file, 32, "the number of table entries", entries,
                   fmt::format("which do not lie in a file of {} bytes", file.size()));
    return ok();
}

// Offsets are counted in units of a sector or a cluster, which may have 2 TiB by its header.
ClusterEntry decode(std::uint64_t entry, std::uint64_t unit) {
    using Kind = ClusterEntry::Kind;
    if (entry == 0) return {};
    const auto host = checked_mul(entry, unit);
    if (!host) return {.kind = Kind::broken, .rule = "names a place that no file reaches"};
    return {.kind = Kind::stored, .host = *host};
}

} // namespace

Result<Header> Header::parse(const ByteSource& file) {
    VDISK_TRY(raw, read_struct<RawParallelsHeader>(file, 0, "Parallels header"));
    const std::string_view magic(raw.magic.data(), raw.magic.size());
    if (magic != kMagicSectors && magic != kMagicClusters)
        return fail_at(0, ErrorKind::not_this_format, "{}: no Parallels image: the magic is missing", file.name());
    const bool counts_clusters = magic == kMagicClusters;
    // Of the older kind only half of the number is there.
    const std::uint64_t sectors = counts_clusters ? raw.nb_sectors.value() : raw.nb_sectors.value() & 0xFFFFFFFF;
    VDISK_CHECK(check_geometry(file, raw, sectors));
    Header header{.counts_clusters = counts_clusters,
                  .cluster_size = raw.tracks.value() * kSector,
                  .table_entries = raw.bat_entries.value(),
                  .disk_size = sectors * kSector,
                  .in_use = raw.in_use.value() == kInUse,
                  .by_virtualbox = !counts_clusters && raw.cylinders.value() == 0 && raw.data_offset.value() == 0 &&
                                   raw.in_use.value() == 0,
                  .flags = raw.flags.value()};
    if (raw.ext_offset.value() != 0) VDISK_CHECK(claim_extension(file, raw.ext_offset.value(), header));
    return header;
}

ClusterImage Header::image() const {
    const std::uint64_t unit = counts_clusters ? cluster_size : kSector;
    ClusterImage image{.tables = {.disk_size = disk_size,
                                  .cluster_size = cluster_size,
                                  .table_entries = table_entries,
                                  .entry_bytes = kEntryBytes,
                                  .only_table = sizeof(RawParallelsHeader),
                                  .decode = [unit](std::uint64_t entry) { return decode(entry, unit); }},
                       .structures = extension};
    image.structures.push_back({.offset = 0, .length = sizeof(RawParallelsHeader)});
    // Parallels takes powers of two, and VirtualBox and older ones tracks or cylinders of a disk's geometry.
    const std::uint64_t tracks = cluster_size / kSector;
    if (!is_power_of_two(tracks) && tracks != 63 && tracks != 504)
        image.unusual = fmt::format("the cluster size is {} sectors", tracks);
    else if (table_entries != div_ceil(disk_size, cluster_size))
        image.unusual = fmt::format("the number of table entries is {}, but the disk needs {}", table_entries,
                                    div_ceil(disk_size, cluster_size));
    if (in_use)
        image.remarks.push_back(Remark::doubt(
            "was in use when it was copied or its machine stopped: its table may lack the last clusters"));
    return image;
}

} // namespace vdisk::parallels
