// SPDX-License-Identifier: Apache-2.0
#include "format/vma/cluster_map.hpp"

#include <algorithm>
#include <bit>
#include <optional>
#include <utility>

namespace vdisk::vma {
namespace {

std::uint64_t stored_units(std::uint16_t mask) {
    return static_cast<std::uint64_t>(std::popcount(mask)) * (kBlockBytes / kAlignment);
}

bool comes_before(const Run& left, const Run& right) {
    return left.first() != right.first() ? left.first() < right.first() : left.units() < right.units();
}

bool zeros_before(const ZeroRun& left, const ZeroRun& right) {
    return left.first < right.first;
}

// The clusters that the sorted runs and zero ranges of a device leave out, and those that they cover more than once.
class Coverage {
public:
    explicit Coverage(std::uint64_t room) : most_(room / sizeof(Range)) {}

    void cover(std::uint64_t first, std::uint64_t last) {
        if (first > next_) add(lost, next_, first - 1);
        if (first < next_) add(twice, first, std::min(last, next_ - 1));
        next_ = std::max(next_, last + 1);
    }
    void end(std::uint64_t clusters) {
        if (next_ < clusters) add(lost, next_, clusters - 1);
    }

    // There was no room for all ranges.
    bool full() const { return full_; }
    std::uint64_t bytes() const { return (lost.size() + twice.size()) * sizeof(Range); }

    std::vector<Range> lost;
    std::vector<Range> twice;

private:
    void add(std::vector<Range>& ranges, std::uint64_t first, std::uint64_t last) {
        if (!ranges.empty() && first <= std::uint64_t{ranges.back().last} + 1) {
            ranges.back().last = std::max<std::uint32_t>(ranges.back().last, static_cast<std::uint32_t>(last));
        } else if (lost.size() + twice.size() >= most_) {
            full_ = true;
        } else {
            ranges.push_back({static_cast<std::uint32_t>(first), static_cast<std::uint32_t>(last)});
        }
    }
    std::size_t most_;
    std::uint64_t next_ = 0;
    bool full_ = false;
};

Coverage coverage_of(const std::vector<Run>& runs, const std::vector<ZeroRun>& zeros, std::uint64_t clusters,
                     std::uint64_t room) {
    Coverage coverage(room);
    auto zero = zeros.begin();
    const auto cover_zeros = [&](std::uint64_t cluster) {
        for (; zero != zeros.end() && zero->first < cluster; ++zero) coverage.cover(zero->first, zero->last);
    };
    for (const Run& run : runs) {
        cover_zeros(run.first());
        coverage.cover(run.first(), run.last());
    }
    cover_zeros(clusters);
    coverage.end(clusters);
    return coverage;
}

// The first range that ends at or behind `cluster`; `ranges` is sorted and without overlaps.
std::vector<Range>::const_iterator at_or_behind(const std::vector<Range>& ranges, std::uint32_t cluster) {
    return std::ranges::partition_point(ranges, [&](const Range& range) { return range.last < cluster; });
}

bool contains(const std::vector<Range>& ranges, std::uint32_t cluster) {
    const auto range = at_or_behind(ranges, cluster);
    return range != ranges.end() && range->first <= cluster;
}

bool touches(const std::vector<Range>& ranges, const Run& run) {
    const auto range = at_or_behind(ranges, run.first());
    return range != ranges.end() && range->first <= run.last();
}

// The copies of the clusters in `twice`; nothing if they are more than `most`.
std::optional<std::vector<Run>> copies_of(const std::vector<Run>& runs, const std::vector<ZeroRun>& zeros,
                                          const std::vector<Range>& twice, std::size_t most) {
    std::vector<Run> copies;
    for (const Run& run : runs) {
        if (!touches(twice, run)) continue;
        for (std::uint32_t i = 0; i < run.count(); ++i)
            if (contains(twice, run.first() + i)) copies.push_back(run.single(i));
        if (copies.size() > most) return std::nullopt;
    }
    for (const ZeroRun& zero : zeros)
        for (auto range = at_or_behind(twice, zero.first); range != twice.end() && range->first <= zero.last; ++range)
            for (std::uint64_t cluster = std::max<std::uint32_t>(range->first, zero.first);
                 cluster <= std::min<std::uint32_t>(range->last, zero.last); ++cluster) {
                copies.emplace_back(static_cast<std::uint32_t>(cluster), std::uint16_t{0}, std::uint64_t{0});
                if (copies.size() > most) return std::nullopt;
            }
    std::ranges::sort(copies, comes_before);
    return copies;
}

// The runs without the clusters in `twice`, of which there are `copies`: each splits one run at most.
std::vector<Run> without(const std::vector<Run>& runs, const std::vector<Range>& twice, std::size_t copies) {
    std::vector<Run> kept;
    kept.reserve(runs.size() + copies);
    for (const Run& run : runs) {
        if (!touches(twice, run)) {
            kept.push_back(run);
            continue;
        }
        for (std::uint32_t i = 0; i < run.count(); ++i) {
            const Run single = run.single(i);
            if (!contains(twice, single.first()) && (kept.empty() || !kept.back().take(single))) kept.push_back(single);
        }
    }
    return kept;
}

// Those that are nowhere else, each once: where headers contradict each other, a block is zeros only if all say so.
std::vector<PartialCluster> only_lost(std::vector<PartialCluster> partial, const std::vector<Range>& lost) {
    std::erase_if(partial, [&](const PartialCluster& each) { return !contains(lost, each.cluster); });
    std::ranges::sort(partial, {}, [](const PartialCluster& each) { return each.cluster.value(); });
    std::vector<PartialCluster> kept;
    for (const PartialCluster& each : partial) {
        if (!kept.empty() && kept.back().cluster == each.cluster) kept.back().mask |= each.mask;
        else kept.push_back(each);
    }
    kept.shrink_to_fit();
    return kept;
}

} // namespace

Run Run::single(std::uint32_t index) const noexcept {
    return {first() + index, mask(), units() + index * stored_units(mask())};
}

bool Run::take(const Run& next) noexcept {
    const std::uint32_t clusters = count();
    const bool follows =
        next.first() == std::uint64_t{first()} + clusters && next.units() == units() + clusters * stored_units(mask());
    if (!follows || next.mask() != mask() || next.count() != 1 || clusters == kMostClusters) return false;
    rest_ += std::uint32_t{1} << 16;
    return true;
}

std::uint32_t ZeroRun::last_with(std::uint32_t cluster) const noexcept {
    const std::uint64_t end = first + ((cluster - first) / kSlots + 1) * std::uint64_t{kSlots};
    return static_cast<std::uint32_t>(std::min<std::uint64_t>(last, end - 1));
}

bool ZeroRun::take(std::uint32_t cluster, std::uint64_t header) noexcept {
    if (cluster == 0 || last != cluster - 1 || header != header_of(cluster)) return false;
    last = cluster;
    return true;
}

Result<ClusterMap> ClusterMap::from_parts(Parts parts, std::uint64_t clusters) {
    const auto wrong = [](std::string_view what) {
        return fail(ErrorKind::corrupt, "cluster map: {} out of order or range", what);
    };
    std::uint64_t next = 0;
    for (const Run& run : parts.runs) {
        const std::uint64_t end = std::uint64_t{run.first()} + run.count();
        if (run.mask() == 0 || run.first() < next || end > clusters) return wrong("runs");
        next = end;
    }
    next = 0;
    for (const Range& range : parts.lost) {
        if (range.first < next || range.last < range.first || range.last >= clusters) return wrong("lost ranges");
        next = std::uint64_t{range.last} + 1;
    }
    next = 0;
    for (const PartialCluster& each : parts.partial) {
        if (each.cluster < next || each.mask == 0 || !contains(parts.lost, each.cluster)) return wrong("partial ones");
        next = std::uint64_t{each.cluster} + 1;
    }
    next = 0;
    for (const Run& run : parts.duplicates) {
        if (run.count() != 1 || run.first() < next || run.first() >= clusters) return wrong("duplicates");
        next = run.first();
    }
    next = 0;
    for (const ZeroRun& run : parts.zeros) {
        if (run.first < next || run.last < run.first || run.last >= clusters || run.units > Run::kMostUnits)
            return wrong("zeros");
        next = std::uint64_t{run.last} + 1;
    }
    return ClusterMap(std::move(parts), clusters);
}

ClusterMap::Found ClusterMap::find(std::uint32_t cluster) const {
    std::uint64_t next = clusters_; // the first cluster behind that is not as this one
    const auto run = std::ranges::partition_point(parts_.runs, [&](const Run& r) { return r.last() < cluster; });
    if (run != parts_.runs.end()) {
        if (run->first() <= cluster) return {Found::Kind::stored, run->last(), std::span(&*run, 1)};
        next = std::min<std::uint64_t>(next, run->first());
    }
    const auto copies =
        std::ranges::partition_point(parts_.duplicates, [&](const Run& r) { return r.first() < cluster; });
    if (copies != parts_.duplicates.end()) {
        const auto end =
            std::find_if(copies, parts_.duplicates.end(), [&](const Run& r) { return r.first() != cluster; });
        if (copies != end) return {Found::Kind::duplicate, cluster, std::span(copies, end)};
        next = std::min<std::uint64_t>(next, copies->first());
    }
    const auto lost = at_or_behind(parts_.lost, cluster);
    if (lost != parts_.lost.end()) {
        if (lost->first <= cluster) return find_lost(cluster, lost->last);
        next = std::min<std::uint64_t>(next, lost->first);
    }
    return {Found::Kind::zero, static_cast<std::uint32_t>(next - 1)};
}

// One of a lost range that ends with `last`.
ClusterMap::Found ClusterMap::find_lost(std::uint32_t cluster, std::uint32_t last) const {
    const auto partial = std::ranges::lower_bound(parts_.partial, cluster, {},
                                                  [](const PartialCluster& each) { return each.cluster.value(); });
    if (partial == parts_.partial.end() || partial->cluster > last) return {Found::Kind::lost, last};
    if (partial->cluster > cluster) return {Found::Kind::lost, partial->cluster - 1};
    return {Found::Kind::lost, cluster, {}, &*partial};
}

const ZeroRun* ClusterMap::zeros_at(std::uint32_t cluster) const {
    const auto run = std::ranges::partition_point(parts_.zeros, [&](const ZeroRun& r) { return r.last < cluster; });
    return run != parts_.zeros.end() && run->first <= cluster ? &*run : nullptr;
}

std::uint64_t ClusterMap::stored_blocks() const noexcept {
    std::uint64_t blocks = 0;
    for (const std::vector<Run>* runs : {&parts_.runs, &parts_.duplicates})
        for (const Run& run : *runs) blocks += run.count() * static_cast<std::uint64_t>(std::popcount(run.mask()));
    return blocks;
}

std::uint64_t ClusterMap::stored_clusters() const noexcept {
    std::uint64_t clusters = 0;
    for (const Run& run : parts_.runs) clusters += run.count();
    return clusters;
}

std::uint64_t ClusterMap::lost_clusters() const noexcept {
    std::uint64_t clusters = 0;
    for (const Range& range : parts_.lost) clusters += range.count();
    return clusters;
}

std::uint64_t ClusterMap::duplicate_clusters() const noexcept {
    std::uint64_t clusters = 0;
    const Run* before = nullptr;
    for (const Run& run : parts_.duplicates) {
        clusters += before == nullptr || before->first() != run.first() ? 1U : 0U;
        before = &run;
    }
    return clusters;
}

std::uint64_t ClusterMap::zero_clusters() const noexcept {
    return clusters_ - stored_clusters() - lost_clusters() - duplicate_clusters();
}

void ClusterMapBuilder::add_stored(const Run& cluster) {
    if (open_ && runs_.back().take(cluster)) return;
    runs_.push_back(cluster);
    open_ = true;
}

void ClusterMapBuilder::add_zero(std::uint32_t cluster, std::uint64_t units) {
    if (zeros_.empty() || !zeros_.back().take(cluster, units)) zeros_.push_back({cluster, cluster, units});
}

Result<ClusterMap> ClusterMapBuilder::finish(std::uint64_t clusters, std::uint64_t room) {
    open_ = false;
    if (!std::ranges::is_sorted(runs_, comes_before)) std::ranges::sort(runs_, comes_before);
    if (!std::ranges::is_sorted(zeros_, zeros_before)) std::ranges::sort(zeros_, zeros_before);
    const auto no_room = fail(ErrorKind::limit_exceeded, "the map of its clusters needs more room than there is");
    Coverage coverage = coverage_of(runs_, zeros_, clusters, room);
    if (coverage.full()) return no_room;
    ClusterMap::Parts parts{.runs = std::exchange(runs_, {}), .duplicates = {}, .lost = std::move(coverage.lost)};
    parts.zeros = std::exchange(zeros_, {});
    if (!coverage.twice.empty()) {
        auto copies = copies_of(parts.runs, parts.zeros, coverage.twice, (room - coverage.bytes()) / sizeof(Run));
        if (!copies) return no_room;
        parts.duplicates = std::move(*copies);
        parts.runs = without(parts.runs, coverage.twice, parts.duplicates.size());
        if (std::ranges::any_of(parts.duplicates, [](const Run& copy) { return copy.mask() == 0; })) parts.zeros = {};
    }
    parts.runs.shrink_to_fit();
    parts.zeros.shrink_to_fit();
    parts.partial = only_lost(std::exchange(partial_, {}), parts.lost);
    return ClusterMap(std::move(parts), clusters);
}

} // namespace vdisk::vma
