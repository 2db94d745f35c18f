// SPDX-License-Identifier: Apache-2.0
#include "format/vmdk/vmdk.hpp"
#include "format_in_memory.hpp"
#include "open/open.hpp"
#include "open/report.hpp"
#include "temporary_folder.hpp"
#include "vmdk_builder.hpp"

#include <boost/test/unit_test.hpp>

using namespace vdisk;
using namespace vdisk::test;

BOOST_AUTO_TEST_SUITE(vmdk)

namespace {

using Kind = VmdkExtent::Kind;

const FormatInMemory kInMemory(kVmdkFormat);

VmdkText sparse_text(std::uint64_t disk_size) {
    return {.extents = {fmt::format("RW {} SPARSE \"disk.vmdk\"", disk_size / 512)}};
}

// With its descriptor inside, grains 0, 2, 4, ... stored.
VmdkExtent small_disk(std::uint64_t count = 20) {
    VmdkExtent disk{.disk_size = count * 4096, .descriptor = sparse_text(count * 4096).text()};
    for (std::uint64_t number = 0; number < count; number += 2)
        disk.store(number, Bytes(4096, static_cast<std::byte>(number + 1)));
    return disk;
}

Bytes small_model(std::uint64_t count = 20) {
    Bytes model(count * 4096);
    for (std::uint64_t number = 0; number < count; number += 2)
        std::fill_n(model.begin() + static_cast<std::ptrdiff_t>(number * 4096), 4096,
                    static_cast<std::byte>(number + 1));
    return model;
}

std::string write(const TemporaryFolder& folder, const std::string& name, const Bytes& bytes) {
    return folder.write(name, bytes).string();
}

OpenedDisk opened(const std::string& text) {
    return required(open_disk(text, {}));
}

ErrorKind refused(const std::string& text) {
    const auto disk = open_disk(text, {});
    BOOST_REQUIRE(disk.has_error());
    return disk.error().kind;
}

bool has_doubt(const OpenedDisk& disk) {
    const std::vector<Remark> remarks = disk.remarks();
    return !doubts_of(remarks).empty();
}

// A parent of fives and a child that has grain 3 of its own.
struct Pair {
    VmdkText parent_text{.cid = "00000005"};
    VmdkText child_text{.cid = "00000006", .parent_cid = "00000005", .hint = "p.vmdk"};
    Bytes model;

    Pair() : model(16 * 4096) { std::fill_n(model.begin(), 8192, std::byte{5}); }

    Bytes parent() const {
        VmdkText text = parent_text;
        text.extents = {"RW 128 SPARSE \"p.vmdk\""};
        VmdkExtent disk{.disk_size = 16 * 4096, .descriptor = text.text()};
        disk.store(0, Bytes(4096, std::byte{5}));
        disk.store(1, Bytes(4096, std::byte{5}));
        return disk.build();
    }
    Bytes child() {
        VmdkText text = child_text;
        text.extents = {"RW 128 SPARSE \"c.vmdk\""};
        VmdkExtent disk{.disk_size = 16 * 4096, .descriptor = text.text()};
        disk.store(1, Bytes(4096, std::byte{9}));
        std::fill_n(model.begin() + 4096, 4096, std::byte{9});
        return disk.build();
    }
};

void check_pair(const std::string& child, const Bytes& model) {
    Random random(1);
    const OpenedDisk disk = opened(child);
    BOOST_TEST(disk.chain.size() == 2U);
    check_against_model(*disk.image, model, 4096, random);
}

} // namespace

BOOST_AUTO_TEST_CASE(random_chains_of_every_kind_read_as_their_model) {
    Random random(11);
    for (const Kind kind : {Kind::hosted, Kind::stream, Kind::cowd, Kind::sesparse})
        for (const std::uint64_t grain : {512U, 4096U, 65536U})
            for (const bool flag : {false, true}) {
                const CachesPtr caches = FormatInMemory::context().caches; // one set, as a disk's layers have it
                ImagePtr image;
                Bytes model;
                for (unsigned layer = 0; layer < 3; ++layer) {
                    VmdkExtent disk{.kind = kind,
                                    .disk_size = grain * 37 + 512 * (layer + 1),
                                    .grain = grain,
                                    .redundant = flag,
                                    .zeroed = flag,
                                    .footer = flag};
                    if (kind == Kind::hosted || kind == Kind::stream)
                        disk.descriptor = sparse_text(disk.disk_size).text();
                    fill_randomly(disk, model, random);
                    const auto file = required(kInMemory.parse(disk.build()));
                    const Layer own = required(file->layer(0));
                    // What a seSparse extent lacks is its parent's, and nothing here says that there is none.
                    if (kind == Kind::sesparse) break;
                    image = std::make_shared<const Image>(Image::Parts{.name = "image",
                                                                       .layout = own.layout,
                                                                       .sources = own.sources,
                                                                       .parent = image,
                                                                       .caches = caches});
                    BOOST_TEST(own.remarks.empty());
                }
                BOOST_TEST_CONTEXT("kind " << static_cast<int>(kind) << ", grain " << grain << ", flag " << flag)
                if (image) check_against_model(*image, model, grain, random);
            }
}

BOOST_AUTO_TEST_CASE(extents_of_every_kind_are_put_together) {
    Random random(12);
    TemporaryFolder folder;
    Bytes model;
    VmdkText text;
    const auto add = [&](VmdkExtent extent, const std::string& type) {
        Bytes part;
        fill_randomly(extent, part, random);
        const std::string name = fmt::format("d-{}.vmdk", text.extents.size());
        write(folder, name, extent.build());
        text.extents.push_back(fmt::format("RW {} {} \"{}\"", part.size() / 512, type, name));
        model.insert(model.end(), part.begin(), part.end());
    };
    add({.disk_size = 40 * 4096}, "SPARSE");
    add({.disk_size = 300 * 512, .grain = 8192, .zeroed = true}, "sparse");
    const Bytes flat = random_bytes(random, 30 * 512);
    write(folder, "d-flat.vmdk", flat);
    text.extents.push_back("RW 20 FLAT \"d-flat.vmdk\" 10");
    model.insert(model.end(), flat.begin() + 10 * 512, flat.end());
    text.extents.push_back("NOACCESS 7 ZERO");
    model.resize(model.size() + 7 * 512);
    add({.kind = Kind::cowd, .disk_size = 100 * 512, .grain = 512}, "VMFSSPARSE");
    add({.kind = Kind::sesparse, .disk_size = 50 * 4096}, "SESPARSE");
    add({.kind = Kind::stream, .disk_size = 50 * 4096}, "SPARSE");
    text.extents.push_back("RW 10 VMFS \"d-flat.vmdk\"");
    model.insert(model.end(), flat.begin(), flat.begin() + 10 * 512);
    const OpenedDisk disk = opened(write(folder, "d.vmdk", text.bytes()));
    check_against_model(*disk.image, model, 4096, random);
    BOOST_TEST(disk.remarks().empty());
    const auto report = audit_file(disk.file, {});
    BOOST_TEST(required(report).findings().empty());
}

BOOST_AUTO_TEST_CASE(a_descriptor_is_read_in_whatever_way_it_is_written) {
    Random random(13);
    TemporaryFolder folder;
    const Bytes flat = random_bytes(random, 8 * 512);
    write(folder,
          "gr\xC3\xB6\xC3\x9F"
          "e.vmdk",
          flat);
    for (const std::string& text :
         {std::string("# Disk DescriptorFile\r\nversion=1\r\nCID=1\r\nparentcid = ffffffff\r\nencoding = \"UTF-8\"\r\n"
                      "rw 8 Flat \"gr\xC3\xB6\xC3\x9F"
                      "e.vmdk\" 0\r\n"),
          std::string("# disk descriptorfile\nencoding=\"Windows-1252\"\nPARENTCID=FFFFFFFF\n\n"
                      "RDONLY 8 FLAT \"gr\xF6\xDF"
                      "e.vmdk\"\n"),
          std::string(
              "\xEF\xBB\xBF# Disk DescriptorFile\nparentCID=\"ffffffff\"\nRW 8 VMFS \"C:\\VMs\\gr\xC3\xB6\xC3\x9F"
              "e.vmdk\"\n") +
              std::string(300, '\0') + "rubbish"}) {
        const auto bytes = std::as_bytes(std::span(text));
        const OpenedDisk disk = opened(write(folder, "d.vmdk", Bytes(bytes.begin(), bytes.end())));
        check_against_model(*disk.image, flat, 512, random);
        BOOST_TEST(disk.remarks().empty());
    }
}

BOOST_AUTO_TEST_CASE(a_descriptor_that_can_not_be_right_is_refused_by_line) {
    const auto kind_of = [](const std::string& lines) {
        const std::string text = "# Disk DescriptorFile\nparentCID=ffffffff\n" + lines;
        const auto bytes = std::as_bytes(std::span(text));
        return kInMemory.refused(Bytes(bytes.begin(), bytes.end()));
    };
    for (const std::string lines :
         {"", "RW 0 ZERO\n", "RW x ZERO\n", "RW -1 ZERO\n", "RW 8 ZERO \"x\"\n", "RW 8 FLAT\n", "RW 8 FLAT \"x\n",
          "RW 8 FLAT x\n", "RW 8 FLAT \"x\" y\n", "RW 8 FLAT \"x\" 1 2\n", "RW 18446744073709551615 ZERO\n",
          "RW 9223372036854775807 ZERO\nRW 9 ZERO\n", "RW 8 FLAT \"x\" 36028797018963968\n", "SW 8 ZERO\n",
          "RW 8 ZERO\nCID=x\n", "RW 8 ZERO\nCID=100000000\n", "RW 8 ZERO\nparentCID=1\n",
          "RW 8 ZERO\nddb.uuid.parent=\"x\"\n", "RW 8 ZERO\n=x\n"})
        BOOST_TEST((kind_of(lines) == ErrorKind::corrupt), lines);
    for (const std::string lines : {"RW 8 VMFSRDM \"x\"\n", "RW 8 VMFSRAW \"x\"\n",
                                    "RW 8 FLAT \"\\\\.\\PhysicalDrive0\"\n", "RW 8 SPARSY \"x\"\n"})
        if (lines.find("FLAT") == std::string::npos) BOOST_TEST((kind_of(lines) == ErrorKind::unsupported), lines);
    std::string many;
    for (std::size_t i = 0; i <= Limits{}.extents; ++i) many += "RW 1 ZERO\n";
    BOOST_TEST((kind_of(many) == ErrorKind::limit_exceeded));
    BOOST_TEST((kind_of(std::string(Limits{}.descriptor_bytes, '#')) == ErrorKind::limit_exceeded));
}

BOOST_AUTO_TEST_CASE(extents_are_taken_from_the_folder_of_the_descriptor_alone) {
    TemporaryFolder folder;
    TemporaryFolder elsewhere;
    const std::string outside = write(elsewhere, "flat.vmdk", Bytes(4096, std::byte{1}));
    std::filesystem::create_directories(folder.path() / "sub");
    const auto text_of = [](const std::string& name) {
        return VmdkText{.extents = {"RW 8 FLAT \"" + name + "\" 0"}}.bytes();
    };
    for (const std::string& name :
         {outside, "../" + elsewhere.path().filename().string() + "/flat.vmdk", std::string("/etc/passwd"),
          std::string("../../../../../etc/passwd"), std::string("/dev/zero"), std::string("\\\\.\\PhysicalDrive0"),
          std::string(".."), std::string("d.vmdk")})
        BOOST_TEST(open_disk(write(folder, "d.vmdk", text_of(name)), {}).has_error(), name);
    write(folder, "sub/flat.vmdk", Bytes(4096, std::byte{2}));
    BOOST_TEST(read_some(*opened(write(folder, "d.vmdk", text_of("sub/flat.vmdk"))).image, 0, 4096).has_value());
    write(folder, "flat.vmdk", Bytes(4096, std::byte{3}));
    for (const std::string& name :
         {outside, std::string("C:\\x\\flat.vmdk"), std::string("/vmfs/volumes/1/x/flat.vmdk")})
        BOOST_TEST(reads_as(*opened(write(folder, "d.vmdk", text_of(name))).image, Bytes(4096, std::byte{3}), 0, 4096));
    OpenOptions denied;
    denied.references = ReferencePolicy::deny;
    const auto disk = open_disk((folder.path() / "d.vmdk").string(), denied);
    BOOST_REQUIRE(disk.has_error());
    BOOST_TEST((disk.error().kind == ErrorKind::usage));
}

BOOST_AUTO_TEST_CASE(a_missing_or_wrong_extent_costs_its_part_of_the_disk) {
    TemporaryFolder folder;
    write(folder, "a.vmdk", Bytes(8 * 512, std::byte{1}));
    write(folder, "b.vmdk", Bytes(4 * 512, std::byte{2}));
    VmdkExtent short_one{.disk_size = 16 * 512};
    write(folder, "s.vmdk", short_one.build());
    const VmdkText text{.extents = {"RW 8 FLAT \"a.vmdk\" 0", "RW 8 FLAT \"gone.vmdk\" 0", "RW 8 FLAT \"b.vmdk\" 0",
                                    "RW 24 SPARSE \"s.vmdk\"", "RW 8 SPARSE \"a.vmdk\"", "RW 8 FLAT \"a.vmdk\" 4"}};
    const OpenedDisk disk = opened(write(folder, "d.vmdk", text.bytes()));
    const auto sectors = [&](std::uint64_t first, std::uint64_t count) {
        return read_some(*disk.image, first * 512, count * 512);
    };
    BOOST_TEST(sectors(0, 8).has_value());
    BOOST_TEST((sectors(8, 1).error().kind == ErrorKind::io));
    BOOST_TEST(sectors(16, 4).has_value());
    BOOST_TEST((sectors(20, 1).error().kind == ErrorKind::truncated));
    BOOST_TEST(sectors(24, 16).has_value());
    BOOST_TEST((sectors(40, 1).error().kind == ErrorKind::corrupt));
    BOOST_TEST((sectors(48, 1).error().kind == ErrorKind::not_this_format));
    BOOST_TEST((sectors(56, 1).error().kind == ErrorKind::corrupt));
    BOOST_TEST(has_doubt(disk));
}

BOOST_AUTO_TEST_CASE(impossible_headers_are_refused_by_name) {
    const auto changed = [](std::size_t at, std::uint64_t value, std::size_t size) {
        Bytes file = small_disk().build();
        put_little(file, at, value, size);
        return file;
    };
    for (const std::uint64_t version : {0ULL, 4ULL, 9ULL})
        BOOST_TEST((kInMemory.refused(changed(4, version, 4)) == ErrorKind::unsupported));
    for (const std::uint64_t capacity : {0ULL, 1ULL << 63, ~0ULL})
        BOOST_TEST((kInMemory.refused(changed(12, capacity, 8)) == ErrorKind::corrupt));
    BOOST_TEST((kInMemory.refused(changed(12, std::uint64_t{1} << 50, 8)) == ErrorKind::limit_exceeded));
    for (const std::uint64_t grain : {0ULL, 7ULL, 100ULL, 1ULL << 16, 1ULL << 40})
        BOOST_TEST((kInMemory.refused(changed(20, grain, 8)) == ErrorKind::corrupt));
    for (const std::uint64_t entries : {0ULL, 513ULL, 1ULL << 31})
        BOOST_TEST((kInMemory.refused(changed(44, entries, 4)) == ErrorKind::corrupt));
    BOOST_TEST((kInMemory.refused(changed(8, 1U << 20, 4)) == ErrorKind::unsupported));
    BOOST_TEST((kInMemory.refused(changed(8, 0x10003, 4)) == ErrorKind::corrupt));
    BOOST_TEST((kInMemory.refused(changed(75, '\n', 1)) == ErrorKind::corrupt));
    BOOST_TEST((kInMemory.refused(changed(77, 1, 2)) == ErrorKind::corrupt));
    BOOST_TEST((kInMemory.refused(changed(36, std::uint64_t{1} << 40, 8)) == ErrorKind::limit_exceeded));
    BOOST_TEST((kInMemory.refused(changed(28, std::uint64_t{1} << 60, 8)) == ErrorKind::corrupt));
    BOOST_TEST((kInMemory.refused(Bytes(4096)) == ErrorKind::not_this_format));
    BOOST_TEST((kInMemory.refused(Bytes{}) == ErrorKind::not_this_format));
}

BOOST_AUTO_TEST_CASE(the_redundant_tables_tell_where_the_first_are_damaged) {
    Random random(3);
    const Bytes model = small_model();
    const VmdkExtent good = small_disk();
    BOOST_TEST(kInMemory.remarks(good.build()).empty());
    const std::uint64_t outside = good.build().size() / 512;
    const auto check = [&](const Bytes& file) {
        check_against_model(*kInMemory.image_of(file), model, 4096, random);
        BOOST_TEST(!kInMemory.remarks(file).empty());
        BOOST_TEST(!kInMemory.audit(file).findings().empty());
    };
    for (const std::uint64_t wrong : {outside, outside + 8, std::uint64_t{1}, good.overhead() + 8, std::uint64_t{0}}) {
        VmdkExtent disk = small_disk();
        disk.table[0] = wrong;
        check(disk.build());
        disk.table.clear();
        disk.second[0] = wrong;
        const Bytes file = disk.build();
        check_against_model(*kInMemory.image_of(file), model, 4096, random);
        BOOST_TEST(!kInMemory.audit(file).findings().empty());
    }
    for (const std::uint64_t wrong : {outside, std::uint64_t{0}, std::uint64_t{0xFFFFFFFF}}) {
        VmdkExtent disk = small_disk();
        disk.directory[1] = wrong;
        check(disk.build());
    }
    Bytes lost = good.build();
    put_little(lost, 56, std::uint64_t{1} << 40, 8);
    check_against_model(*kInMemory.image_of(lost), model, 4096, random);
    BOOST_TEST(kInMemory.remarks(lost).size() == 1U);
}

BOOST_AUTO_TEST_CASE(a_directory_that_leads_into_the_header_the_text_or_a_directory_leads_to_no_table) {
    for (const VmdkExtent::Kind kind : {VmdkExtent::Kind::hosted, VmdkExtent::Kind::cowd}) {
        VmdkExtent disk = small_disk();
        disk.kind = kind;
        disk.redundant = false;
        disk.descriptor.resize(4096); // zeros behind the text, as all writers leave there
        const std::uint64_t directory = kind == VmdkExtent::Kind::hosted ? disk.first_directory() : 4;
        for (const std::uint64_t wrong : {std::uint64_t{1}, std::uint64_t{3}, directory}) {
            Bytes file = disk.build();
            put_little(file, directory * 512, wrong, 4);
            const auto got = read_some(*kInMemory.image_of(file), 4096, 1);
            BOOST_REQUIRE(got.has_error());
            BOOST_TEST((got.error().kind == ErrorKind::corrupt));
        }
    }
}

BOOST_AUTO_TEST_CASE(a_redundant_directory_over_the_first_tables_does_not_condemn_them) {
    const VmdkExtent disk = small_disk();
    Bytes file = disk.build();
    put_little(file, 48, disk.entry_of(0) / 512, 8);
    const ImagePtr image = kInMemory.image_of(file);
    const Bytes model = small_model();
    unsigned right = 0;
    for (std::uint64_t number = 0; number < 20; number += 2) {
        const bool read = read_some(*image, number * 4096, 4096).has_value();
        BOOST_TEST((!read || reads_as(*image, model, number * 4096, 4096)));
        right += read ? 1U : 0U;
    }
    BOOST_TEST(right > 0U);
}

BOOST_AUTO_TEST_CASE(where_both_tables_could_be_right_nothing_is_read) {
    VmdkExtent disk = small_disk();
    Bytes file = disk.build();
    file.resize(file.size() + 8192); // two places that no grain has
    const std::uint64_t free = file.size() / 512 - 16;
    put_little(file, disk.entry_of(1), free, 4);
    put_little(file, disk.entry_of(1, true), free + 8, 4);
    const ImagePtr image = kInMemory.image_of(file);
    BOOST_TEST((read_some(*image, 4096, 1).error().kind == ErrorKind::corrupt));
    BOOST_TEST(read_some(*image, 0, 4096).has_value());
    BOOST_TEST(count(kInMemory.audit(file), "tables-differ") == 1U);
}

BOOST_AUTO_TEST_CASE(grains_that_share_bytes_are_unreadable_and_one_over_a_structure_costs_itself) {
    for (const std::uint64_t shift : {0U, 1U, 7U}) {
        VmdkExtent disk = small_disk();
        disk.redundant = false;
        disk.table[1] = disk.overhead() + 8 * 2 + shift; // grain 4 lies there
        const ImagePtr image = kInMemory.image_of(disk.build());
        BOOST_TEST((read_some(*image, 4096, 1).error().kind == ErrorKind::corrupt));
        BOOST_TEST((read_some(*image, 4 * 4096, 1).error().kind == ErrorKind::corrupt));
        BOOST_TEST(read_some(*image, 0, 4096).has_value());
        BOOST_TEST(count(kInMemory.audit(disk.build()), "shared-grain") >= 2U);
    }
    VmdkExtent disk = small_disk();
    disk.redundant = false;
    disk.table[1] = disk.overhead() - 2; // from the last table into grain 0
    const ImagePtr image = kInMemory.image_of(disk.build());
    BOOST_TEST((read_some(*image, 4096, 1).error().kind == ErrorKind::corrupt));
    BOOST_TEST(read_some(*image, 0, 4096).has_value());
    BOOST_TEST(count(kInMemory.audit(disk.build()), "shared-grain") == 1U);
}

BOOST_AUTO_TEST_CASE(entry_one_is_zeros_with_the_flag_and_damage_without) {
    Random random(5);
    for (const bool flag : {false, true}) {
        VmdkExtent disk = small_disk();
        disk.zeroed = flag;
        disk.zeros = {1, 2};
        disk.order.erase(disk.order.begin() + 1);
        const auto parent = std::make_shared<const MemorySource>(Bytes(20 * 4096, std::byte{0xEE}), "parent");
        const ImagePtr image = kInMemory.image_of(disk.build());
        if (flag) BOOST_TEST(reads_as(*image, Bytes(8192), 0, 0));
        BOOST_TEST(read_some(*image, 4096, 8192).has_value() == flag);
    }
}

BOOST_AUTO_TEST_CASE(a_file_that_was_cut_off_reads_up_to_there) {
    Bytes file = small_disk().build();
    file.resize(file.size() - 1000); // of the last grain, 18
    const ImagePtr image = kInMemory.image_of(file);
    BOOST_TEST(read_some(*image, 18 * 4096, 4096 - 1000).has_value());
    BOOST_TEST((read_some(*image, 19 * 4096 - 1000, 1).error().kind == ErrorKind::truncated));
    BOOST_TEST(read_some(*image, 19 * 4096, 4096).has_value());
    BOOST_TEST(count(kInMemory.audit(file), "past-end") == 1U);
}

VmdkExtent small_stream() {
    VmdkExtent disk = small_disk();
    disk.kind = Kind::stream;
    return disk;
}

BOOST_AUTO_TEST_CASE(a_stream_without_a_directory_is_read_by_its_markers) {
    Random random(6);
    const Bytes model = small_model();
    const Bytes good = small_stream().build();
    check_against_model(*kInMemory.image_of(good), model, 4096, random);
    BOOST_TEST(kInMemory.remarks(good).empty());
    Bytes no_footer = good;
    std::fill_n(no_footer.end() - 1024, 512, std::byte{0xFF});
    check_against_model(*kInMemory.image_of(no_footer), model, 4096, random);
    BOOST_TEST(!kInMemory.remarks(no_footer).empty());
    VmdkExtent directory = small_stream();
    directory.directory[1] = 0xFFFFFF;
    check_against_model(*kInMemory.image_of(directory.build()), model, 4096, random);
    BOOST_TEST(!kInMemory.audit(directory.build()).findings().empty());
}

BOOST_AUTO_TEST_CASE(of_a_stream_that_was_cut_off_what_is_not_there_is_an_error) {
    const Bytes good = small_stream().build();
    const Bytes model = small_model();
    for (std::size_t size = 1100; size < good.size(); size += 100) {
        const auto file = kInMemory.parse(Bytes(good.begin(), good.begin() + static_cast<std::ptrdiff_t>(size)));
        if (file.has_error()) continue;
        const ImagePtr image = FormatInMemory::image_of(*file.value());
        for (std::uint64_t at = 0; at < model.size(); at += 4096) {
            Bytes out(4096);
            if (image->read_at(at, out).has_error()) continue;
            BOOST_TEST(std::equal(out.begin(), out.end(), model.begin() + static_cast<std::ptrdiff_t>(at)),
                       "cut to " << size << ", offset " << at);
        }
    }
}

BOOST_AUTO_TEST_CASE(a_damaged_grain_of_a_stream_costs_itself) {
    const Bytes good = small_stream().build();
    const Bytes model = small_model();
    for (std::size_t at = 2 * 512; at + 512 < good.size(); at += 7) {
        Bytes file = good;
        file[at] ^= std::byte{0x10};
        const auto parsed = kInMemory.parse(file);
        if (parsed.has_error()) continue;
        const ImagePtr image = FormatInMemory::image_of(*parsed.value());
        for (std::uint64_t offset = 0; offset < model.size(); offset += 4096) {
            Bytes out(4096);
            if (image->read_at(offset, out).has_error()) continue;
            BOOST_TEST(std::equal(out.begin(), out.end(), model.begin() + static_cast<std::ptrdiff_t>(offset)),
                       "byte " << at << ", offset " << offset);
        }
    }
}

BOOST_AUTO_TEST_CASE(a_grain_that_expands_to_more_gives_what_the_disk_needs) {
    Random random(7);
    VmdkExtent disk = small_stream();
    disk.grains[0].resize(3 * 4096, std::byte{1});
    check_against_model(*kInMemory.image_of(disk.build()), small_model(), 4096, random);
    disk.grains[0].resize(64U << 20);
    BOOST_TEST((read_some(*kInMemory.image_of(disk.build()), 0, 1).error().kind == ErrorKind::corrupt));
    disk.grains[0].resize(4000);
    BOOST_TEST((read_some(*kInMemory.image_of(disk.build()), 0, 1).error().kind == ErrorKind::corrupt));
    VmdkExtent odd = small_stream();
    odd.disk_size = 18 * 4096 + 1024;
    odd.descriptor = sparse_text(odd.disk_size).text();
    Bytes model = small_model();
    model.resize(odd.disk_size);
    check_against_model(*kInMemory.image_of(odd.build()), model, 4096, random);
    odd.grains[18].resize(1024);
    check_against_model(*kInMemory.image_of(odd.build()), model, 4096, random);
}

BOOST_AUTO_TEST_CASE(every_changed_bit_of_a_hosted_table_gives_the_same_bytes_an_error_or_a_doubt) {
    const VmdkExtent disk = small_disk();
    const Bytes good = disk.build();
    const Bytes right = small_model();
    std::vector<std::uint64_t> places;
    for (const bool second : {false, true})
        for (std::uint64_t number = 0; number < 20; ++number) places.push_back(disk.entry_of(number, second));
    for (std::uint64_t table = 0; table < disk.tables(); ++table)
        for (const std::uint64_t directory : {disk.first_directory(), disk.second_directory()})
            places.push_back(directory * 512 + table * 4);
    for (const std::uint64_t place : places)
        for (std::size_t bit = 0; bit < 32; ++bit) {
            Bytes changed = good;
            changed[place + bit / 8] ^= static_cast<std::byte>(1U << bit % 8);
            Bytes got(disk.disk_size);
            const bool read = kInMemory.image_of(changed)->read_at(0, got).has_value();
            BOOST_TEST((!read || got == right), "bit " << bit << " of " << place);
        }
}

BOOST_AUTO_TEST_CASE(a_header_and_a_descriptor_that_differ_are_a_doubt) {
    VmdkExtent disk = small_disk();
    disk.descriptor = sparse_text(30 * 4096).text();
    BOOST_TEST(kInMemory.doubts(disk.build()));
    BOOST_TEST(tells_damage(required(kInMemory.parse(disk.build()))->facts()));
    BOOST_TEST(kInMemory.image_of(disk.build())->size() == 20U * 4096);
}

BOOST_AUTO_TEST_CASE(parents_are_found_by_hint_and_by_identifier) {
    for (const std::string hint :
         {"p.vmdk", "./p.vmdk", "/gone/elsewhere/p.vmdk", "C:\\gone\\p.vmdk", "..\\gone\\p.vmdk", "", "q.vmdk"}) {
        TemporaryFolder folder;
        Pair pair;
        pair.child_text.hint = hint;
        write(folder, "p.vmdk", pair.parent());
        const std::string child = write(folder, "c.vmdk", pair.child());
        check_pair(child, pair.model);
        BOOST_TEST(!has_doubt(opened(child)));
    }
    TemporaryFolder folder;
    Pair pair;
    pair.child_text.parent_cid = "ffffffff";
    pair.child_text.hint = "";
    pair.child_text.more = "ddb.uuid.parent=\"00000000-0000-0000-0000-000000000011\"\n"
                           "ddb.uuid.parentmodification=\"00000000-0000-0000-0000-000000000012\"\n";
    pair.parent_text.more = "ddb.uuid.image=\"00000000-0000-0000-0000-000000000011\"\n"
                            "ddb.uuid.modification=\"00000000-0000-0000-0000-000000000012\"\n";
    write(folder, "{some name}.vmdk", pair.parent());
    check_pair(write(folder, "c.vmdk", pair.child()), pair.model);
    pair.parent_text.more = "ddb.uuid.image=\"00000000-0000-0000-0000-000000000011\"\n"
                            "ddb.uuid.modification=\"00000000-0000-0000-0000-000000000013\"\n";
    write(folder, "{some name}.vmdk", pair.parent());
    BOOST_TEST(has_doubt(opened((folder.path() / "c.vmdk").string())));
}

BOOST_AUTO_TEST_CASE(a_child_is_never_read_without_its_parent_or_over_another_file) {
    TemporaryFolder folder;
    Pair pair;
    const std::string child = write(folder, "c.vmdk", pair.child());
    BOOST_TEST((refused(child) == ErrorKind::io));
    Pair other;
    other.parent_text.cid = "00000007";
    write(folder, "p.vmdk", other.parent());
    BOOST_TEST((refused(child) == ErrorKind::io));
    const auto why = open_disk(child, {});
    BOOST_TEST(why.error().what.find("00000007") != std::string::npos);
    const OpenedDisk given = opened(child + "#parent=" + (folder.path() / "p.vmdk").string());
    BOOST_TEST(has_doubt(given));
    BOOST_TEST(reads_as(*given.image, pair.model, 0, pair.model.size()));
    const OpenedDisk without = opened(child + "#parent=none");
    BOOST_TEST(read_some(*without.image, 4096, 4096).has_value());
    BOOST_TEST(read_some(*without.image, 0, 1).has_error());
    for (const std::string& more :
         {std::string("ddb.uuid.parent=\"00000000-0000-0000-0000-000000000011\"\n"),
          std::string("ddb.uuid.parentmodification=\"00000000-0000-0000-0000-000000000011\"\n")}) {
        Pair each;
        each.child_text.parent_cid = "ffffffff";
        each.child_text.hint = "";
        each.child_text.more = more;
        BOOST_TEST((refused(write(folder, "c.vmdk", each.child())) == ErrorKind::io));
    }
    Pair hint_alone;
    hint_alone.child_text.parent_cid = "ffffffff";
    BOOST_TEST((refused(write(folder, "c.vmdk", hint_alone.child())) == ErrorKind::corrupt));
    Pair self;
    self.child_text.cid = "00000005";
    self.child_text.hint = "c.vmdk";
    std::filesystem::remove(folder.path() / "p.vmdk");
    BOOST_TEST(open_disk(write(folder, "c.vmdk", self.child()), {}).has_error());
}

BOOST_AUTO_TEST_CASE(what_may_have_a_parent_gives_what_it_has_and_errors_for_the_rest) {
    TemporaryFolder folder;
    VmdkExtent extent = small_disk();
    extent.descriptor = "";
    const std::string alone = write(folder, "d-s001.vmdk", extent.build());
    VmdkExtent no_word = small_disk();
    no_word.descriptor = VmdkText{.parent_cid = "", .extents = {"RW 160 SPARSE \"x\""}}.text();
    VmdkExtent broken = small_disk();
    broken.descriptor = std::string(500, '\xFF');
    VmdkExtent delta{.kind = Kind::cowd, .disk_size = 20 * 4096, .own_disk = false};
    VmdkExtent se{.kind = Kind::sesparse, .disk_size = 20 * 4096};
    for (VmdkExtent* const each : {&delta, &se}) each->store(0, Bytes(4096, std::byte{1}));
    for (const Bytes& file : {extent.build(), no_word.build(), broken.build(), delta.build(), se.build()}) {
        const OpenedDisk disk = opened(write(folder, "lone.vmdk", file));
        BOOST_TEST(has_doubt(disk));
        BOOST_TEST(read_some(*disk.image, 0, 4096).has_value());
        BOOST_TEST((read_some(*disk.image, 4096, 1).error().kind == ErrorKind::usage));
    }
    Pair pair;
    const std::string parent = write(folder, "p.vmdk", pair.parent());
    const OpenedDisk named = opened((folder.path() / "lone.vmdk").string() + "#parent=" + parent);
    BOOST_TEST(read_some(*named.image, 4096, 4096).has_value());
    write(folder, "d.vmdk", VmdkText{.extents = {"RW 160 SPARSE \"d-s001.vmdk\""}}.bytes());
    BOOST_TEST((refused(alone) == ErrorKind::usage));
    BOOST_TEST(open_disk(alone, {}).error().what.find("d.vmdk") != std::string::npos);
    BOOST_TEST(open_disk(alone + "#parent=none", {}).has_value());
}

BOOST_AUTO_TEST_CASE(a_sesparse_extent_with_a_journal_is_refused) {
    TemporaryFolder folder;
    VmdkExtent extent{.kind = Kind::sesparse, .disk_size = 20 * 4096};
    Bytes file = extent.build();
    put_little(file, 512 + 24, 1, 8);
    write(folder, "s.vmdk", file);
    BOOST_TEST((refused(write(folder, "d.vmdk", VmdkText{.extents = {"RW 160 SESPARSE \"s.vmdk\""}}.bytes())) ==
                ErrorKind::unsupported));
}

BOOST_AUTO_TEST_CASE(an_audit_tells_the_place_of_a_grain_behind_2_32_others) {
    constexpr std::uint64_t kNumber = (std::uint64_t{1} << 32) + 3;
    constexpr std::uint64_t kDirectory = 1, kTable = 514,
                            kEntries = 65536; // of which a directory of 2^16 + 1 is 513 sectors
    Bytes file((kTable + kEntries * 4 / 512) * 512);
    put_text(file, 0, "KDMV");
    put_little(file, 4, 1, 4);
    put_little(file, 12, kNumber + 1, 8);
    put_little(file, 20, 1, 8);
    put_little(file, 44, kEntries, 4);
    put_little(file, 56, kDirectory, 8);
    put_little(file, kDirectory * 512 + kNumber / kEntries * 4, kTable, 4);
    put_little(file, kTable * 512 + kNumber % kEntries * 4, kDirectory, 4);
    const AuditReport report = kInMemory.audit(file);
    BOOST_REQUIRE_EQUAL(count(report, "shared-grain"), 1U);
    for (const Finding& finding : report.findings())
        if (finding.kind == "shared-grain") BOOST_TEST(finding.place.guest->value == kNumber * 512);
}

BOOST_AUTO_TEST_CASE(an_audit_tells_what_nothing_refers_to) {
    const VmdkExtent disk = small_disk();
    BOOST_TEST(kInMemory.audit(disk.build()).findings().empty());
    Bytes file = disk.build();
    put_bytes(file, file.size(), Bytes(4096, std::byte{1}));
    const AuditReport report = kInMemory.audit(file);
    BOOST_TEST(count(report, "leaked") == 1U);
    BOOST_TEST(report.leaked_bytes() == 4096U);
    file[72] = std::byte{1};
    BOOST_TEST(count(kInMemory.audit(file), "not-closed") == 1U);
}

BOOST_AUTO_TEST_SUITE_END()
