// SPDX-License-Identifier: Apache-2.0
/// Decoded segments, kept for a while.
#pragma once

#include "base/fork_guard.hpp"
#include "io/byte_source.hpp"

#include <condition_variable>
#include <list>
#include <map>
#include <mutex>

namespace vdisk {

using PlainBytes = std::shared_ptr<const std::vector<std::byte>>;

/// Least recently used out. What one thread is making another waits for, and no more than `makers` make something at
/// once: both because what is kept here is large. Thread-safe. In a child of fork() nobody makes anything at first.
class SegmentCache {
public:
    SegmentCache(std::size_t capacity, std::size_t makers) : capacity_(capacity), makers_(makers) {}

    /// The segment as it is kept, or as `make()`, run without a lock, gives it. Errors are not kept.
    template<class Make> [[nodiscard]] Result<PlainBytes> get_or_make(std::size_t segment, Make&& make) {
        std::unique_lock lock(mutex_);
        if (PlainBytes kept = claim(segment, lock)) return kept;
        lock.unlock();
        const Claim claim{*this, segment};
        Result<PlainBytes> made = make();
        if (made.has_value()) put(segment, made.value());
        return made;
    }

    /// Keeps what came by the way.
    void put(std::size_t segment, PlainBytes bytes) {
        const std::lock_guard lock(mutex_);
        keep(segment, std::move(bytes));
    }

private:
    struct Entry {
        std::size_t segment;
        PlainBytes bytes;
    };

    // Gives the segment up when it is made, or when there was no memory to make it.
    struct Claim {
        SegmentCache& cache;
        std::size_t segment;
        ~Claim() { cache.release(segment); }
    };

    // The bytes; or nullptr, and the segment is the caller's to make.
    static void forget_makers(void* cache) noexcept;
    PlainBytes claim(std::size_t segment, std::unique_lock<std::mutex>& lock);
    void release(std::size_t segment) noexcept;
    void keep(std::size_t segment, PlainBytes bytes);

    std::size_t capacity_;
    std::size_t makers_;
    std::mutex mutex_;
    std::condition_variable changed_;
    std::list<Entry> order_; ///< latest first
    std::map<std::size_t, std::list<Entry>::iterator> entries_;
    std::vector<std::size_t> in_the_making_;
    std::size_t bytes_ = 0;
    ForkGuard fork_{&mutex_, forget_makers, this};
};

} // namespace vdisk
