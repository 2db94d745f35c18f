// SPDX-License-Identifier: Apache-2.0
#include "format/vmdk/audit.hpp"

#include "format/vmdk/grain_tables.hpp"
#include "format/vmdk/markers.hpp"

#include <algorithm>

namespace vdisk::vmdk {
namespace {

// One extent. `start` is where on the disk it begins; `alone`: it is all of the disk, so places in it can be told.
class ExtentAudit {
public:
    struct Where {
        std::uint64_t start = 0;
        bool alone = false;
    };

    ExtentAudit(const Sparse& sparse, const SourcePtr& file, Where where, const OpenContext& context,
                const AuditRequest& request, AuditReport& report)
        : sparse_(sparse), file_(file), where_(where), context_(context), request_(request), report_(report),
          leaks_(*file, kSector, context.limits) {}

    Result<void> run() {
        if (sparse_.unclean)
            report_.add(Severity::note, "not-closed", {}, "{}: was not closed by who wrote it", file_->name());
        if (!sparse_.directory) return check_markers();
        const GrainTables tables(sparse_, file_, context_.caches);
        VDISK_TRY(parts, structures(tables, ~std::uint64_t{0}));
        claims_ = std::move(parts);
        VDISK_TRY(found, survey(tables, context_.limits));
        structures_ = found.structures;
        VDISK_CHECK(check_directories(tables));
        const auto take = [&](std::uint64_t number, const Grain& first, const Grain& second) {
            return take_entry(tables, judge(tables, found, number, first, second), {number, first, second});
        };
        VDISK_TRY(all, visit_grains(tables, ~std::uint64_t{0}, take));
        static_cast<void>(all);
        report_.facts["grains named by the tables"] = named_;
        const HostRanges shared = contested(claims_);
        for (const Claim& claim : claims_) check_claim(claim, shared);
        return find_leaks();
    }

private:
    struct Entries {
        std::uint64_t number = 0;
        Grain first;
        Grain second;
    };

    Place place_of(std::uint64_t number, std::optional<std::uint64_t> host = {}) const {
        Place place{.guest = GuestOffset{where_.start + number * sparse_.grain_size},
                    .length = sparse_.bytes_of(number)};
        if (where_.alone && host) place.host = HostOffset{*host};
        return place;
    }

    // The markers were what was left to go by; what they lack is told by who reads the disk.
    Result<void> check_markers() {
        VDISK_TRY(found, follow_markers(sparse_, *file_, context_.limits, request_.progress));
        report_.add(Severity::error, "no-directory", {}, "{}: has no sound grain directory", file_->name());
        report_.facts["grains found by their markers"] = found.places.size();
        if (found.passed_over > 0)
            report_.add(Severity::error, "no-marker", {}, "{}: {} bytes belong to no marker", file_->name(),
                        found.passed_over);
        return ok();
    }

    Result<void> check_directories(const GrainTables& tables) {
        const bool two = tables.has(Copy::second);
        const auto take = [&](std::uint64_t number, const Grain& first, const Grain& second) -> Result<void> {
            if (first.is_damaged()) add_directory(number, "grain directory", first, two);
            if (two && second.is_damaged()) add_directory(number, "redundant grain directory", second, two);
            return ok();
        };
        return visit_tables(tables, ~std::uint64_t{0}, take);
    }

    // With another copy that is not all that is known of the table.
    void add_directory(std::uint64_t number, std::string_view which, const Grain& table, bool two) {
        Place place = place_of(number * sparse_.table_entries);
        place.length = 0;
        report_.add(two ? Severity::warning : Severity::error, two ? "bad-directory-copy" : "bad-directory", place,
                    "{}: entry {} of the {} is {:#x} and leads to no table", file_->name(), number, which, table.raw);
    }

    Result<void> take_entry(const GrainTables& tables, const Verdict& verdict, const Entries& entries) {
        const std::uint64_t number = entries.number;
        if (++seen_ % 65536 == 0) VDISK_CHECK(tell(request_.progress, number, sparse_.grains()));
        if (entries.first != entries.second) differ(verdict, entries);
        const Grain& grain = verdict.grain;
        if (grain.kind == Grain::Kind::outside)
            report_.add(Severity::error, "past-end", place_of(number),
                        "{}: grain {}, entry {:#x}, does not lie inside the file of {} bytes", file_->name(), number,
                        grain.raw, file_->size());
        if (grain.kind == Grain::Kind::invalid)
            report_.add(Severity::error, "bad-entry", place_of(number),
                        "{}: entry {:#x} of grain {} is none of such a table", file_->name(), grain.raw, number);
        if (grain.kind != Grain::Kind::stored || verdict.disputed) return ok();
        ++named_;
        return sparse_.compressed ? take_packed(number, grain) : take_claim(number, tables.claim_of(number, grain));
    }

    void differ(const Verdict& verdict, const Entries& entries) {
        const auto add = [&](Severity severity, std::string_view kind, std::string_view what) {
            report_.add(severity, kind, place_of(entries.number),
                        "{}: the two grain tables have {:#x} and {:#x} for grain {}: {}", file_->name(),
                        entries.first.raw, entries.second.raw, entries.number, what);
        };
        if (verdict.disputed) add(Severity::error, "tables-differ", "nobody knows which is right");
        else if (verdict.guessed) add(Severity::error, "tables-differ", "the one with a grain is read");
        else add(Severity::warning, "table-copy", "only one of them can be right");
    }

    Result<void> take_packed(std::uint64_t number, const Grain& grain) {
        VDISK_TRY(packed, grain_at(sparse_, *file_, grain.host));
        if (!packed || packed->number != number) {
            report_.add(Severity::error, "bad-marker", place_of(number, grain.host),
                        "{}: grain {} is said to be at offset {}, where no marker of it is", file_->name(), number,
                        grain.host);
            return ok();
        }
        const std::uint64_t end = packed->host + packed->length;
        return take_claim(number, {.offset = grain.host, .length = *align_up(end, kSector) - grain.host, .owner = 0});
    }

    Result<void> take_claim(std::uint64_t number, Claim claim) {
        if (claims_.size() >= context_.limits.audit_bytes / sizeof(Claim) / 2)
            return fail(ErrorKind::limit_exceeded, "{}: has more than {} grains, an audit takes no more", file_->name(),
                        claims_.size());
        claim.owner = number;
        // What lies over a structure is wrong by itself, and says nothing of the grains that it overlaps.
        if (structures_.touch(claim.offset, claim.length)) add_shared(claim);
        else claims_.push_back(claim);
        return ok();
    }

    void add_shared(const Claim& claim) {
        report_.add(Severity::error, "shared-grain", place_of(claim.owner, claim.offset),
                    "{}: grain {} at offset {} shares bytes with another one or with the file's own structures",
                    file_->name(), claim.owner, claim.offset);
    }

    void check_claim(const Claim& claim, const HostRanges& shared) {
        if (claim.owner == Claim::kStructure) return;
        if (shared.touch(claim.offset, claim.length)) add_shared(claim);
        else if (const std::uint64_t needed = sparse_.compressed ? 0 : sparse_.bytes_of(claim.owner);
                 !fits(claim.offset, needed, file_->size()))
            report_.add(Severity::error, "past-end", place_of(claim.owner, claim.offset),
                        "{}: grain {} at offset {} does not lie inside the file of {} bytes", file_->name(),
                        claim.owner, claim.offset, file_->size());
    }

    // Between compressed grains there are markers, tables and a footer, which no disk shows.
    Result<void> find_leaks() {
        if (!request_.leftovers || !where_.alone || sparse_.compressed) return ok();
        VDISK_CHECK(leaks_.find_unclaimed(claims_, report_));
        return leaks_.tell(report_);
    }

    const Sparse& sparse_;
    const SourcePtr& file_;
    Where where_;
    const OpenContext& context_;
    const AuditRequest& request_;
    AuditReport& report_;
    HostRanges structures_;
    std::vector<Claim> claims_;
    Leaks leaks_;
    std::uint64_t seen_ = 0;
    std::uint64_t named_ = 0;
};

} // namespace

Result<void> audit_pieces(const Pieces& pieces, const OpenContext& context, const AuditRequest& request,
                          AuditReport& report) {
    std::uint64_t start = 0;
    for (const Piece& piece : pieces.list) {
        if (piece.sparse)
            VDISK_CHECK(ExtentAudit(*piece.sparse, piece.file, {.start = start, .alone = piece.line == nullptr},
                                    context, request, report)
                            .run());
        start += piece.line != nullptr ? piece.line->sectors * kSector : piece.sparse->disk_size;
    }
    return ok();
}

} // namespace vdisk::vmdk
