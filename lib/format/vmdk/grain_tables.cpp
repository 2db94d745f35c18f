// SPDX-License-Identifier: Apache-2.0
#include "format/vmdk/grain_tables.hpp"

#include <algorithm>

namespace vdisk::vmdk {
namespace {

constexpr std::uint64_t kSeTableHere = 0x10000000; // the upper half of a directory entry
constexpr std::uint64_t kSeNumber = (std::uint64_t{1} << 48) - 1;

std::vector<little_uint64_buf_t> widened(std::span<const little_uint32_buf_t> narrow) {
    std::vector<little_uint64_buf_t> wide;
    wide.reserve(narrow.size());
    for (const auto& entry : narrow) wide.emplace_back(entry.value());
    return wide;
}

Result<std::vector<little_uint64_buf_t>> read_entries(const CachedTable& table, std::uint64_t offset,
                                                      std::uint64_t count, std::uint64_t size) {
    if (size == 8) {
        std::vector<little_uint64_buf_t> entries(static_cast<std::size_t>(count));
        VDISK_CHECK(table.read(offset, std::as_writable_bytes(std::span(entries))));
        return entries;
    }
    std::vector<little_uint32_buf_t> entries(static_cast<std::size_t>(count));
    VDISK_CHECK(table.read(offset, std::as_writable_bytes(std::span(entries))));
    return widened(entries);
}

} // namespace

Result<std::vector<Grain>> GrainTables::tables(Copy copy, std::uint64_t first, std::uint64_t count) const {
    const std::uint64_t directory = copy == Copy::first ? *sparse_.directory : *sparse_.redundant;
    const std::uint64_t size = sparse_.entry_bytes();
    VDISK_TRY(entries, read_entries(table_, directory + first * size, count, size));
    std::vector<Grain> found;
    found.reserve(entries.size());
    for (const auto& entry : entries) found.push_back(decode_table(entry.value(), directory));
    return found;
}

Grain GrainTables::decode_table(std::uint64_t raw, std::uint64_t directory) const noexcept {
    if (raw == 0) return {};
    Grain found{.kind = Grain::Kind::no_table, .raw = raw, .host = raw * kSector}; // of 32 bits
    if (sparse_.kind == Sparse::Kind::sesparse) {
        if (raw >> 32 != kSeTableHere) return found;
        found.host = sparse_.tables_offset + (raw & 0xFFFFFFFF) * sparse_.table_bytes();
    }
    if (fits(found.host, sparse_.table_bytes(), file_->size()) && !lies_over_structures(found.host, directory))
        found.kind = Grain::Kind::stored;
    return found;
}

// What is read there instead of a table would be zeros for the most part: an empty disk. The other copy's directory is
// no witness: its place may be what is wrong.
bool GrainTables::lies_over_structures(std::uint64_t table, std::uint64_t directory) const noexcept {
    const auto touches = [&](std::uint64_t offset, std::uint64_t length) {
        return table < offset + length && offset < table + sparse_.table_bytes();
    };
    return touches(directory, sparse_.tables() * sparse_.entry_bytes()) ||
           std::any_of(sparse_.structures.begin(), sparse_.structures.end(),
                       [&](const Claim& claim) { return touches(claim.offset, claim.length); });
}

Result<std::vector<Grain>> GrainTables::grains(Copy copy, std::uint64_t first, std::uint64_t count) const {
    VDISK_TRY(list, tables(copy, first / sparse_.table_entries, 1));
    const Grain& found = list.front();
    if (found.kind != Grain::Kind::stored) return std::vector<Grain>(static_cast<std::size_t>(count), found);
    const std::uint64_t at = found.host + first % sparse_.table_entries * sparse_.entry_bytes();
    VDISK_TRY(entries, read_entries(table_, at, count, sparse_.entry_bytes()));
    std::vector<Grain> grains;
    grains.reserve(entries.size());
    for (const auto& entry : entries) grains.push_back(decode(entry.value()));
    return grains;
}

Grain GrainTables::decode(std::uint64_t raw) const noexcept {
    if (raw == 0) return {};
    if (sparse_.kind == Sparse::Kind::sesparse) return decode_se(raw);
    if (raw == 1 && sparse_.zeroed_grains) return {.kind = Grain::Kind::zero, .raw = raw};
    const std::uint64_t host = raw * kSector;
    return {.kind = host < file_->size() ? Grain::Kind::stored : Grain::Kind::outside, .raw = raw, .host = host};
}

// The upper four bits are the kind, the next twelve the lower ones of the grain's number.
Grain GrainTables::decode_se(std::uint64_t raw) const noexcept {
    switch (raw >> 60) {
    case 1: // unmapped
    case 2: // zeroed
        return {.kind = Grain::Kind::zero, .raw = raw};
    case 3: {
        const std::uint64_t number = (raw >> 48 & 0xFFF) | (raw & kSeNumber) << 12;
        const auto within = checked_mul(number, sparse_.grain_size);
        const auto host = within ? checked_add(*within, sparse_.grains_offset) : std::nullopt;
        const bool inside = host && *host < file_->size();
        return {.kind = inside ? Grain::Kind::stored : Grain::Kind::outside, .raw = raw, .host = host.value_or(0)};
    }
    default: return {.kind = Grain::Kind::invalid, .raw = raw};
    }
}

Claim GrainTables::claim_of(std::uint64_t number, const Grain& grain) const noexcept {
    return block_claim(grain.host, sparse_.grain_size, sparse_.bytes_of(number), file_->size(), 0);
}

Result<void> visit_tables(const GrainTables& tables, std::uint64_t most, const TableVisitor& visit) {
    constexpr std::uint64_t kAtOnce = 4096;
    const std::uint64_t end = std::min(most, tables.sparse().tables());
    for (std::uint64_t at = 0; at < end; at += kAtOnce) {
        const std::uint64_t count = std::min(kAtOnce, end - at);
        VDISK_TRY(firsts, tables.tables(Copy::first, at, count));
        std::vector<Grain> seconds = firsts;
        if (tables.has(Copy::second)) {
            VDISK_TRY(others, tables.tables(Copy::second, at, count));
            seconds = std::move(others);
        }
        for (std::size_t i = 0; i < firsts.size(); ++i) VDISK_CHECK(visit(at + i, firsts[i], seconds[i]));
    }
    return ok();
}

namespace {

// The entries of one table.
Result<void> visit_table(const GrainTables& tables, std::uint64_t number, const GrainVisitor& visit) {
    constexpr std::uint64_t kAtOnce = 4096;
    const Sparse& sparse = tables.sparse();
    const std::uint64_t start = number * sparse.table_entries;
    const std::uint64_t end = std::min(start + sparse.table_entries, sparse.grains());
    for (std::uint64_t at = start; at < end; at += kAtOnce) {
        const std::uint64_t count = std::min(kAtOnce, end - at);
        VDISK_TRY(firsts, tables.grains(Copy::first, at, count));
        std::vector<Grain> seconds;
        if (tables.has(Copy::second)) {
            VDISK_TRY(others, tables.grains(Copy::second, at, count));
            seconds = std::move(others);
        }
        for (std::size_t i = 0; i < firsts.size(); ++i)
            VDISK_CHECK(visit(at + i, firsts[i], seconds.empty() ? firsts[i] : seconds[i]));
    }
    return ok();
}

} // namespace

Result<bool> visit_grains(const GrainTables& tables, std::uint64_t most_bytes, const GrainVisitor& visit) {
    const Sparse& sparse = tables.sparse();
    const std::uint64_t most_tables = most_bytes / sparse.entry_bytes();
    std::uint64_t bytes = 0;
    const auto take = [&](std::uint64_t number, const Grain& first, const Grain& second) -> Result<void> {
        if (first.kind == Grain::Kind::absent && second.kind == Grain::Kind::absent) return ok();
        if (bytes <= most_bytes) bytes += sparse.table_bytes();
        return bytes <= most_bytes ? visit_table(tables, number, visit) : Result<void>(ok());
    };
    VDISK_CHECK(visit_tables(tables, most_tables, take));
    return bytes <= most_bytes && most_tables >= sparse.tables();
}

Result<std::vector<Claim>> structures(const GrainTables& tables, std::uint64_t most) {
    const Sparse& sparse = tables.sparse();
    std::vector<Claim> claims = sparse.structures;
    std::vector<Claim> seconds;
    const std::uint64_t bytes = sparse.tables() * sparse.entry_bytes();
    claims.push_back({.offset = *sparse.directory, .length = bytes});
    if (sparse.redundant) seconds.push_back({.offset = *sparse.redundant, .length = bytes});
    // Tables lie one behind the other, mostly.
    const auto add = [&](std::vector<Claim>& list, const Grain& table) {
        if (table.kind != Grain::Kind::stored) return;
        if (!list.empty() && table.host == list.back().end()) list.back().length += sparse.table_bytes();
        else list.push_back({.offset = table.host, .length = sparse.table_bytes()});
    };
    const auto take = [&](std::uint64_t /*number*/, const Grain& first, const Grain& second) -> Result<void> {
        add(claims, first);
        if (tables.has(Copy::second)) add(seconds, second);
        return ok();
    };
    VDISK_CHECK(visit_tables(tables, most, take));
    claims.insert(claims.end(), seconds.begin(), seconds.end());
    return claims;
}

namespace {

// Collects what the tables say, with no more memory than `limits` have for it.
class Surveyor {
public:
    Surveyor(const GrainTables& tables, const Limits& limits) : tables_(tables), limits_(limits) {}

    Result<Survey> run() {
        VDISK_TRY(parts, structures(tables_, limits_.survey_bytes / tables_.sparse().entry_bytes()));
        static_cast<void>(contested(parts)); // sorts them
        for (const Claim& claim : parts) survey_.structures.add(claim.offset, claim.length);
        const auto take = [this](std::uint64_t number, const Grain& first, const Grain& second) -> Result<void> {
            take_entry(number, first, second);
            return ok();
        };
        VDISK_TRY(all, visit_grains(tables_, limits_.survey_bytes, take));
        survey_.complete = all && room_;
        survey_.contested = contested(claims_);
        for (const Claim& claim : claims_) survey_.taken.add(claim.offset, claim.length);
        tell_differing();
        return std::move(survey_);
    }

private:
    struct Differing {
        std::uint64_t number = 0;
        Grain first;
        Grain second;
    };

    void take_entry(std::uint64_t number, const Grain& first, const Grain& second) {
        constexpr std::size_t kMostJudged = 65536;
        if (first != second) {
            if (differing_.size() < kMostJudged) differing_.push_back({number, first, second});
            return;
        }
        if (first.kind != Grain::Kind::stored || tables_.sparse().compressed) return;
        const Claim claim = tables_.claim_of(number, first);
        if (survey_.structures.touch(claim.offset, claim.length)) return; // wrong by itself, so no witness
        if (!claims_.empty() && claim.offset == claims_.back().end()) claims_.back().length += claim.length;
        else if (claims_.size() < limits_.table_bytes / sizeof(Claim)) claims_.push_back(claim);
        else room_ = false;
    }

    void tell_differing() {
        std::uint64_t rescued = 0;
        std::uint64_t guessed = 0;
        for (const Differing& each : differing_) {
            const Verdict verdict = judge(tables_, survey_, each.number, each.first, each.second);
            rescued += verdict.rescued ? 1U : 0U;
            guessed += verdict.guessed ? 1U : 0U;
        }
        if (rescued > 0)
            survey_.remarks.push_back(Remark::note(fmt::format(
                "the first of its two grain tables is damaged: the redundant one tells where {} grains are", rescued)));
        if (guessed > 0)
            survey_.remarks.push_back(
                Remark::doubt(fmt::format("of {} grains one of its two grain tables says that they are there and the "
                                          "other that they are not: they are read",
                                          guessed)));
    }

    const GrainTables& tables_;
    const Limits& limits_;
    Survey survey_;
    std::vector<Claim> claims_; ///< of grains
    std::vector<Differing> differing_;
    bool room_ = true;
};

} // namespace

Result<Survey> survey(const GrainTables& tables, const Limits& limits) {
    return Surveyor(tables, limits).run();
}

Verdict judge(const GrainTables& tables, const Survey& survey, std::uint64_t number, const Grain& first,
              const Grain& second) {
    if (first == second) return {.grain = first};
    const auto possible = [&](const Grain& grain) {
        if (grain.kind != Grain::Kind::stored) return !grain.is_damaged();
        const Claim claim = tables.claim_of(number, grain);
        return !survey.has_other_owner(claim) && !survey.taken.touch(claim.offset, claim.length);
    };
    const bool could_be_first = possible(first);
    const bool could_be_second = possible(second);
    if (!could_be_second) return {.grain = first};
    if (!could_be_first) return {.grain = second, .rescued = true};
    if (first.kind == Grain::Kind::absent && second.kind == Grain::Kind::stored)
        return {.grain = second, .rescued = true, .guessed = true};
    if (second.kind == Grain::Kind::absent && first.kind == Grain::Kind::stored)
        return {.grain = first, .guessed = true};
    return {.grain = first, .disputed = true};
}

} // namespace vdisk::vmdk
