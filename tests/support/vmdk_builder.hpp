// SPDX-License-Identifier: Apache-2.0
/// Builds the files of VMDKs byte by byte: descriptors, and extents of the three kinds that are sparse.
#pragma once

#include "base/checked.hpp"
#include "put_bytes.hpp"
#include "zlib_stream.hpp"

#include <map>
#include <set>
#include <string>

namespace vdisk::test {

/// A descriptor.
struct VmdkText {
    std::string cid = "0000000a";
    std::string parent_cid = "ffffffff"; ///< empty: no such line
    std::string hint{};
    std::vector<std::string> extents{};
    std::string more{}; ///< lines

    std::string text() const {
        std::string made = "# Disk DescriptorFile\nversion=1\nCID=" + cid + "\n";
        if (!parent_cid.empty()) made += "parentCID=" + parent_cid + "\n";
        made += "createType=\"custom\"\n";
        if (!hint.empty()) made += "parentFileNameHint=\"" + hint + "\"\n";
        made += "# Extent description\n";
        for (const std::string& line : extents) made += line + "\n";
        return made + "# The Disk Data Base\n#DDB\n" + more;
    }
    Bytes bytes() const {
        const std::string made = text();
        const auto all = std::as_bytes(std::span(made));
        return {all.begin(), all.end()};
    }
};

/// An extent of one of the three kinds. Grains lie in the file in the order in which they were stored.
struct VmdkExtent {
    enum class Kind { hosted, stream, cowd, sesparse };

    Kind kind = Kind::hosted;
    std::uint64_t disk_size = 0;
    std::uint64_t grain = 4096;
    std::uint64_t entries = 0; ///< of a table; 0: 8 of hosted ones, else what the format has
    std::uint32_t version = 1;
    std::string descriptor{}; ///< embedded
    bool redundant = true;
    bool zeroed = false;                                ///< the flag
    bool own_disk = true;                               ///< cowd: as a disk without a parent
    bool footer = true;                                 ///< stream: the header has no directory
    bool tables_first = false;                          ///< stream: before the grains
    int level = 6;                                      ///< of the compression
    std::map<std::uint64_t, Bytes> grains{};            ///< by number
    std::vector<std::uint64_t> order{};                 ///< of them in the file
    std::set<std::uint64_t> zeros{};                    ///< grains of zeros
    std::map<std::uint64_t, std::uint64_t> table{};     ///< entries that are to be other ones
    std::map<std::uint64_t, std::uint64_t> second{};    ///< the same of the redundant tables
    std::map<std::uint64_t, std::uint64_t> directory{}; ///< of the directory

    static constexpr std::uint64_t kSector = 512;
    std::uint64_t table_entries() const {
        if (entries != 0) return entries;
        return kind == Kind::hosted || kind == Kind::stream ? 8 : kind == Kind::cowd ? 4096 : 4096;
    }
    std::uint64_t count() const { return div_ceil(disk_size, grain); }
    std::uint64_t tables() const { return div_ceil(count(), table_entries()); }

    void store(std::uint64_t number, Bytes data) {
        data.resize(grain);
        grains[number] = std::move(data);
        order.push_back(number);
    }

    // Of a hosted extent, in sectors.
    std::uint64_t descriptor_sectors() const {
        return descriptor.empty() ? 0 : div_ceil(descriptor.size(), kSector) + 1;
    }
    std::uint64_t table_sectors() const { return div_ceil(table_entries() * 4, kSector); }
    std::uint64_t directory_sectors() const { return div_ceil(tables() * 4, kSector); }
    std::uint64_t second_directory() const { return 1 + descriptor_sectors(); }
    std::uint64_t first_directory() const {
        return second_directory() + (redundant ? directory_sectors() + tables() * table_sectors() : 0);
    }
    std::uint64_t overhead() const {
        return *align_up(first_directory() + directory_sectors() + tables() * table_sectors(), grain / kSector);
    }
    /// Where in the file the entry of a grain stands.
    std::uint64_t entry_of(std::uint64_t number, bool in_second = false) const {
        const std::uint64_t first = (in_second ? second_directory() : first_directory()) + directory_sectors();
        return (first + number / table_entries() * table_sectors()) * kSector + number % table_entries() * 4;
    }

    Bytes build() const {
        switch (kind) {
        case Kind::hosted: return hosted();
        case Kind::stream: return stream();
        case Kind::cowd: return cowd();
        case Kind::sesparse: return sesparse();
        }
        return {};
    }

private:
    void put_header(Bytes& file, std::uint64_t at, std::uint64_t first, std::uint64_t second_at) const {
        const bool packed = kind == Kind::stream;
        put_text(file, at, "KDMV");
        put_little(file, at + 4, version, 4);
        put_little(file, at + 8, 1U | (second_at != 0 ? 2U : 0U) | (zeroed ? 4U : 0U) | (packed ? 0x30000U : 0U), 4);
        put_little(file, at + 12, disk_size / kSector, 8);
        put_little(file, at + 20, grain / kSector, 8);
        put_little(file, at + 28, descriptor.empty() ? 0 : 1, 8);
        put_little(file, at + 36, descriptor_sectors(), 8);
        put_little(file, at + 44, table_entries(), 4);
        put_little(file, at + 48, second_at, 8);
        put_little(file, at + 56, first, 8);
        put_little(file, at + 64, overhead(), 8);
        put_text(file, at + 73, "\n \r\n");
        put_little(file, at + 77, packed ? 1 : 0, 2);
        file.resize(std::max<std::size_t>(file.size(), at + kSector));
    }

    void put_entries(Bytes& file, const std::map<std::uint64_t, std::uint64_t>& places,
                     const std::map<std::uint64_t, std::uint64_t>& changed, bool in_second) const {
        for (const auto& [number, sector] : places) put_little(file, entry_of(number, in_second), sector, 4);
        for (const auto& [number, raw] : changed) put_little(file, entry_of(number, in_second), raw, 4);
    }

    void put_directory(Bytes& file, std::uint64_t at) const {
        const std::uint64_t first = at + directory_sectors();
        for (std::uint64_t i = 0; i < tables(); ++i)
            put_little(file, at * kSector + i * 4, first + i * table_sectors(), 4);
        for (const auto& [number, raw] : directory)
            if (at == first_directory()) put_little(file, at * kSector + number * 4, raw, 4);
    }

    Bytes hosted() const {
        Bytes file(overhead() * kSector);
        put_header(file, 0, first_directory(), redundant ? second_directory() : 0);
        put_text(file, kSector, descriptor);
        put_directory(file, first_directory());
        if (redundant) put_directory(file, second_directory());
        std::map<std::uint64_t, std::uint64_t> places;
        for (const std::uint64_t number : zeros) places[number] = 1;
        for (const std::uint64_t number : order) {
            places[number] = file.size() / kSector;
            put_bytes(file, file.size(), grains.at(number));
        }
        put_entries(file, places, table, false);
        if (redundant) put_entries(file, places, second, true);
        return file;
    }

    // A marker without a grain, in a sector of its own.
    static void put_marker(Bytes& file, std::uint64_t sectors, std::uint32_t type) {
        const std::size_t at = file.size();
        file.resize(at + kSector);
        put_little(file, at, sectors, 8);
        put_little(file, at + 12, type, 4);
    }

    Bytes stream() const {
        Bytes file(kSector);
        put_text(file, kSector, descriptor);
        file.resize((1 + descriptor_sectors()) * kSector);
        std::map<std::uint64_t, std::uint64_t> places;
        for (const std::uint64_t number : order) {
            const Bytes packed = zlib_stream(grains.at(number), {.level = level, .window_bits = MAX_WBITS});
            const std::size_t at = file.size();
            places[number] = at / kSector;
            put_little(file, at, number * grain / kSector, 8);
            put_little(file, at + 8, packed.size(), 4);
            put_bytes(file, at + 12, packed);
            file.resize(*align_up(file.size(), std::size_t{kSector}));
        }
        for (const auto& [number, raw] : table) places[number] = raw;
        std::vector<std::uint64_t> list;
        for (std::uint64_t i = 0; i < tables(); ++i) {
            const auto from = places.lower_bound(i * table_entries());
            const auto to = places.lower_bound((i + 1) * table_entries());
            list.push_back(from == to ? 0 : file.size() / kSector + 1);
            if (from == to) continue;
            put_marker(file, table_sectors(), 1);
            const std::size_t at = file.size();
            file.resize(at + table_sectors() * kSector);
            for (auto each = from; each != to; ++each)
                put_little(file, at + each->first % table_entries() * 4, each->second, 4);
        }
        put_marker(file, directory_sectors(), 2);
        const std::uint64_t first = file.size() / kSector;
        file.resize(file.size() + directory_sectors() * kSector);
        for (std::size_t i = 0; i < list.size(); ++i) put_little(file, first * kSector + i * 4, list[i], 4);
        for (const auto& [number, raw] : directory) put_little(file, first * kSector + number * 4, raw, 4);
        put_header(file, 0, footer ? ~std::uint64_t{0} : first, 0);
        if (footer) {
            put_marker(file, 1, 3);
            put_header(file, file.size(), first, 0);
        }
        put_marker(file, 0, 0);
        return file;
    }

    Bytes cowd() const {
        const std::uint64_t table_bytes = table_entries() * 4;
        Bytes file(4 * kSector);
        put_text(file, 0, "COWD");
        put_little(file, 4, 1, 4);
        put_little(file, 8, 3, 4);
        put_little(file, 12, disk_size / kSector, 4);
        put_little(file, 16, grain / kSector, 4);
        put_little(file, 20, 4, 4);
        put_little(file, 24, tables(), 4);
        if (own_disk) {
            put_little(file, 32, 3, 4);
            put_little(file, 36, 255, 4);
            put_little(file, 40, 63, 4);
        }
        file.resize((4 + directory_sectors()) * kSector);
        const std::uint64_t first = file.size();
        for (std::uint64_t i = 0; i < tables(); ++i)
            put_little(file, 4 * kSector + i * 4, (first + i * table_bytes) / kSector, 4);
        file.resize(first + tables() * table_bytes);
        for (const std::uint64_t number : order) {
            put_little(file, first + number * 4, file.size() / kSector, 4);
            put_bytes(file, file.size(), grains.at(number));
        }
        for (const auto& [number, raw] : table) put_little(file, first + number * 4, raw, 4);
        return file;
    }

    static std::uint64_t split(std::uint64_t number) { return (number & 0xFFF) << 48 | number >> 12; }

    Bytes sesparse() const {
        const std::uint64_t table_bytes = table_entries() * 8;
        const std::uint64_t directory_at = 4;
        const std::uint64_t tables_at = directory_at + div_ceil(tables() * 8, kSector);
        const std::uint64_t grains_at = tables_at + tables() * table_bytes / kSector;
        Bytes file(grains_at * kSector);
        const std::vector<std::uint64_t> fields{0xCAFEBABE,
                                                0x200000001,
                                                disk_size / kSector,
                                                grain / kSector,
                                                table_bytes / kSector,
                                                0,
                                                0,
                                                0,
                                                0,
                                                0,
                                                1,
                                                1,
                                                2,
                                                1,
                                                3,
                                                1,
                                                directory_at,
                                                tables_at - directory_at,
                                                tables_at,
                                                grains_at - tables_at,
                                                3,
                                                1,
                                                3,
                                                1,
                                                grains_at,
                                                disk_size / kSector};
        for (std::size_t i = 0; i < fields.size(); ++i) put_little(file, i * 8, fields[i], 8);
        put_little(file, kSector, 0xCAFECAFE, 8);
        for (std::uint64_t i = 0; i < tables(); ++i)
            put_little(file, directory_at * kSector + i * 8, std::uint64_t{0x10000000} << 32 | i, 8);
        const auto entry = [&](std::uint64_t number) { return tables_at * kSector + number * 8; };
        for (const std::uint64_t number : zeros)
            put_little(file, entry(number), std::uint64_t{1 + number % 2} << 60, 8);
        for (std::size_t i = 0; i < order.size(); ++i) {
            put_little(file, entry(order[i]), std::uint64_t{3} << 60 | split(i), 8);
            put_bytes(file, file.size(), grains.at(order[i]));
        }
        for (const auto& [number, raw] : table) put_little(file, entry(number), raw, 8);
        return file;
    }
};

/// A random extent over `below`, which becomes what a reader must get.
template<class Draw> void fill_randomly(VmdkExtent& extent, Bytes& below, Draw& random) {
    below.resize(extent.disk_size);
    std::vector<std::uint64_t> numbers(extent.count());
    for (std::uint64_t i = 0; i < numbers.size(); ++i) numbers[i] = i;
    for (std::size_t i = 0; i + 1 < numbers.size(); i += 1 + test::below(random, 4))
        std::swap(numbers[i], numbers[test::below(random, numbers.size())]);
    const bool zeros =
        (extent.zeroed && extent.kind == VmdkExtent::Kind::hosted) || extent.kind == VmdkExtent::Kind::sesparse;
    for (const std::uint64_t number : numbers) {
        const std::uint64_t choice = test::below(random, 5);
        if (choice < 2) continue;
        Bytes data = random_bytes(random, extent.grain);
        if (choice == 2)
            std::fill(data.begin(), data.begin() + static_cast<std::ptrdiff_t>(data.size() / 2), std::byte{7});
        const bool zero = choice == 3 && zeros;
        if (zero) std::ranges::fill(data, std::byte{0});
        const std::uint64_t start = number * extent.grain;
        std::copy_n(data.begin(), std::min<std::uint64_t>(extent.grain, below.size() - start),
                    below.begin() + static_cast<std::ptrdiff_t>(start));
        if (zero) extent.zeros.insert(number);
        else extent.store(number, std::move(data));
    }
}

} // namespace vdisk::test
