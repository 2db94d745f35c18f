// SPDX-License-Identifier: Apache-2.0
#include "disk/audit.hpp"
#include "image/image.hpp"
#include "limits.hpp"
#include "open/open.hpp"
#include "open/report.hpp"
#include "system_reads.hpp"

namespace vdisk::test {
namespace {

constexpr std::uint64_t kMiB = 1U << 20;
constexpr std::uint64_t kGiB = std::uint64_t{1} << 30;

void put_big(Bytes& bytes, std::size_t at, std::uint64_t value, std::size_t count) {
    for (std::size_t i = 0; i < count; ++i) bytes[at + i] = static_cast<std::byte>(value >> (8 * (count - 1 - i)));
}

std::string path_of(const Folder& folder, const char* name) {
    return (folder / name).string();
}

Bytes qcow_header(std::uint64_t disk_size, std::uint32_t cluster_bits, std::uint32_t l2_bits) {
    Bytes bytes(48);
    put_big(bytes, 0, 0x514649FB00000001, 8);
    put_big(bytes, 24, disk_size, 8);
    put_big(bytes, 32, cluster_bits, 1);
    put_big(bytes, 33, l2_bits, 1);
    put_big(bytes, 40, 48, 8);
    return bytes;
}

void read_everywhere(const Image& disk, bool works) {
    Bytes piece(4096);
    for (std::uint64_t part = 0; part < 8; ++part) {
        const auto read = disk.read_at(disk.size() / 8 / 512 * 512 * part, piece);
        if (works) require(read.has_value(), "does not read");
        else require_error(read, ErrorKind::corrupt, "reading");
    }
}

LimitCase qcow_largest_table() {
    return {.name = "qcow: an L1 table of 16 GiB in a sparse file",
            .make =
                [](const Folder& folder) {
                    write_file(folder / "disk.qcow", qcow_header(std::uint64_t{1} << 53, 9, 13), 17 * kGiB);
                },
            .check =
                [](const Folder& folder) {
                    const CountedReads reads;
                    const OpenedDisk disk = required(open_disk(path_of(folder, "disk.qcow"), {}), "opening");
                    read_everywhere(*disk.image, true);
                    require_at_most(reads.bytes(), 68 * kMiB, "bytes read");
                    require_error(audit_file(disk.file, {}), ErrorKind::limit_exceeded, "audit");
                }};
}

LimitCase qcow_one_table_for_all() {
    return {.name = "qcow: four million L1 entries that name one table, which names itself",
            .make =
                [](const Folder& folder) {
                    constexpr std::uint64_t kTables = 1U << 22;
                    Bytes bytes = qcow_header(kTables << 21, 12, 9);
                    bytes.resize(33 * kMiB);
                    for (std::uint64_t i = 0; i < kTables; ++i) put_big(bytes, 48 + 8 * i, 33 * kMiB, 8);
                    bytes.resize(33 * kMiB + 4096);
                    for (std::uint64_t i = 0; i < 512; ++i) put_big(bytes, 33 * kMiB + 8 * i, 33 * kMiB, 8);
                    write_file(folder / "disk.qcow", bytes);
                },
            .check =
                [](const Folder& folder) {
                    const CountedReads reads;
                    const OpenedDisk disk = required(open_disk(path_of(folder, "disk.qcow"), {}), "opening");
                    read_everywhere(*disk.image, false);
                    require_at_most(reads.bytes(), 68 * kMiB, "bytes read");
                    require_error(audit_file(disk.file, {}), ErrorKind::limit_exceeded, "audit");
                }};
}

LimitCase qcow_gap() {
    return {.name = "qcow: an audit of a file of 2 TiB in which nothing is",
            .make =
                [](const Folder& folder) {
                    write_file(folder / "disk.qcow", qcow_header(4 * kMiB, 12, 9), std::uint64_t{2} << 40);
                },
            .check =
                [](const Folder& folder) {
                    const CountedReads reads;
                    const OpenedFile file = required(open_file(path_of(folder, "disk.qcow"), {}), "opening");
                    require(audit_file(file, {}).has_value(), "no report");
                    require_at_most(reads.bytes(), 1124 * kMiB, "bytes read");
                }};
}

} // namespace

std::vector<LimitCase> qcow_limits() {
    return {qcow_largest_table(), qcow_one_table_for_all(), qcow_gap()};
}

} // namespace vdisk::test
