// SPDX-License-Identifier: Apache-2.0
/// Builds VDI images byte by byte, with everything that a header may say.
#pragma once

#include "base/checked.hpp"
#include "random_bytes.hpp"

#include <array>
#include <span>
#include <string_view>

namespace vdisk::test {

/// The identifier that is `n` in its first field: "0000000n-...".
using VdiUuid = std::array<std::byte, 16>;
inline VdiUuid vdi_uuid(unsigned n) {
    VdiUuid uuid{};
    for (std::size_t i = 0; i < 4; ++i) uuid[i] = static_cast<std::byte>(n >> (8 * i));
    uuid[15] = std::byte{0xAA};
    return uuid;
}

struct VdiBuilder {
    static constexpr std::uint32_t kFree = 0xFFFFFFFF;
    static constexpr std::uint32_t kZero = 0xFFFFFFFE;
    static constexpr std::uint32_t kAsItIs = 0xFFFFFFFF; ///< for a count: the right one

    std::uint32_t version = 0x00010001;
    std::uint32_t header_size = 400;
    std::uint32_t type = 1;
    std::uint64_t disk_size = 0;
    std::uint32_t block_size = 4096;
    std::uint32_t block_extra = 0;
    std::uint32_t map_offset = 512;
    std::uint32_t data_offset = 4096;
    std::uint32_t blocks = kAsItIs;    ///< entries of the map
    std::uint32_t allocated = kAsItIs; ///< the header's count
    VdiUuid create = vdi_uuid(1);
    VdiUuid modify = vdi_uuid(101);
    VdiUuid linkage{};
    VdiUuid parent_modify{};
    std::vector<std::uint32_t> map{}; ///< free where it is too short
    std::vector<Bytes> data{};        ///< the blocks in the file, in their order

    std::uint32_t map_entries() const {
        return blocks != kAsItIs ? blocks : static_cast<std::uint32_t>(div_ceil(disk_size, block_size));
    }

    /// Gives guest block `number` a block of its own at the file's end.
    void store(std::uint32_t number, Bytes bytes) {
        bytes.resize(block_size);
        set(number, static_cast<std::uint32_t>(data.size()));
        data.push_back(std::move(bytes));
    }
    void set(std::uint32_t number, std::uint32_t entry) {
        if (map.size() <= number) map.resize(number + 1, kFree);
        map[number] = entry;
    }

    Bytes build() const {
        Bytes file;
        put_text(file, 0, "<<< Oracle VM VirtualBox Disk Image >>>\n");
        put32(file, 64, 0xBEDA107F);
        put32(file, 68, version);
        const bool old = version < 0x10000;
        const std::uint64_t map_at = old ? 420 : map_offset;
        const std::uint64_t data_at = old ? map_at + map_entries() * 4ULL : data_offset;
        if (old) put_header_0(file);
        else put_header_1(file);
        for (std::uint32_t i = 0; i < map_entries(); ++i)
            put32(file, map_at + i * 4ULL, i < map.size() ? map[i] : kFree);
        for (std::size_t i = 0; i < data.size(); ++i) {
            const std::uint64_t at = data_at + i * (std::uint64_t{block_extra} + block_size);
            put(file, at, Bytes(block_extra, std::byte{0xEE}));
            put(file, at + block_extra, data[i]);
        }
        return file;
    }

private:
    static void put(Bytes& file, std::uint64_t at, std::span<const std::byte> bytes) {
        if (file.size() < at + bytes.size()) file.resize(at + bytes.size());
        std::copy(bytes.begin(), bytes.end(), file.begin() + static_cast<std::ptrdiff_t>(at));
    }
    static void put_text(Bytes& file, std::uint64_t at, std::string_view text) {
        put(file, at, std::as_bytes(std::span(text)));
    }
    static void put32(Bytes& file, std::uint64_t at, std::uint32_t value) {
        const std::array<std::byte, 4> bytes{std::byte(value), std::byte(value >> 8), std::byte(value >> 16),
                                             std::byte(value >> 24)};
        put(file, at, bytes);
    }
    static void put64(Bytes& file, std::uint64_t at, std::uint64_t value) {
        put32(file, at, static_cast<std::uint32_t>(value));
        put32(file, at + 4, static_cast<std::uint32_t>(value >> 32));
    }
    std::uint32_t count() const { return allocated != kAsItIs ? allocated : static_cast<std::uint32_t>(data.size()); }

    void put_header_0(Bytes& file) const {
        put32(file, 72, type);
        put_text(file, 80, "a comment");
        put64(file, 352, disk_size);
        put32(file, 360, block_size);
        put32(file, 364, map_entries());
        put32(file, 368, count());
        put(file, 372, create);
        put(file, 388, modify);
        put(file, 404, linkage);
    }

    // What lies behind the header's own end is put there too, as bytes that must not be taken for it.
    void put_header_1(Bytes& file) const {
        put32(file, 72, header_size);
        put32(file, 76, type);
        put32(file, 80, 0);
        put_text(file, 84, "a comment");
        put32(file, 340, map_offset);
        put32(file, 344, data_offset);
        put64(file, 368, disk_size);
        put32(file, 376, block_size);
        put32(file, 380, block_extra);
        put32(file, 384, map_entries());
        put32(file, 388, count());
        put(file, 392, create);
        put(file, 408, modify);
        put(file, 424, linkage);
        put(file, 440, parent_modify);
        put(file, 456, Bytes(16, std::byte{0}));
    }
};

/// A random layer over `below` (which becomes what a reader must get): each block free, zero, or stored in random
/// order.
template<class Draw> void fill_randomly(VdiBuilder& image, Bytes& below, Draw& random) {
    below.resize(image.disk_size);
    std::vector<std::uint32_t> order(image.map_entries());
    for (std::uint32_t i = 0; i < order.size(); ++i) order[i] = i;
    // Blocks written by a guest lie in runs, so only some are swapped.
    for (std::size_t i = 0; i + 1 < order.size(); i += 1 + test::below(random, 6))
        std::swap(order[i], order[test::below(random, order.size())]);
    for (const std::uint32_t number : order) {
        const std::uint64_t start = std::uint64_t{number} * image.block_size;
        const std::uint64_t length = std::min<std::uint64_t>(image.block_size, image.disk_size - start);
        const auto target = below.begin() + static_cast<std::ptrdiff_t>(start);
        switch (test::below(random, 4)) {
        case 0: break;
        case 1:
            image.set(number, VdiBuilder::kZero);
            std::fill_n(target, length, std::byte{0});
            break;
        default: {
            const Bytes bytes = random_bytes(random, image.block_size);
            std::copy_n(bytes.begin(), length, target);
            image.store(number, bytes);
        }
        }
    }
}

} // namespace vdisk::test
