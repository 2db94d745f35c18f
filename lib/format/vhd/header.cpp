// SPDX-License-Identifier: Apache-2.0
#include "format/vhd/header.hpp"

#include "base/text.hpp"
#include "base/utf16.hpp"

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <optional>

namespace vdisk::vhd {
namespace {

constexpr std::string_view kHeaderCookie = "cxsparse";
constexpr std::uint32_t kLargestBlock = 1U << 30; // writers take 512 KiB to 2 MiB
constexpr std::uint64_t kLargestChs = std::uint64_t{65535} * 16 * 255 * kSector;

template<std::size_t Size> std::string_view text_of(const std::array<char, Size>& stored) {
    return {stored.data(), stored.size()};
}

// Without the NULs or blanks that fill it up.
template<std::size_t Size> std::string trimmed(const std::array<char, Size>& stored) {
    const std::string_view text = text_of(stored);
    return std::string(text.substr(0, text.find_last_not_of(std::string_view("\0 ", 2)) + 1));
}

// The ones' complement of the sum of all bytes but the checksum's own.
template<class Raw> Checksum sum_of(const Raw& raw) {
    const auto bytes = std::as_bytes(std::span(&raw, 1));
    std::uint32_t sum = 0;
    for (const std::byte byte : bytes) sum += std::to_integer<std::uint32_t>(byte);
    for (const std::byte byte : bytes.subspan(offsetof(Raw, checksum), 4)) sum -= std::to_integer<std::uint32_t>(byte);
    return {raw.checksum.value(), ~sum};
}

// The footer of `length` bytes at `offset`, if its cookie is there.
Result<std::optional<Footer>> footer_at(const ByteSource& file, std::uint64_t offset, std::size_t length) {
    Footer footer{.offset = offset, .length = length};
    if (!fits(offset, length, file.size())) return std::optional<Footer>();
    VDISK_CHECK(read_exact(file, offset, std::as_writable_bytes(std::span(&footer.raw, 1)).first(length)));
    if (text_of(footer.raw.cookie) != kFooterCookie) return std::optional<Footer>();
    footer.checksum = sum_of(footer.raw);
    return std::optional(footer);
}

Result<std::optional<Footer>> footer_at_end(const ByteSource& file) {
    for (const std::size_t length : {sizeof(RawFooter), kShortFooter}) {
        if (file.size() < length) continue;
        VDISK_TRY(footer, footer_at(file, file.size() - length, length));
        if (footer) return footer;
    }
    return std::optional<Footer>();
}

bool same_content(const Footer& a, const Footer& b) {
    return std::memcmp(&a.raw, &b.raw, sizeof a.raw) == 0;
}

std::string wrong_sum(std::string_view what, const Checksum& sum) {
    return fmt::format("the checksum of {} is {:#010x}, its bytes come to {:#010x}", what, sum.stored, sum.computed);
}

// Which of two footers holds, where both are there.
Result<Footer> choose(const ByteSource& file, const Footer& front, const Footer& end, std::vector<Remark>& remarks) {
    const bool same = same_content(front, end);
    if (front.checksum.good() != end.checksum.good()) {
        const Footer& good = front.checksum.good() ? front : end;
        // What begins a fixed disk its guest chooses: a footer there that is another one is no copy.
        const bool copy = front.raw.unique_id == end.raw.unique_id;
        remarks.push_back({copy ? Remark::Weight::note : Remark::Weight::doubt,
                           fmt::format("the footer at offset {} is damaged; the one at {} is whole and was taken{}",
                                       (front.checksum.good() ? end : front).offset, good.offset,
                                       copy ? "" : ", though it has another unique ID")});
        return good;
    }
    if (!front.checksum.good()) {
        if (!same)
            return fail(ErrorKind::corrupt, "{}: both footers are damaged: {}; {}", file.name(),
                        wrong_sum("that at the start", front.checksum), wrong_sum("that at the end", end.checksum));
        remarks.push_back(Remark::doubt(wrong_sum("both footers", end.checksum)));
    } else if (front.raw.unique_id == end.raw.unique_id && front.raw.type.value() != end.raw.type.value()) {
        // Both are whole: nobody knows whether the file has a table or is the disk's bytes.
        return fail(ErrorKind::corrupt, "{}: the footer at offset {} says disk type {}, its copy at {} says {}",
                    file.name(), end.offset, end.raw.type.value(), front.offset, front.raw.type.value());
    } else if (!same) {
        remarks.push_back(
            Remark::doubt("the footer at the start is another one than that at the end, which was taken"));
    }
    return end;
}

Result<Type> read_type(const ByteSource& file, std::uint32_t type) {
    if (type < static_cast<std::uint32_t>(Type::fixed) || type > static_cast<std::uint32_t>(Type::differencing))
        return fail(ErrorKind::unsupported,
                    "{}: disk type is {}, known are 2 (fixed), 3 (dynamic) and 4 (differencing)", file.name(), type);
    return static_cast<Type>(type);
}

// Virtual PC shows its guest what the geometry comes to; all others show the size. What lies between may hold data.
void compare_sizes(Header& header) {
    constexpr std::array kKnow{"win", "wa", "d2v", "tap", "CTXS", "qem2", "vbox", "qemu"};
    const std::string creator = trimmed(header.footer.raw.creator);
    const std::uint64_t chs = header.chs_size();
    if (chs == kLargestChs || chs >= header.disk_size || std::ranges::find(kKnow, creator) != kKnow.end()) return;
    header.remarks.push_back(Remark::note(
        fmt::format("its geometry comes to {} bytes, of which its guest may have seen no more; the size is {}", chs,
                    header.disk_size)));
}

Result<void> read_fixed(const ByteSource& file, Header& header) {
    if (header.data_end < header.disk_size && !header.footer.checksum.good())
        return fail(ErrorKind::corrupt, "{}: {}, and its size of {} bytes does not fit the file", file.name(),
                    wrong_sum("the footer", header.footer.checksum), header.disk_size);
    if (header.data_end > header.disk_size)
        header.remarks.push_back(
            Remark::note(fmt::format("{} bytes behind the disk's end are not shown, from offset {}",
                                     header.data_end - header.disk_size, header.disk_size)));
    return ok();
}

bool may_be_name(const RawLocator& raw) {
    const std::string_view platform = text_of(raw.platform);
    return platform == "W2ru" || platform == "W2ku" || platform == "MacX";
}

// The name in a locator; what can't be one is a remark.
void read_locator(const ByteSource& file, const RawLocator& raw, const Limits& limits, Header& header) {
    if (!may_be_name(raw)) return;
    const std::string_view platform = text_of(raw.platform);
    const bool wide = platform != "MacX";
    const std::uint64_t length = raw.length.value();
    const std::uint64_t most = limits.name_bytes * (wide ? 2 : 1);
    const auto bytes = length > most || !fits(raw.offset.value(), length, file.size())
                           ? Result<std::vector<std::byte>>(fail(ErrorKind::corrupt, "out of range"))
                           : read_bytes(file, raw.offset.value(), length, "parent locator");
    if (bytes.has_error() || (wide && length % 2 != 0)) {
        header.remarks.push_back(Remark::note(fmt::format(
            "the parent locator {} can't be a name: {} bytes at offset {}", platform, length, raw.offset.value())));
        return;
    }
    std::string name = wide ? decode_utf16(bytes.value()).utf8
                            : std::string(reinterpret_cast<const char*>(bytes.value().data()), bytes.value().size());
    name.resize(std::min(name.find('\0'), name.size()));
    if (!name.empty()) header.locators.push_back({std::string(platform), std::move(name), raw.offset.value(), length});
}

Result<void> check_table(const ByteSource& file, const Header& header) {
    if (!is_power_of_two(header.block_size) || header.block_size < kSector || header.block_size > kLargestBlock)
        return fail(ErrorKind::corrupt, "{}: block size is {}, must be a power of two from {} to {}", file.name(),
                    header.block_size, kSector, kLargestBlock);
    if (header.table_offset % kSector != 0)
        return fail_at(header.table_offset, ErrorKind::corrupt, "{}: block table offset is {}, no multiple of {}",
                       file.name(), header.table_offset, kSector);
    const std::uint64_t needed = std::min<std::uint64_t>(header.entries, header.blocks()) * kEntryBytes;
    if (!fits(header.table_offset, needed, file.size()))
        return fail_at(header.table_offset, ErrorKind::corrupt,
                       "{}: block table of {} entries at offset {} does not fit a file of {} bytes", file.name(),
                       needed / kEntryBytes, header.table_offset, file.size());
    return ok();
}

Result<void> read_dynamic(const ByteSource& file, const Limits& limits, Header& header) {
    header.header_offset = header.footer.raw.data_offset.value();
    VDISK_TRY(raw, read_struct<RawDynamicHeader>(file, header.header_offset, "dynamic header"));
    if (text_of(raw.cookie) != kHeaderCookie)
        return fail_at(header.header_offset, ErrorKind::corrupt, "{}: no dynamic header at offset {}", file.name(),
                       header.header_offset);
    if (const Checksum sum = sum_of(raw); !sum.good())
        header.remarks.push_back(Remark::doubt(wrong_sum("the dynamic header", sum)));
    header.table_offset = raw.table_offset.value();
    header.entries = raw.entries.value();
    header.block_size = raw.block_size.value();
    header.low_bit_first =
        trimmed(header.footer.raw.creator) == "tap" && header.footer.raw.creator_version.value() < 0x00010001;
    VDISK_CHECK(check_table(file, header));
    if (!header.has_parent()) return ok();
    header.parent_id = Uuid::from_mixed(raw.parent_id);
    header.parent_time_stamp = raw.parent_time_stamp.value();
    header.parent_name = decode_utf16(raw.parent_name, std::endian::big).utf8;
    header.parent_name.resize(std::min(header.parent_name.find('\0'), header.parent_name.size()));
    for (const RawLocator& locator : raw.locators) read_locator(file, locator, limits, header);
    return ok();
}

} // namespace

std::string_view to_string(Type type) noexcept {
    switch (type) {
    case Type::fixed: return "fixed";
    case Type::dynamic: return "dynamic";
    case Type::differencing: return "differencing";
    }
    return "unknown";
}

Result<Footers> Footers::find(const ByteSource& file) {
    VDISK_TRY(front, footer_at(file, 0, sizeof(RawFooter)));
    auto last = footer_at_end(file);
    if (last.has_error() && !front) return Error(last.error());
    const auto end = last.has_value() ? std::move(last).value() : std::nullopt; // that can't be read is none
    Footers found{.at_start = front.has_value(), .data_end = end ? end->offset : file.size()};
    if (end && end->offset == 0) front.reset(); // a file of nothing but a footer
    if (!front && !end) return fail(ErrorKind::not_this_format, "{}: no VHD: it has no footer", file.name());
    if (front && end) {
        VDISK_TRY(chosen, choose(file, *front, *end, found.remarks));
        found.believed = chosen;
        return found;
    }
    found.believed = front ? *front : *end;
    if (const Checksum& sum = found.believed.checksum; !sum.good())
        found.remarks.push_back(Remark::doubt(wrong_sum("the only footer", sum)));
    if (front) found.remarks.push_back(Remark::note("it has no footer at its end; the copy at its start was taken"));
    return found;
}

Result<Header> Header::parse(const ByteSource& file, const Limits& limits) {
    VDISK_TRY(found, Footers::find(file));
    Header header{.footer = found.believed, .data_end = found.data_end, .remarks = std::move(found.remarks)};
    const RawFooter& raw = header.footer.raw;
    VDISK_TRY(type, read_type(file, raw.type.value()));
    header.type = type;
    header.disk_size = raw.current_size.value();
    header.unique_id = Uuid::from_mixed(raw.unique_id);
    if (raw.version.value() >> 16 != 1)
        return fail(ErrorKind::unsupported, "{}: version is {:#010x}, known is 0x00010000", file.name(),
                    raw.version.value());
    if (header.disk_size > std::uint64_t{1} << 62)
        return fail(ErrorKind::corrupt, "{}: size is {}, is beyond 2^62", file.name(), header.disk_size);
    compare_sizes(header);
    if (type == Type::fixed) {
        VDISK_CHECK(read_fixed(file, header));
        return header;
    }
    if (!found.at_start) // which is no use to a fixed disk
        header.remarks.push_back(
            Remark::note("the copy of its footer at its start is missing; the one at its end was taken"));
    VDISK_CHECK(read_dynamic(file, limits, header));
    return header;
}

std::uint64_t Header::bitmap_bytes() const noexcept {
    return *align_up(div_ceil(block_size / kSector, 8), kSector);
}

std::uint64_t Header::bytes_of(std::uint64_t number) const noexcept {
    return std::min<std::uint64_t>(block_size, disk_size - number * block_size);
}

std::uint64_t Header::chs_size() const noexcept {
    return std::uint64_t{footer.raw.cylinders.value()} * footer.raw.heads * footer.raw.sectors * kSector;
}

} // namespace vdisk::vhd
