// SPDX-License-Identifier: Apache-2.0
#include "image/disk_map.hpp"

#include <algorithm>
#include <set>
#include <tuple>
#include <utility>

namespace vdisk {
namespace {

constexpr std::uint64_t kSector = 512;

bool is_cluster(const MapRun& run) noexcept {
    return run.stored_length > 0;
}

// The place of a run that an extent of its layer's source is.
void place_in_source(MapRun& run, const Extent& extent) {
    const ByteSource& source = *run.layer->sources()[extent.source];
    if (extent.host.value >= source.size()) return;
    const bool packed = extent.kind == Extent::Kind::packed;
    const std::uint64_t wanted = packed ? extent.packed.host_length : extent.length;
    run.place = source.origin(extent.host.value, wanted);
    if (!packed) {
        run.length = run.place.length;
        if (run.place.decompressed) run.kind = MapRun::Kind::compressed;
        if (extent.enciphered) run.kind = MapRun::Kind::encrypted;
        if (run.place.zeros && !extent.enciphered) run.kind = MapRun::Kind::zero;
        return;
    }
    run.packed = extent.packed;
    run.stored_length = std::min(wanted, source.size() - extent.host.value);
}

MapRun::Kind kind_of(const ResolvedExtent& found) noexcept {
    switch (found.extent.kind) {
    case Extent::Kind::zero: return found.allocated ? MapRun::Kind::zero : MapRun::Kind::unallocated;
    case Extent::Kind::stored: return MapRun::Kind::data;
    case Extent::Kind::packed: return MapRun::Kind::compressed;
    case Extent::Kind::unreadable: return MapRun::Kind::unreadable;
    }
    return MapRun::Kind::unreadable;
}

} // namespace

std::string_view to_string(MapRun::Kind kind) noexcept {
    switch (kind) {
    case MapRun::Kind::data: return "data";
    case MapRun::Kind::zero: return "zero";
    case MapRun::Kind::compressed: return "compressed";
    case MapRun::Kind::encrypted: return "encrypted";
    case MapRun::Kind::unallocated: return "unallocated";
    case MapRun::Kind::unreadable: return "unreadable";
    }
    return "unreadable";
}

bool in_one_place(const Origin& a, const Origin& b) noexcept {
    if (a.file == nullptr || b.file == nullptr || a.offset != b.offset || a.decompressed != b.decompressed)
        return false;
    const auto state = [](const FileSource& file) {
        const bool has_times = file.is_regular();
        return std::tuple(file.identity(), file.size(), has_times ? file.modified() : 0,
                          has_times ? file.changed() : 0);
    };
    return a.file == b.file || state(*a.file) == state(*b.file);
}

std::uint64_t MapRun::bytes_in_file() const noexcept {
    if (place.file == nullptr) return 0;
    return is_cluster(*this) ? stored_length : length;
}

bool MapRun::absorb(const MapRun& next) noexcept {
    if (kind != next.kind || depth != next.depth || place.file != next.place.file) return false;
    const std::uint64_t stored_end = place.offset + bytes_in_file();
    if (kind == Kind::unreadable) {
        if (why->what != next.why->what) return false;
    } else if (is_cluster(*this) != is_cluster(next) || place.decompressed != next.place.decompressed) {
        return false;
    } else if (is_cluster(*this)) {
        // A format counts whole sectors, so that a cluster may reach into the next one's first.
        const bool same = packed.start.value == next.packed.start.value && place.offset == next.place.offset;
        if (!same && (next.place.offset <= place.offset || next.place.offset > stored_end)) return false;
        stored_length = std::max(stored_end, next.place.offset + next.stored_length) - place.offset;
    } else if (place.file != nullptr && next.place.offset != stored_end) {
        return false;
    }
    length += next.length;
    return true;
}

MapRun MapRun::without_start(std::uint64_t skipped) const {
    MapRun rest = *this;
    rest.start.value += skipped;
    rest.length -= skipped;
    if (is_byte_by_byte()) rest.place.offset += skipped;
    return rest;
}

std::optional<MapRun> DiskMap::next_piece() {
    if (at_ >= end_) return std::nullopt;
    MapRun run = look(at_);
    at_ = run.end();
    return run;
}

std::optional<MapRun> DiskMap::next_run() {
    std::optional<MapRun> run = ahead_ ? std::exchange(ahead_, std::nullopt) : next_piece();
    if (!run) return std::nullopt;
    while ((ahead_ = next_piece()) && run->absorb(*ahead_)) {
    }
    return run;
}

MapRun DiskMap::look(std::uint64_t at) {
    const std::uint64_t left = end_ - at;
    auto found = disk_.resolve(GuestOffset{at}, left);
    MapRun run{.start = GuestOffset{at}, .layer = &disk_};
    if (found.has_error()) {
        run.length = end_of_loss(at) - at;
        run.kind = MapRun::Kind::unreadable;
        run.why = std::make_shared<const Error>(std::move(found).error());
        return run;
    }
    const Extent& extent = found.value().extent;
    run.length = extent.length;
    run.kind = kind_of(found.value());
    run.depth = found.value().depth;
    run.layer = found.value().layer;
    run.why = extent.why;
    if (extent.kind == Extent::Kind::stored || extent.kind == Extent::Kind::packed) place_in_source(run, extent);
    if (run.kind == MapRun::Kind::data && run.place.file != nullptr) look_for_hole(run);
    return run;
}

// Tables that are lost can map any number of sectors, and nothing says how many: so steps grow after a while.
std::uint64_t DiskMap::end_of_loss(std::uint64_t at) const {
    constexpr std::uint64_t kWidest = 64U << 10;
    constexpr unsigned kTriesOfAStep = 64;
    const auto is_known = [this](std::uint64_t offset) {
        return offset >= end_ || disk_.resolve(GuestOffset{offset}, 1).has_value();
    };
    std::uint64_t lost = at;
    std::uint64_t known = std::min(align_down(at, kSector) + kSector, end_);
    std::uint64_t step = kSector;
    for (unsigned tries = 1; !is_known(known); ++tries) {
        lost = known;
        if (tries % kTriesOfAStep == 0) step = std::min(2 * step, kWidest);
        known = std::min(lost + step, end_);
    }
    while (known - lost > kSector) {
        const std::uint64_t middle = lost + align_down((known - lost) / 2, kSector);
        (is_known(middle) ? known : lost) = middle;
    }
    return known;
}

// Cuts the run where a hole begins or ends.
void DiskMap::look_for_hole(MapRun& run) {
    const std::uint64_t at = run.place.offset;
    if (stored_.file != run.place.file || at < stored_.start || at >= stored_.end) {
        const auto [length, hole] = run.place.file->allocation(at);
        stored_ = {run.place.file, at, at + length, hole};
    }
    run.length = std::min(run.length, stored_.end - at);
    if (stored_.hole) run.kind = MapRun::Kind::zero;
}

std::vector<const FileSource*> files_of(const Image& disk) {
    std::vector<const FileSource*> all;
    std::set<FileIdentity> seen;
    for (const Image* layer = &disk; layer != nullptr; layer = layer->parent())
        for (const SourcePtr& source : layer->sources())
            for (const FileSource* file : source->files())
                if (seen.insert(file->identity()).second) all.push_back(file);
    return all;
}

} // namespace vdisk
