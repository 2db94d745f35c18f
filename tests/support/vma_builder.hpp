// SPDX-License-Identifier: Apache-2.0
/// VMA archives built from flat disks, in whatever order and with whatever masks a test wants; also wrong ones.
#pragma once

#include "base/digest.hpp"
#include "format/vma/header.hpp"

#include <algorithm>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

namespace vdisk::test {

using Bytes = std::vector<std::byte>;

class VmaBuilder {
public:
    static constexpr std::size_t kCluster = 65536;
    static constexpr std::size_t kBlock = 4096;
    static constexpr std::size_t kExtentHeader = 512;

    /// One cluster as an extent's slot holds it. Device 0 is an unused slot.
    struct Slot {
        std::uint8_t device = 0;
        std::uint32_t cluster = 0;
        std::uint16_t mask = 0;
        Bytes data{}; ///< of the blocks that the mask has
    };

    VmaBuilder() : blobs_(1) {}

    void add_device(std::uint8_t id, const std::string& name, std::uint64_t size) {
        devices_.push_back({id, add_blob(name + '\0'), size});
    }
    void add_configuration(const std::string& name, const std::string& data) {
        configurations_.emplace_back(add_blob(name + '\0'), add_blob(data));
    }

    /// A cluster of a flat disk. The blocks in `also` are stored although they are zeros.
    static Slot slot_of(std::uint8_t device, const Bytes& disk, std::uint32_t cluster, std::uint16_t also = 0) {
        Slot slot{.device = device, .cluster = cluster};
        for (std::size_t i = 0; i < 16; ++i) {
            const std::size_t start = std::size_t{cluster} * kCluster + i * kBlock;
            if (start >= disk.size()) break;
            Bytes block(disk.begin() + static_cast<std::ptrdiff_t>(start),
                        disk.begin() + static_cast<std::ptrdiff_t>(std::min(start + kBlock, disk.size())));
            const bool zeros = std::ranges::all_of(block, [](std::byte byte) { return byte == std::byte{0}; });
            if (zeros && (also >> i & 1) == 0) continue;
            block.resize(kBlock);
            slot.mask = static_cast<std::uint16_t>(slot.mask | 1U << i);
            slot.data.insert(slot.data.end(), block.begin(), block.end());
        }
        return slot;
    }

    void add_extent(const std::vector<Slot>& slots) {
        Bytes extent(kExtentHeader);
        std::uint16_t blocks = 0;
        for (std::size_t i = 0; i < slots.size(); ++i) {
            const Slot& slot = slots[i];
            put(extent, 40 + 8 * i, std::uint64_t{slot.mask} << 48 | std::uint64_t{slot.device} << 32 | slot.cluster);
            extent.insert(extent.end(), slot.data.begin(), slot.data.end());
            blocks = static_cast<std::uint16_t>(blocks + slot.data.size() / kBlock);
        }
        std::memcpy(extent.data(), "VMAE", 4);
        put(extent, 6, blocks);
        std::memcpy(extent.data() + 8, uuid_.data(), uuid_.size());
        sum_extent(extent, 0);
        extents_.push_back(std::move(extent));
    }

    /// All slots, in extents of at most `most` of them.
    void add_extents(const std::vector<Slot>& slots, std::size_t most) {
        for (std::size_t i = 0; i < slots.size(); i += most)
            add_extent({slots.begin() + static_cast<std::ptrdiff_t>(i),
                        slots.begin() + static_cast<std::ptrdiff_t>(std::min(i + most, slots.size()))});
    }

    Bytes header() const {
        Bytes bytes((12288 + blobs_.size() + 511) / 512 * 512);
        std::ranges::copy(blobs_, bytes.begin() + 12288);
        std::memcpy(bytes.data(), "VMA\0", 4);
        put(bytes, 4, std::uint32_t{1});
        std::memcpy(bytes.data() + 8, uuid_.data(), uuid_.size());
        put(bytes, 24, std::uint64_t{1700000000});
        put(bytes, 48, std::uint32_t{12288});
        put(bytes, 52, static_cast<std::uint32_t>(blobs_.size()));
        put(bytes, 56, static_cast<std::uint32_t>(bytes.size()));
        for (std::size_t i = 0; i < configurations_.size(); ++i) {
            put(bytes, 2044 + 4 * i, configurations_[i].first);
            put(bytes, 3068 + 4 * i, configurations_[i].second);
        }
        for (const DeviceEntry& device : devices_) {
            put(bytes, 4096 + std::size_t{device.id} * 32, device.name);
            put(bytes, 4096 + std::size_t{device.id} * 32 + 8, device.size);
        }
        sum_header(bytes);
        return bytes;
    }

    /// The archive. `offsets`, if given, becomes where each extent starts.
    Bytes build(std::vector<std::size_t>* offsets = nullptr) const {
        Bytes bytes = header();
        for (const Bytes& extent : extents_) {
            if (offsets != nullptr) offsets->push_back(bytes.size());
            bytes.insert(bytes.end(), extent.begin(), extent.end());
        }
        return bytes;
    }

    /// Writes a big-endian number.
    template<class Number> static void put(Bytes& bytes, std::size_t at, Number number) {
        for (std::size_t i = 0; i < sizeof number; ++i)
            bytes[at + i] = static_cast<std::byte>(static_cast<std::uint64_t>(number) >> 8 * (sizeof number - 1 - i));
    }

    /// Makes the checksum of an archive's header, or of the extent at `at`, right again after a change.
    static void sum_header(Bytes& archive) {
        const std::size_t size = std::min(archive.size(), read_u32(archive, 56));
        sum(archive, 0, size, 32);
    }
    static void sum_extent(Bytes& archive, std::size_t at) { sum(archive, at, kExtentHeader, 24); }

private:
    struct DeviceEntry {
        std::uint8_t id;
        std::uint32_t name;
        std::uint64_t size;
    };

    static std::size_t read_u32(const Bytes& bytes, std::size_t at) {
        std::size_t value = 0;
        for (std::size_t i = 0; i < 4; ++i) value = value << 8 | static_cast<std::size_t>(bytes[at + i]);
        return value;
    }

    static void sum(Bytes& bytes, std::size_t start, std::size_t size, std::size_t field) {
        if (size < field + 16) return; // too small to have one
        const auto summed = std::span(bytes).subspan(start, size);
        std::ranges::fill(summed.subspan(field, 16), std::byte{0});
        Hasher hasher("MD5");
        hasher.add(summed);
        const auto md5 = hasher.finish<16>();
        std::ranges::copy(md5.value(), summed.subspan(field, 16).begin());
    }

    std::uint32_t add_blob(const std::string& content) {
        const auto at = static_cast<std::uint32_t>(blobs_.size());
        blobs_.push_back(static_cast<std::byte>(content.size() & 0xFF));
        blobs_.push_back(static_cast<std::byte>(content.size() >> 8));
        for (const char byte : content) blobs_.push_back(static_cast<std::byte>(byte));
        return at;
    }

    vma::Uuid uuid_{std::byte{0xAB}, std::byte{0xCD}, std::byte{3}};
    Bytes blobs_; // the first byte is a pad: 0 points at nothing
    std::vector<DeviceEntry> devices_;
    std::vector<std::pair<std::uint32_t, std::uint32_t>> configurations_;
    std::vector<Bytes> extents_;
};

} // namespace vdisk::test
