// SPDX-License-Identifier: Apache-2.0
/// The guest's memory in a saved state (.vmrs): which blocks make up which physical addresses.
#pragma once

#include "hyperv/ram_block.hpp"
#include "hyperv/storage.hpp"
#include "io/progress.hpp"

#include <functional>
#include <map>

namespace vdisk::hyperv {

/// A contiguous range of guest-physical memory, from a RamMemoryBlock key. Their records have 48 bytes and version 3,
/// or 40 and an earlier one.
struct MemoryRegion {
    std::uint32_t number = 0;
    std::uint64_t first_page = 0; ///< guest page number
    std::uint64_t pages = 0;
    std::uint64_t first_block = 0; ///< number of its first RamBlock
    std::uint32_t flags = 0;
    std::uint32_t numa_node = 0;

    [[nodiscard]] std::uint64_t start() const noexcept { return first_page * kPageBytes; }
    [[nodiscard]] std::uint64_t bytes() const noexcept { return pages * kPageBytes; }
    [[nodiscard]] std::uint64_t blocks() const noexcept { return div_ceil(pages, kPagesPerBlock); }
};

/// Something that could not be rebuilt.
struct MemoryLoss {
    std::string what; ///< "RamBlock5", "RamMemoryBlock1", ...
    std::string why;
    std::uint64_t address = 0; ///< guest-physical; with length 0 if it has none
    std::uint64_t length = 0;
};

class SavedMemory {
public:
    /// Receives memory in rising addresses, in runs of whole pages; an error it returns ends the reading.
    using PageSink = std::function<Result<void>(std::uint64_t address, std::span<const std::byte> bytes)>;

    /// `usage` if the file has no saved memory. Keeps `storage`. The keys are /savedstate/RamMemoryBlock0, ..RamBlock0;
    /// in states of machines of version 5.0 and older RamMemoryBlock/0 and RamBlock/0 as root keys or below /savedVM.
    [[nodiscard]] static Result<SavedMemory> open(StoragePtr storage);

    /// The regions that can be placed, by rising address; no two overlap.
    [[nodiscard]] const std::vector<MemoryRegion>& regions() const noexcept { return regions_; }
    /// What could not be placed.
    [[nodiscard]] const std::vector<MemoryLoss>& losses() const noexcept { return losses_; }
    /// One behind the last address; 0 without regions.
    [[nodiscard]] std::uint64_t end() const noexcept;

    /// Rebuilds one block. `block` may be used again.
    void read_block(std::uint64_t number, RamBlock& block) const;

    /// Rebuilds all regions into `sink`; returns what is missing of them. Progress is in bytes of addresses.
    [[nodiscard]] Result<std::vector<MemoryLoss>> read_all(const PageSink& sink, const Progress& progress = {}) const;

private:
    // Which of a value's bytes could be read.
    struct StoredPages {
        std::bitset<kPagesPerBlock> good{};
        std::size_t before_fault = 0; ///< bytes that lie before the first page that could not
        std::string fault{};          ///< why
    };

    explicit SavedMemory(StoragePtr storage) : storage_(std::move(storage)) {}

    void collect_keys();
    void collect_from(std::span<const KeyId> keys);
    void collect_numbered(KeyId key, std::string_view name);
    void collect_below(KeyId node);
    [[nodiscard]] KeyId array_of(KeyId key) const;
    void add_region(std::uint64_t number, KeyId key);
    std::optional<std::string> judge_size(std::uint64_t number, std::uint64_t bytes, std::uint32_t version,
                                          std::uint64_t first_block);
    void drop_overlapping();
    void find_leftovers();
    StoredPages read_pages(KeyId key, std::span<std::byte> out) const;
    void read_stored(KeyId key, RamBlock& block) const;
    std::uint64_t missing_from(std::uint64_t number, std::uint64_t most) const;
    Result<void> read_region(const MemoryRegion& region, const PageSink& sink, const Progress& progress,
                             std::vector<MemoryLoss>& losses) const;

    StoragePtr storage_;
    std::map<std::uint64_t, std::vector<KeyId>> memory_blocks_;
    std::map<std::uint64_t, std::vector<KeyId>> ram_blocks_;
    std::vector<MemoryRegion> regions_;
    std::vector<MemoryLoss> losses_;
};

} // namespace vdisk::hyperv
