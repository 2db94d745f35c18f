// SPDX-License-Identifier: Apache-2.0
// What the bookkeeping of a qcow2 image says against a whole state of its disk, or against single ranges of it.
#include "model.hpp"
#include "open/bookkeeping.hpp"
#include "open/report.hpp"
#include "qcow2_builder.hpp"
#include "temporary_folder.hpp"

#include <boost/test/unit_test.hpp>

using namespace vdisk;
using namespace vdisk::test;

BOOST_AUTO_TEST_SUITE(bookkeeping)

namespace {

constexpr std::uint64_t kCluster = 65536;
constexpr std::uint64_t kDiskSize = 1 << 20;

// Gives each cluster of the image the refcount 1.
void add_refcounts(Qcow2Builder& image) {
    const std::uint64_t block = image.append(Bytes(kCluster));
    const std::uint64_t table = image.append(Bytes(kCluster));
    image.put64(table, block);
    image.put64(48, table);
    image.put32(56, 1);
    const std::uint64_t clusters = image.bytes().size() / kCluster;
    for (std::uint64_t i = 0; i < clusters; i += 2)
        image.put32(block + 2 * i, i + 1 < clusters ? 0x00010001 : 0x00010000);
}

// A snapshot whose L1 table leads to the active state's L2 table, with the COPIED flag in the active one or without.
Bytes image_with_shared_table(bool copied) {
    Qcow2Builder image({.size = kDiskSize});
    image.set(0, image.append(Bytes(kCluster, std::byte{1})) | kQcow2Copied);
    const std::uint64_t entry = image.get64(image.l1_entry_offset(0)) & ~kQcow2Copied;
    image.put64(image.l1_entry_offset(0), entry | (copied ? kQcow2Copied : 0));
    const std::uint64_t l1 = image.append_l1(1);
    image.put64(l1, entry);
    image.snapshots({{.id = "1", .name = "before", .l1_table_offset = l1, .l1_size = 1, .extra = {0, kDiskSize}}});
    add_refcounts(image);
    return image.bytes();
}

// Guest clusters 0 and 5 are one cluster of the file.
Bytes image_with_shared_cluster() {
    Qcow2Builder image({.size = kDiskSize});
    const std::uint64_t shared = image.append(Bytes(kCluster, std::byte{1}));
    image.set(0, shared | kQcow2Copied);
    image.set(5, shared | kQcow2Copied);
    image.set(7, image.append(Bytes(kCluster, std::byte{2})) | kQcow2Copied);
    add_refcounts(image);
    return image.bytes();
}

std::vector<std::uint64_t> offsets(const Distrust& distrust) {
    std::vector<std::uint64_t> found;
    for (const DistrustedRange& range : distrust.ranges) found.push_back(range.offset / kCluster);
    return found;
}

} // namespace

BOOST_AUTO_TEST_CASE(an_l2_table_of_one_owner_that_two_states_have_makes_both_unreadable) {
    const TemporaryFolder folder;
    const std::string path = folder.write("d.qcow2", image_with_shared_table(true)).string();
    for (const char* state : {"", "#before"}) {
        const auto opened = open_disk(path + state, {});
        BOOST_REQUIRE(opened.has_error());
        BOOST_TEST((opened.error().kind == ErrorKind::corrupt));
        BOOST_TEST(opened.error().what.find("has one reference") != std::string::npos, opened.error().what);
    }
    const auto report = audit_file(open_file(path, {}).value(), {});
    BOOST_REQUIRE(report.has_value());
    BOOST_TEST(report.value().counts().at("l1-table").number == 1U);
}

BOOST_AUTO_TEST_CASE(an_l2_table_that_is_not_said_to_have_one_owner_is_read_by_both_states) {
    const TemporaryFolder folder;
    const std::string path = folder.write("d.qcow2", image_with_shared_table(false)).string();
    for (const char* state : {"", "#before"}) {
        const auto opened = open_disk(path + state, {});
        BOOST_TEST(opened.has_value());
    }
}

BOOST_AUTO_TEST_CASE(ranges_that_an_audit_distrusts_are_told_of_the_disk_that_is_read) {
    const TemporaryFolder folder;
    const std::string path = folder.write("d.qcow2", image_with_shared_cluster()).string();
    const auto found = find_distrusted(open_disk(path, {}).value(), {});
    BOOST_REQUIRE(found.has_value());
    const std::vector<std::uint64_t> wanted{0, 5};
    BOOST_TEST(offsets(found.value()) == wanted, boost::test_tools::per_element());
    BOOST_TEST(found.value().ranges.front().why.find("refcount 1, but 2 references") != std::string::npos);
}

BOOST_AUTO_TEST_CASE(ranges_of_a_parent_are_distrusted_in_its_child) {
    const TemporaryFolder folder;
    folder.write("base.qcow2", image_with_shared_cluster());
    Qcow2Builder child({.size = 4 * kCluster});
    child.backing("base.qcow2");
    const auto found = find_distrusted(open_disk(folder.write("child.qcow2", child.bytes()).string(), {}).value(), {});
    BOOST_REQUIRE(found.has_value());
    const std::vector<std::uint64_t> wanted{0}; // the other lies behind the child's end
    BOOST_TEST(offsets(found.value()) == wanted, boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(refcounts_of_a_dirty_image_say_nothing_against_its_bytes) {
    const TemporaryFolder folder;
    Bytes bytes = image_with_shared_cluster();
    bytes[qcow2_field::incompatible_features + 7] |= std::byte{1};
    const auto found = find_distrusted(open_disk(folder.write("d.qcow2", bytes).string(), {}).value(), {});
    BOOST_TEST(found.value().ranges.empty());
}

BOOST_AUTO_TEST_SUITE_END()
