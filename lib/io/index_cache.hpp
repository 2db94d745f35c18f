// SPDX-License-Identifier: Apache-2.0
/// Indexes of large files, kept between processes: what was learnt in a pass over a whole archive. A cache and nothing
/// else: whatever is wrong with it costs a rebuild, never a wrong byte.
#pragma once

#include "base/limits.hpp"
#include "io/file_source.hpp"

#include <array>
#include <filesystem>
#include <memory>
#include <optional>
#include <set>
#include <string_view>

namespace vdisk {

/// Which index of which file in which state: file system, inode, size, times and a hash of the file's first and last
/// bytes, of a file in parts those of each; where the file system lets the times be put back, of samples from all over
/// the file too.
class IndexKey {
public:
    using Digest = std::array<std::byte, 32>;

    /// `kind` names what is indexed together with the version of its encoding ("vma-map-1"): a new encoding is a new
    /// kind. Errors: `unsupported` for what is no regular file, whose content can change without a trace; `io`.
    [[nodiscard]] static Result<IndexKey> of(const FileSource& file, std::string_view kind);

    /// The same where it is known what the file's times are worth.
    [[nodiscard]] static Result<IndexKey> of(const FileSource& file, std::string_view kind, ChangeTimes times);

    [[nodiscard]] const Digest& digest() const noexcept { return digest_; }

    /// False if the file changed so shortly before it was opened that another change may carry the same time.
    [[nodiscard]] bool settled() const noexcept { return settled_; }

    /// Whether that is the folder in which the file, or one of its parts, lies.
    [[nodiscard]] bool lies_in(const FileIdentity& folder) const noexcept { return folders_.contains(folder); }

private:
    Digest digest_{};
    std::set<FileIdentity> folders_{};
    bool settled_ = false;
};

/// An index being written. Nothing of it is visible to others before commit(); without that, it is removed. One thread.
class IndexWriter {
public:
    ~IndexWriter();
    IndexWriter(IndexWriter&& other) noexcept;
    IndexWriter& operator=(IndexWriter&&) = delete;

    /// Adds bytes at the end of the index. After an error the index can't be committed.
    [[nodiscard]] Result<void> append(std::span<const std::byte> bytes);

    /// Makes the index the one that is found under its key.
    [[nodiscard]] Result<void> commit();

private:
    friend class IndexCache;
    struct State;
    explicit IndexWriter(std::unique_ptr<State> state);
    std::unique_ptr<State> state_;
};

/// A folder of indexes. Copied freely; thread-safe; any number of processes may use one folder: each sees whole indexes
/// only, and the last one that is written under a key stays. Files that are not ours (CacheFolder says which are) are
/// left alone, and the indexes of a file are never kept in the folder where it lies. Errors of create(), append(),
/// commit() and store() say why an index could not be kept: they are for a log, not a reason to stop.
class IndexCache {
public:
    /// Switched off: finds nothing, keeps nothing.
    IndexCache() = default;

    /// Indexes in `folder`, which is made when it is needed. Beyond `capacity` bytes in all the ones not used for
    /// longest go: Limits::index_cache_bytes if none is given, or an eighth of what is free there if that is more. In a
    /// folder that is not for indexes alone (CacheFolder::is_ours) none goes, and beyond `capacity` no more are kept.
    explicit IndexCache(std::filesystem::path folder, std::optional<std::uint64_t> capacity = std::nullopt);

    /// In $VDISK_CACHE_DIR, off if that is "none"; else in tsk-vdisk in the user's folder for such
    /// (system::cache_home()), else off.
    [[nodiscard]] static IndexCache from_environment();

    [[nodiscard]] bool enabled() const noexcept { return !folder_.empty(); }
    [[nodiscard]] const std::filesystem::path& folder() const noexcept { return folder_; }
    /// Bytes, as of now.
    [[nodiscard]] std::uint64_t capacity() const;

    /// The index under `key` as it was appended, or nullptr if there is none that is sound. Only its frame was checked:
    /// each read checks the blocks that it touches, and is `corrupt` if one is not as it was written.
    [[nodiscard]] SourcePtr open(const IndexKey& key) const;

    /// All of it, checked; nothing if there is none, it is damaged, or it has more than `most` bytes.
    [[nodiscard]] std::optional<std::vector<std::byte>> load(const IndexKey& key, std::uint64_t most) const;

    /// Starts an index. Errors: `unsupported` if the cache is off, the key is not settled() or the cache's folder
    /// is the file's own; `limit_exceeded` if it is full; `io`.
    [[nodiscard]] Result<IndexWriter> create(const IndexKey& key) const;

    /// A whole index at once.
    [[nodiscard]] Result<void> store(const IndexKey& key, std::span<const std::byte> bytes) const;

private:
    std::filesystem::path folder_;
    std::optional<std::uint64_t> capacity_;
};

} // namespace vdisk
