// SPDX-License-Identifier: Apache-2.0
#include "cluster_builders.hpp"
#include "format/parallels/header.hpp"
#include "format/parallels/parallels.hpp"
#include "format_in_memory.hpp"
#include "open/open.hpp"
#include "open/report.hpp"
#include "temporary_folder.hpp"

#include <boost/test/unit_test.hpp>

using namespace vdisk;
using namespace vdisk::test;

BOOST_AUTO_TEST_SUITE(parallels)

namespace {

const FormatInMemory kInMemory(kParallelsFormat);

// Clusters 0, 3 and 5 of eight.
ParallelsBuilder small_disk() {
    ParallelsBuilder disk{.disk_size = 8 * 4096};
    for (const std::uint64_t number : {5U, 0U, 3U}) disk.store(number, Bytes(4096, static_cast<std::byte>(number + 1)));
    return disk;
}

Bytes changed(std::size_t at, std::uint64_t value, std::size_t size) {
    Bytes file = small_disk().build();
    put_little(file, at, value, size);
    return file;
}

std::string braced(unsigned number) {
    return fmt::format("{{{:08x}-0000-0000-0000-000000000000}}", number);
}

std::string image(unsigned shot, const std::string& type, const std::string& file) {
    return fmt::format("<Image><GUID>{}</GUID><Type>{}</Type><File>{}</File></Image>", braced(shot), type, file);
}

std::string shot(unsigned number, unsigned parent) {
    return fmt::format("<Shot><GUID>{}</GUID><ParentGUID>{}</ParentGUID></Shot>", braced(number), braced(parent));
}

std::string storage(unsigned start, unsigned end, const std::string& images) {
    return fmt::format("<Storage><Start>{}</Start><End>{}</End>{}</Storage>", start, end, images);
}

std::string descriptor(const std::string& storages, const std::string& shots, unsigned top) {
    return fmt::format("<?xml version='1.0'?><Parallels_disk_image Version='1.0'><StorageData>{}</StorageData>"
                       "<Snapshots><TopGUID>{}</TopGUID>{}</Snapshots></Parallels_disk_image>",
                       storages, braced(top), shots);
}

Bytes bytes_of(std::string_view text) {
    const auto bytes = std::as_bytes(std::span(text));
    return {bytes.begin(), bytes.end()};
}

ErrorKind refused_text(const std::string& text) {
    return kInMemory.refused(bytes_of(text));
}

} // namespace

BOOST_AUTO_TEST_CASE(random_disks_of_every_geometry_read_as_their_model) {
    Random random(23);
    for (const std::uint64_t tracks : {1U, 8U, 63U, 504U, 2048U})
        for (const bool counts_clusters : {false, true}) {
            ParallelsBuilder disk{.disk_size = std::min<std::uint64_t>(tracks * 512 * 70 + 512, 6U << 20),
                                  .tracks = tracks,
                                  .counts_clusters = counts_clusters};
            Bytes model;
            fill_clusters(disk, model, random, 1);
            BOOST_TEST(kInMemory.remarks(disk.build()).empty());
            BOOST_TEST_CONTEXT("clusters of " << tracks << " sectors")
            check_against_model(*kInMemory.image_of(disk.build()), model, 65536, random);
        }
}

BOOST_AUTO_TEST_CASE(impossible_headers_are_refused_by_name) {
    BOOST_TEST((kInMemory.refused(changed(16, 3, 4)) == ErrorKind::unsupported));
    BOOST_TEST((kInMemory.refused(changed(28, 0, 4)) == ErrorKind::corrupt));
    for (const std::uint64_t entries : {std::uint64_t{0}, std::uint64_t{7}, std::uint64_t{0xFFFFFFFF}})
        BOOST_TEST((kInMemory.refused(changed(32, entries, 4)) == ErrorKind::corrupt));
    for (const std::uint64_t sectors : {std::uint64_t{1} << 60, std::uint64_t{65}})
        BOOST_TEST((kInMemory.refused(changed(36, sectors, 8)) == ErrorKind::corrupt));
    BOOST_TEST((kInMemory.refused(changed(0, 0, 1)) == ErrorKind::not_this_format));
    BOOST_TEST((kInMemory.refused(Bytes(20)) == ErrorKind::truncated));
}

BOOST_AUTO_TEST_CASE(an_image_that_was_in_use_is_a_doubt) {
    ParallelsBuilder disk = small_disk();
    disk.in_use = 0x746F6E59;
    BOOST_TEST(kInMemory.doubts(disk.build()));
    BOOST_TEST(count(kInMemory.audit(disk.build()), "in-use") == 1U);
    BOOST_TEST(required(kInMemory.parse(disk.build()))->facts().contains("in use"));
}

BOOST_AUTO_TEST_CASE(clusters_outside_of_the_file_or_in_one_place_are_unreadable) {
    for (const std::uint64_t entry : {std::uint64_t{0xFFFFFF00}, std::uint64_t{2}}) {
        Bytes file = small_disk().build();
        put_little(file, ParallelsBuilder::entry_of(5), entry, 4);
        const ImagePtr disk = kInMemory.image_of(file);
        BOOST_TEST(read_some(*disk, 5 * 4096, 1).has_error());
        BOOST_TEST(read_some(*disk, 0, 1).has_error() == (entry == 2));
        BOOST_TEST(read_some(*disk, 3 * 4096, 4096).has_value());
        BOOST_TEST(count(kInMemory.audit(file), entry == 2 ? "shared-block" : "past-end") == (entry == 2 ? 2U : 1U));
        BOOST_TEST(kInMemory.doubts(file));
    }
}

BOOST_AUTO_TEST_CASE(an_entry_beyond_what_an_offset_can_be_names_no_other_place) {
    const vdisk::parallels::Header header{
        .counts_clusters = true, .cluster_size = std::uint64_t{1} << 40, .disk_size = 512};
    const ClusterTables tables = header.image().tables;
    BOOST_TEST(tables.decode((1U << 24) - 1).host == ((std::uint64_t{1} << 24) - 1) << 40);
    for (const std::uint64_t entry : {1U << 24, (1U << 24) + 1, ~0U})
        BOOST_TEST((tables.decode(entry).kind == ClusterEntry::Kind::broken));
}

BOOST_AUTO_TEST_CASE(a_descriptor_has_the_current_state_and_each_snapshot) {
    const TemporaryFolder folder;
    ParallelsBuilder base = small_disk();
    ParallelsBuilder top{.disk_size = 8 * 4096};
    top.store(1, Bytes(4096, std::byte{0x42}));
    folder.write("base.hds", base.build());
    folder.write("top.hds", top.build());
    const std::string images = image(1, "Compressed", "base.hds") + image(2, "Compressed", "/Users/x/vm.pvm/top.hds");
    const std::string path =
        folder.write("DiskDescriptor.xml", bytes_of(descriptor(storage(0, 64, images), shot(1, 0) + shot(2, 1), 2)))
            .string();
    const auto byte_at = [](const std::string& text, std::uint64_t at) {
        Bytes out(1);
        const OpenedDisk disk = required(open_disk(text, {}));
        BOOST_TEST(required(disk.image->read_at(at, out)) == 1U);
        return std::to_integer<unsigned>(out[0]);
    };
    for (const std::string& text : {path, path + "#" + braced(2), (folder.path() / "top.hds").string()}) {
        BOOST_TEST(byte_at(text, 4096) == 0x42U);
        BOOST_TEST(byte_at(text, 0) == 1U);
    }
    BOOST_TEST(byte_at(path + "#snapshot=" + braced(1), 4096) == 0U);
    BOOST_TEST(required(open_disk((folder.path() / "top.hds").string(), {})).chain.size() == 2U);
    std::filesystem::remove(folder.path() / "base.hds");
    for (const std::string& text : {path, (folder.path() / "top.hds").string()})
        BOOST_TEST(open_disk(text, {}).has_error());
}

BOOST_AUTO_TEST_CASE(pieces_make_one_disk) {
    const TemporaryFolder folder;
    Random random(5);
    ParallelsBuilder first{.disk_size = 5 * 4096};
    ParallelsBuilder second{.disk_size = 63 * 512 * 4 + 512, .tracks = 63, .counts_clusters = false};
    Bytes model;
    Bytes other;
    fill_clusters(first, model, random, 1);
    fill_clusters(second, other, random, 1);
    const Bytes plain = random_bytes(random, 8192);
    model.insert(model.end(), other.begin(), other.end());
    model.insert(model.end(), plain.begin(), plain.end());
    folder.write("a", first.build());
    folder.write("b", second.build());
    folder.write("c", plain);
    const std::string pieces = storage(0, 40, image(1, "Compressed", "a")) +
                               storage(40, 293, image(1, "Compressed", "b")) +
                               storage(293, 309, image(1, "Plain", "c"));
    const OpenedDisk disk = required(
        open_disk(folder.write("DiskDescriptor.xml", bytes_of(descriptor(pieces, shot(1, 0), 1))).string(), {}));
    check_against_model(*disk.image, model, 4096, random);
}

BOOST_AUTO_TEST_CASE(a_descriptor_that_can_not_be_is_refused) {
    const std::string one = storage(0, 64, image(1, "Plain", "a"));
    BOOST_TEST(kInMemory.parse(bytes_of(descriptor(one, shot(1, 0), 1))).has_value());
    for (const std::string& text :
         {descriptor("", shot(1, 0), 1), descriptor(storage(1, 64, ""), shot(1, 0), 1),
          descriptor(storage(0, 0, ""), shot(1, 0), 1), descriptor(one + storage(65, 70, ""), shot(1, 0), 1),
          descriptor(one, shot(1, 0), 2), descriptor(one, shot(1, 0) + shot(1, 0), 1),
          descriptor(one, "<Shot><GUID>x</GUID></Shot>", 1), std::string("<Parallels_disk_image><StorageData>")})
        BOOST_TEST((refused_text(text) == ErrorKind::corrupt));
    BOOST_TEST(
        (refused_text(descriptor(storage(0, 64, image(1, "Other", "a")), shot(1, 0), 1)) == ErrorKind::unsupported));
    for (const std::string& shots : {shot(1, 2) + shot(2, 1), shot(1, 1), shot(1, 7)})
        BOOST_TEST((required(kInMemory.parse(bytes_of(descriptor(one, shots, 1))))->layer(0).error().kind ==
                    ErrorKind::corrupt));
}

BOOST_AUTO_TEST_CASE(a_child_of_virtualbox_reads_over_the_parent_that_is_given) {
    const TemporaryFolder folder;
    ParallelsBuilder child{.disk_size = 8 * 4096, .counts_clusters = false, .in_use = 0, .cylinders = 0};
    child.store(1, Bytes(4096, std::byte{9}));
    folder.write("base.hdd", small_disk().build());
    const std::string path = folder.write("child.hdd", child.build()).string();
    BOOST_TEST(required(open_disk(path, {})).remarks().size() == 1U);
    const OpenedDisk disk = required(open_disk(path + "#parent=" + (folder.path() / "base.hdd").string(), {}));
    Bytes out(2);
    BOOST_TEST(required(disk.image->read_at(4095, out)) == 2U);
    BOOST_TEST((out == Bytes{std::byte{1}, std::byte{9}}));
}

BOOST_AUTO_TEST_SUITE_END()
