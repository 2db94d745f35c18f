// SPDX-License-Identifier: Apache-2.0
#include "cluster_builders.hpp"
#include "format/qcow/qcow.hpp"
#include "format_in_memory.hpp"
#include "open/open.hpp"
#include "open/report.hpp"
#include "temporary_folder.hpp"

#include <boost/test/unit_test.hpp>

using namespace vdisk;
using namespace vdisk::test;

BOOST_AUTO_TEST_SUITE(qcow)

namespace {

const FormatInMemory kInMemory(kQcowFormat);

// Clusters 0, 3 and 5 of eight, in tables of 512 entries.
QcowBuilder small_disk() {
    QcowBuilder disk{.disk_size = 8 * 4096};
    for (const std::uint64_t number : {5U, 0U, 3U}) disk.store(number, Bytes(4096, static_cast<std::byte>(number + 1)));
    return disk;
}

ErrorKind refused_layer(const Bytes& file) {
    const auto layer = required(kInMemory.parse(file))->layer(0);
    BOOST_REQUIRE(layer.has_error());
    return layer.error().kind;
}

} // namespace

BOOST_AUTO_TEST_CASE(random_chains_of_every_geometry_read_as_their_model) {
    Random random(21);
    struct Geometry {
        std::uint32_t cluster_bits, l2_bits;
    };
    for (const Geometry& geometry :
         {Geometry{12, 9}, Geometry{9, 12}, Geometry{9, 6}, Geometry{16, 13}, Geometry{16, 6}})
        for (const std::uint64_t kinds : {1U, 2U}) {
            ImagePtr image;
            Bytes model;
            for (unsigned layer = 0; layer < 3; ++layer) {
                QcowBuilder disk{.disk_size = std::min<std::uint64_t>(
                                     (std::uint64_t{150} << geometry.cluster_bits) + 512 * layer, 2U << 20),
                                 .cluster_bits = geometry.cluster_bits,
                                 .l2_bits = geometry.l2_bits};
                fill_clusters(disk, model, random, kinds);
                image = kInMemory.image_of(disk.build(), image);
            }
            BOOST_TEST_CONTEXT("cluster bits " << geometry.cluster_bits)
            check_against_model(*image, model, 65536, random);
        }
}

BOOST_AUTO_TEST_CASE(impossible_headers_are_refused_by_name) {
    const auto changed = [](std::size_t at, std::uint64_t value, std::size_t size) {
        Bytes file = small_disk().build();
        put_big(file, at, value, size);
        return file;
    };
    for (const std::uint64_t bits : {0U, 8U, 17U, 40U, 255U})
        BOOST_TEST((kInMemory.refused(changed(32, bits, 1)) == ErrorKind::corrupt));
    for (const std::uint64_t bits : {0U, 5U, 14U, 60U, 255U})
        BOOST_TEST((kInMemory.refused(changed(33, bits, 1)) == ErrorKind::corrupt));
    for (const std::uint64_t size : {std::uint64_t{0}, ~std::uint64_t{0}, std::uint64_t{1} << 62})
        BOOST_TEST((kInMemory.refused(changed(24, size, 8)) == ErrorKind::corrupt));
    for (const std::uint64_t offset : {std::uint64_t{1} << 62, ~std::uint64_t{0}})
        BOOST_TEST((kInMemory.refused(changed(40, offset, 8)) == ErrorKind::corrupt));
    BOOST_TEST((kInMemory.refused(changed(36, 2, 4)) == ErrorKind::unsupported));
    BOOST_TEST((kInMemory.refused(changed(4, 2, 4)) == ErrorKind::not_this_format));
    BOOST_TEST((kInMemory.refused(Bytes(20)) == ErrorKind::truncated));
}

BOOST_AUTO_TEST_CASE(a_name_that_can_not_be_the_backing_files_is_refused) {
    QcowBuilder disk = small_disk();
    disk.backing = "base.raw";
    Bytes file = disk.build();
    put_big(file, 16, 5000, 4);
    BOOST_TEST((kInMemory.refused(file) == ErrorKind::corrupt));
    for (const std::uint64_t length : {0U, 7U, 9U}) {
        put_big(file, 16, length, 4);
        BOOST_TEST((refused_layer(file) == ErrorKind::corrupt));
        BOOST_TEST(tells_damage(required(kInMemory.parse(file))->facts()));
    }
    put_big(file, 16, 8, 4);
    put_big(file, 8, 49, 8);
    BOOST_TEST((refused_layer(file) == ErrorKind::corrupt));
    put_big(file, 8, 48, 8);
    BOOST_TEST(required(required(kInMemory.parse(file))->layer(0)).parent->described == "backing file 'base.raw'");
}

BOOST_AUTO_TEST_CASE(an_entry_that_can_not_be_costs_its_cluster) {
    const Bytes good = small_disk().build();
    const std::uint64_t entry = small_disk().entry_of(good, 3);
    for (const std::uint64_t value : {std::uint64_t{4097}, std::uint64_t{1} << 40, (std::uint64_t{1} << 63) + 8192,
                                      std::uint64_t{0xFFF} << 51, ~std::uint64_t{0}}) {
        Bytes file = good;
        put_big(file, entry, value, 8);
        const ImagePtr image = kInMemory.image_of(file);
        BOOST_TEST(read_some(*image, 3 * 4096, 1).has_error());
        BOOST_TEST(read_some(*image, 0, 3 * 4096).has_value());
        BOOST_TEST(read_some(*image, 4 * 4096, 4 * 4096).has_value());
        const AuditReport report = kInMemory.audit(file);
        BOOST_TEST(count(report, "bad-entry") + count(report, "past-end") == 1U);
    }
}

BOOST_AUTO_TEST_CASE(clusters_that_share_bytes_are_unreadable_both) {
    const Bytes good = small_disk().build();
    Bytes file = good;
    std::copy_n(good.begin() + static_cast<std::ptrdiff_t>(small_disk().entry_of(good, 0)), 8,
                file.begin() + static_cast<std::ptrdiff_t>(small_disk().entry_of(good, 3)));
    const ImagePtr image = kInMemory.image_of(file);
    for (const std::uint64_t number : {0U, 3U})
        BOOST_TEST((read_some(*image, number * 4096, 1).error().kind == ErrorKind::corrupt));
    BOOST_TEST(read_some(*image, 5 * 4096, 4096).has_value());
    BOOST_TEST(count(kInMemory.audit(file), "shared-block") == 2U);
    BOOST_TEST(count(kInMemory.audit(file), "leaked") == 1U);
}

BOOST_AUTO_TEST_CASE(a_cluster_in_the_place_of_a_table_costs_itself) {
    Bytes file = small_disk().build();
    const std::uint64_t table = small_disk().entry_of(file, 0);
    put_big(file, small_disk().entry_of(file, 3), table, 8);
    const ImagePtr image = kInMemory.image_of(file);
    BOOST_TEST(read_some(*image, 3 * 4096, 1).has_error());
    BOOST_TEST(read_some(*image, 0, 3 * 4096).has_value());
    BOOST_TEST(read_some(*image, 5 * 4096, 4096).has_value());
}

BOOST_AUTO_TEST_CASE(a_table_in_the_place_of_a_cluster_is_none) {
    for (const std::byte fill : {std::byte{0}, std::byte{0x77}}) {
        QcowBuilder disk{.disk_size = std::uint64_t{1024} * 4096};
        disk.store(0, Bytes(4096, fill));
        disk.store(600, Bytes(4096, std::byte{3}));
        Bytes file = disk.build();
        put_big(file, disk.l1_offset() + 8, disk.entry_of(file, 0) + 4096, 8); // cluster 0
        const ImagePtr image = kInMemory.image_of(file);
        BOOST_TEST((read_some(*image, std::uint64_t{600} * 4096, 1).error().kind == ErrorKind::corrupt));
        BOOST_TEST((read_some(*image, std::uint64_t{512} * 4096, 1).error().kind == ErrorKind::corrupt));
        BOOST_TEST((read_some(*image, 0, 1).error().kind == ErrorKind::corrupt));
        BOOST_TEST(read_some(*image, 4096, 4096).has_value());
    }
}

BOOST_AUTO_TEST_CASE(an_unusual_header_is_believed_where_the_tables_account_for_the_file) {
    Random random(3);
    QcowBuilder disk{.disk_size = 300 * 4096, .l2_bits = 8};
    Bytes model;
    fill_clusters(disk, model, random, 2);
    check_against_model(*kInMemory.image_of(disk.build()), model, 65536, random);
    Bytes file = disk.build();
    file[33] = std::byte{10};
    BOOST_TEST((refused_layer(file) == ErrorKind::corrupt));
    Bytes longer = disk.build();
    longer.resize(longer.size() + 4096, std::byte{1});
    BOOST_TEST((refused_layer(longer) == ErrorKind::corrupt));
}

BOOST_AUTO_TEST_CASE(a_lost_l1_table_is_no_empty_disk) {
    QcowBuilder disk = small_disk();
    Bytes file = disk.build();
    put_big(file, disk.l1_offset(), 0, 8);
    BOOST_TEST((refused_layer(file) == ErrorKind::corrupt));
    BOOST_TEST(kInMemory.image_of(QcowBuilder{.disk_size = 4096}.build())->size() == 4096U);
}

BOOST_AUTO_TEST_CASE(a_file_that_was_cut_reads_as_far_as_it_goes) {
    Bytes file = small_disk().build();
    file.resize(file.size() - 1000);
    const ImagePtr image = kInMemory.image_of(file);
    BOOST_TEST(read_some(*image, 0, 3 * 4096 + 3096).has_value());
    BOOST_TEST((read_some(*image, 3 * 4096 + 3096, 1).error().kind == ErrorKind::truncated));
    BOOST_TEST(read_some(*image, 4 * 4096, 4 * 4096).has_value());
    BOOST_TEST(count(kInMemory.audit(file), "past-end") == 1U);
}

BOOST_AUTO_TEST_CASE(an_undeclared_base_is_what_it_looks_like) {
    const TemporaryFolder folder;
    QcowBuilder base = small_disk();
    folder.write("base.img", base.build());
    QcowBuilder disk{.disk_size = 8 * 4096, .backing = "base.img"};
    disk.store(1, Bytes(4096, std::byte{9}));
    const OpenedDisk opened = required(open_disk(folder.write("top.qcow", disk.build()).string(), {}));
    BOOST_TEST(opened.chain.size() == 2U);
    BOOST_TEST(opened.chain[1].format->name == "qcow");
    Bytes read(2);
    BOOST_TEST(required(opened.image->read_at(4095, read)) == 2U);
    BOOST_TEST((read == Bytes{std::byte{1}, std::byte{9}}));
}

BOOST_AUTO_TEST_CASE(an_encrypted_disk_is_never_read_without_a_key) {
    QcowBuilder disk = small_disk();
    disk.crypt_method = 1;
    BOOST_TEST((refused_layer(disk.build()) == ErrorKind::usage));
    BOOST_TEST(required(kInMemory.parse(disk.build()))->facts().contains("encryption"));
}

BOOST_AUTO_TEST_SUITE_END()
