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
    BlockLayout(Header header, SourcePtr file, CachesPtr caches)
        : header_(std::move(header)), table_(std::move(file), std::move(caches)) {}

    [[nodiscard]] std::uint64_t disk_size() const noexcept override { return header_.disk_size; }
    [[nodiscard]] Result<Mapping> map(GuestOffset at, std::uint64_t wanted) const override;

private:
    Result<std::vector<little_uint32_buf_t>> entries(std::uint64_t first, std::uint64_t count) const;
    Mapping decode(std::uint32_t entry, std::uint64_t block) const;

    Header header_;
    CachedTable table_;
};

} // namespace vdisk::vdi
