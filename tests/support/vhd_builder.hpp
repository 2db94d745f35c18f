// SPDX-License-Identifier: Apache-2.0
/// Builds VHDs byte by byte, with everything that footer and header may say.
#pragma once

#include "base/checked.hpp"
#include "put_bytes.hpp"

#include <map>
#include <string>

namespace vdisk::test {

struct VhdBuilder {
    static constexpr std::uint32_t kFree = 0xFFFFFFFF;
    struct Locator {
        std::string platform;
        Bytes name;
        std::uint64_t offset = 0; ///< 0: where it is put
        std::uint32_t length = 0; ///< 0: as long as it is
    };
    struct Block {
        Bytes bitmap;
        Bytes data;
    };

    std::uint32_t type = 3;
    std::uint64_t disk_size = 0;
    std::uint32_t block_size = 4096;
    std::string creator = "win ";
    std::uint32_t creator_version = 0x00060001;
    std::uint64_t geometry = 0; ///< cylinders << 16 | heads << 8 | sectors
    unsigned id = 1;
    unsigned parent_id = 0;
    std::uint32_t time_stamp = 1000;
    std::uint32_t parent_time_stamp = 0;
    std::string parent_name{};
    std::vector<Locator> locators{};
    std::uint32_t entries = 0;  ///< 0: as many as the disk needs
    bool low_bit_first = false; ///< the bitmaps
    bool short_footer = false;
    Bytes fixed{};                                  ///< the data of a fixed disk
    std::map<std::uint32_t, Block> blocks{};        ///< by number
    std::vector<std::uint32_t> order{};             ///< of the blocks in the file; those missing follow
    std::map<std::uint32_t, std::uint32_t> table{}; ///< entries that are to be other ones

    std::uint64_t table_entries() const { return entries != 0 ? entries : div_ceil(disk_size, block_size); }
    std::uint64_t bitmap_bytes() const { return *align_up(div_ceil(block_size / 512, 8), std::uint64_t{512}); }
    std::uint64_t table_offset() const { return 1536 + locators.size() * 1024; }
    std::uint64_t first_block() const { return *align_up(table_offset() + table_entries() * 4, std::uint64_t{512}); }

    void set_bit(Bytes& bitmap, std::uint64_t sector) const {
        const auto shift = static_cast<unsigned>(low_bit_first ? sector % 8 : 7 - sector % 8);
        bitmap[sector / 8] |= static_cast<std::byte>(1U << shift);
    }

    /// Gives block `number` a place of its own, with the sectors for which `has` holds marked as written.
    template<class Has> void store(std::uint32_t number, Bytes data, Has has) {
        data.resize(block_size);
        Block block{Bytes(bitmap_bytes()), std::move(data)};
        for (std::uint64_t sector = 0; sector < block_size / 512; ++sector)
            if (has(sector)) set_bit(block.bitmap, sector);
        blocks[number] = std::move(block);
        order.push_back(number);
    }
    void store(std::uint32_t number, Bytes data) {
        store(number, std::move(data), [](std::uint64_t) { return true; });
    }

    /// Makes the checksum of the structure of `length` bytes at `at` right again.
    static void sum(Bytes& file, std::uint64_t at, std::uint64_t length, std::uint64_t field) {
        put_big(file, at + field, 0, 4);
        std::uint32_t total = 0;
        for (std::uint64_t i = 0; i < length; ++i)
            total += at + i < file.size() ? std::to_integer<std::uint32_t>(file[at + i]) : 0;
        put_big(file, at + field, ~total, 4);
    }

    Bytes footer() const {
        Bytes bytes(512);
        put_text(bytes, 0, "conectix");
        put_big(bytes, 8, 2, 4);
        put_big(bytes, 12, 0x00010000, 4);
        put_big(bytes, 16, type == 2 ? ~std::uint64_t{0} : 512, 8);
        put_big(bytes, 24, time_stamp, 4);
        put_text(bytes, 28, creator);
        put_big(bytes, 32, creator_version, 4);
        put_text(bytes, 36, "Wi2k");
        put_big(bytes, 40, disk_size, 8);
        put_big(bytes, 48, disk_size, 8);
        put_big(bytes, 56, geometry, 4);
        put_big(bytes, 60, type, 4);
        put_bytes(bytes, 68, guid(id));
        sum(bytes, 0, 512, 64);
        if (short_footer) bytes.pop_back();
        return bytes;
    }

    Bytes build() const {
        Bytes file;
        if (type == 2) {
            put_bytes(file, 0, fixed);
            file.resize(std::max<std::size_t>(file.size(), disk_size));
        } else {
            put_dynamic(file);
        }
        put_bytes(file, file.size(), footer());
        return file;
    }

private:
    void put_dynamic(Bytes& file) const {
        VhdBuilder whole = *this;
        whole.short_footer = false;
        put_bytes(file, 0, whole.footer());
        put_text(file, 512, "cxsparse");
        put_big(file, 520, ~std::uint64_t{0}, 8);
        put_big(file, 528, table_offset(), 8);
        put_big(file, 536, 0x00010000, 4);
        put_big(file, 540, table_entries(), 4);
        put_big(file, 544, block_size, 4);
        put_bytes(file, 552, guid(parent_id));
        put_big(file, 568, parent_time_stamp, 4);
        for (std::size_t i = 0; i < parent_name.size(); ++i)
            put_big(file, 576 + 2 * i, static_cast<unsigned char>(parent_name[i]), 2);
        for (std::size_t i = 0; i < locators.size(); ++i) put_locator(file, i);
        file.resize(table_offset());
        sum(file, 512, 1024, 36);
        put_table(file);
    }

    void put_locator(Bytes& file, std::size_t i) const {
        const Locator& locator = locators[i];
        const std::uint64_t at = 512 + 576 + 24 * i;
        put_text(file, at, locator.platform);
        put_big(file, at + 4, 1, 4);
        put_big(file, at + 8, locator.length != 0 ? locator.length : locator.name.size(), 4);
        put_big(file, at + 16, locator.offset != 0 ? locator.offset : 1536 + i * 1024, 8);
        put_bytes(file, 1536 + i * 1024, locator.name);
    }

    void put_table(Bytes& file) const {
        for (std::uint64_t i = 0; i < table_entries() && table_entries() < 1U << 20; ++i)
            put_big(file, table_offset() + i * 4, kFree, 4);
        file.resize(*align_up(file.size(), std::size_t{512}));
        for (const std::uint32_t number : order) {
            const Block& block = blocks.at(number);
            put_big(file, table_offset() + number * 4ULL, file.size() / 512, 4);
            put_bytes(file, file.size(), block.bitmap);
            put_bytes(file, file.size(), block.data);
        }
        for (const auto& [number, entry] : table) put_big(file, table_offset() + number * 4ULL, entry, 4);
    }
};

/// A random layer over `below` (which becomes what a reader must get), with noise in the sectors that are not there.
template<class Draw> void fill_randomly(VhdBuilder& image, Bytes& below, Draw& random) {
    below.resize(image.disk_size);
    const std::uint64_t count = div_ceil(image.disk_size, image.block_size);
    std::vector<std::uint32_t> order(count);
    for (std::uint32_t i = 0; i < count; ++i) order[i] = i;
    for (std::size_t i = 0; i + 1 < order.size(); i += 1 + test::below(random, 4))
        std::swap(order[i], order[test::below(random, order.size())]);
    for (const std::uint32_t number : order) {
        if (test::below(random, 3) == 0) continue;
        const Bytes bytes = random_bytes(random, image.block_size);
        const bool whole = test::below(random, 3) == 0;
        std::vector<bool> has(image.block_size / 512);
        for (std::size_t i = 0; i < has.size(); ++i)
            has[i] = whole || (i > 0 && test::below(random, 4) != 0 ? has[i - 1] : test::below(random, 2) == 0);
        for (std::size_t i = 0; i < has.size(); ++i) {
            const std::uint64_t start = std::uint64_t{number} * image.block_size + i * 512;
            if (!has[i] || start >= below.size()) continue;
            std::copy_n(bytes.begin() + static_cast<std::ptrdiff_t>(i * 512),
                        std::min<std::uint64_t>(512, below.size() - start),
                        below.begin() + static_cast<std::ptrdiff_t>(start));
        }
        image.store(number, bytes, [&](std::uint64_t sector) { return has[sector]; });
    }
}

} // namespace vdisk::test
