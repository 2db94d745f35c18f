// SPDX-License-Identifier: Apache-2.0
/// A cache of shared, immutable values, bounded in bytes, safe for concurrent use.
#pragma once

#include "base/error.hpp"
#include "base/fork_guard.hpp"

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <list>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <utility>

namespace vdisk {

struct CacheStatistics {
    std::uint64_t hits = 0;
    std::uint64_t misses = 0;
};

/// Least recently used out. Values are shared: an evicted one lives on with whoever still reads it.
/// The lock of a shard is held for look-ups only, never while a value is made. Two threads that miss the same key at
/// once both make it; the values are equal, so the second replaces the first. Usable in a child of fork().
template<class Key, class Value, class Hash = std::hash<Key>> class LruCache {
public:
    using Pointer = std::shared_ptr<const Value>;

    static constexpr std::size_t kShards = 4;

    /// `capacity` in the unit of the costs given to put(), for all shards together. One shard for few and large values,
    /// which do not spread evenly; else kShards.
    explicit LruCache(std::size_t capacity, std::size_t shards = kShards)
        : shard_capacity_(capacity / (shards == 1 ? 1 : kShards)), one_shard_(shards == 1) {}

    /// Makes the capacity larger, where it is smaller than `capacity`.
    void at_least(std::size_t capacity) noexcept {
        std::size_t now = shard_capacity_.load(std::memory_order_relaxed);
        while (now < capacity / kShards &&
               !shard_capacity_.compare_exchange_weak(now, capacity / kShards, std::memory_order_relaxed)) {
        }
    }

    /// The value, or nullptr.
    [[nodiscard]] Pointer get(const Key& key) {
        Shard& shard = shard_of(key);
        const std::lock_guard lock(shard.mutex);
        const auto found = shard.index.find(key);
        if (found == shard.index.end()) {
            misses_.fetch_add(1, std::memory_order_relaxed);
            return nullptr;
        }
        hits_.fetch_add(1, std::memory_order_relaxed);
        shard.order.splice(shard.order.begin(), shard.order, found->second);
        return found->second->value;
    }

    /// Whether get() would find it; does not count as a use.
    [[nodiscard]] bool holds(const Key& key) {
        Shard& shard = shard_of(key);
        const std::lock_guard lock(shard.mutex);
        return shard.index.contains(key);
    }

    /// For what is being made: as long as it lives, so much of the capacity is left free.
    class Reservation {
    public:
        /// Pushes out older values to make the room, where that of `key` will be.
        Reservation(LruCache& cache, const Key& key, std::size_t cost) : cache_(cache), cost_(cost) {
            if (cost_ == 0) return;
            cache_.reserved_.fetch_add(cost_, std::memory_order_relaxed);
            Shard& shard = cache_.shard_of(key);
            const std::lock_guard lock(shard.mutex);
            cache_.push_out(shard, 0);
        }
        ~Reservation() { end(); }
        Reservation(const Reservation&) = delete;
        Reservation& operator=(const Reservation&) = delete;

    private:
        friend class LruCache;
        void end() noexcept { cache_.reserved_.fetch_sub(std::exchange(cost_, 0), std::memory_order_relaxed); }

        LruCache& cache_;
        std::size_t cost_;
    };

    /// Keeps `value`; pushes out older ones. A value that costs more than a shard holds is kept alone. It takes the
    /// place of `reserved`, if that is given.
    void put(const Key& key, Pointer value, std::size_t cost, Reservation* reserved = nullptr) {
        Order entry; // apart until nothing can fail any more
        entry.push_front(Entry{key, std::move(value), cost});
        Shard& shard = shard_of(key);
        const std::lock_guard lock(shard.mutex);
        if (const auto found = shard.index.find(key); found != shard.index.end()) remove(shard, found->second);
        shard.index.emplace(key, entry.begin());
        shard.cost += cost;
        shard.order.splice(shard.order.begin(), entry);
        if (reserved != nullptr) reserved->end();
        push_out(shard, 1);
    }

    /// Makes it the next to be pushed out: nobody is expected to ask for it again.
    void demote(const Key& key) {
        Shard& shard = shard_of(key);
        const std::lock_guard lock(shard.mutex);
        if (const auto found = shard.index.find(key); found != shard.index.end())
            shard.order.splice(shard.order.end(), shard.order, found->second);
    }

    /// The cached value, or what `make()` (returning Result<std::pair<Pointer, cost>>) gives. An error is not cached.
    template<class Make> [[nodiscard]] Result<Pointer> get_or_make(const Key& key, Make&& make) {
        if (Pointer cached = get(key)) return cached;
        VDISK_TRY(made, make());
        Pointer value = made.first;
        put(key, value, made.second);
        return value;
    }

    [[nodiscard]] CacheStatistics statistics() const noexcept {
        return {hits_.load(std::memory_order_relaxed), misses_.load(std::memory_order_relaxed)};
    }

    /// In a child of fork(): those who had reservations are not there.
    void forget_reservations() noexcept { reserved_.store(0, std::memory_order_relaxed); }

private:
    struct Entry {
        Key key;
        Pointer value;
        std::size_t cost;
    };
    using Order = std::list<Entry>;
    struct Shard {
        std::mutex mutex;
        Order order;
        std::unordered_map<Key, typename Order::iterator, Hash> index;
        std::size_t cost = 0;
        ForkGuard fork{&mutex};
    };

    [[nodiscard]] std::size_t room_in_shard() const noexcept {
        const std::size_t reserved = reserved_.load(std::memory_order_relaxed) / (one_shard_ ? 1 : kShards);
        const std::size_t capacity = shard_capacity_.load(std::memory_order_relaxed);
        return capacity > reserved ? capacity - reserved : 0;
    }

    // Keys hold offsets with long runs of low zero bits: a multiplication spreads them over the shards.
    Shard& shard_of(const Key& key) noexcept {
        if (one_shard_) return shards_[0];
        return shards_[(static_cast<std::uint64_t>(Hash{}(key)) * 0x9E3779B97F4A7C15ULL) >> 62];
    }

    static void remove(Shard& shard, typename Order::iterator entry) {
        shard.cost -= entry->cost;
        shard.index.erase(entry->key);
        shard.order.erase(entry);
    }

    // The oldest ones beyond what there is room for, but the `kept` latest. They end with the lock held: who sees the
    // room has it.
    void push_out(Shard& shard, std::size_t kept) {
        while (shard.cost > room_in_shard() && shard.order.size() > kept) remove(shard, std::prev(shard.order.end()));
    }

    std::atomic<std::size_t> shard_capacity_;
    std::atomic<std::size_t> reserved_{0};
    const bool one_shard_;
    std::array<Shard, kShards> shards_;
    std::atomic<std::uint64_t> hits_{0};
    std::atomic<std::uint64_t> misses_{0};
};

} // namespace vdisk
