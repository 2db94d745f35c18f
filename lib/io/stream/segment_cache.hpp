// SPDX-License-Identifier: Apache-2.0
/// Decoded segments, kept for a while.
#pragma once

#include "io/byte_source.hpp"

#include <condition_variable>
#include <list>
#include <map>
#include <mutex>

namespace vdisk {

using PlainBytes = std::shared_ptr<const std::vector<std::byte>>;

/// Which part of which segment.
struct SegmentPart {
    std::size_t segment = 0;
    std::uint64_t part = 0;
    friend auto operator<=>(const SegmentPart&, const SegmentPart&) = default;
};

/// Least recently used out. What one thread is making another waits for, and no more than kMakers make something at once: both because what
/// is kept here is large. Thread-safe.
class SegmentCache {
public:
    explicit SegmentCache(std::size_t capacity) : capacity_(capacity) {}

    /// The part as it is kept, or as `make()`, run without a lock, gives it. Errors are not kept.
    template<class Make> [[nodiscard]] Result<PlainBytes> get_or_make(const SegmentPart& part, Make&& make) {
        std::unique_lock lock(mutex_);
        if (PlainBytes kept = claim(part, lock)) return kept;
        lock.unlock();
        const Claim claim{*this, part};
        Result<PlainBytes> made = make();
        if (made.has_value()) put(part, made.value());
        return made;
    }

    /// Keeps what came by the way.
    void put(const SegmentPart& part, PlainBytes bytes) {
        const std::lock_guard lock(mutex_);
        keep(part, std::move(bytes));
    }

private:
    static constexpr std::size_t kMakers = 3;
    struct Entry {
        SegmentPart part;
        PlainBytes bytes;
    };

    // Gives the part up when it is made, or when there was no memory to make it.
    struct Claim {
        SegmentCache& cache;
        SegmentPart part;
        ~Claim() { cache.release(part); }
    };

    // The bytes; or nullptr, and the part is the caller's to make.
    PlainBytes claim(const SegmentPart& part, std::unique_lock<std::mutex>& lock);
    void release(const SegmentPart& part) noexcept;
    void keep(const SegmentPart& part, PlainBytes bytes);

    std::size_t capacity_;
    std::mutex mutex_;
    std::condition_variable changed_;
    std::list<Entry> order_; ///< latest first
    std::map<SegmentPart, std::list<Entry>::iterator> entries_;
    std::vector<SegmentPart> in_the_making_;
    std::size_t bytes_ = 0;
};

} // namespace vdisk
