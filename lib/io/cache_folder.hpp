// SPDX-License-Identifier: Apache-2.0
/// The folder of an index cache: which files in it are ours. No other is ever read, changed, replaced or removed.
#pragma once

#include "io/file_source.hpp"

#include <boost/endian/buffers.hpp>

#include <array>
#include <chrono>
#include <string>
#include <vector>

namespace vdisk {

/// What each of our files begins with: an index, and one that is being written.
struct RawIndexHeader {
    using Digest = std::array<std::byte, 32>;

    std::array<char, 8> magic;
    boost::endian::little_uint32_buf_t version;
    boost::endian::little_uint32_buf_t block_size;
    boost::endian::little_uint64_buf_t length; ///< of the index, in bytes
    Digest key;
    Digest check; ///< SHA-256 of this header with `check` zeroed and of the block digests
};
static_assert(sizeof(RawIndexHeader) == 88 && alignof(RawIndexHeader) == 1);

constexpr std::array<char, 8> kIndexMagic{'v', 'd', 'i', 's', 'k', 'i', 'd', 'x'};
constexpr std::array<char, 8> kUnfinishedMagic{'v', 'd', 'i', 's', 'k', 't', 'm', 'p'};

/// A file is ours if it has exactly such a name as we give, is a regular file of this user with no other name (hard
/// link) and not writable by others, and begins as such a file does: an index with the key that its name is made of.
/// The folder is opened once: what its path leads to later makes no difference.
class CacheFolder {
public:
    /// An index file's name.
    [[nodiscard]] static std::string index_name(const RawIndexHeader::Digest& key);

    /// Errors: `io`.
    [[nodiscard]] static Result<CacheFolder> open(const std::filesystem::path& path);

    /// As open(). A folder that is not there is made, for this user alone. One that is empty now is marked as ours with
    /// the first index that gets into it.
    [[nodiscard]] static Result<CacheFolder> open_or_make(const std::filesystem::path& path);

    [[nodiscard]] const std::filesystem::path& path() const noexcept { return path_; }
    [[nodiscard]] FileIdentity identity() const noexcept { return identity_; }

    /// The index under that key, if the file is ours, noted as used just now; else nullptr.
    [[nodiscard]] FilePtr open_index(const RawIndexHeader::Digest& key) const;

    /// A new file for an index that is being written, and its name. Errors: `io`.
    struct Unfinished {
        Descriptor file;
        std::string name;
    };
    [[nodiscard]] Result<Unfinished> make_unfinished() const;
    void remove_unfinished(const std::string& name) const noexcept;

    /// Makes an unfinished file the index under that key, in place of one of ours. Errors: `io`, also where a file of
    /// that name is not ours.
    [[nodiscard]] Result<void> finish(const std::string& unfinished, const RawIndexHeader::Digest& key) const;

    /// Whether this folder is for indexes alone: marked as ours, of this user, and not writable by others. Only there
    /// anything is removed.
    [[nodiscard]] bool is_ours() const;

    /// Bytes of all our indexes.
    [[nodiscard]] std::uint64_t used() const;

    /// Removes what writers that were killed left, and of our indexes those not used for longest until the rest has at
    /// most `capacity` bytes or is one. Does nothing unless is_ours().
    void clean(std::uint64_t capacity) const;

private:
    struct Own {
        std::string name;
        std::chrono::nanoseconds used; ///< since 1970
        std::uint64_t bytes;
        bool finished;
    };

    CacheFolder(std::filesystem::path path, Descriptor folder) : path_(std::move(path)), folder_(std::move(folder)) {}
    [[nodiscard]] Descriptor open_regular(const std::string& name) const;
    [[nodiscard]] bool holds_ours(const std::string& name) const;
    [[nodiscard]] std::vector<std::string> names() const;
    [[nodiscard]] std::vector<Own> list() const;
    [[nodiscard]] Error error(std::string_view what) const;
    [[nodiscard]] bool is_blank() const;
    void mark() const;

    std::filesystem::path path_;
    Descriptor folder_;
    FileIdentity identity_{};
    bool of_this_user_alone_ = false;
    bool blank_ = false; ///< when it was opened
};

} // namespace vdisk
