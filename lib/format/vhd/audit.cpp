// SPDX-License-Identifier: Apache-2.0
#include "format/vhd/audit.hpp"

#include "format/vhd/block_table.hpp"
#include "image/sector_bitmap.hpp"

#include <algorithm>
#include <array>

namespace vdisk::vhd {
namespace {

// XenServer's bitmap of the blocks that are there in full lies behind the table: nobody needs it to read the disk.
struct RawBatmap {
    std::array<char, 8> cookie;
    big_uint64_buf_t offset;
    big_uint32_buf_t sectors;
};
static_assert(sizeof(RawBatmap) == 20);

class TableAudit {
public:
    TableAudit(const Header& header, const ByteSource& file, const Limits& limits, const AuditRequest& request,
               AuditReport& report)
        : header_(header), file_(file), limits_(limits), request_(request), report_(report),
          leaks_(file, kSector, limits) {}

    Result<void> run() {
        check_header();
        claims_ = structures(header_, file_);
        for (const Locator& locator : header_.locators)
            claims_.push_back({.offset = locator.offset, .length = locator.length});
        claim_batmap();
        const auto take = [this](std::uint32_t number, std::uint32_t entry) { return take_entry(number, entry); };
        LostPieces lost;
        VDISK_CHECK(visit_blocks(header_, file_, ~std::uint64_t{0}, lost, take));
        lost.tell(report_);
        report_.facts["blocks named by the table"] = named_;
        shared_ = contested(claims_);
        for (const Claim& claim : claims_) VDISK_CHECK(check_claim(claim));
        if (!request_.leftovers || !lost.none()) return leaks_.tell(report_);
        VDISK_CHECK(leaks_.find_unclaimed(claims_, report_));
        return leaks_.tell(report_);
    }

private:
    void check_header() {
        if (header_.entries < header_.blocks())
            report_.add(Severity::error, "map-too-short",
                        {.guest = GuestOffset{std::uint64_t{header_.entries} * header_.block_size}},
                        "the block table has {} entries, the disk needs {}: nothing behind can be read",
                        header_.entries, header_.blocks());
        if (header_.disk_size % kSector != 0)
            report_.add(Severity::note, "size", {}, "the virtual size {} is no whole number of sectors",
                        header_.disk_size);
        if (header_.has_parent() && header_.parent_id.is_null())
            report_.add(Severity::error, "no-parent-uuid", {}, "a differencing disk, but it names no parent");
    }

    void claim_batmap() {
        const std::uint64_t at = *align_up(header_.table_offset + header_.entries * kEntryBytes, kSector);
        const auto raw = read_struct<RawBatmap>(file_, at, "batmap");
        if (raw.has_error() || std::string_view(raw.value().cookie.data(), 8) != "tdbatmap") return;
        claims_.push_back({.offset = at, .length = kSector});
        const std::uint64_t length = raw.value().sectors.value() * kSector;
        if (fits(raw.value().offset.value(), length, file_.size()))
            claims_.push_back({.offset = raw.value().offset.value(), .length = length});
    }

    Result<void> take_entry(std::uint32_t number, std::uint32_t entry) {
        if (++named_ % 4096 == 0) VDISK_CHECK(tell(request_.progress, number, header_.blocks()));
        const std::uint64_t needed = header_.bitmap_bytes() + header_.bytes_of(number);
        const std::uint64_t offset = block_offset(entry);
        if (!fits(offset, needed, header_.data_end))
            report_.add(Severity::error, "past-end",
                        {.host = HostOffset{header_.table_offset + number * kEntryBytes},
                         .guest = guest_of(number),
                         .length = header_.bytes_of(number)},
                        "block table entry {} names a block at offset {}, which does not lie inside the file of {} "
                        "bytes",
                        number, offset, file_.size());
        if (claims_.size() >= limits_.audit_bytes / sizeof(Claim) / 2)
            return fail(ErrorKind::limit_exceeded, "{}: has more than {} blocks, an audit takes no more", file_.name(),
                        claims_.size());
        claims_.push_back(claim_of(header_, number, entry));
        return ok();
    }

    GuestOffset guest_of(std::uint64_t number) const { return GuestOffset{number * header_.block_size}; }

    Result<void> check_claim(const Claim& claim) {
        if (claim.owner == Claim::kStructure) return ok();
        if (shared_.touch(claim.offset, claim.length)) {
            report_.add(Severity::error, "shared-block",
                        {.host = HostOffset{claim.offset},
                         .guest = guest_of(claim.owner),
                         .length = header_.bytes_of(claim.owner)},
                        "block table entry {} names a block at offset {} that shares bytes with another one or with "
                        "the file's own structures",
                        claim.owner, claim.offset);
            return ok();
        }
        if (!request_.leftovers || !fits(claim.offset, header_.bitmap_bytes(), header_.data_end)) return ok();
        return look_under_cleared_bits(claim);
    }

    // Sectors that the bitmap says were not written, and that are no zeros all the same.
    Result<void> look_under_cleared_bits(const Claim& claim) {
        const auto bitmap = read_bytes(file_, claim.offset, header_.bitmap_bytes(), "sector bitmap");
        if (bitmap.has_error()) {
            report_.add(Severity::error, "lost-bitmap",
                        {.host = HostOffset{claim.offset},
                         .guest = guest_of(claim.owner),
                         .length = header_.bytes_of(claim.owner)},
                        "the sector bitmap of block {} can't be read: {}", claim.owner, bitmap.error().what);
            return ok();
        }
        const std::span<const std::byte> bits = bitmap.value();
        const std::uint64_t sectors = div_ceil(header_.bytes_of(claim.owner), kSector);
        HostRanges found;
        for (std::uint64_t at = 0; at < sectors;) {
            const BitRun run = run_of_bits(bits, at, sectors, header_.bit_order());
            const std::uint64_t offset = claim.offset + header_.bitmap_bytes() + at * kSector;
            if (!run.set && offset < header_.data_end)
                VDISK_CHECK(leaks_.look(offset, std::min(run.length * kSector, header_.data_end - offset), found));
            at += run.length;
        }
        if (found.list().empty()) return ok();
        report_.add(Severity::note, "stale-sectors",
                    {.host = found.list().front().offset, .guest = guest_of(claim.owner)},
                    "the bitmap of block {} says of {} bytes that they were never written, but they are no zeros",
                    claim.owner, found.bytes());
        return leaks_.add(found);
    }

    const Header& header_;
    const ByteSource& file_;
    const Limits& limits_;
    const AuditRequest& request_;
    AuditReport& report_;
    std::vector<Claim> claims_;
    HostRanges shared_;
    Leaks leaks_;
    std::uint64_t named_ = 0;
};

} // namespace

Result<void> audit_table(const Header& header, const ByteSource& file, const Limits& limits,
                         const AuditRequest& request, AuditReport& report) {
    return TableAudit(header, file, limits, request, report).run();
}

Result<void> audit_fixed(const Header& header, const ByteSource& file, AuditReport& report) {
    if (header.data_end < header.disk_size)
        report.add(Severity::error, "past-end",
                   {.guest = GuestOffset{header.data_end}, .length = header.disk_size - header.data_end},
                   "the disk has {} bytes, the file of {} bytes has no more than {} of them", header.disk_size,
                   file.size(), header.data_end);
    if (header.data_end <= header.disk_size) return ok();
    const std::uint64_t length = header.data_end - header.disk_size;
    report.add(Severity::warning, "leaked", {.host = HostOffset{header.disk_size}, .length = length},
               "{} bytes at offset {} lie between the disk's end and the footer", length, header.disk_size);
    return report.leak(HostOffset{header.disk_size}, length);
}

} // namespace vdisk::vhd
