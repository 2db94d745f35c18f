// SPDX-License-Identifier: Apache-2.0
#include "io/stream/segment_cache.hpp"

#include <algorithm>

namespace vdisk {

PlainBytes SegmentCache::claim(const SegmentPart& part, std::unique_lock<std::mutex>& lock) {
    for (;;) {
        if (const auto found = entries_.find(part); found != entries_.end()) {
            order_.splice(order_.begin(), order_, found->second);
            return found->second->bytes;
        }
        if (in_the_making_.size() < kMakers && std::ranges::find(in_the_making_, part) == in_the_making_.end()) break;
        changed_.wait(lock);
    }
    in_the_making_.push_back(part);
    return nullptr;
}

void SegmentCache::release(const SegmentPart& part) noexcept {
    const std::lock_guard lock(mutex_);
    std::erase(in_the_making_, part);
    changed_.notify_all();
}

void SegmentCache::keep(const SegmentPart& part, PlainBytes bytes) {
    if (entries_.contains(part)) return;
    std::list<Entry> entry; // apart until nothing can fail any more
    entry.push_front({part, std::move(bytes)});
    entries_.emplace(part, entry.begin());
    bytes_ += entry.front().bytes->size();
    order_.splice(order_.begin(), entry);
    while (bytes_ > capacity_ && order_.size() > 1) {
        bytes_ -= order_.back().bytes->size();
        entries_.erase(order_.back().part);
        order_.pop_back();
    }
}

} // namespace vdisk
