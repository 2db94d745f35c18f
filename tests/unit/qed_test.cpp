// SPDX-License-Identifier: Apache-2.0
#include "cluster_builders.hpp"
#include "format/qed/qed.hpp"
#include "format_in_memory.hpp"
#include "open/open.hpp"
#include "open/report.hpp"
#include "temporary_folder.hpp"

#include <boost/test/unit_test.hpp>

using namespace vdisk;
using namespace vdisk::test;

BOOST_AUTO_TEST_SUITE(qed)

namespace {

const FormatInMemory kInMemory(kQedFormat);

// Clusters 0, 3 and 5 of eight.
QedBuilder small_disk() {
    QedBuilder disk{.disk_size = 8 * 4096};
    for (const std::uint64_t number : {5U, 0U, 3U}) disk.store(number, Bytes(4096, static_cast<std::byte>(number + 1)));
    return disk;
}

Bytes changed(std::size_t at, std::uint64_t value, std::size_t size) {
    Bytes file = small_disk().build();
    put_little(file, at, value, size);
    return file;
}

ErrorKind refused_layer(const Bytes& file) {
    const auto layer = required(kInMemory.parse(file))->layer(0);
    BOOST_REQUIRE(layer.has_error());
    return layer.error().kind;
}

} // namespace

BOOST_AUTO_TEST_CASE(random_chains_of_every_geometry_read_as_their_model) {
    Random random(22);
    for (const std::uint64_t cluster : {4096U, 16384U, 65536U})
        for (const std::uint64_t table : {1U, 4U, 16U}) {
            ImagePtr image;
            Bytes model;
            for (unsigned layer = 0; layer < 3; ++layer) {
                QedBuilder disk{.disk_size = std::min<std::uint64_t>(cluster * 600 + 512 * layer, 3U << 20),
                                .cluster_bytes = cluster,
                                .table_clusters = table};
                fill_clusters(disk, model, random, 1);
                disk.zeros = {2, 3};
                std::erase_if(disk.stored, [](const auto& each) { return each.number == 2 || each.number == 3; });
                std::fill_n(model.begin() + static_cast<std::ptrdiff_t>(2 * cluster), 2 * cluster, std::byte{0});
                BOOST_TEST(kInMemory.remarks(disk.build()).empty());
                image = kInMemory.image_of(disk.build(), image);
            }
            BOOST_TEST_CONTEXT("clusters of " << cluster << ", tables of " << table)
            check_against_model(*image, model, 65536, random);
        }
}

BOOST_AUTO_TEST_CASE(impossible_headers_are_refused_by_name) {
    for (const std::uint64_t size : {0U, 1000U, 2048U, 12288U, 1U << 27})
        BOOST_TEST((kInMemory.refused(changed(4, size, 4)) == ErrorKind::corrupt));
    for (const std::uint64_t size : {0U, 3U, 17U, 32U})
        BOOST_TEST((kInMemory.refused(changed(8, size, 4)) == ErrorKind::corrupt));
    BOOST_TEST((kInMemory.refused(changed(12, 0, 4)) == ErrorKind::corrupt));
    BOOST_TEST((kInMemory.refused(changed(16, 8, 8)) == ErrorKind::unsupported));
    for (const std::uint64_t offset : {std::uint64_t{0}, std::uint64_t{4097}, std::uint64_t{1} << 62})
        BOOST_TEST((kInMemory.refused(changed(40, offset, 8)) == ErrorKind::corrupt));
    for (const std::uint64_t size : {std::uint64_t{100}, std::uint64_t{1} << 63, std::uint64_t{1} << 40})
        BOOST_TEST((kInMemory.refused(changed(48, size, 8)) == ErrorKind::corrupt));
    BOOST_TEST((kInMemory.refused(changed(0, 0, 1)) == ErrorKind::not_this_format));
    BOOST_TEST((kInMemory.refused(Bytes(20)) == ErrorKind::truncated));
}

BOOST_AUTO_TEST_CASE(unknown_compatible_features_are_told_and_need_check_is_remarked) {
    BOOST_TEST(required(kInMemory.parse(changed(24, 0x80, 8)))->facts().contains("compatible features"));
    BOOST_TEST(required(kInMemory.parse(changed(32, 0x80, 8)))->facts().contains("autoclear features"));
    const Bytes file = changed(16, 2, 8);
    BOOST_TEST(kInMemory.remarks(file).size() == 1U);
    BOOST_TEST(!kInMemory.doubts(file));
    BOOST_TEST(count(kInMemory.audit(file), "need-check") == 1U);
}

BOOST_AUTO_TEST_CASE(a_base_that_is_declared_raw_is_not_looked_at) {
    const TemporaryFolder folder;
    Bytes base = small_disk().build();
    folder.write("base", base);
    QedBuilder disk{.disk_size = *align_up(base.size(), std::uint64_t{512}), .features = 5, .backing = "base"};
    const auto raw = required(open_disk(folder.write("raw.qed", disk.build()).string(), {}));
    BOOST_TEST(raw.chain[1].format->name == "raw");
    BOOST_TEST(reads_as(*raw.image, base, 0, base.size()));
    disk.features = 1;
    const auto seen = required(open_disk(folder.write("seen.qed", disk.build()).string(), {}));
    BOOST_TEST(seen.chain[1].format->name == "qed");
}

BOOST_AUTO_TEST_CASE(a_backing_file_that_is_named_and_not_announced_is_a_contradiction) {
    QedBuilder disk = small_disk();
    disk.backing = "base";
    BOOST_TEST((refused_layer(disk.build()) == ErrorKind::corrupt));
    BOOST_TEST((refused_layer(changed(16, 1, 8)) == ErrorKind::corrupt));
    disk.features = 1;
    Bytes file = disk.build();
    BOOST_TEST(required(required(kInMemory.parse(file))->layer(0)).parent->described == "backing file 'base'");
    put_little(file, 60, 3, 4);
    BOOST_TEST((refused_layer(file) == ErrorKind::corrupt));
}

BOOST_AUTO_TEST_CASE(an_entry_that_can_not_be_costs_its_cluster) {
    Bytes good = small_disk().build();
    const std::uint64_t entry = small_disk().entry_of(good, 3);
    for (const std::uint64_t value :
         {std::uint64_t{2}, std::uint64_t{4097}, std::uint64_t{1} << 40, std::uint64_t{4096}, ~std::uint64_t{4095}}) {
        Bytes file = good;
        put_little(file, entry, value, 8);
        const ImagePtr image = kInMemory.image_of(file);
        BOOST_TEST(read_some(*image, 3 * 4096, 1).has_error());
        BOOST_TEST(read_some(*image, 0, 3 * 4096).has_value());
        BOOST_TEST(read_some(*image, 4 * 4096, 4 * 4096).has_value());
        BOOST_TEST(kInMemory.audit(file).number_of(Severity::error) == 1U);
    }
}

BOOST_AUTO_TEST_CASE(a_lost_entry_is_a_doubt) {
    Bytes file = small_disk().build();
    put_little(file, small_disk().entry_of(file, 3), 0, 8);
    BOOST_TEST(kInMemory.doubts(file));
    BOOST_TEST(kInMemory.audit(file).leaked_bytes() == 4096U);
}

BOOST_AUTO_TEST_CASE(what_a_table_refers_to_that_can_not_be_read_is_not_told_as_lost) {
    Bytes file = small_disk().build();
    const std::uint64_t table = small_disk().entry_of(file, 0);
    const auto parsed =
        required(kInMemory.parse(std::make_shared<const FaultySource>(memory(file), table, table + 4096)));
    BOOST_TEST(required(parsed->layer(0)).remarks.size() == 1U); // of the table itself
}

BOOST_AUTO_TEST_CASE(tables_in_one_place_are_none) {
    QedBuilder disk{.disk_size = std::uint64_t{1024} * 4096};
    disk.store(0, Bytes(4096, std::byte{1}));
    disk.store(600, Bytes(4096, std::byte{3}));
    Bytes file = disk.build();
    std::copy_n(file.begin() + 4096, 8, file.begin() + 4096 + 8);
    const ImagePtr image = kInMemory.image_of(file);
    BOOST_TEST((read_some(*image, 0, 1).error().kind == ErrorKind::corrupt));
    BOOST_TEST((read_some(*image, std::uint64_t{600} * 4096, 1).error().kind == ErrorKind::corrupt));
    BOOST_TEST(count(kInMemory.audit(file), "shared-block") == 2U);
}

BOOST_AUTO_TEST_SUITE_END()
