// SPDX-License-Identifier: Apache-2.0
#include "format/vmdk/layout.hpp"

#include <algorithm>

namespace vdisk::vmdk {
namespace {

// Entries that one look-up follows at most: a block of the cache.
constexpr std::uint64_t kMostEntries = CachedTable::kBlockBytes / 4;

Extent packed_extent(const Sparse& sparse, const ByteSource& file, const PackedGrain& grain) {
    const std::uint64_t length = sparse.bytes_of(grain.number);
    if (!fits(grain.host, grain.length, file.size()))
        return Extent::unreadable(length, fail_at(grain.host, ErrorKind::truncated,
                                                  "{}: the compressed grain at offset {} ends past the end of the file",
                                                  file.name(), grain.host));
    return {.kind = Extent::Kind::packed,
            .length = length,
            .host = HostOffset{grain.host},
            .packed = {.codec = Codec::zlib,
                       .start = GuestOffset{grain.number * sparse.grain_size},
                       .expanded = static_cast<std::uint32_t>(length),
                       .host_length = grain.length}};
}

} // namespace

Result<Mapping> TableLayout::map(GuestOffset at, std::uint64_t wanted) const {
    const Sparse& sparse = tables_->sparse();
    const std::uint64_t first = at.value / sparse.grain_size;
    const std::uint64_t within = at.value % sparse.grain_size;
    if (sparse.compressed) {
        VDISK_TRY(mapping, map_packed(first));
        return mapping.without_start(within);
    }
    const std::uint64_t end = div_ceil(at.value + std::min(wanted, sparse.disk_size - at.value), sparse.grain_size);
    const std::uint64_t table_end = align_down(first, sparse.table_entries) + sparse.table_entries;
    VDISK_TRY(found, verdicts(first, std::min({end, table_end, first + kMostEntries}) - first));
    Mapping run = mapping_of(first, found.front());
    for (std::uint64_t i = 1; i < found.size(); ++i)
        if (!run.absorb(mapping_of(first + i, found[i]))) break;
    return run.without_start(within);
}

Result<std::vector<Verdict>> TableLayout::verdicts(std::uint64_t first, std::uint64_t count) const {
    VDISK_TRY(firsts, tables_->grains(Copy::first, first, count));
    std::vector<Grain> seconds;
    if (tables_->has(Copy::second)) {
        VDISK_TRY(read, tables_->grains(Copy::second, first, count));
        seconds = std::move(read);
    }
    std::vector<Verdict> verdicts;
    verdicts.reserve(firsts.size());
    for (std::size_t i = 0; i < firsts.size(); ++i)
        verdicts.push_back(seconds.empty() ? Verdict{.grain = firsts[i]}
                                           : judge(*tables_, survey_, first + i, firsts[i], seconds[i]));
    return verdicts;
}

Mapping TableLayout::mapping_of(std::uint64_t number, const Verdict& verdict) const {
    const Sparse& sparse = tables_->sparse();
    const Grain& grain = verdict.grain;
    const std::uint64_t length = sparse.bytes_of(number);
    const auto broken = [&](ErrorKind kind, std::string_view why) {
        return Extent::unreadable(length, fail_at(number * sparse.grain_size, kind, "{}: grain {}, entry {:#x}: {}",
                                                  tables_->file().name(), number, grain.raw, why));
    };
    if (verdict.disputed)
        return broken(ErrorKind::corrupt, "the redundant table has another one, and both could be right");
    switch (grain.kind) {
    case Grain::Kind::absent: return Mapping::ask_parent(length);
    case Grain::Kind::zero: return Extent::zero(length);
    case Grain::Kind::no_table: return broken(ErrorKind::corrupt, "the grain directory leads to no table");
    case Grain::Kind::outside: return broken(ErrorKind::truncated, "does not lie inside the file");
    case Grain::Kind::invalid: return broken(ErrorKind::corrupt, "is no entry of such a table");
    case Grain::Kind::stored: break;
    }
    const Claim claim = tables_->claim_of(number, grain);
    if (survey_.has_other_owner(claim))
        return broken(ErrorKind::corrupt, "shares bytes with another grain or with the file's own structures");
    return Extent::stored(length, HostOffset{grain.host});
}

// The marker tells whose grain it is: an entry that leads to another one is damaged.
Result<Mapping> TableLayout::map_packed(std::uint64_t number) const {
    const Sparse& sparse = tables_->sparse();
    std::optional<Grain> damaged;
    bool absent = false;
    for (const Copy copy : {Copy::first, Copy::second}) {
        if (!tables_->has(copy)) continue;
        VDISK_TRY(grains, tables_->grains(copy, number, 1));
        const Grain& grain = grains.front();
        if (grain.kind == Grain::Kind::zero) return Mapping(Extent::zero(sparse.bytes_of(number)));
        if (grain.kind == Grain::Kind::absent) {
            absent = true;
            continue;
        }
        damaged = grain;
        if (grain.kind != Grain::Kind::stored) continue;
        VDISK_TRY(packed, grain_at(sparse, tables_->file(), grain.host));
        if (packed && packed->number == number) return Mapping(packed_extent(sparse, tables_->file(), *packed));
    }
    const std::uint64_t length = sparse.bytes_of(number);
    if (absent && !damaged) return Mapping::ask_parent(length);
    const std::string_view why = damaged->kind == Grain::Kind::outside  ? "does not lie inside the file"
                                 : damaged->kind == Grain::Kind::stored ? "leads to no marker of this grain"
                                                                        : "the grain directory leads to no table";
    return Mapping(Extent::unreadable(
        length,
        fail_at(number * sparse.grain_size,
                damaged->kind == Grain::Kind::outside ? ErrorKind::truncated : ErrorKind::corrupt,
                "{}: compressed grain {}, entry {:#x}: {}", tables_->file().name(), number, damaged->raw, why)));
}

Result<Mapping> MarkerLayout::map(GuestOffset at, std::uint64_t /*wanted*/) const {
    const std::uint64_t number = at.value / sparse_.grain_size;
    const auto found = std::ranges::lower_bound(found_.places, number, {}, &FoundGrains::Place::number);
    const auto mapping = [&]() -> Result<Mapping> {
        if (found == found_.places.end() || found->number != number) return map_missing(number);
        VDISK_TRY(packed, grain_at(sparse_, *file_, found->sector * kSector));
        if (!packed || packed->number != number)
            return fail_at(found->sector * kSector, ErrorKind::io, "{}: changed while it is read", file_->name());
        return Mapping(packed_extent(sparse_, *file_, *packed));
    };
    VDISK_TRY(found_there, mapping());
    return found_there.without_start(at.value % sparse_.grain_size);
}

// A grain that no marker has is nowhere if its table says so, or if all markers are there.
Result<Mapping> MarkerLayout::map_missing(std::uint64_t number) const {
    const std::uint64_t length = sparse_.bytes_of(number);
    bool nowhere = found_.whole;
    if (const auto table = found_.tables.find(number / sparse_.table_entries); table != found_.tables.end()) {
        little_uint32_buf_t entry;
        VDISK_CHECK(read_exact(*file_, table->second + number % sparse_.table_entries * 4,
                               std::as_writable_bytes(std::span(&entry, 1))));
        nowhere = entry.value() == 0;
    }
    if (nowhere) return Mapping::ask_parent(length);
    return Mapping(Extent::unreadable(
        length, fail_at(number * sparse_.grain_size, ErrorKind::truncated,
                        "{}: grain {} has no marker, and no grain table tells whether it was ever there", file_->name(),
                        number)));
}

Result<Mapping> OrphanLayout::map(GuestOffset at, std::uint64_t wanted) const {
    VDISK_TRY(mapping, layout_->map(at, wanted));
    if (!mapping.asks_parent()) return std::move(mapping);
    return Mapping(Extent::unreadable(mapping.length(), why_));
}

} // namespace vdisk::vmdk
