// SPDX-License-Identifier: Apache-2.0
#include "format/vhd/vhd.hpp"
#include "format_in_memory.hpp"
#include "open/open.hpp"
#include "open/report.hpp"
#include "temporary_folder.hpp"
#include "vhd_builder.hpp"

#include <boost/test/unit_test.hpp>

using namespace vdisk;
using namespace vdisk::test;

BOOST_AUTO_TEST_SUITE(vhd)

namespace {

const FormatInMemory kInMemory(kVhdFormat);

// Blocks 0, 2 and 4 of five.
VhdBuilder small_disk() {
    VhdBuilder disk{.disk_size = 5 * 4096};
    for (const std::uint32_t number : {4U, 0U, 2U}) disk.store(number, Bytes(4096, static_cast<std::byte>(number + 1)));
    return disk;
}

std::string write(const TemporaryFolder& folder, const std::string& name, const Bytes& bytes) {
    return folder.write(name, bytes).string();
}

OpenedDisk opened(const std::string& text) {
    return required(open_disk(text, {}));
}

// A parent of fives and a child that has one sector of its own.
struct Pair {
    VhdBuilder parent{.disk_size = 8 * 4096, .id = 5};
    VhdBuilder child{.type = 4, .disk_size = 8 * 4096, .id = 6, .parent_id = 5, .parent_time_stamp = 1000};
    Bytes model;

    Pair() : model(8 * 4096) {
        parent.store(0, Bytes(4096, std::byte{5}));
        std::fill_n(model.begin(), 4096, std::byte{5});
        child.store(0, Bytes(4096, std::byte{9}), [](std::uint64_t sector) { return sector == 3; });
        std::fill_n(model.begin() + 3 * 512, 512, std::byte{9});
    }
};

void check_pair(const std::string& child, const Bytes& model) {
    Random random(1);
    const OpenedDisk disk = opened(child);
    BOOST_TEST(disk.chain.size() == 2U);
    check_against_model(*disk.image, model, 512, random);
}

} // namespace

BOOST_AUTO_TEST_CASE(random_chains_of_every_geometry_read_as_their_model) {
    Random random(11);
    for (const std::uint32_t block_size : {512U, 4096U, 65536U, 1U << 20, 4U << 20})
        for (const bool low_bits : {false, true}) {
            ImagePtr image;
            Bytes model;
            for (unsigned layer = 0; layer < 3; ++layer) {
                VhdBuilder disk{.type = layer == 0 ? 3U : 4U,
                                .disk_size = std::min<std::uint64_t>(block_size * 9ULL + 512 * (layer + 1), 6U << 20),
                                .block_size = block_size,
                                .creator = low_bits ? std::string("tap\0", 4) : "win ",
                                .creator_version = low_bits ? 1U : 0x00060001U,
                                .id = layer + 1,
                                .parent_id = layer,
                                .low_bit_first = low_bits};
                fill_randomly(disk, model, random);
                image = kInMemory.image_of(disk.build(), image);
            }
            check_against_model(*image, model, std::min(block_size, 65536U), random);
        }
}

BOOST_AUTO_TEST_CASE(a_fixed_disk_ends_where_its_footer_begins) {
    Random random(2);
    VhdBuilder disk{.type = 2, .disk_size = 5000 * 512};
    disk.fixed = random_bytes(random, disk.disk_size);
    check_against_model(*kInMemory.image_of(disk.build()), disk.fixed, 4096, random);
    BOOST_TEST(kInMemory.remarks(disk.build()).empty());
    disk.short_footer = true;
    check_against_model(*kInMemory.image_of(disk.build()), disk.fixed, 4096, random);
}

BOOST_AUTO_TEST_CASE(a_fixed_disk_that_claims_more_than_there_is_never_shows_its_footer) {
    VhdBuilder disk{.type = 2, .disk_size = 10 * 512};
    disk.fixed = Bytes(10 * 512, std::byte{1});
    Bytes file = disk.build();
    put_big(file, file.size() - 512 + 48, 12 * 512, 8);
    VhdBuilder::sum(file, file.size() - 512, 512, 64);
    const ImagePtr image = kInMemory.image_of(file);
    BOOST_TEST(read_some(*image, 0, 10 * 512).has_value());
    BOOST_TEST((read_some(*image, 10 * 512, 1).error().kind == ErrorKind::truncated));
    BOOST_TEST(count(kInMemory.audit(file), "past-end") == 1U);
}

BOOST_AUTO_TEST_CASE(bytes_between_a_fixed_disk_and_its_footer_are_told_and_leaked) {
    VhdBuilder disk{.type = 2, .disk_size = 10 * 512};
    disk.fixed = Bytes(14 * 512, std::byte{1});
    BOOST_TEST(kInMemory.remarks(disk.build()).size() == 1U);
    BOOST_TEST(kInMemory.audit(disk.build()).leaked_bytes() == 4U * 512);
}

BOOST_AUTO_TEST_CASE(one_sound_footer_is_enough) {
    Random random(3);
    const Bytes file = small_disk().build();
    Bytes model(5 * 4096);
    for (const std::size_t number : {0U, 2U, 4U})
        std::fill_n(model.begin() + static_cast<std::ptrdiff_t>(number * 4096), 4096, std::byte(number + 1));
    const std::size_t end = file.size() - 512;
    const auto check = [&](Bytes damaged) {
        check_against_model(*kInMemory.image_of(damaged), model, 4096, random);
        BOOST_TEST(kInMemory.remarks(damaged).size() == 1U);
        BOOST_TEST(!kInMemory.doubts(damaged));
    };
    for (const std::size_t at : {std::size_t{0}, end})
        for (const std::size_t place : {0U, 20U, 50U, 60U, 64U, 200U}) {
            Bytes damaged = file;
            damaged[at + place] ^= std::byte{4};
            check(damaged);
        }
    check(Bytes(file.begin(), file.end() - 512));
    check(Bytes(file.begin(), file.end() - 100));
    BOOST_TEST(kInMemory.remarks(file).empty());
}

BOOST_AUTO_TEST_CASE(damaged_checksums_are_a_doubt_and_two_different_damaged_footers_an_error) {
    Bytes file = small_disk().build();
    const std::size_t end = file.size() - 512;
    file[200] ^= std::byte{1};
    file[end + 200] ^= std::byte{1};
    BOOST_TEST(kInMemory.doubts(file));
    BOOST_TEST(tells_damage(required(kInMemory.parse(file))->facts()));
    file[201] ^= std::byte{1};
    BOOST_TEST((kInMemory.refused(file) == ErrorKind::corrupt));
    Bytes header = small_disk().build();
    header[700] ^= std::byte{1};
    BOOST_TEST(kInMemory.doubts(header));
}

BOOST_AUTO_TEST_CASE(two_whole_footers_of_one_disk_that_tell_two_types_are_refused) {
    for (const std::uint32_t type : {2U, 4U})
        for (const bool at_the_end : {false, true}) {
            Bytes file = small_disk().build();
            const std::size_t footer = at_the_end ? file.size() - 512 : 0;
            put_big(file, footer + 60, type, 4);
            VhdBuilder::sum(file, footer, 512, 64);
            BOOST_TEST((kInMemory.refused(file) == ErrorKind::corrupt));
        }
}

BOOST_AUTO_TEST_CASE(what_begins_a_fixed_disk_is_its_guests_choice) {
    VhdBuilder inner = small_disk();
    inner.id = 99;
    VhdBuilder disk{.type = 2, .disk_size = 64 * 512};
    disk.fixed = inner.build();
    disk.fixed.resize(disk.disk_size);
    Random random(4);
    check_against_model(*kInMemory.image_of(disk.build()), disk.fixed, 512, random);
    BOOST_TEST(kInMemory.doubts(disk.build()));
}

BOOST_AUTO_TEST_CASE(impossible_headers_are_refused_by_name) {
    const auto changed = [](std::size_t at, std::uint64_t value, std::size_t size) {
        Bytes file = small_disk().build();
        put_big(file, at, value, size);
        VhdBuilder::sum(file, 512, 1024, 36);
        return file;
    };
    for (const std::uint64_t block_size : {0ULL, 256ULL, 1000000ULL, 0x80000000ULL})
        BOOST_TEST((kInMemory.refused(changed(544, block_size, 4)) == ErrorKind::corrupt));
    BOOST_TEST((kInMemory.refused(changed(528, std::uint64_t{1} << 63, 8)) == ErrorKind::corrupt));
    BOOST_TEST((kInMemory.refused(changed(512, 0, 8)) == ErrorKind::corrupt));
    BOOST_TEST(kInMemory.parse(changed(540, 0xFFFFFFFE, 4)).has_value());
    for (const std::uint32_t type : {0U, 1U, 5U, 6U}) {
        VhdBuilder disk = small_disk();
        disk.type = type;
        BOOST_TEST((kInMemory.refused(disk.build()) == ErrorKind::unsupported));
    }
    BOOST_TEST((kInMemory.refused(Bytes(4096)) == ErrorKind::not_this_format));
    BOOST_TEST((kInMemory.refused(Bytes{}) == ErrorKind::not_this_format));
}

BOOST_AUTO_TEST_CASE(a_table_for_blocks_of_another_size_is_a_doubt) {
    VhdBuilder good = small_disk();
    good.entries = 9; // as tools that let disks grow have it
    BOOST_TEST(!kInMemory.doubts(good.build()));
    for (const std::uint32_t size : {2048U, 8192U, 1U << 20}) {
        Bytes file = small_disk().build();
        put_big(file, 544, size, 4);
        VhdBuilder::sum(file, 512, 1024, 36);
        BOOST_TEST(kInMemory.doubts(file));
    }
    Bytes odd = small_disk().build();
    put_big(odd, 528, 1537, 8);
    VhdBuilder::sum(odd, 512, 1024, 36);
    BOOST_TEST((kInMemory.refused(odd) == ErrorKind::corrupt));
}

BOOST_AUTO_TEST_CASE(a_table_that_is_too_short_costs_what_it_does_not_have) {
    Bytes file = small_disk().build();
    put_big(file, 540, 3, 4);
    VhdBuilder::sum(file, 512, 1024, 36);
    const ImagePtr image = kInMemory.image_of(file);
    BOOST_TEST(read_some(*image, 0, 3 * 4096).has_value());
    BOOST_TEST((read_some(*image, 3 * 4096, 1).error().kind == ErrorKind::corrupt));
    BOOST_TEST(count(kInMemory.audit(file), "map-too-short") == 1U);
}

BOOST_AUTO_TEST_CASE(blocks_that_share_a_byte_are_unreadable_both) {
    for (const std::uint32_t shift : {0U, 1U, 8U}) {
        VhdBuilder disk = small_disk();
        const auto first = static_cast<std::uint32_t>(disk.first_block() / 512);
        disk.table[2] = first + shift; // block 4 lies there, 9 sectors long
        const ImagePtr image = kInMemory.image_of(disk.build());
        BOOST_TEST((read_some(*image, 2 * 4096, 1).error().kind == ErrorKind::corrupt));
        BOOST_TEST((read_some(*image, 4 * 4096, 1).error().kind == ErrorKind::corrupt));
        BOOST_TEST(read_some(*image, 3 * 4096, 4096).has_value());
        BOOST_TEST(count(kInMemory.audit(disk.build()), "shared-block") >= 2U);
    }
}

BOOST_AUTO_TEST_CASE(blocks_over_headers_table_or_footer_and_behind_the_end_are_unreadable) {
    const auto file_end = static_cast<std::uint32_t>(small_disk().build().size() / 512);
    for (const std::uint32_t entry : {0U, 1U, 3U, file_end - 1, file_end, 0xFFFFFFFEU}) {
        VhdBuilder disk = small_disk();
        disk.table[1] = entry;
        const ImagePtr image = kInMemory.image_of(disk.build());
        BOOST_TEST(read_some(*image, 4096, 1).has_error());
        BOOST_TEST(read_some(*image, 8192, 4096).has_value());
    }
}

BOOST_AUTO_TEST_CASE(a_file_that_was_cut_off_reads_up_to_there) {
    const VhdBuilder disk = small_disk();
    Bytes file = disk.build();
    file.resize(file.size() - 512 - 1000); // into block 2, the last one
    const ImagePtr image = kInMemory.image_of(file);
    BOOST_TEST(read_some(*image, 2 * 4096, 4096 - 1000).has_value());
    BOOST_TEST((read_some(*image, 3 * 4096 - 1000, 1).error().kind == ErrorKind::truncated));
    BOOST_TEST(read_some(*image, 3 * 4096, 2 * 4096).has_value());
    BOOST_TEST(count(kInMemory.audit(file), "past-end") == 1U);
}

BOOST_AUTO_TEST_CASE(bytes_under_cleared_bits_are_zeros_for_the_disk_and_leaked) {
    VhdBuilder disk{.disk_size = 4096};
    disk.store(0, Bytes(4096, std::byte{7}), [](std::uint64_t sector) { return sector < 2; });
    Bytes model(4096);
    std::fill_n(model.begin(), 1024, std::byte{7});
    Random random(6);
    check_against_model(*kInMemory.image_of(disk.build()), model, 512, random);
    const AuditReport report = kInMemory.audit(disk.build());
    BOOST_TEST(count(report, "stale-sectors") == 1U);
    BOOST_REQUIRE_EQUAL(report.leaked().size(), 1U);
    BOOST_TEST(report.leaked()[0].length == 6U * 512);
    BOOST_TEST(kInMemory.audit(small_disk().build()).findings().empty());
}

BOOST_AUTO_TEST_CASE(every_changed_bit_of_a_table_gives_the_same_bytes_an_error_or_a_doubt) {
    Random random(8);
    for (const std::uint64_t size : {5ULL * 4096, 4ULL * 4096 + 1024, 2048ULL, 3072ULL}) {
        VhdBuilder disk{.disk_size = size};
        for (std::uint32_t i = 0; i < disk.table_entries(); i += 2) disk.store(i, random_bytes(random, 4096));
        const Bytes good = disk.build();
        Bytes right(disk.disk_size);
        BOOST_REQUIRE(kInMemory.image_of(good)->read_at(0, right).has_value());
        BOOST_TEST(!kInMemory.doubts(good));
        for (std::uint64_t number = 0; number < disk.table_entries(); number += 2)
            for (std::size_t bit = 0; bit < 32; ++bit) {
                Bytes changed = good;
                changed[disk.table_offset() + number * 4 + bit / 8] ^= static_cast<std::byte>(1U << bit % 8);
                Bytes got(disk.disk_size);
                const bool read =
                    !kInMemory.doubts(changed) && kInMemory.image_of(changed)->read_at(0, got).has_value();
                BOOST_TEST((!read || got == right), "bit " << bit << " of entry " << number);
            }
    }
}

BOOST_AUTO_TEST_CASE(the_size_that_the_footer_states_counts_and_the_geometry_is_told) {
    for (const std::string creator : {"win ", "vpc ", "xxxx", "vbox"}) {
        VhdBuilder disk = small_disk();
        disk.creator = creator;
        disk.geometry = 1U << 16 | 4U << 8 | 3U; // 12 sectors
        const bool told = creator == "vpc " || creator == "xxxx";
        BOOST_TEST(kInMemory.image_of(disk.build())->size() == 5U * 4096);
        BOOST_TEST(kInMemory.remarks(disk.build()).size() == (told ? 1U : 0U), creator);
    }
}

BOOST_AUTO_TEST_CASE(parents_are_found_by_each_kind_of_name) {
    const auto locator = [](std::string platform, Bytes name) {
        return VhdBuilder::Locator{.platform = std::move(platform), .name = std::move(name)};
    };
    const std::string_view url = "file://./the%20parent.vhd";
    const auto url_bytes = std::as_bytes(std::span(url));
    for (const VhdBuilder::Locator& each :
         {locator("W2ru", utf16(".\\the parent.vhd")), locator("W2ru", utf16("..\\gone\\the parent.vhd")),
          locator("W2ku", utf16("C:\\gone\\the parent.vhd")), locator("W2ku", utf16("\\\\server\\x\\the parent.vhd")),
          locator("MacX", Bytes(url_bytes.begin(), url_bytes.end()))}) {
        TemporaryFolder folder;
        Pair pair;
        pair.child.locators = {each};
        write(folder, "the parent.vhd", pair.parent.build());
        check_pair(write(folder, "child.vhd", pair.child.build()), pair.model);
        BOOST_TEST(opened((folder.path() / "child.vhd").string()).remarks().empty());
    }
    TemporaryFolder folder;
    Pair pair;
    pair.child.parent_name = "the parent.vhd";
    write(folder, "the parent.vhd", pair.parent.build());
    check_pair(write(folder, "child.vhd", pair.child.build()), pair.model);
}

BOOST_AUTO_TEST_CASE(a_parent_in_another_folder_is_found_by_the_relative_path) {
    TemporaryFolder folder;
    std::filesystem::create_directories(folder.path() / "base");
    std::filesystem::create_directories(folder.path() / "snap");
    Pair pair;
    pair.child.locators = {{.platform = "W2ru", .name = utf16("..\\base\\p.vhd")}};
    write(folder, "base/p.vhd", pair.parent.build());
    check_pair(write(folder, "snap/c.vhd", pair.child.build()), pair.model);
}

BOOST_AUTO_TEST_CASE(a_renamed_parent_is_found_by_its_identifier_and_the_decoy_is_told) {
    TemporaryFolder folder;
    Pair pair;
    pair.child.locators = {{.platform = "W2ru", .name = utf16(".\\p.vhd")}};
    VhdBuilder decoy = pair.parent;
    decoy.id = 8;
    write(folder, "p.vhd", decoy.build());
    const std::string child = write(folder, "child.vhd", pair.child.build());
    const auto alone = open_disk(child, {});
    BOOST_REQUIRE(alone.has_error());
    BOOST_TEST((alone.error().kind == ErrorKind::io));
    BOOST_TEST(alone.error().what.find("unique ID 00000008-0000") != std::string::npos);
    write(folder, "ITEM.bin", pair.parent.build());
    check_pair(child, pair.model);
    BOOST_TEST(opened(child).remarks().size() == 1U);
}

BOOST_AUTO_TEST_CASE(a_person_may_name_the_wrong_parent_or_none) {
    TemporaryFolder folder;
    Pair pair;
    VhdBuilder other = pair.parent;
    other.id = 8;
    write(folder, "other.vhd", other.build());
    const std::string child = write(folder, "child.vhd", pair.child.build());
    const OpenedDisk disk = opened(child + "#parent=" + (folder.path() / "other.vhd").string());
    Random random(1);
    check_against_model(*disk.image, pair.model, 512, random);
    BOOST_REQUIRE_EQUAL(disk.remarks().size(), 1U);
    BOOST_TEST((disk.remarks()[0].weight == Remark::Weight::doubt));
    const OpenedDisk without = opened(child + "#parent=none");
    BOOST_TEST(read_some(*without.image, 3 * 512, 512).has_value());
    BOOST_TEST(read_some(*without.image, 0, 512).has_error());
}

BOOST_AUTO_TEST_CASE(another_time_of_the_parent_is_told_and_no_doubt) {
    TemporaryFolder folder;
    Pair pair;
    pair.child.parent_name = "p.vhd";
    pair.parent.time_stamp = 5000;
    write(folder, "p.vhd", pair.parent.build());
    const std::string child = write(folder, "child.vhd", pair.child.build());
    BOOST_REQUIRE_EQUAL(opened(child).remarks().size(), 1U);
    BOOST_TEST((opened(child).remarks()[0].weight == Remark::Weight::note));
    pair.child.parent_time_stamp = 0;
    write(folder, "child.vhd", pair.child.build());
    BOOST_TEST(opened(child).remarks().empty());
}

BOOST_AUTO_TEST_CASE(locators_that_can_be_no_names_are_told_and_passed_over) {
    TemporaryFolder folder;
    Pair pair;
    pair.child.parent_name = "p.vhd";
    pair.child.locators = {{.platform = "W2ku", .name = utf16("x"), .length = 0xFFFFFFFF},
                           {.platform = "W2ru", .name = utf16("x"), .offset = std::uint64_t{1} << 62},
                           {.platform = "W2ru", .name = Bytes(3)},
                           {.platform = "Mac ", .name = Bytes(3)}};
    write(folder, "p.vhd", pair.parent.build());
    const std::string child = write(folder, "child.vhd", pair.child.build());
    check_pair(child, pair.model);
    BOOST_TEST(opened(child).remarks().size() == 3U);
}

BOOST_AUTO_TEST_CASE(circles_and_images_without_a_parents_name_are_refused) {
    TemporaryFolder folder;
    VhdBuilder a{.type = 4, .disk_size = 4096, .id = 1, .parent_id = 2, .parent_name = "b.vhd"};
    VhdBuilder b{.type = 4, .disk_size = 4096, .id = 2, .parent_id = 1, .parent_name = "a.vhd"};
    write(folder, "b.vhd", b.build());
    BOOST_TEST((open_disk(write(folder, "a.vhd", a.build()), {}).error().kind == ErrorKind::corrupt));
    a.parent_id = 1;
    BOOST_TEST((open_disk(write(folder, "a.vhd", a.build()), {}).error().kind == ErrorKind::corrupt));
    a.parent_id = 0;
    BOOST_TEST((open_disk(write(folder, "a.vhd", a.build()), {}).error().kind == ErrorKind::corrupt));
}

BOOST_AUTO_TEST_CASE(the_policy_forbids_every_way_to_the_parent) {
    TemporaryFolder folder;
    Pair pair;
    pair.child.parent_name = "p.vhd";
    write(folder, "p.vhd", pair.parent.build());
    const std::string child = write(folder, "child.vhd", pair.child.build());
    BOOST_TEST((open_disk(child, {.references = ReferencePolicy::deny}).error().kind == ErrorKind::usage));
    BOOST_TEST(open_disk(child, {.references = ReferencePolicy::same_dir}).has_value());
}

BOOST_AUTO_TEST_CASE(xenserver_batmaps_are_no_leaks) {
    VhdBuilder disk = small_disk();
    Bytes file = disk.build();
    // Blocks begin two sectors later than the builder puts them, behind the batmap.
    Bytes with(file.begin(), file.begin() + static_cast<std::ptrdiff_t>(disk.first_block()));
    const std::uint64_t at = with.size();
    put_text(with, at, "tdbatmap");
    put_big(with, at + 8, at + 512, 8);
    put_big(with, at + 16, 1, 4);
    with.resize(at + 1024, std::byte{0xFF});
    put_bytes(with, with.size(), std::span(file).subspan(disk.first_block()));
    for (std::uint64_t i = 0; i < 3; ++i)
        put_big(with, disk.table_offset() + std::array{4U, 0U, 2U}[i] * 4, at / 512 + 2 + i * 9, 4);
    BOOST_TEST(read_some(*kInMemory.image_of(with), 0, 5 * 4096).has_value());
    BOOST_TEST(kInMemory.audit(with).findings().empty());
}

BOOST_AUTO_TEST_SUITE_END()
