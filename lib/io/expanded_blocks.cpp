// SPDX-License-Identifier: Apache-2.0
#include "io/expanded_blocks.hpp"

#include "base/processors.hpp"

#include <algorithm>
#include <exception>
#include <memory>
#include <new>
#include <system_error>

namespace vdisk {
namespace {

// Blocks waiting to be expanded; more are not taken on.
constexpr std::size_t kMostQueued = 1024;

} // namespace

std::shared_ptr<Block> BlockPool::take(std::size_t size) {
    std::unique_ptr<Block> block(new Block(0));
    block->memory_ = take_memory(size);
    block->size_ = size;
    return {block.release(), [pool = shared_from_this()](Block* used) {
                pool->give_back(std::move(used->memory_));
                delete used;
            }};
}

BlockMemory BlockPool::take_memory(std::size_t size) {
    auto spare = take_spare(size);
    // Pages that are there need not be cleared again: runs are of many lengths, none of them much shorter than another.
    if (spare && (spare->size() < size || spare->size() > 2 * size)) spare->resize(size);
    BlockMemory memory = spare ? std::move(*spare) : BlockMemory(size, kHeapMost);
    const std::lock_guard lock(mutex_);
    alive_ += memory.size();
    peak_ = std::max(peak_, alive_);
    return memory;
}

// Memory to be made as large as `size` where it is not, which is not counted until it is. Gives up what waits besides,
// where there would be too much.
std::optional<BlockMemory> BlockPool::take_spare(std::size_t size) {
    constexpr std::size_t kMostSpare = 256; // of more than kHeapMost each
    std::optional<BlockMemory> taken;
    std::vector<BlockMemory> dropped; // ends without the lock
    const std::lock_guard lock(mutex_);
    spare_.reserve(kMostSpare); // giving back must not fail
    dropped.reserve(spare_.size());
    const auto take_last = [&] {
        BlockMemory last = std::move(spare_.back());
        spare_.pop_back();
        alive_ -= last.size();
        return last;
    };
    if (size > kHeapMost && !spare_.empty()) taken.emplace(take_last());
    while (!spare_.empty() && alive_ + size + beside_ > most_) dropped.push_back(take_last());
    return taken;
}

void BlockPool::give_back(BlockMemory memory) noexcept {
    const std::lock_guard lock(mutex_);
    if (memory.pages() && alive_ - memory.size() + beside_ <= most_ && spare_.size() < spare_.capacity())
        spare_.push_back(std::move(memory));
    else alive_ -= memory.size();
}

std::size_t BlockPool::peak() const {
    const std::lock_guard lock(mutex_);
    return peak_;
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
    self.idle_ = 0;
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
    const std::size_t taken = block->taken();
    cache_.put(key, std::move(block), taken);
}

void ExpandedBlocks::demote(const BlockKey& key) {
    cache_.demote(key);
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

// There is room for what the block takes before it is begun.
Result<BlockPtr> ExpandedBlocks::expand(const BlockKey& key, const Job& job) {
    try {
        BlockCache::Reservation room(cache_, key, job.bytes);
        VDISK_TRY(block, job.expand());
        cache_.put(key, block, block->taken(), &room);
        return block;
    } catch (const std::exception& error) { // the standard library's: no memory
        return fail(ErrorKind::io, "decompressing: {}", error.what());
    }
}

std::uint64_t ExpandedBlocks::make_room(std::uint64_t cluster_bytes) noexcept {
    constexpr std::uint64_t kClustersKept = 14;
    constexpr std::uint64_t kByThread = 3;             // one in the making, one that is ready, one that was read
    constexpr std::uint64_t kKept = 64U << 20;         // at most, what is being expanded among it,
    constexpr std::uint64_t kKeptByThread = 16U << 20; // and so much for each further thread
    const std::uint64_t helpers = thread_limit_.load(std::memory_order_relaxed);
    const std::uint64_t threads = helpers + 1;
    const std::uint64_t most = kKept + helpers * kKeptByThread;
    const std::uint64_t kept =
        std::min(most, std::max(kClustersKept, kByThread * threads) * std::min(cluster_bytes, most));
    cache_.at_least(static_cast<std::size_t>(kept));
    return std::min(kept / kByThread, threads * cluster_bytes);
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
        if (queue_.size() >= kMostQueued || jobs_.contains(key) || cache_.holds(key)) return;
        if (queue_.size() >= idle_) start_thread();
        if (threads_.empty()) return;
        jobs_.emplace(key, std::make_shared<Job>(std::move(expand), bytes));
        queue_.push_back(key);
    }
    queued_.notify_one();
}

std::size_t ExpandedBlocks::threads() {
    const std::lock_guard lock(mutex_);
    return threads_.size();
}

std::size_t ExpandedBlocks::idle() {
    const std::lock_guard lock(mutex_);
    return idle_;
}

std::size_t ExpandedBlocks::running() {
    const std::lock_guard lock(mutex_);
    return running_;
}

// One more, if there may be one; it counts as idle until it has found work.
void ExpandedBlocks::start_thread() {
    if (threads_.size() >= thread_limit_) return;
    try {
        threads_.reserve(threads_.size() + 1); // a thread must have its place before it is there
        threads_.emplace_back([this] { work(); });
        ++idle_;
    } catch (const std::system_error&) { // no more threads to be had: the reader expands, with those that there are
        thread_limit_ = threads_.size();
    }
}

void ExpandedBlocks::work() {
    std::unique_lock lock(mutex_);
    for (;;) {
        queued_.wait(lock, [this] { return stopping_ || (!queue_.empty() && running_ < at_once_); });
        if (stopping_) return;
        BlockKey key;
        JobPtr job = take_queued(key);
        if (!job) continue;
        --idle_;
        lock.unlock();
        run_ahead(key, *job);
        job.reset(); // what it still has ends without the lock
        lock.lock();
        ++idle_;
    }
}

} // namespace vdisk
