// SPDX-License-Identifier: Apache-2.0
/// Where the blocks of a VDI image are: its block map.
#pragma once

#include "format/vdi/header.hpp"
#include "image/block_cache.hpp"
#include "image/layout.hpp"

#include <optional>
#include <vector>

namespace vdisk::vdi {

/// Where in the file the data of block number `index` start; nothing if that is beyond 2^64.
[[nodiscard]] std::optional<std::uint64_t> data_offset_of(const Header& header, std::uint32_t index) noexcept;

/// Reads the entries that are asked for through the shared metadata cache.
class BlockLayout final : public Layout {
public:
    /// `shared`: the blocks that more than one entry names, in ascending order. None of these entries is believed.
    BlockLayout(Header header, std::vector<std::uint32_t> shared, SourcePtr file, CachesPtr caches)
        : header_(std::move(header)), shared_(std::move(shared)), table_(std::move(file), std::move(caches)) {}

    /// Has the stored blocks go through the layer's Encryption. Before the first map().
    void set_enciphered() noexcept { enciphered_ = true; }

    [[nodiscard]] std::uint64_t disk_size() const noexcept override { return header_.disk_size; }
    [[nodiscard]] Result<Mapping> map(GuestOffset at, std::uint64_t wanted) const override;

private:
    Result<std::vector<little_uint32_buf_t>> entries(std::uint64_t first, std::uint64_t count) const;
    Mapping decode(std::uint32_t entry, std::uint64_t block) const;

    Header header_;
    std::vector<std::uint32_t> shared_;
    CachedTable table_;
    bool enciphered_ = false;
};

} // namespace vdisk::vdi
