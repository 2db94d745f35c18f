// SPDX-License-Identifier: Apache-2.0
/// Builds HyperVStorage files from trees of keys. Shares nothing with the reader: its own structures, its own checksum.
#pragma once

#include "utf16.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <random>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace vdisk::test {

struct BuiltKey {
    std::string name;
    int type = 9; ///< as the format numbers them: 3 int, 4 uint, 5 double, 6 string, 7 array, 8 bool, 9 node
    std::vector<std::byte> value{};      ///< without length prefix; of a node nothing
    std::vector<std::size_t> children{}; ///< indices of Forest::keys, in the order of insertion
};

/// Keys by index, so that a tree may be as deep as it likes.
struct Forest {
    std::vector<BuiltKey> keys;
    std::vector<std::size_t> roots;

    std::size_t add(BuiltKey key, std::size_t parent = kRoot) {
        keys.push_back(std::move(key));
        (parent == kRoot ? roots : keys[parent].children).push_back(keys.size() - 1);
        return keys.size() - 1;
    }
    static constexpr std::size_t kRoot = static_cast<std::size_t>(-1);
};

struct BuildOptions {
    std::uint32_t alignment = 4096;
    std::uint32_t table_bytes = 4096;
    std::uint32_t slots = 0;             ///< of each object table; 0: as many as fit
    std::uint32_t slack = 0;             ///< bytes behind each value
    std::size_t file_object_from = 2048; ///< values of this size and more are kept outside
    bool shuffled = false;               ///< entries in any order instead of parents first
    unsigned seed = 1;
};

struct LoggedWrite {
    std::uint64_t destination;
    std::vector<std::byte> data;
};

/// A finished file.
struct BuiltFile {
    struct Range {
        std::size_t start, length;
    };
    std::vector<std::byte> bytes;
    std::vector<Range> guarded; ///< what a checksum protects
    std::size_t log_offset = 0;
};

inline std::vector<std::byte> bytes_of(std::string_view text) {
    const auto* data = reinterpret_cast<const std::byte*>(text.data());
    return {data, data + text.size()};
}

template<class Number> std::vector<std::byte> little(Number value, std::size_t size = sizeof(Number)) {
    std::vector<std::byte> bytes(size);
    for (std::size_t i = 0; i < size; ++i)
        bytes[i] = static_cast<std::byte>(static_cast<std::uint64_t>(value) >> (8 * i));
    return bytes;
}

inline std::uint32_t bitwise_crc32(std::span<const std::byte> bytes) {
    static const auto kTable = [] {
        std::array<std::uint32_t, 256> table{};
        for (std::uint32_t i = 0; i < 256; ++i) {
            std::uint32_t sum = i;
            for (int bit = 0; bit < 8; ++bit) sum = (sum >> 1) ^ ((sum & 1U) != 0 ? 0xEDB88320U : 0U);
            table[i] = sum;
        }
        return table;
    }();
    std::uint32_t sum = 0xFFFFFFFF;
    for (const std::byte byte : bytes) sum = (sum >> 8) ^ kTable[(sum ^ static_cast<std::uint32_t>(byte)) & 0xFFU];
    return ~sum;
}

class HypervBuilder {
public:
    explicit HypervBuilder(BuildOptions options = {}) : options_(options), random_(options.seed) {}

    BuiltFile build(const Forest& forest, const std::vector<LoggedWrite>& log = {}) {
        place_keys(forest);
        place_objects(forest);
        write_object_tables();
        for (std::size_t id = 0; id < forest.keys.size(); ++id) write_entry(forest, id);
        for (const Table& table : tables_) finish_table(table);
        write_log(log);
        write_header(0, 7);
        write_header(4096, 6);
        return std::move(file_);
    }

    /// Where a key's entry stands in the file that build() made.
    std::size_t entry_offset(std::size_t id) const { return tables_[places_[id].table].offset + places_[id].offset; }

private:
    struct Table {
        std::size_t offset = 0;
        std::size_t used = 10;
    };
    struct Place {
        std::size_t table = 0, offset = 0, size = 0;
        std::size_t parent = Forest::kRoot, sequence = 0;
        std::size_t object = 0; // offset of its file object
    };
    struct Object {
        int type;
        std::size_t offset, size;
    };

    static constexpr std::size_t kHeader = 21;
    static constexpr std::size_t kRootTable = 8192;

    bool outside(const BuiltKey& key) const {
        return (key.type == 6 || key.type == 7) && key.value.size() >= options_.file_object_from;
    }

    std::size_t data_size(const BuiltKey& key) const {
        if (key.type == 9 || outside(key)) return 12;
        return key.value.size() + (key.type == 6 || key.type == 7 ? 4 : 0);
    }

    std::size_t aligned(std::size_t size) const {
        return (size + options_.alignment - 1) / options_.alignment * options_.alignment;
    }

    std::size_t allocate(std::size_t size) {
        const std::size_t at = end_;
        end_ += aligned(size);
        return at;
    }

    void place_keys(const Forest& forest) {
        places_.assign(forest.keys.size(), {});
        const auto number = [&](const std::vector<std::size_t>& list, std::size_t parent) {
            std::size_t sequence = 1;
            for (const std::size_t child : list) {
                places_[child].parent = parent;
                places_[child].sequence = sequence;
                sequence += 1 + random_() % 2; // real sequences have gaps
            }
        };
        number(forest.roots, Forest::kRoot);
        for (std::size_t id = 0; id < forest.keys.size(); ++id) number(forest.keys[id].children, id);
        std::vector<std::size_t> order(forest.keys.size());
        std::iota(order.begin(), order.end(), std::size_t{0});
        if (options_.shuffled) std::shuffle(order.begin(), order.end(), random_);
        tables_.assign(1, {});
        for (const std::size_t id : order) place(forest.keys[id], places_[id]);
    }

    void place(const BuiltKey& key, Place& place) {
        place.size = kHeader + key.name.size() + 1 + data_size(key) + options_.slack;
        if (tables_.back().used + place.size > options_.table_bytes) tables_.push_back({});
        place.table = tables_.size() - 1;
        place.offset = tables_.back().used;
        tables_.back().used += place.size;
        last_in_table_.resize(tables_.size());
        last_in_table_.back() = static_cast<std::size_t>(&place - places_.data());
    }

    void place_objects(const Forest& forest) {
        end_ = kRootTable + options_.alignment;
        for (Table& table : tables_) {
            table.offset = allocate(options_.table_bytes);
            objects_.push_back({2, table.offset, options_.table_bytes});
        }
        for (std::size_t id = 0; id < forest.keys.size(); ++id) {
            const BuiltKey& key = forest.keys[id];
            if (!outside(key)) continue;
            places_[id].object = allocate(key.value.size());
            objects_.push_back({3, places_[id].object, aligned(key.value.size())});
            put(places_[id].object, key.value);
        }
    }

    // Each table's last slot leads to the next.
    void write_object_tables() {
        const std::size_t fit = (options_.alignment - 8) / 18;
        const std::size_t slots = options_.slots == 0 ? fit : options_.slots;
        std::size_t at = kRootTable;
        for (std::size_t next = 0; true;) {
            put(at, little<std::uint32_t>(0x01110001));
            put(at + 4, little(static_cast<std::uint32_t>(slots)));
            for (std::size_t i = 0; i + 1 < slots; ++i, ++next)
                write_slot(at + 8 + i * 18, next < objects_.size() ? objects_[next] : Object{0, 0, 0});
            const std::size_t link = at + 8 + (slots - 1) * 18;
            if (next >= objects_.size()) return write_slot(link, {0, 0, 0});
            at = allocate(8 + slots * 18);
            write_slot(link, {1, at, aligned(8 + slots * 18)});
        }
    }

    void write_slot(std::size_t at, Object object) {
        put(at, little(static_cast<std::uint8_t>(object.type)));
        put(at + 5, little(static_cast<std::uint64_t>(object.offset)));
        put(at + 13, little(static_cast<std::uint32_t>(object.size)));
        put(at + 17, little(static_cast<std::uint8_t>(object.type == 2 ? 1 : 0)));
        guard(at, 18, at + 1);
    }

    void write_entry(const Forest& forest, std::size_t id) {
        const BuiltKey& key = forest.keys[id];
        const Place& place = places_[id];
        const std::size_t at = tables_[place.table].offset + place.offset;
        const bool root = place.parent == Forest::kRoot;
        put(at, little(static_cast<std::uint8_t>(key.type)));
        put(at + 1, little(static_cast<std::uint8_t>(outside(key) ? 1 : 0)));
        put(at + 2, little(static_cast<std::uint32_t>(entry_size(id))));
        put(at + 6, little(static_cast<std::uint16_t>(root ? 0 : places_[place.parent].table + 1)));
        put(at + 8, little(static_cast<std::uint32_t>(root ? 0 : places_[place.parent].offset)));
        put(at + 16, little(static_cast<std::uint32_t>(place.sequence)));
        put(at + 20, little(static_cast<std::uint8_t>(key.name.size() + 1)));
        put(at + kHeader, bytes_of(key.name));
        const std::size_t data = at + kHeader + key.name.size() + 1;
        if (outside(key)) {
            put(data, little(static_cast<std::uint32_t>(key.value.size())));
            put(data + 4, little(static_cast<std::uint64_t>(place.object)));
        } else if (key.type == 6 || key.type == 7) {
            put(data, little(static_cast<std::uint32_t>(key.value.size())));
            put(data + 4, key.value);
        } else if (key.type != 9) {
            put(data, key.value);
        }
        reserve(data + data_size(key));
        guard(at, data + data_size(key) - at, at + 12);
    }

    // Entries fill a table: what is left is a free entry or, if it is too little for one, the last entry's slack.
    std::size_t left_in(std::size_t table) const { return options_.table_bytes - tables_[table].used; }

    std::size_t entry_size(std::size_t id) const {
        const std::size_t table = places_[id].table;
        const bool absorbs = last_in_table_[table] == id && left_in(table) < kHeader + 1;
        return places_[id].size + (absorbs ? left_in(table) : 0);
    }

    void finish_table(const Table& table) {
        const auto index = static_cast<std::size_t>(&table - tables_.data());
        put(table.offset, little<std::uint16_t>(2));
        put(table.offset + 2, little(static_cast<std::uint16_t>(index + 1)));
        put(table.offset + 4, little<std::uint16_t>(3));
        guard(table.offset, 10, table.offset + 6);
        reserve(table.offset + options_.table_bytes);
        const std::size_t left = left_in(index);
        if (left < kHeader + 1) return;
        const std::size_t at = table.offset + table.used;
        put(at, little<std::uint8_t>(1));
        put(at + 2, little(static_cast<std::uint32_t>(left)));
        std::fill_n(file_.bytes.begin() + static_cast<std::ptrdiff_t>(at + kHeader), left - kHeader, std::byte{0xFD});
    }

    void write_log(const std::vector<LoggedWrite>& log) {
        const std::size_t at = file_.log_offset = allocate(2 * options_.alignment);
        reserve(at + options_.alignment);
        put(at, little<std::uint32_t>(0x01110003));
        put(at + 8, little(static_cast<std::uint32_t>(log.size())));
        put(at + 13, little((options_.alignment - 34) / 28));
        guard(at, 34, at + 4);
        std::size_t data = options_.alignment;
        for (std::size_t i = 0; i < log.size(); ++i) {
            const std::size_t entry = at + 34 + i * 28;
            put(entry, little(log[i].destination));
            put(entry + 8, little(static_cast<std::uint32_t>(log[i].data.size())));
            put(entry + 12, little(static_cast<std::uint64_t>(data)));
            put(entry + 24, little(bitwise_crc32(log[i].data)));
            put(at + data, log[i].data);
            guard(entry, 28, entry + 20);
            file_.guarded.push_back({at + data, log[i].data.size()});
            data += log[i].data.size();
        }
    }

    void write_header(std::size_t at, std::uint16_t sequence) {
        put(at, little<std::uint32_t>(0x01282014));
        put(at + 8, little(sequence));
        put(at + 10, little<std::uint32_t>(0x0400));
        put(at + 22, little(options_.alignment));
        put(at + 26, little(static_cast<std::uint64_t>(file_.log_offset)));
        put(at + 34, little(static_cast<std::uint64_t>(2 * options_.alignment)));
        put(at + 42, little(options_.alignment));
        guard(at, 46, at + 4);
    }

    void reserve(std::size_t size) {
        if (file_.bytes.size() < size) file_.bytes.resize(size);
    }

    void put(std::size_t at, std::span<const std::byte> bytes) {
        reserve(at + bytes.size());
        std::copy(bytes.begin(), bytes.end(), file_.bytes.begin() + static_cast<std::ptrdiff_t>(at));
    }

    // Puts the checksum of [at, at + length) at `field`, which is zero until then.
    void guard(std::size_t at, std::size_t length, std::size_t field) {
        put(field, little(bitwise_crc32(std::span(file_.bytes).subspan(at, length))));
        file_.guarded.push_back({at, length});
    }

    BuildOptions options_;
    std::mt19937 random_;
    BuiltFile file_;
    std::vector<Table> tables_;
    std::vector<std::size_t> last_in_table_; // the key placed last in each
    std::vector<Place> places_;
    std::vector<Object> objects_;
    std::size_t end_ = 0;
};

} // namespace vdisk::test
