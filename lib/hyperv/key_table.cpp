// SPDX-License-Identifier: Apache-2.0
#include "hyperv/key_table.hpp"

#include "hyperv/checksum.hpp"
#include "hyperv/header.hpp"

#include <boost/endian/buffers.hpp>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstring>
#include <map>

namespace vdisk::hyperv {
namespace {

using namespace boost::endian;

constexpr std::uint16_t kKeyTableSignature = 0x0002;

struct KeyTableRecord {
    little_uint16_buf_t signature;
    little_uint16_buf_t index;
    little_uint16_buf_t sequence;
    little_uint32_buf_t checksum;
};
static_assert(sizeof(KeyTableRecord) == kFirstEntry);

// Whether the header's checksum holds once the signature is put right.
bool checksum_holds_but_for_signature(KeyTableRecord record) {
    record.signature = little_uint16_buf_t(kKeyTableSignature);
    return record.checksum.value() == crc32_of(record, offsetof(KeyTableRecord, checksum));
}

class Loader {
public:
    Loader(const ByteSource& source, const KeyTableOptions& options, Findings& findings)
        : source_(source), options_(options), findings_(findings), budget_(source.size()) {}

    Result<KeyTables> run(const std::vector<Object>& objects) {
        for (const Object& object : objects)
            if (object.type == ObjectType::key_table) VDISK_CHECK(load_listed(object));
        if (options_.best_effort) VDISK_CHECK(load_unlisted(objects));
        return std::move(tables_);
    }

private:
    Result<void> load_listed(const Object& object) {
        if (seen_.contains(object.offset)) return ok();
        if (!fits(object.offset, kFirstEntry, source_.size())) {
            findings_.add(FindingKind::key_table_range, object.offset, "key table at offset {} lies outside the file",
                          object.offset);
            return ok();
        }
        const std::uint64_t length = std::min<std::uint64_t>(object.size, source_.size() - object.offset);
        if (length < kFirstEntry || length > budget_) {
            findings_.add(FindingKind::key_table_range, object.offset, "key table at offset {}: impossible size {}",
                          object.offset, object.size);
            return ok();
        }
        VDISK_TRY(table, load(object.offset, length));
        table.truncated = length < object.size;
        if (!acceptable(object, table)) return ok();
        if (table.truncated)
            findings_.add(FindingKind::key_table_truncated, object.offset, "key table {} runs past the end of the file",
                          table.index);
        take(std::move(table));
        return ok();
    }

    Result<KeyTable> load(std::uint64_t offset, std::uint64_t length) {
        VDISK_TRY(bytes, read_bytes(source_, offset, length, "key table"));
        auto table = read_key_table_header(bytes, offset);
        if (!table)
            return fail_at(offset, ErrorKind::truncated, "{}: key table at offset {} has {} bytes", source_.name(),
                           offset, length);
        table->bytes = std::move(bytes);
        return std::move(*table);
    }

    bool acceptable(const Object& object, const KeyTable& table) {
        if (table.header_good) return true;
        if (!object.checksum_good) return false; // neither the slot nor what it points to holds
        if (table.signature_good) {
            findings_.add(FindingKind::key_table_checksum, object.offset,
                          "key table {} (sequence {}): header checksum mismatch", table.index, table.sequence);
            return true;
        }
        findings_.add(FindingKind::key_table_signature, object.offset,
                      "object at offset {} is listed as a key table and has no key table's signature", object.offset);
        KeyTableRecord record;
        std::memcpy(&record, table.bytes.data(), sizeof record);
        return options_.best_effort && checksum_holds_but_for_signature(record);
    }

    // Keeps the better of two tables with the same index as the live one.
    void take(KeyTable table) {
        budget_ -= table.bytes.size();
        seen_.emplace(table.offset, table.bytes.size());
        const auto [known, added] = by_index_.try_emplace(table.index, tables_.live.size());
        if (added) {
            tables_.live.push_back(std::move(table));
            return;
        }
        KeyTable& live = tables_.live[known->second];
        if (better(table, live)) std::swap(table, live);
        findings_.add(FindingKind::duplicate_table_index, table.offset,
                      "two key tables with index {}: sequence {} at offset {} is used, sequence {} is not", live.index,
                      live.sequence, live.offset, table.sequence);
        tables_.superseded.push_back(std::move(table));
    }

    static bool better(const KeyTable& a, const KeyTable& b) {
        if (a.header_good != b.header_good) return a.header_good;
        return newer(a.sequence, b.sequence);
    }

    Result<void> load_unlisted(const std::vector<Object>& objects) {
        VDISK_TRY(offsets, find_key_tables(source_, kRootObjectTable + kDefaultAlignment, source_.size()));
        for (std::size_t i = 0; i < offsets.size(); ++i) {
            if (seen_.contains(offsets[i]) || in_use_otherwise(objects, offsets[i])) continue;
            const std::uint64_t end = end_of_unlisted(objects, offsets, i);
            if (end - offsets[i] > budget_) continue;
            VDISK_TRY(table, load(offsets[i], end - offsets[i]));
            if (by_index_.contains(table.index)) continue;
            table.listed = false;
            table.truncated = true; // its size is not known: where an entry fails it ends
            findings_.add(FindingKind::key_table_unlisted, table.offset, "key table {} is in no object table",
                          table.index);
            take(std::move(table));
        }
        return ok();
    }

    bool in_use_otherwise(const std::vector<Object>& objects, std::uint64_t offset) const {
        if (offset >= options_.log_offset && offset - options_.log_offset < options_.log_size) return true;
        return std::any_of(objects.begin(), objects.end(), [&](const Object& object) {
            return object.type != ObjectType::key_table && offset >= object.offset &&
                   offset - object.offset < object.size;
        });
    }

    std::uint64_t end_of_unlisted(const std::vector<Object>& objects, const std::vector<std::uint64_t>& tables,
                                  std::size_t which) const {
        const std::uint64_t start = tables[which];
        std::uint64_t end = which + 1 < tables.size() ? tables[which + 1] : source_.size();
        for (const Object& object : objects)
            if (object.offset > start) end = std::min(end, object.offset);
        if (options_.log_offset > start) end = std::min(end, options_.log_offset);
        return end;
    }

    const ByteSource& source_;
    const KeyTableOptions& options_;
    Findings& findings_;
    std::uint64_t budget_;
    std::map<std::uint64_t, std::size_t> seen_;
    std::map<std::uint16_t, std::size_t> by_index_;
    KeyTables tables_;
};

} // namespace

Result<KeyTables> read_key_tables(const ByteSource& source, const std::vector<Object>& objects,
                                  const KeyTableOptions& options, Findings& findings) {
    return Loader(source, options, findings).run(objects);
}

std::optional<KeyTable> read_key_table_header(std::span<const std::byte> bytes, std::uint64_t offset) {
    if (bytes.size() < sizeof(KeyTableRecord)) return std::nullopt;
    KeyTableRecord record;
    std::memcpy(&record, bytes.data(), sizeof record);
    KeyTable table;
    table.index = record.index.value();
    table.sequence = record.sequence.value();
    table.offset = offset;
    table.signature_good = record.signature.value() == kKeyTableSignature;
    table.header_good =
        table.signature_good && record.checksum.value() == crc32_of(record, offsetof(KeyTableRecord, checksum));
    return table;
}

Result<std::vector<std::uint64_t>> find_key_tables(const ByteSource& source, std::uint64_t from, std::uint64_t to) {
    std::vector<std::uint64_t> found;
    std::array<std::byte, sizeof(KeyTableRecord)> head{};
    for (std::uint64_t at =
             align_down(from, kDefaultAlignment) + (from % kDefaultAlignment == 0 ? 0 : kDefaultAlignment);
         at < to && fits(at, head.size(), source.size()); at += kDefaultAlignment) {
        VDISK_CHECK(read_exact(source, at, head));
        if (read_key_table_header(head, at)->header_good) found.push_back(at);
    }
    return found;
}

} // namespace vdisk::hyperv
