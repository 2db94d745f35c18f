// SPDX-License-Identifier: Apache-2.0
/// Indexes: which chunks a disk (.fidx) or an archive (.didx) is made of, by their digests.
#pragma once

#include "base/uuid.hpp"
#include "disk/table_pieces.hpp"
#include "format/pbs/key.hpp"
#include "image/block_cache.hpp"

namespace vdisk::pbs {

/// An index's header, and what its file's length says.
struct IndexHeader {
    static constexpr std::uint64_t kBytes = 4096;

    enum class Kind : std::uint8_t {
        fixed,  ///< of a disk: chunks of one length, of which the last may be shorter
        dynamic ///< of an archive: each chunk's end stands beside its digest
    };
    Kind kind = Kind::fixed;
    Uuid uuid{};
    std::int64_t created = 0;     ///< Unix seconds, by the server's clock
    Digest checksum{};            ///< of all entries, as the header says
    bool checksum_written = true; ///< false in the index of a backup that never ended
    bool reserved_used = false;   ///< bytes that all writers leave zero are not
    std::uint64_t size = 0;       ///< bytes of what it describes; 1 to 2^63 - 1
    bool size_written = true;     ///< false: the backup never ended, and `size` is up to the last chunk that it wrote
    std::uint64_t chunk_size = 0; ///< fixed: a power of two, 512 to Limits::chunk_bytes
    std::uint64_t most_chunk = 0; ///< bytes that no chunk exceeds
    std::uint64_t chunks = 0;     ///< that `size` needs
    std::uint64_t entries = 0;    ///< whole ones that the file has

    /// Errors name the file: `truncated`, `not_this_format`, `corrupt`, `limit_exceeded` for larger chunks and for more
    /// than Limits::backup_chunks, `io`.
    [[nodiscard]] static Result<IndexHeader> read(const ByteSource& file, const Limits& limits);

    /// Bytes of one entry.
    [[nodiscard]] std::uint64_t entry_bytes() const noexcept { return kind == Kind::fixed ? 32 : 40; }

    /// What is wrong with it, without the file's name; empty if nothing is.
    [[nodiscard]] std::vector<std::string> problems(std::uint64_t file_size) const;
};

/// What reading all entries once shows.
struct IndexSurvey {
    Digest checksum{};               ///< of all entries in the file
    std::uint64_t never_written = 0; ///< entries whose digest is all zeros
    LostPieces lost{};               ///< entries that can't be read; then `checksum` means nothing

    /// Errors name the file: `corrupt` where the ends of chunks do not ascend, as they must, or a chunk is longer than
    /// IndexHeader::most_chunk; `io` where libcrypto fails.
    [[nodiscard]] static Result<IndexSurvey> of(const ByteSource& file, const IndexHeader& header);
};

/// One chunk of a disk.
struct Chunk {
    std::uint64_t number = 0;
    std::uint64_t start = 0;        ///< of its bytes on the disk
    std::uint64_t length = 0;       ///< bytes, > 0
    std::optional<Digest> digest{}; ///< nothing where the index's file ends before it
};

/// Finds the chunk of an offset. Thread-safe. A dynamic index must have been surveyed. With caches for whoever asks
/// again and again; without them for what a job of these caches holds, which must not own them.
class ChunkTable {
public:
    ChunkTable(SourcePtr file, IndexHeader header) : header_(std::move(header)), file_(std::move(file)) {}
    ChunkTable(SourcePtr file, IndexHeader header, CachesPtr caches)
        : header_(std::move(header)), file_(std::move(file)), cached_(std::in_place, file_, std::move(caches)) {}

    [[nodiscard]] const IndexHeader& header() const noexcept { return header_; }
    [[nodiscard]] const SourcePtr& source() const noexcept { return file_; }
    [[nodiscard]] const ByteSource& file() const noexcept { return *file_; }

    /// The chunk that has the byte at `offset`, which must be below the header's size. Error: `io`.
    [[nodiscard]] Result<Chunk> at(std::uint64_t offset) const;

    /// The chunk of that number, which must be below IndexHeader::chunks. Error: `io`.
    [[nodiscard]] Result<Chunk> numbered(std::uint64_t number) const;

private:
    Result<void> read(std::uint64_t offset, std::span<std::byte> out) const;
    Result<std::uint64_t> end_of(std::uint64_t number) const;
    Result<Digest> digest_of(std::uint64_t number) const;
    Result<void> find_dynamic(Chunk& chunk) const;
    Error has_changed() const;

    IndexHeader header_;
    SourcePtr file_;
    std::optional<CachedTable> cached_;
};

} // namespace vdisk::pbs
