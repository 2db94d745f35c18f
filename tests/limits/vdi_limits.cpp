// SPDX-License-Identifier: Apache-2.0
#include "base/checked.hpp"
#include "image/image.hpp"
#include "limits.hpp"
#include "open/open.hpp"
#include "open/report.hpp"
#include "system_reads.hpp"

#include <algorithm>
#include <array>
#include <fstream>

namespace vdisk::test {
namespace {

constexpr const char* kImage = "disk.vdi";
constexpr std::uint64_t kMiB = 1U << 20;
constexpr std::uint64_t kMapAt = 1024;

std::string image_in(const Folder& folder) {
    return (folder / kImage).string();
}

void put(Bytes& bytes, std::size_t at, std::uint64_t value, std::size_t count) {
    for (std::size_t i = 0; i < count; ++i) bytes[at + i] = static_cast<std::byte>(value >> (8 * i));
}

struct Claims {
    std::uint32_t blocks = 0xFFFFFFFF;
    std::uint32_t block_size = 1U << 20;
    std::uint64_t data_offset = 4096;
};

// A header of major 1 alone.
Bytes header(const Claims& claims) {
    Bytes bytes(kMapAt);
    put(bytes, 64, 0xBEDA107F, 4);
    put(bytes, 68, 0x00010001, 4);
    put(bytes, 72, 400, 4);
    put(bytes, 76, 1, 4);
    put(bytes, 340, kMapAt, 4);
    put(bytes, 344, claims.data_offset, 4);
    put(bytes, 368, std::uint64_t{claims.blocks} * claims.block_size, 8);
    put(bytes, 376, claims.block_size, 4);
    put(bytes, 384, claims.blocks, 4);
    put(bytes, 388, 0, 4);
    put(bytes, 392, 1, 1);
    return bytes;
}

LimitCase map_past_the_end() {
    return {.name = "vdi: a map of 2^32 - 1 blocks past the end of the file",
            .make = [](const Folder& folder) { write_file(folder / kImage, header({})); },
            .check =
                [](const Folder& folder) {
                    const CountedReads reads;
                    require_error(open_disk(image_in(folder), {}), ErrorKind::corrupt, "opening");
                    require_at_most(reads.bytes(), 16384, "bytes read");
                }};
}

// The hole is a map whose entries all name block 0; it goes as far as a data offset can tell.
LimitCase map_in_a_hole() {
    return {.name = "vdi: a map of 1073478400 blocks, all of them block 0, in a sparse file",
            .make =
                [](const Folder& folder) {
                    const Claims claims{.blocks = (0xFFF00000 - kMapAt) / 4, .data_offset = 0xFFF00000};
                    write_file(folder / kImage, header(claims), (std::uint64_t{4} << 30) + 2 * kMiB);
                },
            .check =
                [](const Folder& folder) {
                    const CountedReads reads;
                    const OpenedDisk disk = required(open_disk(image_in(folder), {}), "opening");
                    Bytes piece(4096);
                    for (std::uint64_t part = 0; part < 8; ++part)
                        require_error(disk.image->read_at(disk.image->size() / 8 / kMiB * kMiB * part, piece),
                                      ErrorKind::corrupt, "reading");
                    require_at_most(reads.bytes(), 33 * kMiB, "bytes read"); // 8388608 entries of the map
                    require(!to_text(describe(disk.file)).empty(), "info says nothing");
                    // Reads the map, which is as long as the file.
                    const auto stopped = audit_file(
                        disk.file, {.progress = [](std::uint64_t done, std::uint64_t) { return done < 1'000'000; }});
                    (void)stopped;
                }};
}

// Room for more blocks than an audit keeps users of.
LimitCase audit_of_many_blocks() {
    return {.name = "vdi: an audit of 2^32 blocks of a sector",
            .make =
                [](const Folder& folder) {
                    write_file(folder / kImage, header({.blocks = 1000, .block_size = 512, .data_offset = 8192}),
                               std::uint64_t{1} << 41);
                },
            .check =
                [](const Folder& folder) {
                    const CountedReads reads;
                    const OpenedFile file = required(open_file(image_in(folder), {}), "opening");
                    require_error(audit_file(file, {}), ErrorKind::limit_exceeded, "audit");
                    require_at_most(reads.bytes(), 65536, "bytes read");
                }};
}

LimitCase audit_at_the_limit() {
    constexpr std::uint64_t kBlocks = (160U << 20) / 4;
    return {.name = "vdi: an audit of as many blocks as it takes",
            .make =
                [=](const Folder& folder) {
                    write_file(folder / kImage, header({.blocks = 1000, .block_size = 512, .data_offset = 8192}),
                               8192 + kBlocks * 512);
                },
            .check =
                [](const Folder& folder) {
                    const CountedReads reads;
                    const OpenedFile file = required(open_file(image_in(folder), {}), "opening");
                    require(audit_file(file, {}).has_value(), "no report");
                    require_at_most(reads.bytes(), 65536, "bytes read");
                }};
}

} // namespace

std::vector<LimitCase> vdi_limits() {
    return {map_past_the_end(), map_in_a_hole(), audit_of_many_blocks(), audit_at_the_limit()};
}

} // namespace vdisk::test
