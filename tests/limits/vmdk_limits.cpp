// SPDX-License-Identifier: Apache-2.0
#include "image/image.hpp"
#include "limits.hpp"
#include "open/open.hpp"
#include "open/report.hpp"
#include "system_reads.hpp"

#include <string_view>

namespace vdisk::test {
namespace {

constexpr std::uint64_t kMiB = 1U << 20;

void put(Bytes& bytes, std::size_t at, std::uint64_t value, std::size_t count) {
    if (bytes.size() < at + count) bytes.resize(at + count);
    for (std::size_t i = 0; i < count; ++i) bytes[at + i] = static_cast<std::byte>(value >> (8 * i));
}

void put(Bytes& bytes, std::size_t at, std::string_view text) {
    if (bytes.size() < at + text.size()) bytes.resize(at + text.size());
    for (std::size_t i = 0; i < text.size(); ++i) bytes[at + i] = static_cast<std::byte>(text[i]);
}

struct Hosted {
    std::uint64_t sectors = 0;
    std::uint64_t grain = 128;
    std::uint64_t directory = 4; ///< sector
    bool packed = false;
};

// The header with a descriptor of a sector behind it.
Bytes hosted_start(const Hosted& disk) {
    Bytes bytes(1024);
    put(bytes, 0, "KDMV");
    put(bytes, 4, 3, 4);
    put(bytes, 8, disk.packed ? 0x30001 : 1, 4);
    put(bytes, 12, disk.sectors, 8);
    put(bytes, 20, disk.grain, 8);
    put(bytes, 28, 1, 8);
    put(bytes, 36, 1, 8);
    put(bytes, 44, 512, 4);
    put(bytes, 56, disk.directory, 8);
    put(bytes, 73, "\n \r\n");
    put(bytes, 77, disk.packed ? 1 : 0, 2);
    put(bytes, 512,
        "# Disk DescriptorFile\nparentCID=ffffffff\nRW " + std::to_string(disk.sectors) + " SPARSE \"d\"\n");
    return bytes;
}

std::string path_of(const Folder& folder) {
    return (folder / "disk.vmdk").string();
}

LimitCase one_table_for_all() {
    return {.name = "vmdk: 65536 tables that are one, all of whose entries name one grain",
            .make =
                [](const Folder& folder) {
                    Bytes bytes = hosted_start({.sectors = std::uint64_t{1} << 32});
                    const std::size_t table = 4 * 512 + 65536 * 4;
                    for (std::size_t i = 0; i < 65536; ++i) put(bytes, 4 * 512 + i * 4, table / 512, 4);
                    for (std::size_t i = 0; i < 512; ++i) put(bytes, table + i * 4, table / 512 + 128, 4);
                    write_file(folder / "disk.vmdk", bytes, std::uint64_t{1} << 40);
                },
            .check =
                [](const Folder& folder) {
                    const CountedReads reads;
                    const OpenedDisk disk = required(open_disk(path_of(folder), {}), "opening");
                    Bytes piece(4096);
                    for (std::uint64_t part = 0; part < 8; ++part)
                        require_error(disk.image->read_at(disk.image->size() / 8 * part, piece), ErrorKind::corrupt,
                                      "reading");
                    require_at_most(reads.bytes(), 10 * kMiB, "bytes read");
                    require_error(audit_file(disk.file, {}), ErrorKind::limit_exceeded, "audit");
                }};
}

LimitCase directory_in_a_hole(std::uint64_t tables, bool fits) {
    return {.name = "vmdk: a directory of " + std::to_string(tables) + " entries in a hole",
            .make =
                [=](const Folder& folder) {
                    write_file(folder / "disk.vmdk", hosted_start({.sectors = tables * 512 * 128}),
                               std::uint64_t{1} << 40);
                },
            .check =
                [=](const Folder& folder) {
                    const CountedReads reads;
                    const auto disk = open_disk(path_of(folder), {});
                    if (!fits) return require_error(disk, ErrorKind::limit_exceeded, "opening");
                    require(disk.has_value(), "does not open");
                    require_at_most(reads.bytes(), 20 * kMiB, "bytes read");
                }};
}

LimitCase stream_of_nothing() {
    return {.name = "vmdk: a stream-optimized file of 1 TiB without a directory and without a grain",
            .make =
                [](const Folder& folder) {
                    Bytes bytes = hosted_start({.sectors = 1 << 20, .directory = ~std::uint64_t{0}, .packed = true});
                    write_file(folder / "disk.vmdk", bytes, std::uint64_t{1} << 40);
                },
            .check =
                [](const Folder& folder) {
                    const CountedReads reads;
                    const OpenedDisk disk = required(open_disk(path_of(folder), {}), "opening");
                    Bytes piece(4096);
                    require_error(disk.image->read_at(0, piece), ErrorKind::truncated, "reading");
                    require_at_most(reads.bytes(), 1026 * kMiB, "bytes read");
                }};
}

LimitCase grains_of_packed(std::uint64_t sectors, bool fits) {
    return {.name = "vmdk: compressed grains of " + std::to_string(sectors) + " sectors",
            .make =
                [=](const Folder& folder) {
                    write_file(folder / "disk.vmdk",
                               hosted_start({.sectors = 1 << 20, .grain = sectors, .packed = true}), kMiB);
                },
            .check =
                [=](const Folder& folder) {
                    const auto disk = open_disk(path_of(folder), {});
                    if (!fits) return require_error(disk, ErrorKind::corrupt, "opening");
                    require(disk.has_value(), "does not open");
                }};
}

// `lines` that each say the same.
LimitCase descriptor_of(const std::string& line, std::size_t lines, bool opens, ErrorKind kind) {
    return {.name = "vmdk: a descriptor of " + std::to_string(lines) + " lines " + line.substr(0, 16),
            .make =
                [=](const Folder& folder) {
                    Bytes bytes;
                    put(bytes, 0, "# Disk DescriptorFile\nparentCID=ffffffff\n");
                    for (std::size_t i = 0; i < lines; ++i) put(bytes, bytes.size(), line + "\n");
                    write_file(folder / "disk.vmdk", bytes);
                },
            .check =
                [=](const Folder& folder) {
                    const auto disk = open_disk(path_of(folder), {});
                    if (!opens) return require_error(disk, kind, "opening");
                    Bytes piece(4096);
                    require(disk.value().image->read_at(0, piece).has_value(), "does not read");
                }};
}

} // namespace

std::vector<LimitCase> vmdk_limits() {
    return {one_table_for_all(),
            directory_in_a_hole(1U << 23, true),
            directory_in_a_hole((1U << 23) + 1, false),
            stream_of_nothing(),
            grains_of_packed(4096, true),
            grains_of_packed(8192, false),
            descriptor_of("RW 1 ZERO", 8192, true, ErrorKind::limit_exceeded),
            descriptor_of("RW 1 ZERO", 8193, false, ErrorKind::limit_exceeded),
            descriptor_of("RW 8 FLAT \"/a/b/c/d/gone.vmdk\"", 8192, false, ErrorKind::io),
            descriptor_of("x=" + std::string(64000, 'y'), 40, false, ErrorKind::limit_exceeded)};
}

} // namespace vdisk::test
