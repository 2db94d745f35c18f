// SPDX-License-Identifier: Apache-2.0
#include "hyperv/guest_state.hpp"

#include "base/checked.hpp"
#include "base/parse.hpp"
#include "base/text.hpp"
#include "base/zeros.hpp"
#include "hyperv/checksum.hpp"
#include "io/memory_source.hpp"

#include <boost/endian/buffers.hpp>

#include <algorithm>
#include <cstddef>
#include <cstring>

namespace vdisk::hyperv {
namespace {

using namespace boost::endian;

struct StateKeyRecord {
    std::array<std::byte, 12> nonce;
    little_uint32_buf_t reserved;
    std::array<std::byte, 16> tag;
    std::array<std::byte, 32> key;
};
static_assert(sizeof(StateKeyRecord) == 64);

struct StateHeaderRecord {
    std::array<char, 8> signature;
    little_uint32_buf_t version;
    little_uint32_buf_t checksum;
    little_uint32_buf_t sequence;
    little_uint32_buf_t header_size;
    little_uint32_buf_t table_block;
    little_uint32_buf_t table_blocks;
    little_uint16_buf_t algorithm;
    little_uint16_buf_t markers;
    std::array<StateKeyRecord, 2> keys;
    little_uint32_buf_t reserved;
};
static_assert(sizeof(StateHeaderRecord) == 168);

struct StateFileRecord {
    little_uint32_buf_t block;
    little_uint32_buf_t blocks;
    little_uint64_buf_t size;
    std::array<std::byte, 12> nonce;
    std::array<std::byte, 16> tag;
    little_uint32_buf_t attributes;
    std::array<std::byte, 16> reserved;
};
static_assert(sizeof(StateFileRecord) == 64);

// Version 1: a header that leads to one of two places for the state, in sectors of its partition.
struct StateLocatorRecord {
    little_uint64_buf_t sector;
    little_uint64_buf_t sectors;
    little_uint32_buf_t size;
    std::array<std::byte, 12> reserved;
};
static_assert(sizeof(StateLocatorRecord) == 32);

struct OldHeaderRecord {
    std::array<char, 8> signature;
    little_uint32_buf_t version;
    little_uint32_buf_t checksum;
    little_uint32_buf_t sequence;
    little_uint32_buf_t header_size;
    little_uint32_buf_t locator_size;
    little_uint32_buf_t active;
    std::array<StateLocatorRecord, 2> locators;
};
static_assert(sizeof(OldHeaderRecord) == 96);

struct GptRecord {
    std::array<char, 8> signature;
    std::array<std::byte, 64> unused;
    little_uint64_buf_t entries_sector;
    little_uint32_buf_t entries;
    little_uint32_buf_t entry_size;
};
static_assert(sizeof(GptRecord) == 88);

struct GptEntryRecord {
    std::array<std::byte, 16> type;
    std::array<std::byte, 16> unique;
    little_uint64_buf_t first;
    little_uint64_buf_t last;
};
static_assert(sizeof(GptEntryRecord) == 48);

constexpr std::string_view kGuestStateSignature = "GUESTRTS";
constexpr std::uint32_t kVersion1 = 0x00010000;
constexpr std::uint32_t kVersion3 = 0x00030000;
constexpr std::uint64_t kBlock = 4096;
constexpr std::uint64_t kSector = 512;
constexpr std::size_t kFiles = 64;
constexpr std::uint32_t kFirstBlock = 2; ///< those before hold the headers
constexpr std::uint32_t kMostPartitions = 128;
constexpr std::uint16_t kReprovisioned = 1;
constexpr std::uint32_t kEncrypted = 1, kAuthenticated = 2;
constexpr std::string_view kStatePartition = "700f0c12-1515-4e4d-8d32-53f685bf44af";

constexpr std::array<std::string_view, 19> kNames{"FILE_TABLE",
                                                  "BIOS_NVRAM",
                                                  "TPM_PPI",
                                                  "TPM_NVRAM",
                                                  "RTC_SKEW",
                                                  "ATTEST",
                                                  "KEY_PROTECTOR",
                                                  "VM_UNIQUE_ID",
                                                  "GUEST_FIRMWARE",
                                                  "CUSTOM_UEFI",
                                                  "GUEST_WATCHDOG",
                                                  "HW_KEY_PROTECTOR",
                                                  "",
                                                  "GUEST_SECRET_KEY",
                                                  "HIBERNATION_FIRMWARE",
                                                  "PLATFORM_SEED",
                                                  "PROVENANCE_DOC",
                                                  "TPM_NVRAM_BACKUP",
                                                  "PROVISIONING_MARKER"};

// What both versions' headers have in common. `record` has passed through read_struct().
template<class Record> GuestStateHeader header_of(const Record& record, std::uint64_t offset) {
    GuestStateHeader header{.offset = offset};
    header.blank = all_zeros(std::as_bytes(std::span(&record, 1)));
    header.version = record.version.value();
    header.sequence = record.sequence.value();
    header.signature_good = std::string_view(record.signature.data(), record.signature.size()) == kGuestStateSignature;
    if (!header.signature_good) header.fault = "bad signature";
    else if (record.checksum.value() != crc32_of(record, offsetof(Record, checksum)))
        header.fault = "checksum mismatch";
    return header;
}

Result<GuestStateHeader> read_state_header(const ByteSource& source, std::uint64_t offset) {
    if (!fits(offset, sizeof(StateHeaderRecord), source.size()))
        return GuestStateHeader{.offset = offset, .fault = "lies outside the file"};
    VDISK_TRY(record, read_struct<StateHeaderRecord>(source, offset, "guest state header"));
    GuestStateHeader header = header_of(record, offset);
    if (!header.good() || header.version != kVersion3) return header;
    if (record.header_size.value() != sizeof record)
        header.fault = fmt::format("its size is {}, not {}", record.header_size.value(), sizeof record);
    else if (record.table_blocks.value() != 1)
        header.fault = fmt::format("its table of files has {} blocks, not 1", record.table_blocks.value());
    else if (record.table_block.value() < kFirstBlock)
        header.fault = fmt::format("its table of files is in block {}", record.table_block.value());
    header.table_offset = record.table_block.value() * kBlock;
    header.algorithm = record.algorithm.value();
    header.reprovisioned = (record.markers.value() & kReprovisioned) != 0;
    for (std::size_t i = 0; i < header.key_nonces.size(); ++i)
        if (!all_zeros(record.keys[i].key)) header.key_nonces[i] = hex(record.keys[i].nonce);
    return header;
}

GuestStateFile file_of(const StateFileRecord& record, unsigned id, std::uint64_t size) {
    GuestStateFile file{.id = id,
                        .offset = record.block.value() * kBlock,
                        .allocated = record.blocks.value() * kBlock,
                        .size = record.size.value()};
    const std::uint32_t attributes = record.attributes.value();
    const bool marked = !all_zeros(record.nonce) || !all_zeros(record.tag); // before there were attributes
    file.encrypted = (attributes & (kEncrypted | kAuthenticated)) != 0 || marked;
    if (marked) file.nonce = hex(record.nonce);
    if (record.block.value() < kFirstBlock)
        file.fault = fmt::format("lies in block {}, where the headers are", record.block.value());
    else if (file.size > file.allocated)
        file.fault = fmt::format("has {} bytes in a place of {}", file.size, file.allocated);
    else if (!fits(file.offset, file.size, size))
        file.fault = fmt::format("{} bytes at offset {} end behind the file's {}", file.size, file.offset, size);
    return file;
}

// In the partition that begins at offset `start`.
GuestStateFile file_of(const StateLocatorRecord& place, std::uint64_t start, std::uint64_t size) {
    constexpr std::uint64_t kNowhere = ~std::uint64_t{0};
    GuestStateFile file{.size = place.size.value()};
    const auto offset = checked_mul(place.sector.value(), kSector);
    file.offset = offset ? checked_add(start, *offset).value_or(kNowhere) : kNowhere;
    file.allocated = checked_mul(place.sectors.value(), kSector).value_or(kNowhere);
    if (!fits(file.offset, file.size, size))
        file.fault = fmt::format("{} bytes at sector {} of its partition end behind the file's {}", file.size,
                                 place.sector.value(), size);
    else if (file.size > file.allocated)
        file.fault = fmt::format("has {} bytes in a place of {}", file.size, file.allocated);
    return file;
}

// The first sector of the partition that holds a state of version 1.
Result<std::uint64_t> find_state_partition(const ByteSource& source) {
    VDISK_TRY(gpt, read_struct<GptRecord>(source, kSector, "partition table"));
    const std::uint64_t size = gpt.entry_size.value();
    const std::uint32_t count = std::min(gpt.entries.value(), kMostPartitions);
    const auto start = checked_mul(gpt.entries_sector.value(), kSector);
    if (start && size >= sizeof(GptEntryRecord))
        for (std::uint64_t i = 0; i < count; ++i) {
            const auto at = checked_add(*start, i * size);
            if (!at || !fits(*at, sizeof(GptEntryRecord), source.size())) break;
            VDISK_TRY(entry, read_struct<GptEntryRecord>(source, *at, "partition"));
            if (to_string(Uuid::from_mixed(entry.type)) == kStatePartition) return entry.first.value();
        }
    return fail(ErrorKind::not_this_format, "{}: has partitions, and none is of a guest state's type", source.name());
}

} // namespace

std::string guest_state_version(std::uint32_t version) {
    return fmt::format("{}.{}", version >> 16, version & 0xFFFF);
}

std::string_view guest_state_name(unsigned id) noexcept {
    if (id == kFiles - 1) return "EXTENDED_FILE_TABLE";
    return id < kNames.size() ? kNames[id] : std::string_view();
}

Result<GuestState> GuestState::open(SourcePtr source) {
    GuestState state(std::move(source));
    VDISK_CHECK(state.load());
    return state;
}

Result<void> GuestState::load() {
    std::array<char, 8> mark{};
    if (fits(kSector, mark.size(), source_->size()))
        VDISK_CHECK(read_exact(*source_, kSector, std::as_writable_bytes(std::span(mark))));
    if (std::string_view(mark.data(), mark.size()) == "EFI PART") return load_version_1();
    VDISK_TRY(first, read_state_header(*source_, 0));
    headers_[0] = std::move(first);
    // The second stands in the next sector, and those have 512 bytes or 4096.
    for (const std::uint64_t offset : {kSector, kBlock}) {
        VDISK_TRY(second, read_state_header(*source_, offset));
        if (offset == kSector || second.good()) headers_[1] = std::move(second);
        if (headers_[1].good()) break;
    }
    if (std::ranges::none_of(headers_, &GuestStateHeader::signature_good))
        return fail(ErrorKind::not_this_format, "{}: not a guest state (.vmgs)", source_->name());
    VDISK_CHECK(choose());
    if (version() != kVersion3)
        return fail_at(headers_[active_].offset, ErrorKind::unsupported,
                       "{}: guest state version {} ({:#010x}); known are 1.0 and 3.0", source_->name(),
                       guest_state_version(version()), version());
    VDISK_CHECK(load_table());
    judge_files();
    return ok();
}

// The copy that follows the other counts; numbers wrap.
Result<void> GuestState::choose() {
    const auto& [first, second] = headers_;
    for (std::size_t i = 0; i < headers_.size(); ++i)
        if (!headers_[i].fault.empty() && !headers_[i].blank)
            findings_.push_back(
                fmt::format("header copy {} at offset {}: {}", i + 1, headers_[i].offset, headers_[i].fault));
    if (!first.good() && !second.good())
        return fail(ErrorKind::corrupt, "{}: no copy of its header can be believed: {}; {}", source_->name(),
                    first.blank ? "blank" : first.fault, second.blank ? "blank" : second.fault);
    if (!first.good() || !second.good()) {
        active_ = first.good() ? 0 : 1;
        why_ = headers_[1 - active_].blank ? "the other copy was never written" : "the other copy is damaged";
        return ok();
    }
    const std::uint32_t ahead = second.sequence - first.sequence;
    active_ = ahead != 0 && ahead < 0x80000000U ? 1 : 0;
    why_ = fmt::format("its sequence {} follows the other's {}", headers_[active_].sequence,
                       headers_[1 - active_].sequence);
    if (ahead == 1 || ahead == 0xFFFFFFFFU) return ok();
    findings_.push_back(fmt::format("the header copies have sequences {} and {}, which do not follow each other",
                                    first.sequence, second.sequence));
    why_ = ahead == 0 ? "it is the first of two with one sequence"
                      : fmt::format("its sequence {} is the greater one", headers_[active_].sequence);
    return ok();
}

Result<void> GuestState::load_table() {
    const std::uint64_t offset = headers_[active_].table_offset;
    std::array<StateFileRecord, kFiles> table;
    if (!fits(offset, sizeof table, source_->size()))
        return fail_at(offset, ErrorKind::truncated, "{}: the file ends at {}, before the table of files at {}",
                       source_->name(), source_->size(), offset);
    VDISK_CHECK(read_exact(*source_, offset, std::as_writable_bytes(std::span(table))));
    for (unsigned id = 0; id < kFiles; ++id) {
        if (table[id].blocks.value() == 0) continue;
        files_.push_back(file_of(table[id], id, source_->size()));
        if (id == 0 && files_.back().offset != offset)
            files_.back().fault =
                fmt::format("is at offset {}, but the header's table at {}", files_.back().offset, offset);
    }
    return ok();
}

// Of two files in one place at most one can be there. Then tells what is wrong with each.
void GuestState::judge_files() {
    std::vector<GuestStateFile*> sorted;
    for (GuestStateFile& file : files_) sorted.push_back(&file);
    std::ranges::sort(sorted, {}, &GuestStateFile::offset);
    GuestStateFile* last = nullptr; // that which goes on the farthest
    for (GuestStateFile* file : sorted) {
        if (last != nullptr && file->offset < last->offset + last->allocated)
            for (const auto& [one, other] : {std::pair(file, last), std::pair(last, file)})
                if (one->fault.empty()) one->fault = fmt::format("overlaps file {}", other->id);
        if (last == nullptr || file->offset + file->allocated > last->offset + last->allocated) last = file;
    }
    for (const GuestStateFile& file : files_)
        if (!file.fault.empty()) findings_.push_back(fmt::format("file {}: {}", file.id, file.fault));
}

Result<void> GuestState::load_version_1() {
    VDISK_TRY(sector, find_state_partition(*source_));
    const auto start = checked_mul(sector, kSector);
    if (!start || !fits(*start, 2 * kSector, source_->size()))
        return fail_at(kSector, ErrorKind::truncated,
                       "{}: the partition of the guest state begins at sector {}, "
                       "behind the file's end",
                       source_->name(), sector);
    std::array<OldHeaderRecord, 2> records{};
    for (std::size_t i = 0; i < records.size(); ++i) {
        VDISK_TRY(record, read_struct<OldHeaderRecord>(*source_, *start + i * kSector, "guest state header"));
        records[i] = record;
        headers_[i] = header_of(record, *start + i * kSector);
        if (headers_[i].good() && record.active.value() >= record.locators.size())
            headers_[i].fault = fmt::format("its active place is {}, and there are two", record.active.value());
    }
    VDISK_CHECK(choose());
    if (version() != kVersion1)
        return fail_at(headers_[active_].offset, ErrorKind::unsupported,
                       "{}: guest state version {} ({:#010x}) in a partition; known there is 1.0", source_->name(),
                       guest_state_version(version()), version());
    const OldHeaderRecord& record = records[active_];
    files_.push_back(file_of(record.locators[record.active.value()], *start, source_->size()));
    judge_files();
    return ok();
}

const GuestStateFile* GuestState::find(unsigned id) const noexcept {
    const auto found = std::ranges::find(files_, id, &GuestStateFile::id);
    return found == files_.end() ? nullptr : &*found;
}

Result<SourcePtr> GuestState::content(const GuestStateFile& file) const {
    const std::string name = fmt::format("{}: file {}", source_->name(), file.id);
    if (!file.fault.empty()) return fail_at(file.offset, ErrorKind::corrupt, "{} {}", name, file.fault);
    if (file.encrypted)
        return fail(ErrorKind::unsupported, "{} is encrypted, and the key is not in the guest state", name);
    return SourcePtr(std::make_shared<const SliceSource>(source_, file.offset, file.size));
}

} // namespace vdisk::hyperv
