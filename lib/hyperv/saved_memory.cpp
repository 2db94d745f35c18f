// SPDX-License-Identifier: Apache-2.0
#include "hyperv/saved_memory.hpp"

#include "base/parse.hpp"
#include "base/text.hpp"
#include "hyperv/value.hpp"

#include <boost/endian/buffers.hpp>

#include <algorithm>
#include <cstring>

namespace vdisk::hyperv {
namespace {

using namespace boost::endian;

constexpr std::uint32_t kRegionVersion = 3;
constexpr std::uint64_t kOldRegionBytes = 40; // of earlier versions: without resource_id
constexpr std::string_view kRegionName = "RamMemoryBlock";
constexpr std::string_view kBlockName = "RamBlock";

/// Addresses of guests have fewer than 52 bits on every processor that Hyper-V runs on.
constexpr std::uint64_t kMostPages = (std::uint64_t{1} << 52) / kPageBytes;

struct RegionRecord {
    little_uint32_buf_t version;
    little_uint32_buf_t flags;
    little_uint64_buf_t pages;
    little_uint64_buf_t first_index; // in pages, over all RamBlocks
    little_uint64_buf_t first_page;
    little_uint32_buf_t numa_node;
    little_uint32_buf_t zero;
    little_uint64_buf_t resource_id;
};
static_assert(sizeof(RegionRecord) == 48);

// A number written without leading zeros.
std::optional<std::uint64_t> number_of(std::string_view digits) {
    return digits.size() > 1 && digits[0] == '0' ? std::nullopt : parse_number<std::uint64_t>(digits);
}

// The number behind `prefix` in a key's name, "RamBlock7" or "RamBlock/7".
std::optional<std::uint64_t> numbered(std::string_view name, std::string_view prefix) {
    if (!name.starts_with(prefix)) return std::nullopt;
    name.remove_prefix(prefix.size());
    if (name.starts_with('/')) name.remove_prefix(1);
    if (name.ends_with('/')) name.remove_suffix(1);
    return number_of(name);
}

// Whether all that is wrong with a value is that the file ends inside it.
bool is_cut_off(const KeyEntry& entry) {
    const auto faults = entry.faults.list();
    return faults.size() == 1 && faults.front() == FindingKind::file_object_range;
}

std::string block_names(std::uint64_t first, std::uint64_t count) {
    return count == 1 ? fmt::format("RamBlock{}", first)
                      : fmt::format("RamBlock{} to RamBlock{}", first, first + count - 1);
}

// Gives a block's good pages to `sink` and its others to `losses`. `whole` says what the block is and where it belongs.
Result<void> hand_over(const RamBlock& block, const MemoryLoss& whole, const SavedMemory::PageSink& sink,
                       std::vector<MemoryLoss>& losses) {
    const std::size_t pages = static_cast<std::size_t>(whole.length) / kPageBytes;
    for (std::size_t page = 0; page < pages;) {
        std::size_t end = page + 1;
        while (end < pages && block.good[end] == block.good[page]) ++end;
        const std::uint64_t address = whole.address + page * kPageBytes;
        const std::size_t bytes = (end - page) * kPageBytes;
        if (block.good[page]) VDISK_CHECK(sink(address, std::span(block.bytes).subspan(page * kPageBytes, bytes)));
        else losses.push_back({whole.what, whole.why, address, bytes});
        page = end;
    }
    return ok();
}

} // namespace

Result<SavedMemory> SavedMemory::open(StoragePtr storage) {
    SavedMemory memory(std::move(storage));
    memory.collect_keys();
    if (memory.memory_blocks_.empty())
        return fail(
            ErrorKind::usage,
            "{}: there is no saved memory: no key RamMemoryBlock0, nor RamMemoryBlock/0 as older versions have it",
            printable(memory.storage_->source()->name()));
    for (const auto& [number, keys] : memory.memory_blocks_) memory.add_region(number, keys.front());
    memory.drop_overlapping();
    memory.find_leftovers();
    return memory;
}

// From the first place that has any.
void SavedMemory::collect_keys() {
    for (const char* place : {"/savedstate", "", "/savedVM", "/savedstate/savedVM"}) {
        const auto parents = find_keys(*storage_, place);
        if (parents.has_error() || parents.value().empty()) continue;
        ram_blocks_.clear();
        if (*place == '\0') collect_from(parents.value());
        else collect_from(storage_->tree().children(parents.value().front()));
        if (!memory_blocks_.empty()) return;
    }
}

void SavedMemory::collect_from(std::span<const KeyId> keys) {
    for (const KeyId key : keys) {
        const KeyEntry& entry = storage_->key(key).entry;
        if (entry.type == KeyType::array) collect_numbered(key, entry.name);
        else if (entry.name == kRegionName || entry.name == kBlockName) collect_below(key);
    }
}

void SavedMemory::collect_numbered(KeyId key, std::string_view name) {
    if (const auto region = numbered(name, kRegionName)) memory_blocks_[*region].push_back(key);
    else if (const auto block = numbered(name, kBlockName)) ram_blocks_[*block].push_back(key);
}

// The children of a node RamBlock, whose names are numbers.
void SavedMemory::collect_below(KeyId node) {
    const std::string prefix = std::string(storage_->key(node).entry.name) + "/";
    for (const KeyId child : storage_->tree().children(node))
        if (const KeyId array = array_of(child); array != kNoKey)
            collect_numbered(array, prefix + std::string(storage_->key(child).entry.name));
}

// The key itself, or the only array that a node has.
KeyId SavedMemory::array_of(KeyId key) const {
    if (storage_->key(key).entry.type == KeyType::array) return key;
    KeyId found = kNoKey;
    for (const KeyId child : storage_->tree().children(key)) {
        if (storage_->key(child).entry.type != KeyType::array) continue;
        if (found != kNoKey) return kNoKey;
        found = child;
    }
    return found;
}

// Why a record of `bytes` bytes can't be believed, if so. A record of the size that is not its version's is believed
// only if there are blocks where it says, and then it is told.
std::optional<std::string> SavedMemory::judge_size(std::uint64_t number, std::uint64_t bytes, std::uint32_t version,
                                                   std::uint64_t first_block) {
    const bool old = bytes == kOldRegionBytes;
    if (version > kRegionVersion || (!old && version != kRegionVersion))
        return fmt::format("version {}; only {} is known with {} bytes", version, kRegionVersion, bytes);
    if (!old || version < kRegionVersion) return std::nullopt;
    if (!ram_blocks_.contains(first_block))
        return fmt::format("it has {} bytes and not {}, and there is no RamBlock{}, with which it begins", bytes,
                           sizeof(RegionRecord), first_block);
    losses_.push_back(
        {fmt::format("RamMemoryBlock{}", number),
         fmt::format("it has {} bytes and not {}; its memory is rebuilt all the same", bytes, sizeof(RegionRecord))});
    return std::nullopt;
}

void SavedMemory::add_region(std::uint64_t number, KeyId key) {
    const auto lose = [&](std::string why) {
        losses_.push_back({fmt::format("RamMemoryBlock{}", number), std::move(why)});
    };
    if (number > 0 && !memory_blocks_.contains(number - 1))
        lose(fmt::format("RamMemoryBlock{} is missing before it", number - 1));
    if (memory_blocks_[number].size() > 1)
        return lose(fmt::format("there are {} keys of that name", memory_blocks_[number].size()));
    if (!storage_->key(key).entry.faults.empty()) return lose("its key is damaged");
    const std::uint64_t size = storage_->value_size(key);
    if (size != sizeof(RegionRecord) && size != kOldRegionBytes)
        return lose(fmt::format("it has {} bytes and not {}", size, sizeof(RegionRecord)));
    const auto bytes = storage_->value(key);
    if (bytes.has_error()) return lose(bytes.error().what);
    RegionRecord record{};
    std::memcpy(&record, bytes.value().data(), bytes.value().size());
    if (auto why = judge_size(number, size, record.version.value(), record.first_index.value() / kPagesPerBlock))
        return lose(std::move(*why));
    if (record.first_index.value() % kPagesPerBlock != 0)
        return lose(fmt::format("it begins at page {} inside a RamBlock", record.first_index.value()));
    if (!fits(record.first_page.value(), record.pages.value(), kMostPages))
        return lose(fmt::format("{} pages from page {} are beyond any physical address", record.pages.value(),
                                record.first_page.value()));
    regions_.push_back({.number = static_cast<std::uint32_t>(number),
                        .first_page = record.first_page.value(),
                        .pages = record.pages.value(),
                        .first_block = record.first_index.value() / kPagesPerBlock,
                        .flags = record.flags.value(),
                        .numa_node = record.numa_node.value()});
}

void SavedMemory::drop_overlapping() {
    std::sort(regions_.begin(), regions_.end(), [](const MemoryRegion& a, const MemoryRegion& b) {
        return std::pair(a.first_page, a.number) < std::pair(b.first_page, b.number);
    });
    std::vector<MemoryRegion> apart;
    for (const MemoryRegion& region : regions_) {
        if (apart.empty() || apart.back().first_page + apart.back().pages <= region.first_page) {
            apart.push_back(region);
            continue;
        }
        losses_.push_back({fmt::format("RamMemoryBlock{}", region.number),
                           fmt::format("it overlaps RamMemoryBlock{}", apart.back().number), region.start(),
                           region.bytes()});
    }
    regions_ = std::move(apart);
}

void SavedMemory::find_leftovers() {
    for (const auto& [number, keys] : ram_blocks_) {
        const bool used =
            std::any_of(regions_.begin(), regions_.end(), [&, block = number](const MemoryRegion& region) {
                return block >= region.first_block && block - region.first_block < region.blocks();
            });
        if (!used) losses_.push_back({fmt::format("RamBlock{}", number), "no region that could be placed holds it"});
    }
}

std::uint64_t SavedMemory::end() const noexcept {
    return regions_.empty() ? 0 : regions_.back().start() + regions_.back().bytes();
}

void SavedMemory::read_block(std::uint64_t number, RamBlock& block) const {
    block.good.reset();
    const auto keys = ram_blocks_.find(number);
    if (keys == ram_blocks_.end()) {
        block.fault = "it is missing";
        return;
    }
    const KeyId key = keys->second.front();
    if (keys->second.size() > 1) {
        block.fault = fmt::format("there are {} keys of that name", keys->second.size());
    } else if (const KeyEntry& entry = storage_->key(key).entry; !entry.faults.empty() && !is_cut_off(entry)) {
        block.fault = fmt::format("its key is damaged: {}", to_string(entry.faults.list().front()));
    } else {
        read_stored(key, block);
    }
}

void SavedMemory::read_stored(KeyId key, RamBlock& block) const {
    const KeyEntry& entry = storage_->key(key).entry;
    const std::uint64_t length = entry.pointer ? entry.pointer->size : entry.data.size();
    if (length > kBlockBytes) return decode_ram_block({}, length, block);
    std::vector<std::byte> stored(static_cast<std::size_t>(storage_->value_size(key)));
    const StoredPages pages = read_pages(key, stored);
    // What follows a page that can't be read has a place only where nothing is compressed.
    if (length != kBlockBytes) stored.resize(pages.before_fault);
    decode_ram_block(stored, length, block);
    if (length == kBlockBytes) block.good &= pages.good;
    if (!pages.fault.empty()) block.fault = pages.fault;
    else if (!block.fault.empty() && is_cut_off(entry)) block.fault = "the file ends in it: " + block.fault;
}

// Reads a value; where that fails, page by page.
SavedMemory::StoredPages SavedMemory::read_pages(KeyId key, std::span<std::byte> out) const {
    StoredPages pages{.before_fault = out.size()};
    pages.good.set();
    if (storage_->read_value(key, 0, out).has_value()) return pages;
    for (std::size_t at = 0; at < out.size(); at += kPageBytes) {
        const auto got = storage_->read_value(key, at, out.subspan(at, std::min(kPageBytes, out.size() - at)));
        if (got.has_value()) continue;
        if (pages.fault.empty()) {
            pages.fault = got.error().what;
            pages.before_fault = at;
        }
        pages.good.reset(at / kPageBytes);
    }
    return pages;
}

Result<std::vector<MemoryLoss>> SavedMemory::read_all(const PageSink& sink, const Progress& progress) const {
    std::vector<MemoryLoss> losses;
    for (const MemoryRegion& region : regions_) VDISK_CHECK(read_region(region, sink, progress, losses));
    return losses;
}

Result<void> SavedMemory::read_region(const MemoryRegion& region, const PageSink& sink, const Progress& progress,
                                      std::vector<MemoryLoss>& losses) const {
    RamBlock block;
    for (std::uint64_t i = 0; i < region.blocks();) {
        const std::uint64_t address = region.start() + i * kBlockBytes;
        const std::uint64_t left = region.bytes() - i * kBlockBytes;
        if (const std::uint64_t missing = missing_from(region.first_block + i, region.blocks() - i); missing > 0) {
            losses.push_back({block_names(region.first_block + i, missing), "missing", address,
                              std::min(missing * kBlockBytes, left)});
            i += missing;
            continue;
        }
        read_block(region.first_block + i, block);
        const auto bytes = static_cast<std::size_t>(std::min<std::uint64_t>(kBlockBytes, left));
        VDISK_CHECK(
            hand_over(block, {block_names(region.first_block + i, 1), block.fault, address, bytes}, sink, losses));
        VDISK_CHECK(tell(progress, address + bytes, end()));
        ++i;
    }
    return ok();
}

// How many blocks in a row from `number` on are not in the file, `most` at most: a region may claim any number of them.
std::uint64_t SavedMemory::missing_from(std::uint64_t number, std::uint64_t most) const {
    const auto next = ram_blocks_.lower_bound(number);
    return next == ram_blocks_.end() ? most : std::min(most, next->first - number);
}

} // namespace vdisk::hyperv
