// SPDX-License-Identifier: Apache-2.0
/// A disk that is made of chunks.
#pragma once

#include "format/pbs/index.hpp"
#include "format/pbs/store.hpp"

namespace vdisk::pbs {

/// What the bytes of a disk come from. Immutable, thread-safe. The threads that expand ahead hold it, so it owns no
/// caches: these would end in a thread of their own.
struct Chunks {
    ChunkTable table;
    ChunkStorePtr store;
    KeyPtr key; ///< null: the disk is not encrypted
};
using ChunksPtr = std::shared_ptr<const Chunks>;

/// The disk's bytes at their offsets: each read expands the chunks that it touches and proves them by their digests. Of
/// a chunk whose file holds something else that is remembered, for whoever looks what of it can be read.
class ChunkSource final : public ByteSource {
public:
    explicit ChunkSource(ChunksPtr chunks) : chunks_(std::move(chunks)) {}
    [[nodiscard]] std::uint64_t size() const noexcept override { return chunks_->table.header().size; }
    [[nodiscard]] Result<std::size_t> read_at(std::uint64_t offset, std::span<std::byte> out) const override;
    [[nodiscard]] std::string_view name() const noexcept override { return chunks_->table.file().name(); }

private:
    Result<void> read_chunk(const Chunk& chunk, std::span<std::byte> out) const;

    ChunksPtr chunks_;
    mutable LruCache<std::uint64_t, Error> damaged_{1024}; ///< by the chunks' numbers
};

/// Says of each chunk whether it is zeros, known by their digest be there a file or not, and else that it has to be
/// expanded as a whole.
class ChunkLayout final : public Layout {
public:
    /// Error: `io` where libcrypto fails.
    [[nodiscard]] static Result<std::shared_ptr<const ChunkLayout>> make(ChunksPtr chunks, CachesPtr caches);

    [[nodiscard]] std::uint64_t disk_size() const noexcept override { return chunks_->table.header().size; }
    [[nodiscard]] Result<Mapping> map(GuestOffset at, std::uint64_t wanted) const override;

    [[nodiscard]] const ChunksPtr& chunks() const noexcept { return chunks_; }

    /// Whether the index has no digest for a chunk that it has room for. The chunk must have one.
    [[nodiscard]] static bool was_never_written(const Chunk& chunk) noexcept;
    /// Whether the chunk is one of zeros.
    [[nodiscard]] bool is_zeros(const Chunk& chunk) const noexcept;
    /// Why the chunk can't be read, as far as the index and the names in the store tell; nothing if it may be read.
    [[nodiscard]] std::optional<Error> objection(const Chunk& chunk) const;

private:
    ChunkLayout(ChunksPtr chunks, CachesPtr caches)
        : chunks_(std::move(chunks)), table_(chunks_->table.source(), chunks_->table.header(), std::move(caches)) {}
    Result<Mapping> map_chunk(GuestOffset at) const;
    Result<Mapping> entry_lost(GuestOffset at, const Error& why) const;

    ChunksPtr chunks_;
    ChunkTable table_;
    Digest zeros_{};      ///< of a whole chunk of zeros; of a dynamic index all zeros, which no chunk has
    Digest last_zeros_{}; ///< of one as long as the last chunk
};

} // namespace vdisk::pbs
