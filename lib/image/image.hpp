// SPDX-License-Identifier: Apache-2.0
/// A virtual disk that can be read: a chain of layers and the only loop that moves guest bytes.
#pragma once

#include "image/block_cache.hpp"
#include "image/encryption.hpp"
#include "image/layout.hpp"
#include "image/sequence.hpp"

#include <string>
#include <vector>

namespace vdisk {

class Image;
using ImagePtr = std::shared_ptr<const Image>;

/// An extent and the layer that it was found in.
struct ResolvedExtent {
    Extent extent;
    const Image* layer = nullptr; ///< valid as long as the image that was asked
    std::size_t depth = 0;        ///< 0: the image itself, 1: its parent, ...
    bool allocated = true;        ///< false: no layer has the bytes, `layer` is the last that was asked; they are zeros
};

/// A virtual disk. Is itself a source of bytes, so images nest. Immutable and thread-safe; no lock is held while bytes
/// are read or expanded.
class Image final : public ByteSource {
public:
    struct Parts {
        std::string name; ///< what messages call it
        std::shared_ptr<const Layout> layout;
        std::vector<SourcePtr> sources;  ///< what Extent::source counts
        ImagePtr parent;                 ///< may be null
        CachesPtr caches;                ///< shared by all layers of a disk
        Encryption encryption{};         ///< for the extents that are enciphered
        std::uint64_t cluster_bytes = 0; ///< of the largest compressed cluster; 0: the usual 2 MiB at most
    };

    explicit Image(Parts parts);
    ~Image() override;

    [[nodiscard]] std::uint64_t size() const noexcept override { return size_; }
    [[nodiscard]] std::string_view name() const noexcept override { return parts_.name; }
    [[nodiscard]] std::uint64_t worth_preparing() const noexcept override { return worth_preparing_; }
    void prepare(std::uint64_t offset, std::uint64_t length) const override {
        if (length <= size_ && offset <= size_ - length) prepare_range({offset, offset + length});
    }

    /// As ByteSource::read_at. All or nothing: one unreadable byte makes the read an error that tells its guest offset;
    /// a read that leaves that range out works.
    [[nodiscard]] Result<std::size_t> read_at(std::uint64_t offset, std::span<std::byte> out) const override;

    /// Where the bytes from `at` come from, through the whole chain: the longest run, at most `wanted` bytes (> 0).
    /// `at` must lie inside the disk.
    [[nodiscard]] Result<ResolvedExtent> resolve(GuestOffset at, std::uint64_t wanted) const;

    [[nodiscard]] const Image* parent() const noexcept { return parts_.parent.get(); }
    /// What Extent::source counts, of this layer.
    [[nodiscard]] const std::vector<SourcePtr>& sources() const noexcept { return parts_.sources; }
    /// How this layer's extents that are enciphered are.
    [[nodiscard]] const Encryption& encryption() const noexcept { return parts_.encryption; }
    [[nodiscard]] const Caches& caches() const noexcept { return *parts_.caches; }

private:
    Result<Mapping> map_here(GuestOffset at, std::uint64_t wanted) const;
    Extent clip_to_source(Extent extent) const;
    Extent clip_packed(Extent extent) const;
    Result<void> read_extent(const Extent& extent, GuestOffset at, std::span<std::byte> out) const;
    Result<void> read_stored(const Extent& extent, GuestOffset at, std::span<std::byte> out) const;
    Result<void> read_packed(const Extent& extent, GuestOffset at, std::span<std::byte> out) const;
    std::uint64_t find_worth_preparing() const;
    void prepare_range(Sequence::Range range) const;
    BlockKey cluster_key(const Extent& extent) const;
    static std::size_t memory_for(const Extent& extent);
    ExpandedBlocks::Expand expander(const Extent& extent) const;

    Parts parts_;
    std::uint64_t size_;
    std::uint64_t cache_owner_;
    std::uint64_t worth_preparing_; ///< bytes ahead of a reader in order; 0: none
    mutable Sequence sequence_;
};

} // namespace vdisk
