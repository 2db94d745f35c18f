// SPDX-License-Identifier: Apache-2.0
/// The caches that the layers of one disk share.
#pragma once

#include "io/byte_source.hpp"
#include "io/expanded_blocks.hpp"

namespace vdisk {

/// What reads of a disk came to, all layers together.
struct ReadCounters {
    std::atomic<std::uint64_t> reads{0};  ///< of the topmost layer
    std::atomic<std::uint64_t> bytes{0};  ///< that these gave
    std::atomic<std::uint64_t> stored{0}; ///< bytes of the sources that were needed as they are
    std::atomic<std::uint64_t> packed{0}; ///< compressed bytes of the sources, those read ahead too
};

/// One set a disk, however many layers it has: what they take together is bounded. Thread-safe.
class Caches {
public:
    explicit Caches(const Limits& limits) : metadata(limits.metadata_cache_bytes), clusters(limits) {}

    /// A number that no other user of these caches has.
    [[nodiscard]] std::uint64_t new_owner() noexcept { return next_owner_.fetch_add(1, std::memory_order_relaxed); }

    ReadCounters reads; // before the clusters, whose threads count here
    BlockCache metadata;
    ExpandedBlocks clusters;

private:
    std::atomic<std::uint64_t> next_owner_{0};
};

using CachesPtr = std::shared_ptr<Caches>;

/// A table's entries, read from a source through the metadata cache in blocks of kBlockBytes. Thread-safe.
class CachedTable {
public:
    static constexpr std::uint64_t kBlockBytes = 4096;

    CachedTable(SourcePtr source, CachesPtr caches)
        : source_(std::move(source)), caches_(std::move(caches)), owner_(caches_->new_owner()) {}

    /// The block that covers `offset`, shorter than kBlockBytes only at the end of the source. Holding it costs no more
    /// I/O for the entries in it.
    [[nodiscard]] Result<BlockPtr> block_at(std::uint64_t offset) const;

    /// Fills all of `out` from `offset`, whichever blocks that touches. Error: `truncated` past the end of the source.
    [[nodiscard]] Result<void> read(std::uint64_t offset, std::span<std::byte> out) const;

    [[nodiscard]] const ByteSource& source() const noexcept { return *source_; }

private:
    SourcePtr source_;
    CachesPtr caches_;
    std::uint64_t owner_;
};

} // namespace vdisk
