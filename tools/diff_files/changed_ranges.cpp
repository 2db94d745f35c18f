// SPDX-License-Identifier: Apache-2.0
#include "diff_files/changed_ranges.hpp"

#include "base/checked.hpp"

#include <algorithm>

namespace vdisk::diff_files {
namespace {

constexpr std::size_t kMostRanges = 1U << 20; // 16 MiB of them
constexpr std::uint64_t kFirstGrain = 4096;   // what file systems count in

} // namespace

void ChangedRanges::add(tools::Difference difference) {
    if (difference.state == tools::Difference::State::unreadable) unreadable_ += difference.length;
    append({difference.start, difference.start + difference.length});
    if (ranges_.size() > kMostRanges) coarsen();
}

void ChangedRanges::append(Range range) {
    range.start = align_down(range.start, grain_);
    range.end = range.end % grain_ == 0 ? range.end : align_down(range.end, grain_) + grain_;
    if (!ranges_.empty() && range.start <= ranges_.back().end)
        ranges_.back().end = std::max(ranges_.back().end, range.end);
    else ranges_.push_back(range);
}

void ChangedRanges::coarsen() {
    while (ranges_.size() > kMostRanges / 2) {
        grain_ = std::max(kFirstGrain, grain_ * 2);
        for (const Range& range : std::exchange(ranges_, {})) append(range);
    }
}

bool ChangedRanges::meet(std::uint64_t start, std::uint64_t end) const {
    const auto behind = std::ranges::upper_bound(ranges_, start, {}, &Range::end);
    return behind != ranges_.end() && behind->start < end;
}

} // namespace vdisk::diff_files
