// SPDX-License-Identifier: Apache-2.0
#include "image/block_cache.hpp"

#include <algorithm>
#include <cstring>

namespace vdisk {

Result<BlockPtr> CachedTable::block_at(std::uint64_t offset) const {
    const std::uint64_t start = align_down(offset, kBlockBytes);
    return caches_->metadata.get_or_make({owner_, start}, [&]() -> Result<std::pair<BlockPtr, std::size_t>> {
        auto block = std::make_shared<Block>(kBlockBytes);
        VDISK_TRY(got, source_->read_at(start, block->room()));
        block->shrink(got);
        return std::pair<BlockPtr, std::size_t>(std::move(block), kBlockBytes);
    });
}

Result<void> CachedTable::read(std::uint64_t offset, std::span<std::byte> out) const {
    if (!fits(offset, out.size(), source_->size()))
        return fail_at(offset, ErrorKind::truncated, "{}: table entries at offset {} lie past the end of the file",
                       source_->name(), offset);
    while (!out.empty()) {
        VDISK_TRY(block, block_at(offset));
        const auto within = static_cast<std::size_t>(offset % kBlockBytes);
        const std::size_t taken = std::min(out.size(), block->size() - within);
        std::memcpy(out.data(), block->data() + within, taken);
        out = out.subspan(taken);
        offset += taken;
    }
    return ok();
}

} // namespace vdisk
