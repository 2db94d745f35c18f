// SPDX-License-Identifier: Apache-2.0
#include "limits.hpp"
#include "open/open.hpp"
#include "open/report.hpp"
#include "qcow2_builder.hpp"
#include "system_reads.hpp"

#include <libdeflate.h>

#include <algorithm>
#include <array>
#include <memory>

namespace vdisk::test {
namespace {

constexpr const char* kImage = "image.qcow2";
constexpr std::uint64_t kMiB = 1U << 20;

std::string image_in(const Folder& folder) {
    return (folder / kImage).string();
}

OpenedDisk opened(const Folder& folder) {
    return required(open_disk(image_in(folder), {}), "opening");
}

Bytes read(const Image& image, std::uint64_t offset, std::size_t length) {
    Bytes bytes(length, std::byte{0xEE});
    require(required(image.read_at(offset, bytes), "reading") == length, "a read is short");
    return bytes;
}

bool all_zeros(const Bytes& bytes) {
    return std::ranges::all_of(bytes, [](std::byte byte) { return byte == std::byte{0}; });
}

Bytes deflated(const Bytes& plain) {
    const std::unique_ptr<libdeflate_compressor, decltype(&libdeflate_free_compressor)> compressor(
        libdeflate_alloc_compressor(6), libdeflate_free_compressor);
    Bytes out(libdeflate_deflate_compress_bound(compressor.get(), plain.size()));
    out.resize(libdeflate_deflate_compress(compressor.get(), plain.data(), plain.size(), out.data(), out.size()));
    return out;
}

// What `vdisk info` and `vdisk audit` do.
void describe_and_audit(const Folder& folder) {
    const OpenedFile file = required(open_file(image_in(folder), {}), "opening");
    require(!to_text(describe(file)).empty(), "info says nothing");
    (void)audit_file(file, {});
}

LimitCase l1_table_past_the_end() {
    return {.name = "qcow2: an L1 table of 2^32 - 1 entries past the end of the file",
            .make =
                [](const Folder& folder) {
                    Qcow2Builder image({});
                    image.put32(qcow2_field::l1_size, 0xFFFFFFFF);
                    write_file(folder / kImage, image.bytes());
                },
            .check =
                [](const Folder& folder) {
                    const CountedReads reads;
                    require_error(open_disk(image_in(folder), {}), ErrorKind::corrupt, "opening");
                    require_at_most(reads.bytes(), 65536, "bytes read");
                }};
}

LimitCase l1_table_in_a_hole() {
    return {.name = "qcow2: an L1 table of 2^32 - 1 entries in a sparse file",
            .make =
                [](const Folder& folder) {
                    Qcow2Builder image({.cluster_bits = 21});
                    image.put64(qcow2_field::size, std::uint64_t{1} << 61);
                    image.put32(qcow2_field::l1_size, 0xFFFFFFFF);
                    write_file(folder / kImage, image.bytes(), (std::uint64_t{32} << 30) + 4 * kMiB);
                },
            .check =
                [](const Folder& folder) {
                    const CountedReads reads;
                    const OpenedDisk disk = opened(folder);
                    for (std::uint64_t part = 0; part < 4; ++part)
                        require(all_zeros(read(*disk.image, (disk.image->size() - kMiB) / 3 * part, kMiB)),
                                "what nothing is allocated for is not zeros");
                    require_at_most(reads.bytes(), 98304, "bytes read");
                }};
}

// Every table is every other one: L1 entries lead to the L1 table, whose entries then are those of an L2 table, which
// leads to itself.
LimitCase tables_of_tables() {
    return {.name = "qcow2: tables that lead to themselves",
            .make =
                [](const Folder& folder) {
                    Qcow2Builder image({.size = std::uint64_t{8192} << 29});
                    const std::uint64_t table = image.l1_entry_offset(0);
                    for (std::uint64_t i = 0; i < 8192; ++i)
                        image.put64(image.l1_entry_offset(i), table | kQcow2Copied);
                    write_file(folder / kImage, image.bytes());
                },
            .check =
                [](const Folder& folder) {
                    const CountedReads reads;
                    const OpenedDisk disk = opened(folder);
                    const Bytes table = read(*disk.image, 0, 65536);
                    for (const std::uint64_t cluster : {1ULL, 8191ULL, 8192ULL, 8192ULL * 8192 - 1})
                        require(read(*disk.image, cluster * 65536, 65536) == table, "clusters of one place differ");
                    const auto audit = audit_file(disk.file, {});
                    require_error(audit, ErrorKind::limit_exceeded, "audit");
                    require_at_most(reads.bytes(), 8 * kMiB, "bytes read");
                    require_at_most(disk.image->caches().clusters.expanded(), 0, "clusters expanded");
                }};
}

constexpr std::uint64_t kTables = 4096;

LimitCase overlapping_l2_tables() {
    return {.name = "qcow2: 4096 L1 entries with one L2 table",
            .make =
                [](const Folder& folder) {
                    Qcow2Builder image({.cluster_bits = 21, .size = kTables << 39});
                    image.set(0, image.append(Bytes(512, std::byte{7})) | kQcow2Copied);
                    for (std::uint64_t i = 1; i < kTables; ++i)
                        image.put64(image.l1_entry_offset(i), image.get64(image.l1_entry_offset(0)));
                    write_file(folder / kImage, image.bytes());
                },
            .check =
                [](const Folder& folder) {
                    const CountedReads reads;
                    const OpenedDisk disk = opened(folder);
                    for (std::uint64_t i = 0; i < kTables; i += 100)
                        require(read(*disk.image, i << 39, 1) == Bytes{std::byte{7}},
                                "a cluster is not where its table says");
                    require_error(audit_file(disk.file, {}), ErrorKind::limit_exceeded, "audit");
                    require_at_most(reads.bytes(), 32 * kMiB, "bytes read");
                }};
}

LimitCase one_compressed_cluster() {
    return {.name = "qcow2: every L2 entry has the same compressed cluster",
            .make =
                [](const Folder& folder) {
                    Qcow2Builder image({.size = 1024 * kMiB});
                    const Bytes packed = deflated(Bytes(65536, std::byte{5}));
                    const std::uint64_t entry = image.packed(image.append(packed), packed.size());
                    for (std::uint64_t i = 0; i < 1024 * kMiB / 65536; ++i) image.set(i, entry);
                    write_file(folder / kImage, image.bytes());
                },
            .check =
                [](const Folder& folder) {
                    const CountedReads reads;
                    const OpenedDisk disk = opened(folder);
                    const Bytes expected(kMiB, std::byte{5});
                    for (std::uint64_t i = 0; i < 1024; ++i)
                        require(read(*disk.image, i * kMiB, kMiB) == expected, "wrong bytes");
                    require_at_most(disk.image->caches().clusters.expanded(), 1, "clusters expanded");
                    require_at_most(reads.bytes(), kMiB, "bytes read");
                }};
}

// As large as clusters get, and each entry claims four megabytes of compressed bytes, always others.
LimitCase large_compressed_clusters() {
    return {.name = "qcow2: compressed clusters that claim all that they can",
            .make =
                [](const Folder& folder) {
                    Qcow2Builder image({.cluster_bits = 21, .size = 512 * kMiB});
                    const std::uint64_t place = image.append(deflated(Bytes(2 * kMiB, std::byte{5})));
                    for (std::uint64_t i = 0; i < 256; ++i) image.set(i, image.packed(place, (8192 - i) * 512));
                    write_file(folder / kImage, image.bytes(), 16 * kMiB);
                },
            .check =
                [](const Folder& folder) {
                    const CountedReads reads;
                    const OpenedDisk disk = opened(folder);
                    const Bytes expected(2 * kMiB, std::byte{5});
                    for (std::uint64_t i = 0; i < 256; ++i)
                        require(read(*disk.image, i * 2 * kMiB, 2 * kMiB) == expected, "wrong bytes");
                    // Some are pushed out before their reader comes to them.
                    require_at_most(disk.image->caches().clusters.expanded(), 2 * 256, "clusters expanded");
                    require_at_most(reads.bytes(), 2 * 257 * 4 * kMiB, "bytes read");
                }};
}

LimitCase snapshots_by_the_header() {
    return {.name = "qcow2: 2^32 - 1 snapshots in the header, small ones in the file",
            .make =
                [](const Folder& folder) {
                    Qcow2Builder image({});
                    const std::vector<Qcow2Snapshot> list(200'000,
                                                          {.id = "1", .name = "n", .l1_table_offset = 1 << 16});
                    image.snapshots(list);
                    image.put32(qcow2_field::nb_snapshots, 0xFFFFFFFF);
                    write_file(folder / kImage, image.bytes());
                },
            .check =
                [](const Folder& folder) {
                    const CountedReads reads;
                    const OpenedDisk disk = opened(folder);
                    require(disk.file.disks->disks().size() == 65537, "not as many snapshots as the limit");
                    require(disk.file.disks->facts()["damage"].dump().find("limit is 65536") != std::string::npos,
                            "the limit is not told");
                    require(all_zeros(read(*disk.image, 0, 65536)), "the active state does not read");
                    require_at_most(reads.bytes(), 8 * kMiB, "bytes read");
                    describe_and_audit(folder);
                    require_at_most(reads.bytes(), 16 * kMiB, "bytes read with info and audit");
                }};
}

LimitCase snapshots_with_long_names(std::size_t count, std::size_t length, bool too_many) {
    return {.name = "qcow2: " + std::to_string(count) + " snapshots with names of " + std::to_string(length) +
                    " bytes that no one can print",
            .make =
                [=](const Folder& folder) {
                    Qcow2Builder image({});
                    const std::vector<Qcow2Snapshot> list(count, {.id = std::string(length / 2, '\x01'),
                                                                  .name = std::string(length - length / 2, '\x02'),
                                                                  .l1_table_offset = 1 << 16});
                    image.snapshots(list);
                    write_file(folder / kImage, image.bytes());
                },
            .check =
                [=](const Folder& folder) {
                    const CountedReads reads;
                    require(opened(folder).file.disks->facts().contains("damage") == too_many, "the limit is wrong");
                    require(all_zeros(read(*opened(folder).image, 0, 65536)), "the active state does not read");
                    describe_and_audit(folder);
                    require_at_most(reads.bytes(), 128 * kMiB, "bytes read");
                }};
}

// Each finding names the snapshot.
LimitCase snapshot_with_many_errors() {
    return {.name = "qcow2: a snapshot with a name of 64 KiB that no one can print, and nothing but errors",
            .make =
                [](const Folder& folder) {
                    Qcow2Builder image({.size = 1024 * kMiB});
                    const std::uint64_t table = image.append_l1(2);
                    for (std::uint64_t i = 0; i < 16384; ++i)
                        image.set_in(table, i, std::uint64_t{1} << 63 | 512 * (2 * i + 1));
                    image.snapshots(
                        {{.id = std::string(65535, '\x01'), .name = "n", .l1_table_offset = table, .l1_size = 2}});
                    write_file(folder / kImage, image.bytes());
                },
            .check =
                [](const Folder& folder) {
                    const AuditReport report =
                        required(audit_file(required(open_file(image_in(folder), {}), "opening"), {}), "audit");
                    require(report.number_of(Severity::error) > 16'000, "the audit finds nothing");
                    require_at_most(describe(report).dump().size(), 8 * kMiB, "bytes of the report");
                }};
}

// Behind a backing file's name there is no room, so the extensions fill a cluster of the largest size.
LimitCase header_extensions(const std::string& what, std::uint32_t type, std::uint32_t length, bool opens) {
    return {.name = "qcow2: header extensions, " + what,
            .make =
                [=](const Folder& folder) {
                    Qcow2Builder image({.cluster_bits = 21});
                    const std::uint64_t step = 8 + (length < 64 ? length : 0);
                    for (std::uint64_t at = 104; at + step <= 2 * kMiB; at += step) {
                        image.put32(at, type);
                        image.put32(at + 4, length);
                    }
                    image.put64(qcow2_field::incompatible_features, 0);
                    image.put64(qcow2_field::compatible_features, ~std::uint64_t{0});
                    image.put64(qcow2_field::autoclear_features, ~std::uint64_t{0});
                    write_file(folder / kImage, image.bytes());
                },
            .check =
                [=](const Folder& folder) {
                    const CountedReads reads;
                    const auto disk = open_disk(image_in(folder), {});
                    if (!opens) return require_error(disk, ErrorKind::corrupt, "opening");
                    describe_and_audit(folder);
                    require_at_most(reads.bytes(), 64 * kMiB, "bytes read");
                }};
}

LimitCase feature_names() {
    return {.name = "qcow2: a feature name table that fills a cluster",
            .make =
                [](const Folder& folder) {
                    Qcow2Builder image({.cluster_bits = 21});
                    image.extension(0x6803F857, std::string(2 * kMiB - 4096, '\x02'));
                    image.put64(qcow2_field::compatible_features, ~std::uint64_t{0});
                    image.put64(qcow2_field::autoclear_features, ~std::uint64_t{0});
                    write_file(folder / kImage, image.bytes());
                },
            .check =
                [](const Folder& folder) {
                    const CountedReads reads;
                    (void)opened(folder);
                    describe_and_audit(folder);
                    require_at_most(reads.bytes(), 32 * kMiB, "bytes read");
                }};
}

constexpr int kLayers = 10'000;

std::string layer_name(int number) {
    return number == 0 ? kImage : "layer-" + std::to_string(number);
}

void write_chain(const Folder& folder, int layers, const std::string& last) {
    for (int i = 0; i < layers; ++i) {
        Qcow2Builder image({.cluster_bits = 9, .size = 1 << 14});
        const std::string below = i + 1 < layers ? layer_name(i + 1) : last;
        if (!below.empty()) image.backing(below);
        write_file(folder / layer_name(i), image.bytes());
    }
}

LimitCase long_chain() {
    return {.name = "qcow2: a chain of 10,000 backing files",
            .make = [](const Folder& folder) { write_chain(folder, kLayers, ""); },
            .check =
                [](const Folder& folder) {
                    const CountedReads reads;
                    require_error(open_disk(image_in(folder), {}), ErrorKind::limit_exceeded, "opening");
                    require_at_most(reads.bytes(), Limits{}.chain_depth * 4096, "bytes read");
                }};
}

LimitCase cyclic_chain(int layers) {
    return {.name = "qcow2: a chain of " + std::to_string(layers) + " that bites its tail",
            .make = [=](const Folder& folder) { write_chain(folder, layers, kImage); },
            .check =
                [=](const Folder& folder) {
                    const CountedReads reads;
                    require_error(open_disk(image_in(folder), {}), ErrorKind::corrupt, "opening");
                    require_at_most(reads.bytes(), static_cast<std::uint64_t>(layers + 1) * 4096, "bytes read");
                }};
}

// A deep chain in which every cluster is asked for through all layers.
LimitCase deep_chain() {
    return {.name = "qcow2: a read through 200 layers",
            .make = [](const Folder& folder) { write_chain(folder, 200, ""); },
            .check =
                [](const Folder& folder) {
                    const CountedReads reads;
                    const OpenedDisk disk = opened(folder);
                    require(disk.chain.size() == 200, "layers are missing");
                    for (int i = 0; i < 100; ++i) require(all_zeros(read(*disk.image, 0, 1 << 14)), "wrong bytes");
                    require_at_most(reads.bytes(), 200 * 3 * 4096, "bytes read");
                }};
}

LimitCase bitmaps(std::uint32_t entries) {
    return {.name = "qcow2: 2^32 - 1 bitmaps, each of " + std::to_string(entries) + " table entries",
            .make =
                [=](const Folder& folder) {
                    Qcow2Builder image({});
                    Bytes directory(4 * kMiB);
                    for (std::size_t at = 0; at < directory.size(); at += 32) {
                        for (std::size_t i = 0; i < 4; ++i)
                            directory[at + 8 + i] = static_cast<std::byte>(entries >> (8 * (3 - i)));
                        directory[at + 16] = std::byte{1};
                        directory[at + 17] = std::byte{16};
                        directory[at + 19] = std::byte{8};
                        for (std::size_t i = 24; i < 32; ++i)
                            directory[at + i] = static_cast<std::byte>('a' + (at >> (4 * (i - 24)) & 15));
                    }
                    const std::uint64_t place = image.append(directory);
                    std::string extension(24, '\0');
                    for (std::size_t i = 0; i < 4; ++i) extension[i] = '\xFF';
                    for (std::size_t i = 0; i < 8; ++i) {
                        extension[8 + i] = static_cast<char>(directory.size() >> (8 * (7 - i)));
                        extension[16 + i] = static_cast<char>(place >> (8 * (7 - i)));
                    }
                    image.extension(0x23852875, extension);
                    image.put64(qcow2_field::autoclear_features, 1);
                    write_file(folder / kImage, image.bytes(), 1024 * kMiB);
                },
            .check =
                [](const Folder& folder) {
                    const CountedReads reads;
                    (void)opened(folder);
                    describe_and_audit(folder);
                    require_at_most(reads.bytes(), (2 * 1024 + 128) * kMiB,
                                    "bytes read"); // the audit goes through all twice
                }};
}

// As many clusters as an audit takes, no two of them alike, so that nothing can be told of them together.
LimitCase large_audit(std::uint64_t clusters, bool fits) {
    return {.name = "qcow2: an audit of " + std::to_string(clusters) + " clusters",
            .make =
                [=](const Folder& folder) {
                    Qcow2Builder image({.cluster_bits = 9});
                    write_file(folder / kImage, image.bytes(), clusters * 512);
                },
            .check =
                [=](const Folder& folder) {
                    const CountedReads reads;
                    const auto report = audit_file(required(open_file(image_in(folder), {}), "opening"), {});
                    if (fits) require(report.has_value(), "no report");
                    else require_error(report, ErrorKind::limit_exceeded, "audit");
                    require_at_most(reads.bytes(), 16 * kMiB, "bytes read");
                }};
}

} // namespace

std::vector<LimitCase> qcow2_limits() {
    return {l1_table_past_the_end(),
            l1_table_in_a_hole(),
            tables_of_tables(),
            overlapping_l2_tables(),
            one_compressed_cluster(),
            large_compressed_clusters(),
            snapshots_by_the_header(),
            snapshots_with_long_names(65536, 140, false),
            snapshot_with_many_errors(),
            snapshots_with_long_names(1000, 130'000, true),
            header_extensions("each of no bytes", 0x12345678, 0, true),
            header_extensions("each a feature name table", 0x6803F857, 48, true),
            header_extensions("one of 4 GiB", 0x12345678, 0xFFFFFFFF, false),
            feature_names(),
            long_chain(),
            cyclic_chain(1),
            cyclic_chain(100),
            deep_chain(),
            bitmaps(0xFFFFFFFF),
            bitmaps(4U << 20),
            bitmaps(1),
            large_audit(33'000'000, true),
            large_audit(1'000'000'000, false)};
}

} // namespace vdisk::test
