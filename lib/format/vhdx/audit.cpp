// SPDX-License-Identifier: Apache-2.0
#include "format/vhdx/audit.hpp"

#include "image/sector_bitmap.hpp"

#include <algorithm>
#include <map>

namespace vdisk::vhdx {
namespace {

class TableAudit {
public:
    TableAudit(const BlockTable& table, const ByteSource& file, const Limits& limits, const AuditRequest& request,
               AuditReport& report)
        : table_(table), disk_(table.metadata), file_(file), limits_(limits), request_(request), report_(report),
          leaks_(file, table.metadata.sector_size, limits) {}

    Result<void> run() {
        claims_ = table_.structures;
        const auto take = [this](bool bitmap, std::uint64_t number, Entry entry) {
            return take_entry(bitmap, number, entry);
        };
        LostPieces lost;
        VDISK_CHECK(visit_entries(table_, file_, table_.region.length, lost, take));
        lost.tell(report_);
        report_.facts["blocks named by the table"] = named_;
        report_.facts["partially present blocks"] = partial_.size();
        shared_ = contested(claims_);
        for (const Claim& claim : claims_) check_claim(claim);
        for (const auto& [number, entry] : partial_) VDISK_CHECK(look_at_bitmap(number, entry));
        if (!request_.leftovers || !lost.none()) return leaks_.tell(report_);
        VDISK_CHECK(leaks_.find_unclaimed(claims_, report_));
        return leaks_.tell(report_);
    }

private:
    GuestOffset guest_of(std::uint64_t number) const { return GuestOffset{number * disk_.block_size}; }

    Place place_of(std::uint64_t number) const {
        return {.host = HostOffset{table_.offset_of_block(number)},
                .guest = guest_of(number),
                .length = disk_.bytes_of(number)};
    }

    Result<void> take_entry(bool bitmap, std::uint64_t number, Entry entry) {
        if (++seen_ % 4096 == 0) VDISK_CHECK(tell(request_.progress, std::min(number, disk_.blocks()), disk_.blocks()));
        if (!bitmap && number >= disk_.blocks()) {
            report_.add(Severity::note, "beyond-disk", {.host = HostOffset{table_.offset_of_block(number)}},
                        "the entry of block {}, behind the disk's end, is {:#018x}", number, entry.raw);
            return ok();
        }
        check_entry(bitmap, number, entry);
        if (!entry.has_bytes()) return ok();
        if (claims_.size() >= limits_.audit_bytes / sizeof(Claim) / 2)
            return fail(ErrorKind::limit_exceeded, "{}: has more than {} blocks, an audit takes no more", file_.name(),
                        claims_.size());
        claims_.push_back(claim_of(table_, bitmap, number, entry));
        if (bitmap) bitmaps_.emplace(number, entry.offset());
        else ++named_;
        if (!bitmap && entry.is(BlockState::partial) && disk_.has_parent) partial_.emplace_back(number, entry);
        return ok();
    }

    void check_entry(bool bitmap, std::uint64_t number, Entry entry) {
        if (bitmap) {
            if (!entry.is(BlockState::present) && !entry.is(BlockState::not_present))
                report_.add(Severity::error, "bad-entry", {.host = HostOffset{table_.offset_of_bitmap(number)}},
                            "the entry of sector bitmap {} is {:#018x}, whose state is none of a bitmap", number,
                            entry.raw);
            return;
        }
        const bool reserved = entry.state() == 4 || entry.state() == 5;
        if (reserved || (entry.is(BlockState::partial) && !disk_.has_parent))
            report_.add(Severity::error, "bad-entry", place_of(number),
                        "the entry of block {} is {:#018x}, whose state is none of such a disk", number, entry.raw);
        if (entry.has_reserved_bits())
            report_.add(Severity::warning, "reserved-bits", place_of(number),
                        "the entry of block {} is {:#018x}, with reserved bits set", number, entry.raw);
        if (!entry.has_bytes() && !reserved && entry.offset() != 0)
            report_.add(Severity::note, "kept-block", place_of(number),
                        "block {} reads as zeros by its state {}, and its entry names the place at offset {}", number,
                        entry.state(), entry.offset());
    }

    void check_claim(const Claim& claim) {
        if (claim.owner == Claim::kStructure) return;
        const bool bitmap = (claim.owner & kBitmapOwner) != 0;
        const std::uint64_t number = claim.owner & ~kBitmapOwner;
        const Place place = bitmap ? Place{.host = HostOffset{claim.offset}} : place_of(number);
        const std::string_view what = bitmap ? "sector bitmap" : "block";
        if (shared_.touch(claim.offset, claim.length))
            report_.add(Severity::error, "shared-block", place,
                        "{} {} at offset {} shares bytes with something else in the file", what, number, claim.offset);
        else if (!fits(claim.offset, bitmap ? kBitmapBytes : disk_.bytes_of(number), file_.size()))
            report_.add(Severity::error, "past-end", place,
                        "{} {} at offset {} does not lie inside the file of {} bytes", what, number, claim.offset,
                        file_.size());
    }

    Result<void> look_at_bitmap(std::uint64_t number, Entry entry) {
        const auto bitmap = bitmaps_.find(number / disk_.chunk_ratio());
        const Claim claim = claim_of(table_, false, number, entry);
        if (bitmap == bitmaps_.end()) {
            report_.add(Severity::error, "no-bitmap", place_of(number),
                        "block {} is partially present, but the sector bitmap that tells what of it is not there",
                        number);
            return ok();
        }
        const std::uint64_t sectors = disk_.block_size / disk_.sector_size;
        const std::uint64_t at = bitmap->second + number % disk_.chunk_ratio() * sectors / 8;
        if (!request_.leftovers || !fits(at, sectors / 8, file_.size()) || shared_.touch(claim.offset, claim.length))
            return ok();
        const auto bits = read_bytes(file_, at, sectors / 8, "sector bitmap");
        if (bits.has_value()) return look_under_cleared_bits(number, claim, bits.value());
        report_.add(Severity::error, "lost-bitmap", place_of(number), "the sector bitmap of block {} can't be read: {}",
                    number, bits.error().what);
        return ok();
    }

    // Sectors that are the parent's, and whose places here are no zeros all the same.
    Result<void> look_under_cleared_bits(std::uint64_t number, const Claim& claim, std::span<const std::byte> bits) {
        const std::uint64_t sectors = disk_.bytes_of(number) / disk_.sector_size;
        HostRanges found;
        for (std::uint64_t at = 0; at < sectors;) {
            const BitRun run = run_of_bits(bits, at, sectors, BitOrder::lowest_first);
            if (!run.set)
                VDISK_CHECK(leaks_.look(claim.offset + at * disk_.sector_size, run.length * disk_.sector_size, found));
            at += run.length;
        }
        if (found.list().empty()) return ok();
        report_.add(Severity::note, "stale-sectors", {.host = found.list().front().offset, .guest = guest_of(number)},
                    "of block {}, {} bytes are the parent's by the sector bitmap, but their places here are no zeros",
                    number, found.bytes());
        return leaks_.add(found);
    }

    const BlockTable& table_;
    const Metadata& disk_;
    const ByteSource& file_;
    const Limits& limits_;
    const AuditRequest& request_;
    AuditReport& report_;
    std::vector<Claim> claims_;
    std::map<std::uint64_t, std::uint64_t> bitmaps_; ///< by chunk: where they are
    std::vector<std::pair<std::uint64_t, Entry>> partial_;
    HostRanges shared_;
    Leaks leaks_;
    std::uint64_t seen_ = 0;
    std::uint64_t named_ = 0;
};

} // namespace

Result<void> audit_table(const BlockTable& table, const ByteSource& file, const Limits& limits,
                         const AuditRequest& request, AuditReport& report) {
    return TableAudit(table, file, limits, request, report).run();
}

} // namespace vdisk::vhdx
