// SPDX-License-Identifier: Apache-2.0
/// Builds VHDXs byte by byte: headers, regions, metadata, log, block table, sector bitmaps.
#pragma once

#include "base/checked.hpp"
#include "base/crc32c.hpp"
#include "base/uuid.hpp"
#include "put_bytes.hpp"

#include <map>
#include <string>
#include <utility>

namespace vdisk::test {

/// What an entry of the log does at one place.
struct VhdxWrite {
    std::uint64_t offset = 0;
    Bytes page{}; ///< 4096 bytes; empty: zeros
    std::uint64_t zero_length = 0;
};

struct VhdxLogEntry {
    std::uint64_t page = 0; ///< of the log, where it begins
    std::uint64_t sequence = 1;
    std::uint64_t tail = 0; ///< page
    unsigned log = 9;       ///< its GUID
    std::vector<VhdxWrite> writes{};
    std::uint64_t flushed_end = 0;
    std::uint64_t last_end = 0;
    std::uint64_t padding = 0; ///< pages behind what is in it
};

struct VhdxBuilder {
    static constexpr std::uint64_t kMiB = 1U << 20;
    static constexpr std::uint64_t kLogAt = 1 * kMiB;
    static constexpr std::uint64_t kMetadataAt = 2 * kMiB;
    static constexpr std::uint64_t kTableAt = 3 * kMiB;
    static constexpr std::uint64_t kBlocksAt = 4 * kMiB;
    static constexpr std::uint64_t kPages = kMiB / 4096;

    std::uint32_t block_size = kMiB;
    std::uint32_t sector_size = 512;
    std::uint64_t disk_size = 0;
    std::uint32_t flags = 0;
    unsigned data_write = 1;
    unsigned log = 0;                           ///< the GUID in the headers; 0: none
    std::vector<std::uint64_t> sequences{7, 6}; ///< of the headers
    std::vector<std::pair<std::string, std::string>> locator{};
    std::map<std::uint64_t, std::uint64_t> table{}; ///< by index: an entry
    std::map<std::uint64_t, Bytes> places{};        ///< by offset: what lies there
    std::uint64_t end = kBlocksAt;                  ///< where the next place is
    std::vector<VhdxLogEntry> entries{};
    bool table_in_log = false; ///< the table in its place is zeros

    std::uint64_t ratio() const { return (std::uint64_t{1} << 23) * sector_size / block_size; }
    std::uint64_t index_of(std::uint64_t block) const { return block + block / ratio(); }

    /// Puts bytes at the file's end and gives their place.
    std::uint64_t place(Bytes bytes) {
        const std::uint64_t at = end;
        end += *align_up(std::uint64_t{bytes.size()}, kMiB);
        places[at] = std::move(bytes);
        return at;
    }
    /// Stores a block; `state` is 6 (present) or 7 (partial).
    void store(std::uint64_t block, Bytes bytes, unsigned state = 6) {
        bytes.resize(block_size);
        table[index_of(block)] = place(std::move(bytes)) | state;
    }
    void set(std::uint64_t block, std::uint64_t entry) { table[index_of(block)] = entry; }
    /// Marks a sector of the disk as one that this file has.
    void mark(std::uint64_t sector) {
        const std::uint64_t chunk = sector >> 23;
        std::uint64_t& entry = table[chunk * (ratio() + 1) + ratio()];
        if (entry == 0) entry = place(Bytes(kMiB)) | 6;
        places[entry >> 20 << 20][(sector & 0x7FFFFF) / 8] |= static_cast<std::byte>(1U << sector % 8);
    }

    Bytes table_bytes() const {
        Bytes bytes(kMiB);
        for (const auto& [index, entry] : table) put_little(bytes, index * 8, entry, 8);
        return bytes;
    }

    static void sum(Bytes& file, std::uint64_t at, std::uint64_t length) {
        put_little(file, at + 4, crc32c_without_field(std::span(file).subspan(at, length), 4), 4);
    }

    void put_header(Bytes& file, std::uint64_t at, std::uint64_t sequence) const {
        put_bytes(file, at, Bytes(4096));
        put_text(file, at, "head");
        put_little(file, at + 8, sequence, 8);
        put_bytes(file, at + 16, guid(1000 + data_write));
        put_bytes(file, at + 32, guid(data_write));
        put_bytes(file, at + 48, guid(log));
        put_little(file, at + 66, 1, 2);
        put_little(file, at + 68, kMiB, 4);
        put_little(file, at + 72, kLogAt, 8);
        sum(file, at, 4096);
    }

    Bytes build() const {
        Bytes file;
        put_text(file, 0, "vhdxfile");
        put_bytes(file, 8, utf16("a builder"));
        put_header(file, 65536, sequences[0]);
        put_header(file, 131072, sequences[1]);
        for (const std::uint64_t at : {196608U, 262144U}) put_regions(file, at);
        file.resize(end);
        put_metadata(file);
        if (!table_in_log) put_bytes(file, kTableAt, table_bytes());
        for (const auto& [at, bytes] : places) put_bytes(file, at, bytes);
        for (const VhdxLogEntry& entry : entries) put_entry(file, entry);
        return file;
    }

    /// Writes an entry into the log of `file`.
    static void put_entry(Bytes& file, const VhdxLogEntry& entry) {
        const std::uint64_t descriptor_pages = div_ceil(entry.writes.size() + 2, 128);
        Bytes bytes(descriptor_pages * 4096);
        put_text(bytes, 0, "loge");
        put_little(bytes, 12, entry.tail * 4096, 4);
        put_little(bytes, 16, entry.sequence, 8);
        put_little(bytes, 24, entry.writes.size(), 4);
        put_bytes(bytes, 32, guid(entry.log));
        put_little(bytes, 48, entry.flushed_end, 8);
        put_little(bytes, 56, entry.last_end, 8);
        for (std::size_t i = 0; i < entry.writes.size(); ++i) put_write(bytes, 64 + 32 * i, entry.writes[i], entry);
        bytes.resize(bytes.size() + entry.padding * 4096);
        put_little(bytes, 8, bytes.size(), 4);
        sum(bytes, 0, bytes.size());
        for (std::uint64_t i = 0; i < bytes.size() / 4096; ++i)
            put_bytes(file, kLogAt + (entry.page + i) % kPages * 4096, std::span(bytes).subspan(i * 4096, 4096));
    }

private:
    static void put_write(Bytes& bytes, std::uint64_t at, const VhdxWrite& write, const VhdxLogEntry& entry) {
        put_text(bytes, at, write.page.empty() ? "zero" : "desc");
        put_little(bytes, at + 16, write.offset, 8);
        put_little(bytes, at + 24, entry.sequence, 8);
        if (write.page.empty()) return put_little(bytes, at + 8, write.zero_length, 8);
        const auto page = std::span(write.page);
        put_bytes(bytes, at + 4, page.subspan(4092, 4));
        put_bytes(bytes, at + 8, page.first(8));
        const std::uint64_t data = bytes.size();
        bytes.resize(data + 4096);
        put_text(bytes, data, "data");
        put_little(bytes, data + 4, entry.sequence >> 32, 4);
        put_bytes(bytes, data + 8, page.subspan(8, 4084));
        put_little(bytes, data + 4092, entry.sequence, 4);
    }

    static Bytes uuid_bytes(std::string_view text) {
        const auto id = Uuid::parse(text)->bytes;
        return to_mixed(id);
    }
    static Bytes to_mixed(const std::array<std::byte, 16>& id) {
        const Uuid swapped = Uuid::from_mixed(id); // its own inverse
        return {swapped.bytes.begin(), swapped.bytes.end()};
    }

    static void put_regions(Bytes& file, std::uint64_t at) {
        put_bytes(file, at, Bytes(65536));
        put_text(file, at, "regi");
        put_little(file, at + 8, 2, 4);
        put_region(file, at + 16, "2dc27766-f623-4200-9d64-115e9bfd4a08", kTableAt);
        put_region(file, at + 48, "8b7ca206-4790-4b9a-b8fe-575f050f886e", kMetadataAt);
        sum(file, at, 65536);
    }
    static void put_region(Bytes& file, std::uint64_t at, std::string_view id, std::uint64_t offset) {
        put_bytes(file, at, uuid_bytes(id));
        put_little(file, at + 16, offset, 8);
        put_little(file, at + 24, kMiB, 4);
        put_little(file, at + 28, 1, 4);
    }

    void put_metadata(Bytes& file) const {
        put_text(file, kMetadataAt, "metadata");
        Bytes parameters;
        put_little(parameters, 0, block_size, 4);
        put_little(parameters, 4, flags, 4);
        Bytes size, sector;
        put_little(size, 0, disk_size, 8);
        put_little(sector, 0, sector_size, 4);
        std::vector<std::pair<std::string_view, Bytes>> items{{"caa16737-fa36-4d43-b3b6-33f0aa44e76b", parameters},
                                                              {"2fa54224-cd1b-4876-b211-5dbed83bf4b8", size},
                                                              {"beca12ab-b2e6-4523-93ef-c309e000c746", guid(77)},
                                                              {"8141bf1d-a96f-4709-ba47-f233a8faab5f", sector},
                                                              {"cda348c7-445d-4471-9cc9-e9885251c556", sector}};
        if ((flags & 2) != 0) items.emplace_back("a8d35f2d-b30b-454d-abf7-d3d84834ab0c", locator_bytes());
        put_little(file, kMetadataAt + 10, items.size(), 2);
        std::uint64_t at = 65536;
        for (std::size_t i = 0; i < items.size(); ++i) {
            const std::uint64_t entry = kMetadataAt + 32 + 32 * i;
            put_bytes(file, entry, uuid_bytes(items[i].first));
            put_little(file, entry + 16, at, 4);
            put_little(file, entry + 20, items[i].second.size(), 4);
            put_little(file, entry + 24, 4, 4);
            put_bytes(file, kMetadataAt + at, items[i].second);
            at += items[i].second.size();
        }
    }

    Bytes locator_bytes() const {
        Bytes item;
        put_bytes(item, 0, uuid_bytes("b04aefb7-d19e-4a81-b789-25b8e9445913"));
        put_little(item, 18, locator.size(), 2);
        item.resize(20 + 12 * locator.size());
        for (std::size_t i = 0; i < locator.size(); ++i) {
            const Bytes key = utf16(locator[i].first), value = utf16(locator[i].second);
            put_little(item, 20 + 12 * i, item.size(), 4);
            put_little(item, 24 + 12 * i, item.size() + key.size(), 4);
            put_little(item, 28 + 12 * i, key.size(), 2);
            put_little(item, 30 + 12 * i, value.size(), 2);
            put_bytes(item, item.size(), key);
            put_bytes(item, item.size(), value);
        }
        return item;
    }
};

} // namespace vdisk::test
