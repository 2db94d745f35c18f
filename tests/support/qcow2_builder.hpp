// SPDX-License-Identifier: Apache-2.0
/// Writes qcow2 images entry by entry, good ones and bad ones, from the specification alone: nothing of the library is
/// used.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace vdisk::test {

/// Where the header's fields stand.
namespace qcow2_field {
constexpr std::uint64_t version = 4, backing_file_offset = 8, backing_file_size = 16, cluster_bits = 20, size = 24,
                        crypt_method = 32, l1_size = 36, l1_table_offset = 40, nb_snapshots = 60, snapshots_offset = 64,
                        incompatible_features = 72, compatible_features = 80, autoclear_features = 88,
                        refcount_order = 96, header_length = 100, compression_type = 104;
} // namespace qcow2_field

constexpr std::uint64_t kQcow2Compressed = std::uint64_t{1} << 62;
constexpr std::uint64_t kQcow2Copied = std::uint64_t{1} << 63;
constexpr std::uint64_t kQcow2Zero = 1;
constexpr std::uint64_t kQcow2DataFile = 4;
constexpr std::uint64_t kQcow2ExtendedL2 = 16;

struct Qcow2Options {
    std::uint32_t version = 3;
    std::uint32_t cluster_bits = 16;
    std::uint64_t size = 1 << 20;
    std::uint64_t incompatible = 0;
};

struct Qcow2Snapshot {
    std::string id;
    std::string name;
    std::uint64_t l1_table_offset = 0;
    std::uint32_t l1_size = 0;
    std::uint32_t date_seconds = 0;
    std::uint64_t vm_clock = 0;
    std::uint32_t vm_state_size = 0;
    std::vector<std::uint64_t> extra{}; ///< 64-bit VM state size, disk size, icount: as many as the entry shall have
};

/// An image in memory. The L1 table lies behind the header's cluster; L2 tables are made where entries need them.
class Qcow2Builder {
public:
    using Bytes = std::vector<std::byte>;

    explicit Qcow2Builder(Qcow2Options options) : options_(options), extension_end_(options.version == 2 ? 72 : 104) {
        const std::uint64_t l1_entries = (options_.size + covered() - 1) / covered();
        file_.resize(cluster_size());
        put32(0, 0x514649FB);
        put32(qcow2_field::version, options_.version);
        put32(qcow2_field::cluster_bits, options_.cluster_bits);
        put64(qcow2_field::size, options_.size);
        l1_ = append_l1(static_cast<std::uint32_t>(l1_entries));
        put32(qcow2_field::l1_size, static_cast<std::uint32_t>(l1_entries));
        put64(qcow2_field::l1_table_offset, l1_);
        if (options_.version == 2) return;
        put64(qcow2_field::incompatible_features, options_.incompatible);
        put32(qcow2_field::refcount_order, 4);
        put32(qcow2_field::header_length, 104);
    }

    std::uint64_t cluster_size() const { return std::uint64_t{1} << options_.cluster_bits; }
    std::uint64_t entries() const { return cluster_size() / entry_bytes(); }
    /// Guest bytes that an L1 entry covers.
    std::uint64_t covered() const { return entries() * cluster_size(); }
    const Bytes& bytes() const { return file_; }
    Bytes& bytes() { return file_; }

    void put32(std::uint64_t offset, std::uint32_t value) { put(offset, value, 4); }
    void put64(std::uint64_t offset, std::uint64_t value) { put(offset, value, 8); }
    void put_text(std::uint64_t offset, std::string_view text) {
        for (std::size_t i = 0; i < text.size(); ++i) file_.at(offset + i) = static_cast<std::byte>(text[i]);
    }

    /// Puts `content` at the next cluster boundary and fills its last cluster with zeros; returns its offset.
    std::uint64_t append(std::span<const std::byte> content) {
        pad();
        const std::uint64_t offset = append_tight(content);
        pad();
        return offset;
    }

    /// Puts `content` right at the end of the file, as compressed clusters lie; returns its offset.
    std::uint64_t append_tight(std::span<const std::byte> content) {
        const std::uint64_t offset = file_.size();
        file_.insert(file_.end(), content.begin(), content.end());
        return offset;
    }

    std::uint64_t append_l1(std::uint32_t count) { return append(Bytes(std::size_t{count} * 8)); }

    /// Sets the entry of a guest cluster in the active state, or in the one whose L1 table lies at `l1`.
    void set(std::uint64_t cluster, std::uint64_t descriptor, std::uint64_t bitmap = 0) {
        set_in(l1_, cluster, descriptor, bitmap);
    }
    void set_in(std::uint64_t l1, std::uint64_t cluster, std::uint64_t descriptor, std::uint64_t bitmap = 0) {
        const std::uint64_t l1_entry = l1 + cluster / entries() * 8;
        std::uint64_t table = get64(l1_entry) & ~kQcow2Copied;
        if (table == 0) {
            table = append(Bytes(cluster_size()));
            put64(l1_entry, table | kQcow2Copied);
        }
        const std::uint64_t entry = table + cluster % entries() * entry_bytes();
        put64(entry, descriptor);
        if (extended()) put64(entry + 8, bitmap);
    }

    /// The descriptor of a compressed cluster of `length` bytes at `offset`.
    std::uint64_t packed(std::uint64_t offset, std::uint64_t length) const {
        const std::uint64_t sectors = (offset + length - 1) / 512 - offset / 512;
        return kQcow2Compressed | sectors << (62 - (options_.cluster_bits - 8)) | offset;
    }

    std::uint64_t l1_entry_offset(std::uint64_t index) const { return l1_ + index * 8; }
    std::uint64_t get64(std::uint64_t offset) const {
        std::uint64_t value = 0;
        for (unsigned i = 0; i < 8; ++i) value = value << 8 | static_cast<std::uint64_t>(file_.at(offset + i));
        return value;
    }

    void extension(std::uint32_t type, std::string_view data) {
        put32(extension_end_, type);
        put32(extension_end_ + 4, static_cast<std::uint32_t>(data.size()));
        put_text(extension_end_ + 8, data);
        extension_end_ += 8 + (data.size() + 7) / 8 * 8;
    }

    /// Names a backing file; after all extensions.
    void backing(std::string_view name) {
        put64(qcow2_field::backing_file_offset, extension_end_ + 8);
        put32(qcow2_field::backing_file_size, static_cast<std::uint32_t>(name.size()));
        put_text(extension_end_ + 8, name);
    }

    void snapshots(const std::vector<Qcow2Snapshot>& list) {
        Bytes table;
        for (const Qcow2Snapshot& snapshot : list) {
            table.resize((table.size() + 7) / 8 * 8);
            push(table, snapshot.l1_table_offset, 8);
            push(table, snapshot.l1_size, 4);
            push(table, snapshot.id.size(), 2);
            push(table, snapshot.name.size(), 2);
            push(table, snapshot.date_seconds, 4);
            push(table, 0, 4);
            push(table, snapshot.vm_clock, 8);
            push(table, snapshot.vm_state_size, 4);
            push(table, snapshot.extra.size() * 8, 4);
            for (const std::uint64_t field : snapshot.extra) push(table, field, 8);
            for (const char letter : snapshot.id + snapshot.name) table.push_back(static_cast<std::byte>(letter));
        }
        put32(qcow2_field::nb_snapshots, static_cast<std::uint32_t>(list.size()));
        put64(qcow2_field::snapshots_offset, append(table));
    }

private:
    bool extended() const { return (options_.incompatible & kQcow2ExtendedL2) != 0; }
    std::uint64_t entry_bytes() const { return extended() ? 16 : 8; }

    static void push(Bytes& bytes, std::uint64_t value, unsigned count) {
        for (unsigned i = count; i-- > 0;) bytes.push_back(static_cast<std::byte>(value >> (8 * i)));
    }
    void put(std::uint64_t offset, std::uint64_t value, unsigned count) {
        for (unsigned i = 0; i < count; ++i)
            file_.at(offset + i) = static_cast<std::byte>(value >> (8 * (count - 1 - i)));
    }
    void pad() { file_.resize((file_.size() + cluster_size() - 1) / cluster_size() * cluster_size()); }

    Qcow2Options options_;
    Bytes file_;
    std::uint64_t l1_ = 0;
    std::uint64_t extension_end_;
};

} // namespace vdisk::test
