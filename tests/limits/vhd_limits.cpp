// SPDX-License-Identifier: Apache-2.0
#include "base/crc32c.hpp"
#include "image/image.hpp"
#include "limits.hpp"
#include "open/open.hpp"
#include "open/report.hpp"
#include "system_reads.hpp"

#include <array>
#include <tuple>

namespace vdisk::test {
namespace {

constexpr std::uint64_t kMiB = 1U << 20;

void put(Bytes& bytes, std::size_t at, std::uint64_t value, std::size_t count, bool big) {
    if (bytes.size() < at + count) bytes.resize(at + count);
    for (std::size_t i = 0; i < count; ++i)
        bytes[at + i] = static_cast<std::byte>(value >> (8 * (big ? count - 1 - i : i)));
}

void put(Bytes& bytes, std::size_t at, std::string_view text) {
    if (bytes.size() < at + text.size()) bytes.resize(at + text.size());
    for (std::size_t i = 0; i < text.size(); ++i) bytes[at + i] = static_cast<std::byte>(text[i]);
}

void sum(Bytes& bytes, std::size_t at, std::size_t length, std::size_t field) {
    std::uint32_t total = 0;
    for (std::size_t i = 0; i < length; ++i) total += std::to_integer<std::uint32_t>(bytes[at + i]);
    put(bytes, at + field, ~total, 4, true);
}

// The start of a dynamic VHD, up to its table at 1536, which the rest of the file is as long as.
Bytes vhd_start(std::uint64_t disk_size, std::uint32_t block_size, std::uint32_t entries) {
    Bytes bytes(1536);
    put(bytes, 0, "conectix");
    put(bytes, 12, 0x00010000, 4, true);
    put(bytes, 16, 512, 8, true);
    put(bytes, 28, "win ");
    put(bytes, 48, disk_size, 8, true);
    put(bytes, 60, 3, 4, true);
    sum(bytes, 0, 512, 64);
    put(bytes, 512, "cxsparse");
    put(bytes, 528, 1536, 8, true);
    put(bytes, 536, 0x00010000, 4, true);
    put(bytes, 540, entries, 4, true);
    put(bytes, 544, block_size, 4, true);
    sum(bytes, 512, 1024, 36);
    return bytes;
}

std::string path_of(const Folder& folder, const char* name) {
    return (folder / name).string();
}

LimitCase vhd_table_in_a_hole() {
    return {.name = "vhd: a table of 2^32 - 1 blocks of a sector, all of them at offset 0, in a sparse file",
            .make =
                [](const Folder& folder) {
                    write_file(folder / "disk.vhd", vhd_start(std::uint64_t{0xFFFFFFFF} * 512, 512, 0xFFFFFFFF),
                               std::uint64_t{17} << 30);
                },
            .check =
                [](const Folder& folder) {
                    const CountedReads reads;
                    const OpenedDisk disk = required(open_disk(path_of(folder, "disk.vhd"), {}), "opening");
                    Bytes piece(4096);
                    for (std::uint64_t part = 0; part < 8; ++part)
                        require_error(disk.image->read_at(disk.image->size() / 8 / 512 * 512 * part, piece),
                                      ErrorKind::corrupt, "reading");
                    require_at_most(reads.bytes(), 34 * kMiB, "bytes read");
                    require_error(audit_file(disk.file, {}), ErrorKind::limit_exceeded, "audit");
                }};
}

LimitCase vhd_table_past_the_end() {
    return {.name = "vhd: a table of 2^32 - 2 entries for a disk of two blocks",
            .make =
                [](const Folder& folder) {
                    write_file(folder / "disk.vhd", vhd_start(4 * kMiB, 2 * kMiB, 0xFFFFFFFE), 2048);
                },
            .check =
                [](const Folder& folder) {
                    const CountedReads reads;
                    const OpenedDisk disk = required(open_disk(path_of(folder, "disk.vhd"), {}), "opening");
                    Bytes piece(4096);
                    require_error(disk.image->read_at(0, piece), ErrorKind::corrupt, "reading");
                    require(audit_file(disk.file, {}).has_value(), "no report");
                    require_at_most(reads.bytes(), 256 << 10, "bytes read");
                }};
}

LimitCase vhd_gap() {
    return {.name = "vhd: an audit of a file of 2 TiB in which nothing is",
            .make =
                [](const Folder& folder) {
                    Bytes bytes = vhd_start(4 * kMiB, 2 * kMiB, 2);
                    put(bytes, 1536, ~std::uint64_t{0}, 8, true);
                    write_file(folder / "disk.vhd", bytes, std::uint64_t{2} << 40);
                },
            .check =
                [](const Folder& folder) {
                    const CountedReads reads;
                    const OpenedFile file = required(open_file(path_of(folder, "disk.vhd"), {}), "opening");
                    require(audit_file(file, {}).has_value(), "no report");
                    require_at_most(reads.bytes(), 1025 * kMiB, "bytes read");
                }};
}

void sum_c(Bytes& bytes, std::size_t at, std::size_t length) {
    put(bytes, at + 4, crc32c_without_field(std::span(bytes).subspan(at, length), 4), 4, false);
}

constexpr std::array<std::uint8_t, 16> kTableId{0x66, 0x77, 0xC2, 0x2D, 0x23, 0xF6, 0x00, 0x42,
                                                0x9D, 0x64, 0x11, 0x5E, 0x9B, 0xFD, 0x4A, 0x08};
constexpr std::array<std::uint8_t, 16> kMetadataId{0x06, 0xA2, 0x7C, 0x8B, 0x90, 0x47, 0x9A, 0x4B,
                                                   0xB8, 0xFE, 0x57, 0x5F, 0x05, 0x0F, 0x88, 0x6E};
constexpr std::array<std::uint8_t, 16> kParametersId{0x37, 0x67, 0xA1, 0xCA, 0x36, 0xFA, 0x43, 0x4D,
                                                     0xB3, 0xB6, 0x33, 0xF0, 0xAA, 0x44, 0xE7, 0x6B};
constexpr std::array<std::uint8_t, 16> kSizeId{0x24, 0x42, 0xA5, 0x2F, 0x1B, 0xCD, 0x76, 0x48,
                                               0xB2, 0x11, 0x5D, 0xBE, 0xD8, 0x3B, 0xF4, 0xB8};
constexpr std::array<std::uint8_t, 16> kSectorId{0x1D, 0xBF, 0x41, 0x81, 0x6F, 0xA9, 0x09, 0x47,
                                                 0xBA, 0x47, 0xF2, 0x33, 0xA8, 0xFA, 0xAB, 0x5F};

void put_id(Bytes& bytes, std::size_t at, const std::array<std::uint8_t, 16>& id) {
    for (std::size_t i = 0; i < id.size(); ++i) put(bytes, at + i, id[i], 1, false);
}

struct VhdxClaims {
    std::uint64_t disk_size = 16 * kMiB;
    std::uint64_t table_bytes = kMiB;
    std::uint64_t log_bytes = kMiB;
    bool dirty = false;
};

// Headers, region tables and metadata: the metadata at 2 MiB, the table behind it, the log behind that.
Bytes vhdx_start(const VhdxClaims& claims) {
    Bytes bytes(3 * kMiB);
    put(bytes, 0, "vhdxfile");
    for (const std::size_t at : {65536U, 131072U}) {
        put(bytes, at, "head");
        put(bytes, at + 8, at, 8, false);
        if (claims.dirty) put(bytes, at + 48, 9, 1, false);
        put(bytes, at + 66, 1, 2, false);
        put(bytes, at + 68, claims.log_bytes, 4, false);
        put(bytes, at + 72, 3 * kMiB + claims.table_bytes, 8, false);
        sum_c(bytes, at, 4096);
    }
    for (const std::size_t at : {196608U, 262144U}) {
        put(bytes, at, "regi");
        put(bytes, at + 8, 2, 4, false);
        put_id(bytes, at + 16, kTableId);
        put(bytes, at + 32, 3 * kMiB, 8, false);
        put(bytes, at + 40, claims.table_bytes, 4, false);
        put_id(bytes, at + 48, kMetadataId);
        put(bytes, at + 64, 2 * kMiB, 8, false);
        put(bytes, at + 72, kMiB, 4, false);
        sum_c(bytes, at, 65536);
    }
    const std::size_t metadata = 2 * kMiB;
    put(bytes, metadata, "metadata");
    put(bytes, metadata + 10, 3, 2, false);
    std::size_t number = 0;
    for (const auto& [id, value, length] :
         {std::tuple{kParametersId, kMiB, 8}, std::tuple{kSizeId, claims.disk_size, 8},
          std::tuple{kSectorId, std::uint64_t{512}, 4}}) {
        const std::size_t entry = metadata + 32 + 32 * number;
        put_id(bytes, entry, id);
        put(bytes, entry + 16, 65536 + 16 * number, 4, false);
        put(bytes, entry + 20, static_cast<std::uint64_t>(length), 4, false);
        put(bytes, entry + 24, 4, 4, false);
        put(bytes, metadata + 65536 + 16 * number++, value, 8, false);
    }
    return bytes;
}

LimitCase vhdx_table_of_the_largest_disk() {
    return {.name = "vhdx: 64 TiB in blocks of a mebibyte, an empty table of 513 MiB",
            .make =
                [](const Folder& folder) {
                    const VhdxClaims claims{.disk_size = std::uint64_t{64} << 40, .table_bytes = 513 * kMiB};
                    write_file(folder / "disk.vhdx", vhdx_start(claims), 600 * kMiB);
                },
            .check =
                [](const Folder& folder) {
                    const CountedReads reads;
                    const OpenedDisk disk = required(open_disk(path_of(folder, "disk.vhdx"), {}), "opening");
                    Bytes piece(4096);
                    for (std::uint64_t part = 0; part < 8; ++part)
                        require(disk.image->read_at(disk.image->size() / 8 * part, piece).has_value(), "reading");
                    require_at_most(reads.bytes(), 34 * kMiB, "bytes read");
                    require(audit_file(disk.file, {}).has_value(), "no report");
                }};
}

LimitCase vhdx_long_log() {
    return {.name = "vhdx: a log of 4095 MiB that is to be replayed, in a sparse file",
            .make =
                [](const Folder& folder) {
                    write_file(folder / "disk.vhdx", vhdx_start({.log_bytes = 4095 * kMiB, .dirty = true}),
                               5000 * kMiB);
                },
            .check =
                [](const Folder& folder) {
                    const CountedReads reads;
                    require_error(open_disk(path_of(folder, "disk.vhdx"), {}), ErrorKind::limit_exceeded, "opening");
                    require_at_most(reads.bytes(), 512 << 10, "bytes read");
                }};
}

// One entry as long as the log, all of it descriptors of zeros, no two of which touch.
Bytes log_of_zeros(std::uint64_t length, std::uint64_t writes) {
    Bytes log(length);
    put(log, 0, "loge");
    put(log, 8, length, 4, false);
    put(log, 16, 1, 8, false);
    put(log, 24, writes, 4, false);
    put(log, 32, 9, 1, false);
    put(log, 56, std::uint64_t{1} << 50, 8, false);
    for (std::uint64_t i = 0; i < writes; ++i) {
        const std::size_t at = 64 + 32 * i;
        put(log, at, "zero");
        put(log, at + 8, 4096, 8, false);
        put(log, at + 16, (i + 100'000) * 8192, 8, false);
        put(log, at + 24, 1, 8, false);
    }
    sum_c(log, 0, length);
    return log;
}

LimitCase vhdx_log_of_writes(std::uint64_t writes, bool fits) {
    return {.name = "vhdx: a log of " + std::to_string(writes) + " writes of zeros",
            .make =
                [=](const Folder& folder) {
                    constexpr std::uint64_t kLog = 16 * kMiB;
                    Bytes bytes = vhdx_start({.log_bytes = kLog, .dirty = true});
                    bytes.resize(4 * kMiB);
                    const Bytes log = log_of_zeros(kLog, writes);
                    bytes.insert(bytes.end(), log.begin(), log.end());
                    write_file(folder / "disk.vhdx", bytes);
                },
            .check =
                [=](const Folder& folder) {
                    const auto disk = open_disk(path_of(folder, "disk.vhdx"), {});
                    if (!fits) return require_error(disk, ErrorKind::limit_exceeded, "opening");
                    Bytes piece(4096);
                    require(disk.has_value(), "does not open");
                    require(disk.value().image->read_at(0, piece).has_value(), "does not read");
                }};
}

// Each page begins as an entry that is as long as the whole log: no page may be summed for each of them.
LimitCase vhdx_entries_in_entries() {
    return {.name = "vhdx: 16384 entries as long as the log, one in the other",
            .make =
                [](const Folder& folder) {
                    constexpr std::uint64_t kLog = 64 * kMiB;
                    Bytes bytes = vhdx_start({.log_bytes = kLog, .dirty = true});
                    bytes.resize(4 * kMiB + kLog);
                    for (std::size_t at = 4 * kMiB; at < bytes.size(); at += 4096) {
                        put(bytes, at, "loge");
                        put(bytes, at + 8, kLog, 4, false);
                        put(bytes, at + 16, 1, 8, false);
                        put(bytes, at + 32, 9, 1, false);
                    }
                    write_file(folder / "disk.vhdx", bytes);
                },
            .check =
                [](const Folder& folder) {
                    const CountedReads reads;
                    require_error(open_disk(path_of(folder, "disk.vhdx"), {}), ErrorKind::limit_exceeded, "opening");
                    require_at_most(reads.bytes(), 66 * kMiB, "bytes read");
                }};
}

} // namespace

std::vector<LimitCase> vhd_limits() {
    return {vhd_table_in_a_hole(),
            vhd_table_past_the_end(),
            vhd_gap(),
            vhdx_table_of_the_largest_disk(),
            vhdx_long_log(),
            vhdx_log_of_writes(1U << 18, true),
            vhdx_log_of_writes((1U << 18) + 1, false),
            vhdx_entries_in_entries()};
}

} // namespace vdisk::test
