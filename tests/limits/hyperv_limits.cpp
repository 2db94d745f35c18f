// SPDX-License-Identifier: Apache-2.0
#include "hyperv/remnants.hpp"
#include "hyperv/storage.hpp"
#include "hyperv/value.hpp"
#include "hyperv_builder.hpp"
#include "io/file_source.hpp"
#include "limits.hpp"
#include "system_reads.hpp"

#include <algorithm>

namespace vdisk::test {
namespace {

using namespace vdisk::hyperv;

constexpr std::uint64_t kMiB = 1U << 20;
constexpr const char* kFile = "machine.vmcx";

struct Opened {
    StoragePtr storage;
    std::uint64_t size = 0;
};

Opened opened(const Folder& folder, bool best_effort) {
    const auto file = required(FileSource::open(folder / kFile, FileKinds::regular_only), "opening the file");
    return {.storage = required(Storage::open(file, {.replay = true, .best_effort = best_effort}), "opening"),
            .size = file->size()};
}

// What hvconfig does with a file: opens it both ways and looks at each key and for what was deleted.
void check_file(const Folder& folder, std::size_t keys, std::size_t findings_most) {
    for (const bool best_effort : {false, true}) {
        const CountedReads reads;
        const Opened file = opened(folder, best_effort);
        require(file.storage->keys().size() == keys, std::to_string(file.storage->keys().size()) + " keys");
        require_at_most(file.storage->findings().size(), findings_most, "findings");
        (void)find_remnants(*file.storage);
        require_at_most(reads.bytes(), 16 * file.size + kMiB, "bytes read");
    }
}

constexpr std::size_t kKeys = 200'000;

LimitCase deep_tree() {
    return {.name = "hyperv: 200,000 nodes, each in the one before",
            .make =
                [](const Folder& folder) {
                    Forest forest;
                    std::size_t parent = Forest::kRoot;
                    for (std::size_t i = 0; i < kKeys; ++i) parent = forest.add({.name = "n"}, parent);
                    write_file(folder / kFile, HypervBuilder({.table_bytes = 65536}).build(forest).bytes);
                },
            .check = [](const Folder& folder) { check_file(folder, kKeys, 100); }};
}

// Entries whose parent is the next one, and the last one's the first: circles through all tables, or many small ones.
LimitCase circles(std::size_t length) {
    return {.name = "hyperv: keys whose parents are each other, in circles of " + std::to_string(length),
            .make =
                [=](const Folder& folder) {
                    Forest forest;
                    for (std::size_t i = 0; i < kKeys; ++i) forest.add({.name = "n"});
                    HypervBuilder builder({.table_bytes = 65536});
                    BuiltFile file = builder.build(forest);
                    const auto link = [&](std::size_t from, std::size_t to) {
                        const std::size_t at = builder.entry_offset(from);
                        const std::size_t there = builder.entry_offset(to);
                        const std::size_t first = builder.entry_offset(0) - 10;
                        const std::size_t table = (there - first) / 65536;
                        const auto put = [&](std::size_t place, const std::vector<std::byte>& bytes) {
                            std::copy(bytes.begin(), bytes.end(),
                                      file.bytes.begin() + static_cast<std::ptrdiff_t>(place));
                        };
                        put(at + 6, little(static_cast<std::uint16_t>(table + 1)));
                        put(at + 8, little(static_cast<std::uint32_t>((there - first) % 65536)));
                        put(at + 12, little<std::uint32_t>(0));
                        put(at + 12, little(bitwise_crc32(std::span(file.bytes).subspan(at, 21 + 2 + 12))));
                    };
                    for (std::size_t start = 0; start + length <= kKeys; start += length)
                        for (std::size_t i = 0; i < length; ++i) link(start + i, start + (i + 1) % length);
                    write_file(folder / kFile, file.bytes);
                },
            .check =
                [=](const Folder& folder) {
                    const Opened file = opened(folder, false);
                    const auto cut = static_cast<std::size_t>(
                        std::ranges::count_if(file.storage->findings(), [](const Finding& finding) {
                            return finding.kind == FindingKind::unreachable;
                        }));
                    require(cut == kKeys / length, std::to_string(cut) + " circles are cut");
                    check_file(folder, kKeys, kKeys + 100);
                }};
}

// Keys that all point to one file object, as long as a value can be.
LimitCase one_object() {
    return {.name = "hyperv: 10,000 keys with one value of 64 MiB",
            .make =
                [](const Folder& folder) {
                    Forest forest;
                    for (std::size_t i = 0; i < 10'000; ++i)
                        forest.add({.name = "v" + std::to_string(i), .type = 7, .value = std::vector<std::byte>(3000)});
                    HypervBuilder builder({.table_bytes = 65536});
                    BuiltFile file = builder.build(forest);
                    for (std::size_t i = 0; i < 10'000; ++i) {
                        const std::size_t at = builder.entry_offset(i);
                        const std::size_t data = at + 21 + 1 + 1 + std::to_string(i).size();
                        const auto put = [&](std::size_t place, const std::vector<std::byte>& bytes) {
                            std::copy(bytes.begin(), bytes.end(),
                                      file.bytes.begin() + static_cast<std::ptrdiff_t>(place));
                        };
                        put(data, little<std::uint32_t>(64U << 20));
                        put(data + 4, little<std::uint64_t>(1U << 20));
                        put(at + 12, little<std::uint32_t>(0));
                        put(at + 12, little(bitwise_crc32(std::span(file.bytes).subspan(at, data + 12 - at))));
                    }
                    write_file(folder / kFile, file.bytes, 80 * kMiB);
                },
            .check =
                [](const Folder& folder) {
                    check_file(folder, 10'000, 40'000);
                    const Opened file = opened(folder, false);
                    for (KeyId key = 0; key < 10; ++key)
                        require(required(file.storage->value(key), "value").size() == 64 * kMiB, "a value is short");
                }};
}

LimitCase object_tables() {
    return {.name = "hyperv: object tables in a circle, of 2^32 - 1 slots",
            .make =
                [](const Folder& folder) {
                    Forest forest;
                    for (std::size_t i = 0; i < 1000; ++i) forest.add({.name = "n"});
                    BuiltFile file = HypervBuilder({.slots = 3}).build(forest);
                    // The slots of each table lead back to the first one.
                    for (std::size_t at = 8192; at + 4096 <= file.bytes.size(); at += 4096) {
                        const auto put = [&](std::size_t place, const std::vector<std::byte>& bytes) {
                            std::copy(bytes.begin(), bytes.end(),
                                      file.bytes.begin() + static_cast<std::ptrdiff_t>(place));
                        };
                        put(at, little<std::uint32_t>(0x01110001));
                        put(at + 4, little<std::uint32_t>(0xFFFFFFFF));
                        for (std::size_t slot = at + 8; slot + 18 <= at + 4096; slot += 18) {
                            put(slot, little<std::uint8_t>(1));
                            put(slot + 1, little<std::uint32_t>(0));
                            put(slot + 5, little<std::uint64_t>(8192 + (slot / 18 % 1000) * 4096 %
                                                                           (file.bytes.size() - 8192) / 4096 * 4096));
                            put(slot + 13, little<std::uint32_t>(4096));
                            put(slot + 17, little<std::uint8_t>(0));
                            put(slot + 1, little(bitwise_crc32(std::span(file.bytes).subspan(slot, 18))));
                        }
                    }
                    write_file(folder / kFile, file.bytes);
                },
            .check =
                [](const Folder& folder) {
                    const CountedReads reads;
                    const auto file =
                        required(FileSource::open(folder / kFile, FileKinds::regular_only), "opening the file");
                    const auto storage = Storage::open(file, {});
                    require(storage.has_error() || storage.value()->keys().empty(), "keys out of nothing");
                    require_at_most(reads.bytes(), 64 * file->size() + kMiB, "bytes read");
                }};
}

} // namespace

std::vector<LimitCase> hyperv_limits() {
    return {deep_tree(), circles(2), circles(50'000), one_object(), object_tables()};
}

} // namespace vdisk::test
