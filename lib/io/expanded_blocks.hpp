// SPDX-License-Identifier: Apache-2.0
/// Expanded blocks, which are compressed clusters of a disk or parts of a compressed stream: a cache, and threads that
/// expand ahead of a reader in order.
#pragma once

#include "base/limits.hpp"
#include "io/block_memory.hpp"
#include "io/lru_cache.hpp"

#include <condition_variable>
#include <deque>
#include <functional>
#include <limits>
#include <memory>
#include <optional>
#include <span>
#include <thread>
#include <unordered_map>
#include <utility>
#include <vector>

namespace vdisk {

/// Whose bytes (a number that its user has for each of them), at which offset, and for compressed clusters how many are
/// stored: two entries of a hostile table may disagree about that.
struct BlockKey {
    std::uint64_t owner = 0;
    std::uint64_t offset = 0;
    std::uint64_t stored = 0;
    friend bool operator==(const BlockKey&, const BlockKey&) = default;
};

struct BlockKeyHash {
    std::size_t operator()(const BlockKey& key) const noexcept {
        const std::uint64_t all = key.offset ^ (key.owner * 0xD6E8FEB86659FD93ULL) ^ (key.stored << 48);
        return static_cast<std::size_t>(all ^ all >> 32); // of which 32 bits may be all that is left
    }
};

class Block {
public:
    explicit Block(std::size_t size) : Block(BlockMemory(size, kHeapMost), size) {}

    [[nodiscard]] std::byte* data() noexcept { return memory_.data(); }
    [[nodiscard]] const std::byte* data() const noexcept { return memory_.data(); }
    [[nodiscard]] std::size_t size() const noexcept { return size_; }
    /// Bytes of memory, which may be more.
    [[nodiscard]] std::size_t taken() const noexcept { return memory_.size(); }
    /// All of it, to be filled.
    [[nodiscard]] std::span<std::byte> room() noexcept { return {memory_.data(), size_}; }
    /// Leaves out what is behind the first `size` (<= size()) bytes.
    void shrink(std::size_t size) noexcept { size_ = size; }

private:
    friend class BlockPool;
    static constexpr std::size_t kHeapMost = 4U << 20; // no cluster that a disk has many of is larger
    Block(BlockMemory memory, std::size_t size) : memory_(std::move(memory)), size_(size) {}

    BlockMemory memory_;
    std::size_t size_;
};

/// Blocks whose memory is counted, and used again where they are large: fresh pages cost a third of what decoding into
/// them does. Thread-safe; usable in a child of fork().
class BlockPool : public std::enable_shared_from_this<BlockPool> {
public:
    /// Memory waits to be used again while all blocks, what waits already and what is taken beside them have no more
    /// than `most` bytes: with the block that is given back it may be more, as it was until then.
    explicit BlockPool(std::size_t most) : most_(most) {}

    [[nodiscard]] std::shared_ptr<Block> take(std::size_t size);

    /// As long as it lives something else takes `bytes`: who makes a block.
    class Beside {
    public:
        Beside(std::shared_ptr<BlockPool> pool, std::size_t bytes) : pool_(std::move(pool)), bytes_(bytes) {
            pool_->beside_ += bytes_;
        }
        ~Beside() { pool_->beside_ -= bytes_; }
        Beside(const Beside&) = delete;
        Beside& operator=(const Beside&) = delete;

    private:
        const std::shared_ptr<BlockPool> pool_;
        const std::size_t bytes_;
    };

    /// The most bytes that all blocks and what waits had at once.
    [[nodiscard]] std::size_t peak() const;

private:
    BlockMemory take_memory(std::size_t size);
    std::optional<BlockMemory> take_spare(std::size_t size);
    void give_back(BlockMemory memory) noexcept;

    static constexpr std::size_t kHeapMost = 128U << 10; ///< what many threads free, the C library keeps
    const std::size_t most_;
    std::atomic<std::size_t> beside_{0};
    mutable std::mutex mutex_; // guards what follows
    std::vector<BlockMemory> spare_;
    std::size_t alive_ = 0; // bytes of all, spare_ among them
    std::size_t peak_ = 0;
    ForkGuard fork_{&mutex_};
};

using BlockPtr = std::shared_ptr<const Block>;
using BlockCache = LruCache<BlockKey, Block, BlockKeyHash>;

/// Thread-safe. No lock is held while a block is expanded, and no block is expanded twice at the same time. An error is
/// not kept: the next one who asks tries again. In a child of fork() the cache is the parent's, nothing is begun, and
/// readers expand what they need themselves.
class ExpandedBlocks {
public:
    /// Expands one block. Must own all that it needs, or what outlives this object: it may run later, in another
    /// thread.
    using Expand = std::function<Result<BlockPtr>()>;

    struct Options {
        std::size_t cache_bytes = 0;
        std::size_t helpers = 0;                                       ///< threads that expand ahead of readers
        std::size_t at_once = std::numeric_limits<std::size_t>::max(); ///< blocks that are expanded at once; at least 1
        bool few = false; ///< so few blocks have room in the cache that they must not be spread over parts of it
    };

    explicit ExpandedBlocks(const Options& options);
    /// For clusters, as large as make_room() says.
    explicit ExpandedBlocks(const Limits& limits);
    ~ExpandedBlocks();
    ExpandedBlocks(const ExpandedBlocks&) = delete;
    ExpandedBlocks& operator=(const ExpandedBlocks&) = delete;

    /// The block, from the cache, from a thread that is at it, or expanded here. `bytes` is what expanding takes, the
    /// block itself included: the cache gives up as much before it begins.
    [[nodiscard]] Result<BlockPtr> get(const BlockKey& key, const Expand& expand, std::size_t bytes = 0);

    /// The block, if it is in the cache or prepare() was asked for it, which is waited for. nullptr: nobody has it, or
    /// it could not be expanded.
    [[nodiscard]] BlockPtr find(const BlockKey& key);

    /// Keeps a block that came by the way.
    void put(const BlockKey& key, BlockPtr block);

    /// Says that nobody is expected to ask for the block again soon: it goes before all others.
    void demote(const BlockKey& key);

    /// Has it expanded in the background, if threads are allowed and have time. `bytes` as for get(). Starts a thread
    /// where all that there are have work.
    void prepare(const BlockKey& key, Expand expand, std::size_t bytes = 0);

    /// Makes the cache large enough for clusters of `cluster_bytes`, of which each thread expands one while others are
    /// read at random. Returns how many bytes are worth preparing ahead of a reader.
    std::uint64_t make_room(std::uint64_t cluster_bytes) noexcept;

    /// Whether prepare() does anything.
    [[nodiscard]] bool has_threads() const noexcept { return thread_limit_.load(std::memory_order_relaxed) > 0; }

    /// How many threads were started, how many of them have nothing to do, and blocks that are being expanded now.
    [[nodiscard]] std::size_t threads();
    [[nodiscard]] std::size_t idle();
    [[nodiscard]] std::size_t running();

    [[nodiscard]] CacheStatistics statistics() const noexcept { return cache_.statistics(); }
    /// Blocks expanded so far, and how many of them ahead of their reader.
    [[nodiscard]] std::uint64_t expanded() const noexcept { return expanded_.load(std::memory_order_relaxed); }
    [[nodiscard]] std::uint64_t expanded_ahead() const noexcept { return ahead_.load(std::memory_order_relaxed); }

private:
    struct Job {
        enum class State : std::uint8_t { queued, running, done };
        Job(Expand how, std::size_t large) : expand(std::move(how)), bytes(large) {}
        State state = State::queued;
        Expand expand;
        std::size_t bytes;
        std::optional<Result<BlockPtr>> result{};
    };
    using JobPtr = std::shared_ptr<Job>;

    struct Claim {
        BlockPtr block; ///< set: nothing is left to do
        JobPtr job;
        bool ours = false; ///< the caller has to run the job
    };

    static void forget_threads(void* clusters) noexcept;
    Claim claim(const BlockKey& key, const Expand& expand, std::size_t bytes);
    const std::optional<Result<BlockPtr>>& wait_for(const Job& job);
    bool begin(Job& job, std::unique_lock<std::mutex>& lock);
    JobPtr take_queued(BlockKey& key);
    void run_ahead(const BlockKey& key, Job& job);
    Result<BlockPtr> expand(const BlockKey& key, const Job& job);
    Result<BlockPtr> run(const BlockKey& key, Job& job);
    void start_thread();
    void work();

    const std::size_t at_once_;
    std::atomic<std::size_t> thread_limit_;
    std::atomic<std::uint64_t> expanded_{0};
    std::atomic<std::uint64_t> ahead_{0};

    std::mutex mutex_; // guards what follows up to fork_, and the jobs' states and results
    std::condition_variable queued_;
    std::condition_variable finished_;
    std::unordered_map<BlockKey, JobPtr, BlockKeyHash> jobs_;
    std::deque<BlockKey> queue_;
    std::vector<std::thread> threads_;
    std::size_t running_ = 0; // blocks that are being expanded
    std::size_t idle_ = 0;    // threads that have none
    bool stopping_ = false;
    ForkGuard fork_{&mutex_, forget_threads, this};
    BlockCache cache_; // looked at with mutex_ held, so its own guards come after that one's
};

} // namespace vdisk
