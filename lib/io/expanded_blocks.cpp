// SPDX-License-Identifier: Apache-2.0
#include "io/expanded_blocks.hpp"

#include "base/processors.hpp"

#include <algorithm>
#include <exception>
#include <memory>
#include <system_error>

namespace vdisk {
namespace {

// Blocks waiting to be expanded; more are not taken on.
constexpr std::size_t kMostQueued = 1024;

} // namespace

std::shared_ptr<Block> BlockPool::take(std::size_t size) {
    if (most_ == 0 || size > bytes_ || size < bytes_ - bytes_ / 8) return std::make_shared<Block>(size);
    std::unique_ptr<Block> block(new Block(take_memory(), size));
    return {block.release(), [pool = shared_from_this()](Block* used) {
                pool->give_back(std::move(used->bytes_));
                delete used;
            }};
}

std::unique_ptr<std::byte[]> BlockPool::take_memory() {
    {
        const std::lock_guard lock(mutex_);
        if (!spare_.empty()) {
            auto memory = std::move(spare_.back());
            spare_.pop_back();
            return memory;
        }
        spare_.reserve(most_); // giving back must not fail
    }
    return std::make_unique_for_overwrite<std::byte[]>(bytes_);
}

void BlockPool::give_back(std::unique_ptr<std::byte[]> memory) noexcept {
    const std::lock_guard lock(mutex_);
    if (spare_.size() < most_) spare_.push_back(std::move(memory));
}

ExpandedBlocks::ExpandedBlocks(const Options& options)
    : at_once_(options.at_once), thread_limit_(options.helpers),
      cache_(options.cache_bytes, options.few ? 1 : BlockCache::kShards) {}

// The reader expands too, so one thread less than there may be.
ExpandedBlocks::ExpandedBlocks(const Limits& limits)
    : ExpandedBlocks(Options{.cache_bytes = limits.cluster_cache_bytes, .helpers = threads_of(limits) - 1}) {}

ExpandedBlocks::~ExpandedBlocks() {
    {
        const std::lock_guard lock(mutex_);
        stopping_ = true;
    }
    queued_.notify_all();
    for (std::thread& thread : threads_) thread.join();
    // In a child of fork() threads that are not there hold jobs for ever: they shall hold no files.
    for (const auto& [key, job] : jobs_) job->expand = nullptr;
}

// What threads of the parent had begun nobody ends here: it is as if nobody had begun it. New threads are not started:
// a child is mostly one of many. Nothing is freed, because that could end a source with guards of its own.
void ExpandedBlocks::forget_threads(void* clusters) noexcept {
    auto& self = *static_cast<ExpandedBlocks*>(clusters);
    std::construct_at(&self.queued_); // those that the parent's threads wait on can't even be destroyed
    std::construct_at(&self.finished_);
    for (std::thread& thread : self.threads_) std::construct_at(&thread);
    self.threads_.clear();
    self.thread_limit_ = 0;
    for (const auto& [key, job] : self.jobs_) job->state = Job::State::queued;
    self.cache_.forget_reservations();
    self.running_ = 0;
}

Result<BlockPtr> ExpandedBlocks::get(const BlockKey& key, const Expand& expand, std::size_t bytes) {
    if (BlockPtr cached = cache_.get(key)) return cached;
    for (bool again = false;; again = true) {
        const Claim claimed = claim(key, expand, bytes);
        if (claimed.block) return claimed.block;
        if (claimed.ours) return run(key, *claimed.job);
        const auto& result = wait_for(*claimed.job);
        if (result && (result->has_value() || again)) return *result; // the first error may be older than the question
    }
}

BlockPtr ExpandedBlocks::find(const BlockKey& key) {
    if (BlockPtr cached = cache_.get(key)) return cached;
    const Claim claimed = claim(key, nullptr, 0);
    if (claimed.block || !claimed.job) return claimed.block;
    if (claimed.ours) {
        const auto made = run(key, *claimed.job);
        return made.has_value() ? made.value() : nullptr;
    }
    const auto& result = wait_for(*claimed.job);
    return result && result->has_value() ? result->value() : nullptr;
}

void ExpandedBlocks::put(const BlockKey& key, BlockPtr block) {
    const std::size_t size = block->size();
    cache_.put(key, std::move(block), size);
}

// Makes a job that nobody has begun the caller's, who has to run it, as soon as it may be. False if another one was
// faster.
bool ExpandedBlocks::begin(Job& job, std::unique_lock<std::mutex>& lock) {
    finished_.wait(lock, [&] { return running_ < at_once_ || job.state != Job::State::queued; });
    if (job.state != Job::State::queued) return false;
    job.state = Job::State::running;
    ++running_;
    return true;
}

// The block if it was done since the caller looked, or else its job, which is made if there is none and `expand` is
// given. One that nobody has begun becomes the caller's.
ExpandedBlocks::Claim ExpandedBlocks::claim(const BlockKey& key, const Expand& expand, std::size_t bytes) {
    std::unique_lock lock(mutex_);
    auto found = jobs_.find(key);
    if (found == jobs_.end()) {
        if (cache_.holds(key))
            if (BlockPtr done = cache_.get(key)) return {.block = std::move(done)};
        if (!expand) return {};
        found = jobs_.emplace(key, std::make_shared<Job>(expand, bytes)).first;
    }
    const JobPtr job = found->second;
    const bool ours = begin(*job, lock);
    return {.block = nullptr, .job = job, .ours = ours};
}

// Nothing if there was no memory even for an error. Who waits expands what is queued meanwhile: with few processors the
// reader is one of those that expand, or it would sleep while another thread does all the work.
const std::optional<Result<BlockPtr>>& ExpandedBlocks::wait_for(const Job& job) {
    std::unique_lock lock(mutex_);
    while (job.state != Job::State::done) {
        BlockKey key;
        if (const JobPtr next = take_queued(key)) {
            lock.unlock();
            run_ahead(key, *next);
            lock.lock();
        } else finished_.wait(lock);
    }
    return job.result;
}

// The next that nobody has begun and that may be, or nullptr. The caller holds the lock and has to run it.
ExpandedBlocks::JobPtr ExpandedBlocks::take_queued(BlockKey& key) {
    while (!queue_.empty() && running_ < at_once_) {
        key = queue_.front();
        queue_.pop_front();
        const auto found = jobs_.find(key);
        if (found == jobs_.end() || found->second->state != Job::State::queued) continue; // its reader was faster
        found->second->state = Job::State::running;
        ++running_;
        return found->second;
    }
    return nullptr;
}

void ExpandedBlocks::run_ahead(const BlockKey& key, Job& job) {
    ahead_.fetch_add(1, std::memory_order_relaxed);
    try {
        (void)run(key, job);          // an error is told to who asks for the cluster, by trying again
    } catch (const std::exception&) { // no memory even for an error: the same
    }
}

Result<BlockPtr> ExpandedBlocks::expand(const BlockKey& key, const Job& job) {
    const auto expanded = [&] {
        const BlockCache::Reservation room(cache_, job.bytes);
        return job.expand();
    };
    try {
        VDISK_TRY(block, expanded());
        put(key, block);
        return block;
    } catch (const std::exception& error) { // the standard library's: no memory
        return fail(ErrorKind::io, "decompressing: {}", error.what());
    }
}

std::uint64_t ExpandedBlocks::make_room(std::uint64_t cluster_bytes) noexcept {
    constexpr std::uint64_t kClustersKept = 16;
    constexpr std::uint64_t kKept = 64U << 20;         // and so much
    constexpr std::uint64_t kKeptByThread = 16U << 20; // more for each thread at most
    const std::uint64_t threads = thread_limit_.load(std::memory_order_relaxed) + 1;
    const std::uint64_t most = kKept + threads * kKeptByThread;
    const std::uint64_t kept = std::min(most, std::max(kClustersKept, 4 * threads) * std::min(cluster_bytes, most));
    cache_.at_least(static_cast<std::size_t>(kept));
    return std::min(kept / 4, threads * cluster_bytes);
}

// Whatever happens, the job ends: others may be waiting for it.
Result<BlockPtr> ExpandedBlocks::run(const BlockKey& key, Job& job) {
    std::optional<Result<BlockPtr>> result;
    const auto finish = [&]() noexcept {
        expanded_.fetch_add(1, std::memory_order_relaxed);
        {
            const std::lock_guard lock(mutex_);
            job.result = std::move(result);
            job.state = Job::State::done;
            jobs_.erase(key);
            --running_;
        }
        finished_.notify_all();
        if (at_once_ != std::numeric_limits<std::size_t>::max()) queued_.notify_one();
        job.expand = nullptr; // who else holds the job wants its result only
    };
    try {
        result.emplace(expand(key, job));
    } catch (...) {
        finish();
        throw;
    }
    finish();
    return *job.result;
}

void ExpandedBlocks::prepare(const BlockKey& key, Expand expand, std::size_t bytes) {
    if (!has_threads() || cache_.holds(key)) return;
    {
        const std::lock_guard lock(mutex_);
        if (threads_.empty()) start_threads();
        if (threads_.empty() || queue_.size() >= kMostQueued || jobs_.contains(key) || cache_.holds(key)) return;
        jobs_.emplace(key, std::make_shared<Job>(std::move(expand), bytes));
        queue_.push_back(key);
    }
    queued_.notify_one();
}

void ExpandedBlocks::start_threads() {
    try {
        while (threads_.size() < thread_limit_) threads_.emplace_back([this] { work(); });
    } catch (const std::system_error&) { // no more threads to be had: the reader expands alone
        if (threads_.empty()) thread_limit_ = 0;
    }
}

void ExpandedBlocks::work() {
    std::unique_lock lock(mutex_);
    for (;;) {
        queued_.wait(lock, [this] { return stopping_ || (!queue_.empty() && running_ < at_once_); });
        if (stopping_) return;
        BlockKey key;
        const JobPtr job = take_queued(key);
        if (!job) continue;
        lock.unlock();
        run_ahead(key, *job);
        lock.lock();
    }
}

} // namespace vdisk
