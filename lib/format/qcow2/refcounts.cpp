// SPDX-License-Identifier: Apache-2.0
#include "format/qcow2/refcounts.hpp"

#include <algorithm>

namespace vdisk::qcow2 {

std::uint64_t load_refcount(std::span<const std::byte> block, std::uint64_t index, std::uint32_t order) {
    if (order < 3) {
        const std::uint64_t bit = index << order;
        return std::to_integer<std::uint64_t>(block[bit / 8]) >> bit % 8 & ((1U << (1U << order)) - 1);
    }
    std::uint64_t value = 0;
    const std::uint64_t bytes = std::uint64_t{1} << (order - 3);
    for (std::uint64_t i = 0; i < bytes; ++i)
        value = value << 8 | std::to_integer<std::uint64_t>(block[index * bytes + i]);
    return value;
}

Result<std::vector<std::byte>> read_refcounts(const ByteSource& file, std::uint64_t offset, std::uint64_t count,
                                              std::uint32_t order) {
    std::vector<std::byte> refcounts(static_cast<std::size_t>(div_ceil(count << order, 8)));
    VDISK_CHECK(file.read_at(offset, refcounts)); // a vector's bytes are zeros at first
    return refcounts;
}

Result<std::vector<std::uint64_t>> read_refcount_table(const Header& header, const ByteSource& file) {
    std::vector<std::uint64_t> table;
    if (header.refcount_table_offset >= file.size()) return table;
    const std::uint64_t entries =
        std::min({header.refcount_table_clusters * header.cluster_size() / sizeof(big_uint64_buf_t),
                  (file.size() - header.refcount_table_offset) / sizeof(big_uint64_buf_t), kMostRefcountTableEntries});
    std::vector<big_uint64_buf_t> raw(static_cast<std::size_t>(entries));
    VDISK_CHECK(read_exact(file, header.refcount_table_offset, std::as_writable_bytes(std::span(raw))));
    table.resize(raw.size());
    std::ranges::transform(raw, table.begin(), &big_uint64_buf_t::value);
    return table;
}

} // namespace vdisk::qcow2
