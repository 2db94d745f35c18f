// SPDX-License-Identifier: Apache-2.0
#include "hyperv/saved_memory.hpp"

#include "base/text.hpp"
#include "hyperv/value.hpp"

#include <boost/endian/buffers.hpp>

#include <algorithm>
#include <charconv>
#include <cstring>

namespace vdisk::hyperv {
namespace {

using namespace boost::endian;

constexpr std::uint32_t kRegionVersion = 3;

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

// The number behind `prefix` in a key's name, written without leading zeros.
std::optional<std::uint64_t> numbered(std::string_view name, std::string_view prefix) {
    if (!name.starts_with(prefix)) return std::nullopt;
    name.remove_prefix(prefix.size());
    std::uint64_t number = 0;
    const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), number);
    if (error != std::errc{} || end != name.data() + name.size() || (name.size() > 1 && name[0] == '0'))
        return std::nullopt;
    return number;
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
    const KeyId parent = find_key(*memory.storage_, "/savedstate");
    if (parent != kNoKey) memory.collect_keys(parent);
    if (memory.memory_blocks_.empty())
        return fail(ErrorKind::usage, "{}: there is no saved memory: no key /savedstate/RamMemoryBlock0",
                    printable(memory.storage_->source()->name()));
    for (const auto& [number, keys] : memory.memory_blocks_) memory.add_region(number, keys.front());
    memory.drop_overlapping();
    memory.find_leftovers();
    return memory;
}

void SavedMemory::collect_keys(KeyId parent) {
    for (const KeyId key : storage_->tree().children(parent)) {
        const KeyEntry& entry = storage_->key(key).entry;
        if (entry.type != KeyType::array) continue;
        if (const auto region = numbered(entry.name, "RamMemoryBlock")) memory_blocks_[*region].push_back(key);
        else if (const auto block = numbered(entry.name, "RamBlock")) ram_blocks_[*block].push_back(key);
    }
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
    const auto bytes = storage_->value(key);
    if (bytes.has_error()) return lose(bytes.error().what);
    if (bytes.value().size() != sizeof(RegionRecord))
        return lose(fmt::format("it has {} bytes and not {}", bytes.value().size(), sizeof(RegionRecord)));
    RegionRecord record;
    std::memcpy(&record, bytes.value().data(), sizeof record);
    if (record.version.value() != kRegionVersion)
        return lose(fmt::format("version {}; only {} is known", record.version.value(), kRegionVersion));
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
    } else if (!storage_->key(key).entry.faults.empty()) {
        block.fault = fmt::format("its key is damaged: {}", to_string(storage_->key(key).entry.faults.list().front()));
    } else if (storage_->value_size(key) > kBlockBytes) {
        block.fault = fmt::format("{} bytes, more than 1 MiB", storage_->value_size(key));
    } else if (const auto stored = storage_->value(key); stored.has_error()) {
        block.fault = stored.error().what;
    } else {
        decode_ram_block(stored.value(), block);
    }
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
