// SPDX-License-Identifier: Apache-2.0
#include "format/vhdx/header.hpp"

#include "base/crc32c.hpp"
#include "base/utf16.hpp"

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <memory>
#include <optional>

namespace vdisk::vhdx {
namespace {

constexpr std::array<std::uint64_t, 2> kHeadersAt{64U << 10, 128U << 10};
constexpr std::uint64_t kCreatorAt = sizeof(std::array<char, 8>);
constexpr std::uint64_t kCreatorBytes = 512;

template<std::size_t Size> std::string_view text_of(const std::array<char, Size>& stored) {
    return {stored.data(), stored.size()};
}

template<class Raw> bool is_sound(const Raw& raw, std::string_view signature) {
    return text_of(raw.signature) == signature &&
           crc32c_without_field(std::as_bytes(std::span(&raw, 1)), offsetof(Raw, checksum)) == raw.checksum.value();
}

const Uuid& table_region() {
    static const Uuid id = *Uuid::parse("2dc27766-f623-4200-9d64-115e9bfd4a08");
    return id;
}

const Uuid& metadata_region() {
    static const Uuid id = *Uuid::parse("8b7ca206-4790-4b9a-b8fe-575f050f886e");
    return id;
}

struct Copies {
    std::optional<RawVhdxHeader> first;
    std::optional<RawVhdxHeader> second;
};

Result<Copies> read_copies(const ByteSource& file) {
    Copies copies;
    for (std::size_t i = 0; i < kHeadersAt.size(); ++i) {
        const auto raw = read_struct<RawVhdxHeader>(file, kHeadersAt[i], "VHDX header");
        if (raw.has_error() && i == 1 && !copies.first) return Error(raw.error());
        if (raw.has_value() && is_sound(raw.value(), "head")) (i == 0 ? copies.first : copies.second) = raw.value();
    }
    return copies;
}

// Which copy holds: 0 or 1.
Result<std::size_t> choose(const ByteSource& file, const Copies& copies) {
    if (!copies.first && !copies.second)
        return fail_at(kHeadersAt[0], ErrorKind::corrupt, "{}: both headers, at offsets {} and {}, are damaged",
                       file.name(), kHeadersAt[0], kHeadersAt[1]);
    if (!copies.first) return 1;
    if (!copies.second) return 0;
    const std::uint64_t first = copies.first->sequence.value();
    const std::uint64_t second = copies.second->sequence.value();
    if (first == second && std::memcmp(&*copies.first, &*copies.second, sizeof(RawVhdxHeader)) != 0)
        return fail_at(kHeadersAt[0], ErrorKind::corrupt,
                       "{}: both headers have the sequence number {} and differ: nothing tells which one holds",
                       file.name(), first);
    return first >= second ? 0 : 1;
}

Result<void> check_header(const ByteSource& file, const RawVhdxHeader& raw, const Header& header) {
    if (raw.version.value() != 1)
        return fail_at(header.offset, ErrorKind::unsupported, "{}: version is {}, known is 1", file.name(),
                       raw.version.value());
    if (header.log.is_null()) return ok();
    if (raw.log_version.value() != 0)
        return fail_at(header.offset, ErrorKind::unsupported, "{}: log version is {}, known is 0", file.name(),
                       raw.log_version.value());
    if (header.log_offset % kMiB != 0 || header.log_length % kMiB != 0 || header.log_offset < kMiB ||
        header.log_length == 0 || !fits(header.log_offset, header.log_length, file.size()))
        return fail_at(header.offset, ErrorKind::corrupt,
                       "{}: the log of {} bytes at offset {} must be whole mebibytes within a file of {} bytes",
                       file.name(), header.log_length, header.log_offset, file.size());
    return ok();
}

Result<std::unique_ptr<RawRegionTable>> read_table(const ByteSource& file, std::uint64_t offset) {
    auto raw = std::make_unique<RawRegionTable>();
    if (!fits(offset, sizeof *raw, file.size())) return std::unique_ptr<RawRegionTable>();
    const auto read = read_exact(file, offset, std::as_writable_bytes(std::span(raw.get(), 1)));
    if (read.has_error() || !is_sound(*raw, "regi")) raw.reset();
    return raw;
}

Result<std::unique_ptr<RawRegionTable>> choose_table(const ByteSource& file, std::vector<Remark>& remarks) {
    VDISK_TRY(first, read_table(file, kRegionsAt));
    VDISK_TRY(second, read_table(file, kRegionsAt + kRegionBytes));
    if (!first && !second)
        return fail_at(kRegionsAt, ErrorKind::corrupt, "{}: both region tables, at offsets {} and {}, are damaged",
                       file.name(), kRegionsAt, kRegionsAt + kRegionBytes);
    if (first && second && std::memcmp(first.get(), second.get(), sizeof *first) != 0)
        return fail_at(kRegionsAt, ErrorKind::corrupt,
                       "{}: the two region tables differ: nothing tells which one holds", file.name());
    if (!first || !second)
        remarks.push_back(
            Remark::note(fmt::format("the region table at offset {} is damaged; the other one is whole and was taken",
                                     first ? kRegionsAt + kRegionBytes : kRegionsAt)));
    return first ? std::move(first) : std::move(second);
}

Result<void> take_region(const ByteSource& file, const RawRegionEntry& raw, Regions& regions) {
    const Uuid id = Uuid::from_mixed(raw.id);
    const Region region{raw.offset.value(), raw.length.value()};
    if (region.offset % kMiB != 0 || region.length % kMiB != 0 || region.offset < kMiB || region.length == 0 ||
        !checked_add<std::uint64_t>(region.offset, region.length))
        return fail(ErrorKind::corrupt, "{}: region {} of {} bytes at offset {} must be whole mebibytes", file.name(),
                    to_string(id), region.length, region.offset);
    const bool known = id == table_region() || id == metadata_region();
    if (!known && (raw.required.value() & 1) != 0)
        return fail(ErrorKind::unsupported, "{}: region {} must be known to read the file, and is not", file.name(),
                    to_string(id));
    if (!known)
        regions.remarks.push_back(Remark::note(fmt::format("has a region {} that is not known here", to_string(id))));
    Region& place = id == table_region() ? regions.table : regions.metadata;
    if (known && place.length != 0)
        return fail(ErrorKind::corrupt, "{}: region {} is there twice", file.name(), to_string(id));
    if (known) place = region;
    regions.all.push_back({.offset = region.offset, .length = region.length});
    return ok();
}

} // namespace

Result<Header> Header::parse(const ByteSource& file) {
    std::array<char, 8> signature{};
    VDISK_TRY(got, file.read_at(0, std::as_writable_bytes(std::span(signature))));
    if (got < signature.size() || text_of(signature) != kFileSignature)
        return fail_at(0, ErrorKind::not_this_format, "{}: no VHDX: it does not begin with '{}'", file.name(),
                       kFileSignature);
    VDISK_TRY(creator, read_bytes(file, kCreatorAt, kCreatorBytes, "creator"));
    VDISK_TRY(copies, read_copies(file));
    VDISK_TRY(taken, choose(file, copies));
    const RawVhdxHeader& raw = taken == 0 ? *copies.first : *copies.second;
    Header header;
    header.creator = decode_utf16(creator).utf8;
    header.creator.resize(std::min(header.creator.find('\0'), header.creator.size()));
    header.offset = kHeadersAt[taken];
    header.sequence = raw.sequence.value();
    header.file_write = Uuid::from_mixed(raw.file_write);
    header.data_write = Uuid::from_mixed(raw.data_write);
    header.log = Uuid::from_mixed(raw.log);
    header.log_offset = raw.log_offset.value();
    header.log_length = raw.log_length.value();
    header.other_damaged = !copies.first || !copies.second;
    VDISK_CHECK(check_header(file, raw, header));
    return header;
}

Result<Regions> Regions::parse(const ByteSource& file, const Header& header) {
    Regions regions;
    VDISK_TRY(raw, choose_table(file, regions.remarks));
    if (raw->count.value() > raw->entries.size())
        return fail_at(kRegionsAt, ErrorKind::corrupt, "{}: the region table has {} entries, may have {}", file.name(),
                       raw->count.value(), raw->entries.size());
    for (const RawRegionEntry& entry : std::span(raw->entries).first(raw->count.value()))
        VDISK_CHECK(take_region(file, entry, regions));
    for (const auto& [name, region] :
         {std::pair{"block table", regions.table}, std::pair{"metadata", regions.metadata}})
        if (!fits(region.offset, region.length, file.size()) || region.length == 0)
            return fail(ErrorKind::corrupt, "{}: the region of the {} is missing or lies past the end of the file",
                        file.name(), name);
    regions.all.push_back({.offset = 0, .length = kMiB});
    if (fits(header.log_offset, header.log_length, file.size()) && header.log_offset >= kMiB)
        regions.all.push_back({.offset = header.log_offset, .length = header.log_length});
    if (const HostRanges shared = contested(regions.all); !shared.list().empty())
        return fail_at(shared.list().front().offset.value, ErrorKind::corrupt,
                       "{}: two of headers, log and regions share the bytes at offset {}", file.name(),
                       shared.list().front().offset.value);
    return regions;
}

} // namespace vdisk::vhdx
