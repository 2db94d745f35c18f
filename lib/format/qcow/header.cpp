// SPDX-License-Identifier: Apache-2.0
#include "format/qcow/header.hpp"

namespace vdisk::qcow {
namespace {

constexpr std::uint64_t kEntryBytes = 8;
constexpr std::uint64_t kSector = 512;
constexpr std::uint64_t kMaxDiskSize = std::uint64_t{1} << 62;

Error bad(const ByteSource& file, std::uint64_t offset, std::string_view field, std::uint64_t value,
          std::string_view rule) {
    return fail_at(offset, ErrorKind::corrupt, "{}: {} is {}, {}", file.name(), field, value, rule);
}

Result<void> check_geometry(const ByteSource& file, const Header& header) {
    if (header.cluster_bits < 9 || header.cluster_bits > 16)
        return bad(file, 32, "cluster_bits", header.cluster_bits, "must be 9 to 16");
    if (header.l2_bits < 6 || header.l2_bits > 13) return bad(file, 33, "l2_bits", header.l2_bits, "must be 6 to 13");
    if (header.size == 0 || header.size > kMaxDiskSize) return bad(file, 24, "size", header.size, "must be 1 to 2^62");
    const std::uint64_t entries = div_ceil(header.size, header.cluster_size() << header.l2_bits);
    if (!fits(header.l1_table_offset, entries * kEntryBytes, file.size()))
        return fail_at(
            40, ErrorKind::corrupt,
            "{}: l1_table_offset is {}, but the {} entries that a disk of {} bytes needs do not lie there in "
            "a file of {} bytes",
            file.name(), header.l1_table_offset, entries, header.size, file.size());
    return ok();
}

// A compressed cluster has its length above its offset, which may be odd.
ClusterEntry decode(std::uint64_t entry, std::uint32_t cluster_bits) {
    using Kind = ClusterEntry::Kind;
    if (entry == 0) return {};
    if (entry >> 63 == 0) {
        if (entry % kSector != 0) return {.kind = Kind::broken, .rule = "has an offset that is no multiple of 512"};
        return {.kind = Kind::stored, .host = entry};
    }
    const std::uint32_t offset_bits = 63 - cluster_bits;
    const std::uint64_t length = entry >> offset_bits & ((std::uint64_t{1} << cluster_bits) - 1);
    if (length == 0) return {.kind = Kind::broken, .rule = "is compressed, but has no bytes"};
    return {.kind = Kind::packed, .host = entry & ((std::uint64_t{1} << offset_bits) - 1), .packed_length = length};
}

// QEMU makes a table as long as a cluster, or under a backing file clusters of a sector and tables of 4096 entries;
// the L1 table follows the name, which follows the header. VirtualBox puts the name behind the L1 table.
std::string unusual_field(const Header& header) {
    const bool qemu_overlay = header.cluster_bits == 9 && header.l2_bits == 12;
    if (header.l2_bits + 3 != header.cluster_bits && !qemu_overlay)
        return fmt::format("cluster_bits is {} and l2_bits {}", header.cluster_bits, header.l2_bits);
    const bool name_first = header.backing_file_offset == sizeof(RawQcowHeader);
    const std::uint64_t end = sizeof(RawQcowHeader) + (name_first ? header.backing_file_size : 0);
    if (header.l1_table_offset != *align_up(end, kEntryBytes))
        return fmt::format("l1_table_offset is {}", header.l1_table_offset);
    return {};
}

} // namespace

Result<Header> Header::parse(const ByteSource& file) {
    VDISK_TRY(raw, read_struct<RawQcowHeader>(file, 0, "qcow header"));
    const auto start = std::string_view(reinterpret_cast<const char*>(&raw), kMagic.size());
    if (start != kMagic) return fail_at(0, ErrorKind::not_this_format, "{}: no qcow image of version 1", file.name());
    Header header{.size = raw.size.value(),
                  .cluster_bits = raw.cluster_bits,
                  .l2_bits = raw.l2_bits,
                  .l1_table_offset = raw.l1_table_offset.value(),
                  .mtime = raw.mtime.value(),
                  .encrypted = raw.crypt_method.value() == 1,
                  .backing_file_offset = raw.backing_file_offset.value(),
                  .backing_file_size = raw.backing_file_size.value()};
    VDISK_CHECK(check_geometry(file, header));
    if (raw.crypt_method.value() > 1)
        return fail_at(36, ErrorKind::unsupported, "{}: crypt_method is {}, known are 0 (none) and 1 (AES)",
                       file.name(), raw.crypt_method.value());
    if (header.backing_file_offset == 0 || header.backing_file_size == 0) return header;
    VDISK_TRY(name,
              read_backing_name(file, header.backing_file_offset, header.backing_file_size, sizeof(RawQcowHeader)));
    header.backing = std::move(name);
    return header;
}

ClusterImage Header::image() const {
    ClusterImage image{.tables = {.disk_size = size,
                                  .cluster_size = cluster_size(),
                                  .table_entries = std::uint64_t{1} << l2_bits,
                                  .order = std::endian::big,
                                  .directory = l1_table_offset,
                                  .usual_alignment = cluster_size(),
                                  .enciphered = encrypted,
                                  .decode = [bits = cluster_bits](std::uint64_t entry) { return decode(entry, bits); }},
                       .structures = {{.offset = 0, .length = sizeof(RawQcowHeader)}},
                       .unusual = unusual_field(*this)};
    if ((backing_file_offset == 0) != (backing_file_size == 0))
        image.problems.push_back(fmt::format("backing_file_offset is {}, but backing_file_size is {}",
                                             backing_file_offset, backing_file_size));
    if (!backing) return image;
    image.structures.push_back({.offset = backing_file_offset, .length = backing_file_size});
    if (!backing->problem.empty()) image.problems.push_back(backing->problem);
    image.parent = backing_link(backing->name, "");
    return image;
}

} // namespace vdisk::qcow
