// SPDX-License-Identifier: Apache-2.0
#include "disk/cluster_file.hpp"

#include "base/zeros.hpp"

#include <algorithm>
#include <set>

namespace vdisk {
namespace {

constexpr std::uint64_t kTableOwner = 1; // set in an owner: a table's; both are known by their guest offset

// A table that the directory names.
struct NamedTable {
    std::uint64_t number;
    std::uint64_t offset;
};

// All that is named, with what may be spent on finding it.
class Account {
public:
    struct Budget {
        std::uint64_t table_bytes; ///< to be read
        std::uint64_t claims;      ///< to be kept
    };

    Account(const ClusterImage& image, const ByteSource& file, Budget budget)
        : tables_(image.tables), file_(file), budget_(budget), claims_(image.structures) {}

    /// `report` is told of entries that can't be; may be null.
    Result<void> read(AuditReport* report, const Progress& progress) {
        report_ = report;
        VDISK_CHECK(read_directory());
        doubt_tables(contested(claims_));
        for (std::size_t i = 0; i < named_.size() && !cut_; ++i) {
            VDISK_CHECK(tell(progress, i, named_.size()));
            VDISK_CHECK(read_table(named_[i]));
        }
        doubts.contested = contested(claims_);
        if (!doubts.contested.list().empty()) doubt_contested_tables();
        std::ranges::sort(doubts.tables);
        return ok();
    }

    ClusterDoubts doubts;
    LostPieces lost;                                                                    ///< of the tables
    [[nodiscard]] const std::vector<Claim>& claims() const noexcept { return claims_; } ///< sorted by offset
    [[nodiscard]] bool cut() const noexcept { return cut_; }                            ///< the budget was not enough
    [[nodiscard]] std::uint64_t broken() const noexcept { return broken_; }
    [[nodiscard]] bool misaligned() const noexcept {
        return misaligned_;
    } ///< something, to ClusterTables::usual_alignment
    [[nodiscard]] std::uint64_t clusters() const noexcept { return clusters_; }
    [[nodiscard]] std::uint64_t named_tables() const noexcept { return named_.size(); }

private:
    // Calls `take(number, value)` for each of the `count` entries at `offset` that can be read, may be and is not 0.
    template<class Take> Result<void> for_each_entry(std::uint64_t offset, std::uint64_t count, const Take& take) {
        const std::uint64_t room = (budget_.table_bytes - read_) / tables_.entry_bytes;
        if (count > room) cut_ = true;
        const std::uint64_t bytes = std::min(count, room) * tables_.entry_bytes;
        read_ += bytes;
        return for_each_piece<std::byte>(file_, offset, bytes, lost,
                                         [&](std::uint64_t first, std::span<const std::byte> piece) -> Result<void> {
                                             if (all_zeros(piece)) return ok();
                                             const std::uint64_t number = first / tables_.entry_bytes;
                                             for (std::uint64_t i = 0; i < piece.size() / tables_.entry_bytes; ++i)
                                                 if (const std::uint64_t value = tables_.entry_in(piece, i); value != 0)
                                                     take(number + i, value);
                                             return ok();
                                         });
    }

    bool claim(std::uint64_t offset, std::uint64_t whole, std::uint64_t needed, std::uint64_t owner) {
        if (claims_.size() >= budget_.claims) cut_ = true;
        else claims_.push_back(block_claim(offset, whole, needed, file_.size(), owner));
        return !cut_;
    }

    Result<void> read_directory() {
        if (!tables_.directory) {
            named_.push_back({0, tables_.only_table});
            claim(tables_.only_table, tables_.table_bytes(), tables_.table_bytes(), Claim::kStructure);
            return ok();
        }
        const std::uint64_t count = tables_.tables();
        const std::uint64_t bytes = count * tables_.entry_bytes;
        claim(*tables_.directory, bytes, bytes, Claim::kStructure);
        return for_each_entry(*tables_.directory, count, [&](std::uint64_t number, std::uint64_t value) {
            take_table({number, value});
        });
    }

    void take_table(const NamedTable& table) {
        const std::uint64_t start = table.number * tables_.table_covers();
        if (tables_.is_place_of_table(table.offset, file_.size())) {
            misaligned_ = misaligned_ || table.offset % tables_.usual_alignment != 0;
            if (claim(table.offset, tables_.table_bytes(), tables_.entries_of(table.number) * tables_.entry_bytes,
                      start | kTableOwner))
                named_.push_back(table);
            return;
        }
        ++broken_;
        if (report_ == nullptr) return;
        report_->add(Severity::error, table.offset % tables_.table_alignment != 0 ? "bad-entry" : "past-end",
                     {.host = HostOffset{*tables_.directory + table.number * tables_.entry_bytes},
                      .guest = GuestOffset{start},
                      .length = std::min(tables_.table_covers(), tables_.disk_size - start)},
                     "L1 entry {} is {:#x}, no place of an L2 table in a file of {} bytes", table.number, table.offset,
                     file_.size());
    }

    // Tables that share bytes with each other or with a header are none: what is there is not read as entries.
    void doubt_tables(const HostRanges& shared) {
        if (!tables_.directory) return;
        const auto shares = [&](const NamedTable& table) { return shared.touch(table.offset, tables_.table_bytes()); };
        for (const NamedTable& table : named_)
            if (shares(table)) doubts.tables.push_back(table.offset);
        std::erase_if(named_, shares);
    }

    Result<void> read_table(const NamedTable& table) {
        const std::uint64_t there = (file_.size() - table.offset) / tables_.entry_bytes;
        const std::uint64_t count = std::min(tables_.entries_of(table.number), there);
        const std::uint64_t broken_before = broken_;
        VDISK_CHECK(for_each_entry(table.offset, count, [&](std::uint64_t number, std::uint64_t value) {
            take_cluster(value, table.number * tables_.table_entries + number,
                         table.offset + number * tables_.entry_bytes);
        }));
        if (broken_ > broken_before) impossible_.insert(table.offset);
        return ok();
    }

    // Of a table and a cluster in one place, the table is what it is taken for if all that it says can be, and if some
    // of what both claim is an entry for a cluster that nobody else claims. Zeros in that place tell nothing.
    void doubt_contested_tables() {
        if (!tables_.directory) return;
        std::set<std::uint64_t> vouched;
        for (const Claim& claim : claims_) {
            if (claim.owner == Claim::kStructure || (claim.owner & kTableOwner) != 0) continue;
            const std::uint64_t number = claim.owner / tables_.cluster_size;
            const std::uint64_t table =
                std::ranges::lower_bound(named_, number / tables_.table_entries, {}, &NamedTable::number)->offset;
            const std::uint64_t entry = table + number % tables_.table_entries * tables_.entry_bytes;
            if (doubts.contested.touch(entry, tables_.entry_bytes) &&
                !doubts.contested.touch(claim.offset, claim.length))
                vouched.insert(table);
        }
        for (const NamedTable& table : named_)
            if (doubts.contested.touch(table.offset, tables_.table_bytes()) &&
                (impossible_.contains(table.offset) || !vouched.contains(table.offset)))
                doubts.tables.push_back(table.offset);
    }

    void take_cluster(std::uint64_t raw, std::uint64_t number, std::uint64_t entry_at) {
        const ClusterEntry entry = tables_.decode(raw);
        const GuestOffset guest{number * tables_.cluster_size};
        const std::uint64_t length = tables_.bytes_of(number);
        const bool packed = entry.kind == ClusterEntry::Kind::packed;
        const std::uint64_t needed = packed ? entry.packed_length : length;
        const bool inside = !entry.in_file() || fits(entry.host, needed, file_.size());
        if (entry.kind == ClusterEntry::Kind::broken || !inside) {
            ++broken_;
            if (report_ != nullptr)
                report_->add(Severity::error, inside ? "bad-entry" : "past-end",
                             {.host = HostOffset{entry_at}, .guest = guest, .length = length},
                             "the entry of cluster {} is {:#x}, which {}", number, raw,
                             inside ? std::string(entry.rule)
                                    : fmt::format("does not lie inside the file of {} bytes", file_.size()));
        }
        if (!entry.in_file()) return;
        misaligned_ = misaligned_ || (!packed && entry.host % tables_.usual_alignment != 0);
        if (claim(entry.host, packed ? needed : tables_.cluster_size, needed, guest.value)) ++clusters_;
    }

    const ClusterTables& tables_;
    const ByteSource& file_;
    Budget budget_;
    AuditReport* report_ = nullptr;
    std::vector<Claim> claims_;
    std::vector<NamedTable> named_;      ///< those that can be, by their number
    std::set<std::uint64_t> impossible_; ///< offsets of tables with entries that can't be
    std::uint64_t read_ = 0;
    std::uint64_t broken_ = 0;
    std::uint64_t clusters_ = 0;
    bool misaligned_ = false;
    bool cut_ = false;
};

// Bytes that nothing refers to and that are no zeros, in gaps of `least` bytes or more, of no more than an opening may
// look at.
Result<std::uint64_t> left_over(const Account& account, const ByteSource& file, const Limits& limits,
                                std::uint64_t least = 0) {
    if (account.cut() || !account.lost.none()) return std::uint64_t{0};
    Limits look = limits;
    look.audit_look_bytes = limits.table_bytes;
    Leaks leaks(file, 512, look);
    HostRanges found;
    const HostRanges gaps = unclaimed(account.claims(), 0, file.size());
    for (const HostRange& gap : gaps.list())
        if (gap.length >= least) VDISK_CHECK(leaks.look(gap.offset.value, gap.length, found));
    return found.bytes();
}

// What no known writer does is believed where the tables account for all bytes of the file. That takes reading what
// they leave over, which is done once and where it matters.
class Weighing {
public:
    Weighing(const Account& account, const ByteSource& file, const Limits& limits)
        : account_(account), file_(file), limits_(limits) {}

    // Bytes that nothing claims.
    Result<std::uint64_t> left() {
        if (!left_) {
            VDISK_TRY(found, left_over(account_, file_, limits_));
            left_ = found;
        }
        return *left_;
    }

    Result<bool> is_even() {
        if (account_.broken() != 0 || shared() != 0 || !account_.lost.none()) return false;
        VDISK_TRY(found, left());
        return found == 0;
    }

    // Bytes that two claim.
    std::uint64_t shared() const { return account_.doubts.contested.bytes(); }

private:
    const Account& account_;
    const ByteSource& file_;
    const Limits& limits_;
    std::optional<std::uint64_t> left_;
};

Result<std::vector<std::string>> find_contradictions(const ClusterImage& image, const Account& account,
                                                     Weighing& weighing) {
    std::vector<std::string> found = image.problems;
    const bool empty = account.clusters() == 0 && account.broken() == 0 && account.doubts.tables.empty();
    if ((image.unusual.empty() && !empty) || !found.empty()) return found;
    VDISK_TRY(left, weighing.left());
    VDISK_TRY(even, weighing.is_even());
    if (!image.unusual.empty() && !even)
        found.push_back(
            fmt::format("{}, which no writer sets so, and the tables do not fit it: {} entries can't be, {} "
                        "bytes are claimed twice, {} that are no zeros by none",
                        image.unusual, account.broken(), weighing.shared(), left));
    // What a crash leaves behind is one unfinished allocation: a table and the cluster for it.
    else if (empty && left > image.tables.table_bytes() + image.tables.cluster_size)
        found.push_back(
            fmt::format("the tables name no cluster, but nothing refers to {} bytes that are no zeros: they "
                        "are lost, or lie elsewhere",
                        left));
    return found;
}

// Tells of what is shared.
void report_shared(const ClusterTables& tables, const Account& account, AuditReport& report) {
    for (const Claim& claim : account.claims()) {
        if (claim.owner == Claim::kStructure || !account.doubts.contested.touch(claim.offset, claim.length)) continue;
        const bool table = (claim.owner & kTableOwner) != 0;
        if (table && !std::ranges::binary_search(account.doubts.tables, claim.offset)) continue;
        const std::uint64_t start = claim.owner & ~kTableOwner;
        const std::uint64_t length = table ? tables.table_covers() : tables.cluster_size;
        report.add(Severity::error, "shared-block",
                   {.host = HostOffset{claim.offset},
                    .guest = GuestOffset{start},
                    .length = std::min(length, tables.disk_size - start)},
                   "the {} at offset {}, of disk offset {}, shares bytes with another one or with the file's own "
                   "structures",
                   table ? "L2 table" : "cluster", claim.offset, start);
    }
}

} // namespace

Result<ClusterLook> ClusterLook::at(const ClusterImage& image, const ByteSource& file, const Limits& limits) {
    Account account(image, file, {.table_bytes = limits.table_bytes, .claims = limits.table_bytes / sizeof(Claim)});
    VDISK_CHECK(account.read(nullptr, {}));
    Weighing weighing(account, file, limits);
    if (account.misaligned()) {
        VDISK_TRY(even, weighing.is_even());
        account.doubts.misaligned = account.cut() || !even;
    }
    VDISK_TRY(found, find_contradictions(image, account, weighing));
    VDISK_TRY(lost, left_over(account, file, limits, image.tables.cluster_size));
    return ClusterLook{.doubts = std::move(account.doubts),
                       .contradictions = std::move(found),
                       .lost = lost,
                       .unread = std::move(account.lost)};
}

Result<Layer> open_clusters(const ClusterImage& image, const ClusterLook& look, const SourcePtr& file,
                            const OpenContext& context) {
    if (!look.contradictions.empty())
        return fail(ErrorKind::corrupt, "{}: {}", file->name(), look.contradictions.front());
    Layer layer(std::make_shared<const ClusterLayout>(image.tables, look.doubts, file, context.caches), {file});
    layer.parent = image.parent;
    layer.remarks = image.remarks;
    look.unread.tell(layer.remarks);
    if (look.lost != 0)
        layer.remarks.push_back(Remark::doubt(fmt::format(
            "no entry refers to {} bytes that are no zeros: if one was lost, the disk shows zeros or the parent in "
            "their place",
            look.lost)));
    return layer;
}

Result<void> audit_clusters(const ClusterImage& image, const ClusterLook& look, const ByteSource& file,
                            const Limits& limits, const AuditRequest& request, AuditReport& report) {
    for (const std::string& what : look.contradictions) report.add(Severity::error, "header", {}, "{}", what);
    const std::size_t most = limits.audit_bytes / sizeof(Claim) / 2;
    Account account(image, file, {.table_bytes = limits.audit_look_bytes, .claims = most});
    VDISK_CHECK(account.read(&report, request.progress));
    if (account.cut())
        return fail(ErrorKind::limit_exceeded,
                    "{}: has more than {} clusters or {} bytes of tables, an audit takes no more", file.name(), most,
                    limits.audit_look_bytes);
    if (image.tables.directory) report.facts["L2 tables named"] = account.named_tables();
    report.facts["clusters named"] = account.clusters();
    report_shared(image.tables, account, report);
    account.lost.tell(report);
    if (!request.leftovers || !account.lost.none()) return ok();
    Leaks leaks(file, 512, limits);
    VDISK_CHECK(leaks.find_unclaimed(account.claims(), report));
    return leaks.tell(report);
}

ClusterFile::ClusterFile(ClusterImage image, SourcePtr source, OpenContext context)
    : image_(std::move(image)), source_(std::move(source)),
      context_(std::move(context)), disks_{Disk{.size = image_.tables.disk_size}},
      look_(ClusterLook::at(image_, *source_, context_.limits)) {}

std::vector<std::string_view> ClusterFile::keys() const {
    if (image_.parent) return {"backing", "parent", "root"};
    return {};
}

std::vector<ParentLink> ClusterFile::links() const {
    if (image_.parent) return {*image_.parent};
    return {};
}

Result<Layer> ClusterFile::layer(std::size_t /*index*/) const {
    if (look_.has_error()) return Error(look_.error());
    return open_clusters(image_, look_.value(), source_, context_);
}

void ClusterFile::add_damage(Facts& facts) const {
    if (look_.has_value() && !look_.value().contradictions.empty()) facts["damage"] = look_.value().contradictions;
}

void ClusterFile::tell(AuditReport& report) const {
    report.add(image_.remarks, "header", "header-note");
}

Result<AuditReport> ClusterFile::audit(const AuditRequest& request) const {
    AuditReport report(context_.limits);
    report.facts = facts();
    tell(report);
    if (look_.has_error()) return Error(look_.error());
    VDISK_CHECK(audit_clusters(image_, look_.value(), *source_, context_.limits, request, report));
    return report;
}

} // namespace vdisk
