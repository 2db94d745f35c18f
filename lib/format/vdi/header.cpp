// SPDX-License-Identifier: Apache-2.0
#include "format/vdi/header.hpp"

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <limits>

namespace vdisk::vdi {
namespace {

constexpr std::uint64_t kHeaderAt = sizeof(RawStart);
// A header must reach as far as the number of blocks; the identifiers may be missing from the first versions'.
constexpr std::uint32_t kLeastHeader1 = offsetof(RawHeader1, uuid_create);

template<std::size_t Size> std::string text_of(const std::array<char, Size>& stored) {
    const std::string_view all(stored.data(), stored.size());
    return std::string(all.substr(0, all.find('\0')));
}

Result<Type> read_type(const ByteSource& file, std::uint32_t type) {
    if (type < static_cast<std::uint32_t>(Type::dynamic) || type > static_cast<std::uint32_t>(Type::differencing))
        return fail(ErrorKind::unsupported,
                    "{}: image type is {}, known are 1 (dynamic), 2 (fixed), 3 (undo) and 4 (differencing)",
                    file.name(), type);
    return static_cast<Type>(type);
}

// Members that both majors have under the same names.
template<class Raw> Result<void> read_common(const ByteSource& file, const Raw& raw, Header& header) {
    VDISK_TRY(type, read_type(file, raw.type.value()));
    header.type = type;
    header.flags = raw.flags.value();
    header.comment = text_of(raw.comment);
    header.disk_size = raw.disk_size.value();
    header.block_size = raw.block_size.value();
    header.blocks = raw.blocks.value();
    header.blocks_allocated = raw.blocks_allocated.value();
    header.uuid_create = Uuid::from_mixed(raw.uuid_create);
    header.uuid_modify = Uuid::from_mixed(raw.uuid_modify);
    header.uuid_linkage = Uuid::from_mixed(raw.uuid_linkage);
    return ok();
}

Result<void> read_major_0(const ByteSource& file, Header& header) {
    VDISK_TRY(raw, read_struct<RawHeader0>(file, kHeaderAt, "VDI header"));
    VDISK_CHECK(read_common(file, raw, header));
    header.header_bytes = kHeaderAt + sizeof raw;
    header.map_offset = header.header_bytes;
    header.data_offset = header.map_offset + header.map_bytes();
    return ok();
}

// The header as far as `header_size` says it goes, zeros behind; an identifier that is cut off is none.
Result<RawHeader1> read_raw_1(const ByteSource& file) {
    VDISK_TRY(size, read_struct<little_uint32_buf_t>(file, kHeaderAt, "VDI header size"));
    if (size.value() < kLeastHeader1)
        return fail_at(kHeaderAt, ErrorKind::corrupt, "{}: header size is {}, must be at least {}", file.name(),
                       size.value(), kLeastHeader1);
    std::size_t taken = std::min<std::size_t>(size.value(), sizeof(RawHeader1));
    if (taken < sizeof(RawHeader1)) taken -= (taken - kLeastHeader1) % sizeof(RawUuid);
    VDISK_TRY(bytes, read_bytes(file, kHeaderAt, taken, "VDI header"));
    RawHeader1 raw{};
    std::memcpy(&raw, bytes.data(), bytes.size());
    return raw;
}

Result<void> read_major_1(const ByteSource& file, Header& header) {
    VDISK_TRY(raw, read_raw_1(file));
    VDISK_CHECK(read_common(file, raw, header));
    header.header_bytes = kHeaderAt + std::min<std::uint32_t>(raw.header_size.value(), sizeof raw);
    header.block_extra = raw.block_extra.value();
    header.map_offset = raw.map_offset.value();
    header.data_offset = raw.data_offset.value();
    header.uuid_parent_modify = Uuid::from_mixed(raw.uuid_parent_modify);
    return ok();
}

Result<void> check_geometry(const ByteSource& file, const Header& header) {
    if (!is_power_of_two(header.block_size))
        return fail(ErrorKind::corrupt, "{}: block size is {}, must be a power of two", file.name(), header.block_size);
    if (header.disk_size > std::uint64_t{1} << 62)
        return fail(ErrorKind::corrupt, "{}: disk size is {}, is beyond 2^62", file.name(), header.disk_size);
    if (!fits(header.map_offset, header.map_bytes(), file.size()))
        return fail_at(header.map_offset, ErrorKind::corrupt,
                       "{}: block map of {} entries at offset {} does not fit a file of {} bytes", file.name(),
                       header.blocks, header.map_offset, file.size());
    return ok();
}

} // namespace

std::string_view to_string(Type type) noexcept {
    switch (type) {
    case Type::dynamic: return "dynamic";
    case Type::fixed: return "fixed";
    case Type::undo: return "undo";
    case Type::differencing: return "differencing";
    }
    return "unknown";
}

Result<Header> Header::parse(const ByteSource& file) {
    VDISK_TRY(start, read_struct<RawStart>(file, 0, "VDI header"));
    if (start.signature.value() != kSignature)
        return fail_at(offsetof(RawStart, signature), ErrorKind::not_this_format,
                       "{}: no VDI image (signature is {:#010x})", file.name(), start.signature.value());
    Header header;
    header.version = start.version.value();
    header.creator = text_of(start.text);
    switch (header.version >> 16) {
    case 0: VDISK_CHECK(read_major_0(file, header)); break;
    case 1: VDISK_CHECK(read_major_1(file, header)); break;
    default:
        return fail_at(offsetof(RawStart, version), ErrorKind::unsupported, "{}: version is {}.{}, known are 0 and 1",
                       file.name(), header.version >> 16, header.version & 0xFFFF);
    }
    VDISK_CHECK(check_geometry(file, header));
    return header;
}

Result<Header> Header::from_layout(const ByteSource& file, const GivenLayout& given) {
    if (given.block_size == 0 || given.block_size > std::numeric_limits<std::uint32_t>::max())
        return fail(ErrorKind::usage, "{}: block-size is {}, must be a power of two below 2^32", file.name(),
                    given.block_size);
    const std::uint64_t blocks = div_ceil(given.disk_size, given.block_size);
    if (blocks > std::numeric_limits<std::uint32_t>::max())
        return fail(ErrorKind::usage, "{}: size {} is more than a map of blocks of {} can hold", file.name(),
                    given.disk_size, given.block_size);
    if (given.data_offset >= file.size())
        return fail(ErrorKind::usage, "{}: data-offset is {}, but the file has {} bytes", file.name(),
                    given.data_offset, file.size());
    Header header;
    header.version = 0x10001;
    header.type = given.has_parent ? Type::differencing : Type::dynamic;
    header.disk_size = given.disk_size;
    header.block_size = static_cast<std::uint32_t>(given.block_size);
    header.blocks = static_cast<std::uint32_t>(blocks);
    header.map_offset = given.map_offset;
    header.data_offset = given.data_offset;
    VDISK_CHECK(check_geometry(file, header));
    return header;
}

std::vector<std::string> impossible_fields(const ByteSource& file) {
    std::vector<std::string> found;
    const auto start = read_struct<RawStart>(file, 0, "VDI header");
    const auto raw = read_struct<RawHeader1>(file, kHeaderAt, "VDI header");
    if (start.has_error() || raw.has_error()) return found;
    const RawHeader1& header = raw.value();
    const auto check = [&](bool possible, std::string_view field, std::uint64_t value) {
        if (!possible) found.push_back(fmt::format("{} {}", field, value));
    };
    const std::uint32_t block_size = header.block_size.value();
    const std::uint64_t covered = std::uint64_t{header.blocks.value()} * block_size;
    check(start.value().signature.value() == kSignature, "signature", start.value().signature.value());
    check(start.value().version.value() >> 16 <= 1, "version", start.value().version.value());
    check(header.header_size.value() >= kLeastHeader1, "header size", header.header_size.value());
    check(header.type.value() >= 1 && header.type.value() <= 4, "type", header.type.value());
    check(is_power_of_two(block_size), "block size", block_size);
    check(header.disk_size.value() > 0 && header.disk_size.value() <= covered, "disk size", header.disk_size.value());
    check(fits(header.map_offset.value(), header.blocks.value() * kEntryBytes, file.size()), "map offset",
          header.map_offset.value());
    check(header.data_offset.value() <= file.size(), "data offset", header.data_offset.value());
    check(header.blocks_allocated.value() <= header.blocks.value(), "allocated blocks",
          header.blocks_allocated.value());
    return found;
}

} // namespace vdisk::vdi
