// SPDX-License-Identifier: Apache-2.0
/// The folder in which a datastore keeps chunks, each in a file that its digest names.
#pragma once

#include "format/pbs/blob.hpp"
#include "io/folder.hpp"

namespace vdisk::pbs {

class ChunkStore;
using ChunkStorePtr = std::shared_ptr<const ChunkStore>;

/// Immutable and thread-safe; opens a file for each chunk that is read, and closes it.
class ChunkStore {
public:
    static constexpr const char* kFolder = ".chunks";

    ChunkStore(FolderPtr folder, const Limits& limits) : folder_(std::move(folder)), limits_(limits) {}

    /// The one that a person names (`chunks`), else the first ".chunks" in a folder that the file of `context` lies in,
    /// or above that. Errors: `usage` where there is none, `io`.
    [[nodiscard]] static Result<ChunkStorePtr> find(const OpenContext& context);

    /// What a chunk is to be.
    struct Wanted {
        Digest digest{};
        const Key* key = nullptr; ///< may be null
    };

    /// Fills `out` with the chunk, which must be as long as that and have the digest: nothing else proves it. A file
    /// that a verification renamed (DIGEST.0.bad) will do if it does. Errors name the file and say what is wrong with
    /// it.
    [[nodiscard]] Result<void> read(const Wanted& wanted, std::span<std::byte> out) const;

    /// Why there can't be such a chunk, as far as the names in the store tell without opening a file; nothing if it may
    /// be there.
    [[nodiscard]] std::optional<Error> missing(const Digest& digest) const;

    /// Whether the chunk's file is an enciphered blob, as its magic says; nothing if it can't be seen.
    [[nodiscard]] std::optional<bool> is_encrypted(const Digest& digest) const;

    /// What verify tells of a chunk that was read.
    enum class Condition : std::uint8_t {
        sound,
        wrong_crc,   ///< the content is proven, but the CRC of the file is not that of its header
        renamed_bad, ///< the content is proven, but a verification of the server renamed the file
    };

    /// As read(); says how sound its file is.
    [[nodiscard]] Result<Condition> check(const Wanted& wanted, std::span<std::byte> out) const;

    /// Whether the CRC of the chunk's file fits, which is all that can be seen without a key. Errors: as check().
    [[nodiscard]] Result<Condition> check_crc(const Digest& digest) const;

    [[nodiscard]] const std::filesystem::path& path() const noexcept { return folder_->path(); }

private:
    Result<Condition> read_file(const Folder& folder, const std::string& name, const Wanted& wanted,
                                std::span<std::byte> out) const;

    FolderPtr folder_;
    Limits limits_;
};

} // namespace vdisk::pbs
