// SPDX-License-Identifier: Apache-2.0
#include "image/expanded_clusters.hpp"

#include <algorithm>
#include <exception>
#include <memory>
#include <system_error>

namespace vdisk {
namespace {

// More threads than this gain nothing where one reader waits for the clusters in order.
constexpr std::size_t kMostThreads = 7;
// Clusters waiting to be expanded; more are not taken on.
constexpr std::size_t kMostQueued = 256;

// The reader expands too, so one thread less than there are processors.
std::size_t threads_for(const Limits& limits) {
    const std::size_t wanted = limits.threads != 0 ? limits.threads : std::max(1U, std::thread::hardware_concurrency());
    return std::min(wanted - 1, kMostThreads);
}

} // namespace

ExpandedClusters::ExpandedClusters(const Limits& limits)
    : thread_limit_(threads_for(limits)), cache_(limits.cluster_cache_bytes) {}

ExpandedClusters::~ExpandedClusters() {
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
void ExpandedClusters::forget_threads(void* clusters) noexcept {
    auto& self = *static_cast<ExpandedClusters*>(clusters);
    std::construct_at(&self.queued_); // those that the parent's threads wait on can't even be destroyed
    std::construct_at(&self.finished_);
    for (std::thread& thread : self.threads_) std::construct_at(&thread);
    self.threads_.clear();
    self.thread_limit_ = 0;
    for (const auto& [key, job] : self.jobs_) job->state = Job::State::queued;
}

Result<BlockPtr> ExpandedClusters::get(const BlockKey& key, const Expand& expand) {
    if (BlockPtr cached = cache_.get(key)) return cached;
    for (bool again = false;; again = true) {
        const Claim claimed = claim(key, expand);
        if (claimed.block) return claimed.block;
        if (claimed.ours) return run(key, *claimed.job);
        const auto& result = wait_for(*claimed.job);
        if (result && (result->has_value() || again)) return *result; // the first error may be older than the question
    }
}

// The cluster if it was done since the caller looked, or else its job. One that nobody has begun becomes the caller's.
ExpandedClusters::Claim ExpandedClusters::claim(const BlockKey& key, const Expand& expand) {
    const std::lock_guard lock(mutex_);
    if (const auto found = jobs_.find(key); found != jobs_.end()) {
        Job& job = *found->second;
        const bool ours = job.state == Job::State::queued;
        if (ours) job.state = Job::State::running;
        return {.block = nullptr, .job = found->second, .ours = ours};
    }
    if (cache_.holds(key))
        if (BlockPtr done = cache_.get(key)) return {.block = std::move(done), .job = nullptr, .ours = false};
    const auto job = std::make_shared<Job>(Job::State::running, expand);
    jobs_.emplace(key, job);
    return {.block = nullptr, .job = job, .ours = true};
}

// Nothing if there was no memory even for an error. Who waits expands what is queued meanwhile: with few processors the
// reader is one of those that expand, or it would sleep while another thread does all the work.
const std::optional<Result<BlockPtr>>& ExpandedClusters::wait_for(const Job& job) {
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

// The next that nobody has begun, or nullptr. The caller holds the lock and has to run it.
ExpandedClusters::JobPtr ExpandedClusters::take_queued(BlockKey& key) {
    while (!queue_.empty()) {
        key = queue_.front();
        queue_.pop_front();
        const auto found = jobs_.find(key);
        if (found == jobs_.end() || found->second->state != Job::State::queued) continue; // its reader was faster
        found->second->state = Job::State::running;
        return found->second;
    }
    return nullptr;
}

void ExpandedClusters::run_ahead(const BlockKey& key, Job& job) {
    ahead_.fetch_add(1, std::memory_order_relaxed);
    try {
        (void)run(key, job);          // an error is told to who asks for the cluster, by trying again
    } catch (const std::exception&) { // no memory even for an error: the same
    }
}

Result<BlockPtr> ExpandedClusters::expand(const BlockKey& key, const Expand& expand) {
    try {
        VDISK_TRY(block, expand());
        cache_.put(key, block, block->size());
        return block;
    } catch (const std::exception& error) { // the standard library's: no memory
        return fail(ErrorKind::io, "expanding a cluster: {}", error.what());
    }
}

std::uint64_t ExpandedClusters::make_room(std::uint64_t cluster_bytes) noexcept {
    constexpr std::uint64_t kClustersKept = 16;
    constexpr std::uint64_t kMostKept = 128U << 20;
    const std::uint64_t kept = std::min(kMostKept, kClustersKept * std::min(cluster_bytes, kMostKept));
    cache_.at_least(static_cast<std::size_t>(kept));
    return std::min(kept / 4, (thread_limit_.load(std::memory_order_relaxed) + 1) * cluster_bytes);
}

// Whatever happens, the job ends: others may be waiting for it.
Result<BlockPtr> ExpandedClusters::run(const BlockKey& key, Job& job) {
    std::optional<Result<BlockPtr>> result;
    const auto finish = [&]() noexcept {
        expanded_.fetch_add(1, std::memory_order_relaxed);
        {
            const std::lock_guard lock(mutex_);
            job.result = std::move(result);
            job.state = Job::State::done;
            jobs_.erase(key);
        }
        finished_.notify_all();
        job.expand = nullptr; // who else holds the job wants its result only
    };
    try {
        result.emplace(expand(key, job.expand));
    } catch (...) {
        finish();
        throw;
    }
    finish();
    return *job.result;
}

void ExpandedClusters::prepare(const BlockKey& key, Expand expand) {
    if (!has_threads() || cache_.holds(key)) return;
    {
        const std::lock_guard lock(mutex_);
        if (threads_.empty()) start_threads();
        if (threads_.empty() || queue_.size() >= kMostQueued || jobs_.contains(key) || cache_.holds(key)) return;
        jobs_.emplace(key, std::make_shared<Job>(Job::State::queued, std::move(expand)));
        queue_.push_back(key);
    }
    queued_.notify_one();
}

void ExpandedClusters::start_threads() {
    try {
        while (threads_.size() < thread_limit_) threads_.emplace_back([this] { work(); });
    } catch (const std::system_error&) { // no more threads to be had: the reader expands alone
        if (threads_.empty()) thread_limit_ = 0;
    }
}

void ExpandedClusters::work() {
    std::unique_lock lock(mutex_);
    for (;;) {
        queued_.wait(lock, [this] { return stopping_ || !queue_.empty(); });
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
