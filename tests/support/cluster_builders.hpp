// SPDX-License-Identifier: Apache-2.0
/// Builds images whose clusters lie behind tables, byte by byte: what the formats have in common, and one builder each.
#pragma once

#include "base/checked.hpp"
#include "put_bytes.hpp"
#include "zlib_stream.hpp"

#include <map>
#include <string>

namespace vdisk::test {

/// What is to be in an image: clusters in the order in which they come in the file.
struct Clusters {
    struct Cluster {
        std::uint64_t number = 0;
        Bytes data{};
        bool packed = false;
    };
    std::vector<Cluster> stored{};

    void store(std::uint64_t number, Bytes data, bool packed = false) {
        stored.push_back({number, std::move(data), packed});
    }
};

/// A qcow image of version 1.
struct QcowBuilder : Clusters {
    std::uint64_t disk_size = 0;
    std::uint32_t cluster_bits = 12;
    std::uint32_t l2_bits = 9;
    std::uint32_t crypt_method = 0;
    std::string backing{};

    std::uint64_t cluster_size() const { return std::uint64_t{1} << cluster_bits; }
    std::uint64_t l2_entries() const { return std::uint64_t{1} << l2_bits; }
    std::uint64_t l1_offset() const { return *align_up(48 + backing.size(), std::uint64_t{8}); }

    /// Where in `file` the entry of a cluster stands, whose table is there.
    std::uint64_t entry_of(const Bytes& file, std::uint64_t number) const {
        std::uint64_t table = 0;
        for (std::size_t i = 0; i < 8; ++i)
            table = table << 8 | std::to_integer<std::uint64_t>(file[l1_offset() + number / l2_entries() * 8 + i]);
        return table + number % l2_entries() * 8;
    }

    Bytes build() const {
        const std::uint64_t tables = div_ceil(disk_size, cluster_size() << l2_bits);
        Bytes file(*align_up(l1_offset() + tables * 8, cluster_size()));
        put_text(file, 0, "QFI\xFB");
        put_big(file, 4, 1, 4);
        put_big(file, 8, backing.empty() ? 0 : 48, 8);
        put_big(file, 16, backing.size(), 4);
        put_text(file, 48, backing);
        put_big(file, 24, disk_size, 8);
        put_big(file, 32, cluster_bits, 1);
        put_big(file, 33, l2_bits, 1);
        put_big(file, 36, crypt_method, 4);
        put_big(file, 40, l1_offset(), 8);
        std::map<std::uint64_t, std::uint64_t> places;
        for (const Cluster& cluster : stored) {
            std::uint64_t& table = places[cluster.number / l2_entries()];
            if (table == 0) {
                table = *align_up(file.size(), cluster_size());
                file.resize(table + l2_entries() * 8);
                put_big(file, l1_offset() + cluster.number / l2_entries() * 8, table, 8);
            }
            const std::uint64_t place = cluster.packed ? file.size() : *align_up(file.size(), cluster_size());
            std::uint64_t entry = place;
            Bytes data = cluster.data;
            data.resize(cluster_size());
            if (cluster.packed) {
                data = zlib_stream(data);
                entry |= std::uint64_t{1} << 63 | data.size() << (63 - cluster_bits);
            }
            put_bytes(file, place, data);
            put_big(file, table + cluster.number % l2_entries() * 8, entry, 8);
        }
        return file;
    }
};

/// A QED image.
struct QedBuilder : Clusters {
    std::uint64_t disk_size = 0;
    std::uint64_t cluster_bytes = 4096;
    std::uint64_t table_clusters = 1;
    std::uint64_t features = 0;
    std::string backing{};
    std::vector<std::uint64_t> zeros{}; ///< clusters that are zeros also over a parent

    std::uint64_t cluster_size() const { return cluster_bytes; }
    std::uint64_t l1_offset() const { return cluster_bytes; }
    std::uint64_t entries() const { return table_clusters * cluster_bytes / 8; }

    /// Where in `file` the entry of a cluster stands; its table is made if it is not there.
    std::uint64_t entry_of(Bytes& file, std::uint64_t number) const {
        const std::uint64_t place = l1_offset() + number / entries() * 8;
        std::uint64_t table = 0;
        for (std::size_t i = 8; i-- > 0;) table = table << 8 | std::to_integer<std::uint64_t>(file[place + i]);
        if (table == 0) {
            table = file.size();
            put_little(file, place, table, 8);
            file.resize(table + table_clusters * cluster_bytes);
        }
        return table + number % entries() * 8;
    }

    Bytes build() const {
        Bytes file(cluster_bytes * (1 + table_clusters));
        put_text(file, 0, "QED");
        put_little(file, 4, cluster_bytes, 4);
        put_little(file, 8, table_clusters, 4);
        put_little(file, 12, 1, 4);
        put_little(file, 16, features, 8);
        put_little(file, 40, l1_offset(), 8);
        put_little(file, 48, disk_size, 8);
        put_little(file, 56, backing.empty() ? 0 : 64, 4);
        put_little(file, 60, backing.size(), 4);
        put_text(file, 64, backing);
        for (const Cluster& cluster : stored) {
            const std::uint64_t entry = entry_of(file, cluster.number);
            put_little(file, entry, file.size(), 8);
            Bytes data = cluster.data;
            data.resize(cluster_bytes);
            put_bytes(file, file.size(), data);
        }
        for (const std::uint64_t number : zeros) put_little(file, entry_of(file, number), 1, 8);
        return file;
    }
};

/// A Parallels image.
struct ParallelsBuilder : Clusters {
    std::uint64_t disk_size = 0;
    std::uint64_t tracks = 8; ///< sectors of a cluster
    bool counts_clusters = true;
    std::uint32_t in_use = 0x312e3276;
    std::uint32_t cylinders = 1;

    std::uint64_t cluster_size() const { return tracks * 512; }
    std::uint64_t entries() const { return div_ceil(disk_size, cluster_size()); }
    static std::uint64_t entry_of(std::uint64_t number) { return 64 + 4 * number; }

    Bytes build() const {
        Bytes file(*align_up(64 + 4 * entries(), counts_clusters ? cluster_size() : std::uint64_t{512}));
        put_text(file, 0, counts_clusters ? "WithouFreSpacExt" : "WithoutFreeSpace");
        put_little(file, 16, 2, 4);
        put_little(file, 24, cylinders, 4);
        put_little(file, 28, tracks, 4);
        put_little(file, 32, entries(), 4);
        put_little(file, 36, div_ceil(disk_size, 512), 8);
        put_little(file, 44, in_use, 4);
        for (const Cluster& cluster : stored) {
            put_little(file, entry_of(cluster.number), file.size() / (counts_clusters ? cluster_size() : 512), 4);
            Bytes data = cluster.data;
            data.resize(cluster_size());
            put_bytes(file, file.size(), data);
        }
        return file;
    }
};

/// A random layer over `below`, which becomes what a reader must get; `kinds`: 2 with compressed clusters, else 1.
template<class Builder, class Draw>
void fill_clusters(Builder& image, Bytes& below, Draw& random, std::uint64_t kinds) {
    below.resize(image.disk_size);
    const std::uint64_t size = image.cluster_size();
    std::vector<std::uint64_t> order(div_ceil(image.disk_size, size));
    for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
    for (std::size_t i = 0; i + 1 < order.size(); i += 1 + test::below(random, 4))
        std::swap(order[i], order[test::below(random, order.size())]);
    for (const std::uint64_t number : order) {
        if (test::below(random, 3) == 0) continue;
        const bool packed = test::below(random, kinds) == 1;
        Bytes data(size, static_cast<std::byte>(number + 1));
        if (!packed) data = random_bytes(random, size);
        std::copy_n(data.begin(), std::min(size, below.size() - number * size),
                    below.begin() + static_cast<std::ptrdiff_t>(number * size));
        image.store(number, std::move(data), packed);
    }
}

} // namespace vdisk::test
