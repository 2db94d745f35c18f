// SPDX-License-Identifier: Apache-2.0
#include "hyperv/object_table.hpp"

#include "hyperv/checksum.hpp"

#include <boost/endian/buffers.hpp>

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <set>

namespace vdisk::hyperv {
namespace {

using namespace boost::endian;

constexpr std::uint32_t kSignature = 0x01110001;
constexpr std::uint32_t kGreatestAlignment = 65536;

struct TableRecord {
    little_uint32_buf_t signature;
    little_uint32_buf_t entries_count;
};
static_assert(sizeof(TableRecord) == 8);

struct SlotRecord {
    little_uint8_buf_t type;
    little_uint32_buf_t checksum;
    little_uint64_buf_t offset;
    little_uint32_buf_t size;
    little_uint8_buf_t flags;
};
static_assert(sizeof(SlotRecord) == 18);

struct Extent {
    std::uint64_t offset;
    std::uint64_t size;
};

class Walker {
public:
    Walker(const ByteSource& source, Findings& findings)
        : source_(source), findings_(findings), budget_(source.size()) {}

    Result<ObjectTables> run(Extent root) {
        queue_.push_back(root);
        for (std::size_t i = 0; i < queue_.size(); ++i) VDISK_CHECK(read_table(queue_[i]));
        return std::move(found_);
    }

private:
    Result<void> read_table(Extent extent) {
        if (!seen_.insert(extent.offset).second) {
            findings_.add(FindingKind::object_table_loop, extent.offset,
                          "the object table chain comes back to offset {}", extent.offset);
            return ok();
        }
        if (!fits(extent.offset, sizeof(TableRecord), source_.size())) {
            findings_.add(FindingKind::object_table_range, extent.offset,
                          "object table at offset {} lies outside the file", extent.offset);
            return ok();
        }
        VDISK_TRY(record, read_struct<TableRecord>(source_, extent.offset, "object table"));
        ObjectTable table{.offset = extent.offset, .stored_count = record.entries_count.value()};
        table.signature_good = record.signature.value() == kSignature;
        if (table.signature_good) {
            table.slots = usable_slots(extent, table.stored_count);
            VDISK_TRY(more, sealed_behind(extent, table.slots));
            if (more > 0) {
                findings_.add(FindingKind::object_table_count, extent.offset,
                              "object table says {} entries, but {} more behind them have good checksums",
                              table.stored_count, more);
                table.slots += more;
            }
            VDISK_CHECK(read_slots(table));
        } else {
            findings_.add(FindingKind::object_table_signature, extent.offset,
                          "object table at offset {}: signature is {:#010x}", extent.offset, record.signature.value());
        }
        found_.tables.push_back(table);
        return ok();
    }

    // What the table's own size, the end of the file and the budget leave of the stored count.
    std::uint32_t usable_slots(Extent extent, std::uint32_t stored) {
        const std::uint64_t room =
            extent.size < sizeof(TableRecord) ? 0 : (extent.size - sizeof(TableRecord)) / sizeof(SlotRecord);
        std::uint64_t slots = stored;
        if (slots > room) {
            findings_.add(FindingKind::object_table_count, extent.offset, "object table says {} entries where {} fit",
                          stored, room);
            slots = room;
        }
        const std::uint64_t left =
            std::min(source_.size() - extent.offset - sizeof(TableRecord), budget_) / sizeof(SlotRecord);
        if (slots > left) {
            findings_.add(FindingKind::object_table_truncated, extent.offset,
                          "the file ends inside the object table: {} of {} slots are there", left, slots);
            slots = left;
        }
        budget_ -= slots * sizeof(SlotRecord);
        return static_cast<std::uint32_t>(slots);
    }

    // How many slots behind the counted ones are some too: empty ones have checksums as well, and zeros are none.
    Result<std::uint32_t> sealed_behind(Extent extent, std::uint32_t counted) {
        const std::uint64_t end = std::min(extent.size, source_.size() - extent.offset);
        std::uint32_t found = 0;
        for (;; ++found) {
            const std::uint64_t at = sizeof(TableRecord) + (std::uint64_t{counted} + found) * sizeof(SlotRecord);
            if (at + sizeof(SlotRecord) > end || budget_ < sizeof(SlotRecord)) return found;
            VDISK_TRY(record, read_struct<SlotRecord>(source_, extent.offset + at, "object table"));
            if (record.checksum.value() != crc32_of(record, offsetof(SlotRecord, checksum))) return found;
            budget_ -= sizeof(SlotRecord);
        }
    }

    Result<void> read_slots(const ObjectTable& table) {
        const std::uint64_t start = table.offset + sizeof(TableRecord);
        VDISK_TRY(bytes, read_bytes(source_, start, std::uint64_t{table.slots} * sizeof(SlotRecord), "object table"));
        for (std::size_t i = 0; i < table.slots; ++i) {
            SlotRecord record;
            std::memcpy(&record, bytes.data() + i * sizeof record, sizeof record);
            take_slot(record, start + i * sizeof record, i);
        }
        return ok();
    }

    void take_slot(const SlotRecord& record, std::uint64_t slot_offset, std::size_t number) {
        const Object object{.type = static_cast<ObjectType>(record.type.value()),
                            .flags = record.flags.value(),
                            .offset = record.offset.value(),
                            .size = record.size.value(),
                            .slot_offset = slot_offset,
                            .checksum_good =
                                record.checksum.value() == crc32_of(record, offsetof(SlotRecord, checksum))};
        if (!object.checksum_good)
            findings_.add(FindingKind::object_entry_checksum, slot_offset,
                          "object table slot {} (type {}, offset {}, {} bytes): checksum mismatch", number,
                          record.type.value(), object.offset, object.size);
        if (object.type == ObjectType::empty) return;
        if (object.type == ObjectType::object_table) queue_.push_back({object.offset, object.size});
        found_.objects.push_back(object);
    }

    const ByteSource& source_;
    Findings& findings_;
    std::uint64_t budget_;
    std::vector<Extent> queue_;
    std::set<std::uint64_t> seen_;
    ObjectTables found_;
};

} // namespace

Result<bool> has_root_object_table(const ByteSource& source) {
    if (!fits(kRootObjectTable, sizeof(TableRecord), source.size())) return false;
    VDISK_TRY(record, read_struct<TableRecord>(source, kRootObjectTable, "object table"));
    return record.signature.value() == kSignature;
}

Result<ObjectTables> read_object_tables(const ByteSource& source, std::uint32_t alignment, Findings& findings) {
    return Walker(source, findings).run({kRootObjectTable, alignment == 0 ? kGreatestAlignment : alignment});
}

} // namespace vdisk::hyperv
