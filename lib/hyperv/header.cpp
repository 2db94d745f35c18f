// SPDX-License-Identifier: Apache-2.0
#include "hyperv/header.hpp"

#include "hyperv/checksum.hpp"

#include <boost/endian/buffers.hpp>

#include <cstddef>

namespace vdisk::hyperv {
namespace {

using namespace boost::endian;

constexpr std::uint32_t kHeaderSignature = 0x01282014;
constexpr std::array<std::uint64_t, 2> kOffsets{0, 4096};

struct HeaderRecord {
    little_uint32_buf_t signature;
    little_uint32_buf_t checksum;
    little_uint16_buf_t sequence;
    little_uint32_buf_t version;
    little_uint32_buf_t data_version;
    little_uint32_buf_t flags;
    little_uint32_buf_t alignment;
    little_uint64_buf_t log_offset;
    little_uint64_buf_t log_size;
    little_uint32_buf_t log_header_size;
};
static_assert(sizeof(HeaderRecord) == 46);

Result<HeaderCopy> read_copy(const ByteSource& source, std::uint64_t offset) {
    HeaderCopy copy{.offset = offset};
    if (!fits(offset, sizeof(HeaderRecord), source.size())) return copy;
    VDISK_TRY(record, read_struct<HeaderRecord>(source, offset, "header"));
    copy.inside_file = true;
    copy.signature_good = record.signature.value() == kHeaderSignature;
    copy.checksum_good = record.checksum.value() == crc32_of(record, offsetof(HeaderRecord, checksum));
    copy.sequence = record.sequence.value();
    copy.version = record.version.value();
    copy.data_version = record.data_version.value();
    copy.flags = record.flags.value();
    copy.alignment = record.alignment.value();
    copy.log_offset = record.log_offset.value();
    copy.log_size = record.log_size.value();
    copy.log_header_size = record.log_header_size.value();
    return copy;
}

std::optional<std::size_t> choose(const std::array<HeaderCopy, 2>& copies) {
    if (copies[0].good() && copies[1].good()) return newer(copies[1].sequence, copies[0].sequence) ? 1U : 0U;
    if (copies[0].good()) return 0U;
    if (copies[1].good()) return 1U;
    return std::nullopt;
}

std::string_view fault(const HeaderCopy& copy) {
    if (!copy.inside_file) return "lies outside the file";
    return copy.signature_good ? "checksum mismatch" : "bad signature";
}

} // namespace

Result<Headers> read_headers(const ByteSource& source) {
    Headers headers;
    for (std::size_t i = 0; i < kOffsets.size(); ++i) {
        VDISK_TRY(copy, read_copy(source, kOffsets[i]));
        headers.copies[i] = copy;
    }
    headers.active = choose(headers.copies);
    return headers;
}

void judge_headers(const Headers& headers, Findings& findings) {
    for (std::size_t i = 0; i < headers.copies.size(); ++i) {
        const HeaderCopy& copy = headers.copies[i];
        if (copy.good()) continue;
        const std::string used = headers.active ? fmt::format("; copy {} is used", *headers.active + 1) : "";
        findings.add(FindingKind::header_copy_bad, copy.offset, "header copy {}: {}{}", i + 1, fault(copy), used);
    }
    if (!headers.active) findings.add(FindingKind::no_good_header, 0, "neither header copy is valid");
    const auto& [first, second] = headers.copies;
    if (first.good() && second.good() && first.sequence == second.sequence)
        findings.add(FindingKind::header_equal_sequence, second.offset,
                     "both header copies carry sequence {}; copy 1 is used", first.sequence);
}

} // namespace vdisk::hyperv
