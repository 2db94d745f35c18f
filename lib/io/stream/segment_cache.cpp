// SPDX-License-Identifier: Apache-2.0
#include "io/stream/segment_cache.hpp"

#include <algorithm>
#include <memory>

namespace vdisk {

PlainBytes SegmentCache::claim(std::size_t segment, std::unique_lock<std::mutex>& lock) {
    for (;;) {
        if (const auto found = entries_.find(segment); found != entries_.end()) {
            order_.splice(order_.begin(), order_, found->second);
            return found->second->bytes;
        }
        if (in_the_making_.size() < makers_ && std::ranges::find(in_the_making_, segment) == in_the_making_.end())
            break;
        changed_.wait(lock);
    }
    in_the_making_.push_back(segment);
    return nullptr;
}

void SegmentCache::release(std::size_t segment) noexcept {
    const std::lock_guard lock(mutex_);
    std::erase(in_the_making_, segment);
    changed_.notify_all();
}

void SegmentCache::forget_makers(void* cache) noexcept {
    auto& self = *static_cast<SegmentCache*>(cache);
    std::construct_at(&self.changed_); // the one that the parent's threads wait on can't even be destroyed
    self.in_the_making_.clear();
}

void SegmentCache::keep(std::size_t segment, PlainBytes bytes) {
    if (entries_.contains(segment)) return;
    std::list<Entry> entry; // apart until nothing can fail any more
    entry.push_front({segment, std::move(bytes)});
    entries_.emplace(segment, entry.begin());
    bytes_ += entry.front().bytes->size();
    order_.splice(order_.begin(), entry);
    while (bytes_ > capacity_ && order_.size() > 1) {
        bytes_ -= order_.back().bytes->size();
        entries_.erase(order_.back().segment);
        order_.pop_back();
    }
}

} // namespace vdisk
