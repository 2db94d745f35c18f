// SPDX-License-Identifier: Apache-2.0
// Files that were cut: which names belong together, where the parts lie, what is read where one is missing or odd.
#include "io/file_parts.hpp"
#include "io/index_cache.hpp"
#include "model.hpp"
#include "open/open.hpp"
#include "qcow2_builder.hpp"
#include "special_files.hpp"
#include "temporary_folder.hpp"

#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <numeric>

using namespace vdisk;
using namespace vdisk::test;
namespace fs = std::filesystem;

BOOST_AUTO_TEST_SUITE(parts)

namespace {

constexpr std::uint64_t kPart = 65536;

// "001 002! 003" as the names that go on from one another, "!" for one that is missing; "-" where there are none.
std::string names_of(std::string_view own, const std::set<std::string>& there) {
    const auto numbered = numbered_names(own, there);
    if (!numbered) return "-";
    std::string text;
    for (const auto& name : numbered->names) text += (text.empty() ? "" : " ") + name.text + (name.there ? "" : "!");
    return text + (numbered->beyond ? " ... " + numbered->beyond->text : "");
}

std::vector<PartSize> sizes(std::initializer_list<std::int64_t> list) {
    std::vector<PartSize> parts;
    for (const std::int64_t size : list)
        parts.push_back(
            {fmt::format("x.{:03}", parts.size() + 1), size < 0 ? std::nullopt : std::optional<std::uint64_t>(size)});
    return parts;
}

// The starts of the parts, "!" behind those that are not sound; or which part an error names.
std::string places_of(std::initializer_list<std::int64_t> list) {
    const auto places = place_parts(sizes(list));
    if (places.has_error()) return places.error().what.substr(0, 5);
    std::string text;
    for (const PartPlace& place : places.value())
        text += fmt::format("{}{}{}", text.empty() ? "" : " ", place.start, place.sound ? "" : "!");
    return text;
}

// A qcow2 disk of random clusters, and the file that holds it, cut into parts.
struct CutImage {
    TemporaryFolder folder;
    Random random{7};
    Bytes disk = random_bytes(random, 8 * kPart);
    Bytes file = make_file();

    Bytes make_file() const {
        Qcow2Builder image({.size = disk.size()});
        for (std::uint64_t i = 0; i < disk.size() / kPart; ++i)
            image.set(i, image.append(std::span(disk).subspan(i * kPart, kPart)) | kQcow2Copied);
        return image.bytes();
    }

    Bytes part(std::size_t number, std::size_t length) const {
        const std::size_t start = std::min(number * length, file.size());
        const auto piece = std::span(file).subspan(start, std::min(length, file.size() - start));
        return {piece.begin(), piece.end()};
    }

    // Writes the parts NAME.FIRST and so on, each `length` bytes; returns the first one's path.
    std::string cut(const std::string& name, std::size_t length, std::size_t first = 1) const {
        for (std::size_t i = 0; i * length < file.size(); ++i)
            folder.write(fmt::format("{}.{:03}", name, first + i), part(i, length));
        return (folder.path() / fmt::format("{}.{:03}", name, first)).string();
    }

    std::string path(const std::string& name) const { return (folder.path() / name).string(); }
};

std::string error_of(const Result<OpenedDisk>& opened) {
    return opened.has_error() ? opened.error().what : "";
}

void check_reads(const Result<OpenedDisk>& opened, const Bytes& model) {
    BOOST_REQUIRE_MESSAGE(opened.has_value(), error_of(opened));
    Random random(1);
    check_against_model(*opened.value().image, model, 12345, random);
}

bool names(const std::vector<Remark>& remarks, std::string_view part) {
    return std::ranges::any_of(remarks, [&](const Remark& remark) {
        return remark.weight == Remark::Weight::doubt && remark.text.find(part) != std::string::npos;
    });
}

} // namespace

BOOST_AUTO_TEST_CASE(names_that_imaging_programs_and_split_give_go_on_from_one_another) {
    BOOST_TEST(names_of("001", {"001", "002", "003"}) == "001 002 003");
    BOOST_TEST(names_of("000", {"000", "001"}) == "000 001");
    BOOST_TEST(names_of("001", {"000", "001"}) == "000 001");
    BOOST_TEST(names_of("00", {"00", "01", "02"}) == "00 01 02");
    BOOST_TEST(names_of("00001", {"00001", "00002"}) == "00001 00002");
    BOOST_TEST(names_of("aa", {"aa", "ab", "ac"}) == "aa ab ac");
    BOOST_TEST(names_of("aaa", {"aaa", "aab"}) == "aaa aab");
    BOOST_TEST(names_of("00", {"00", "01", "02", "03", "04", "05", "06", "07", "08", "09", "0a", "0b"}) ==
               "00 01 02 03 04 05 06 07 08 09 0a 0b");
}

BOOST_AUTO_TEST_CASE(names_go_on_where_two_digits_run_out) {
    std::set<std::string> decimal, letters, longer, hexadecimal;
    for (int i = 0; i < 90; ++i) decimal.insert(fmt::format("{:02}", i));
    for (int i = 0; i < 900; ++i) decimal.insert(fmt::format("9{:03}", i));
    decimal.insert("990000");
    BOOST_TEST(
        names_of("00", decimal).ends_with("88 89 9000 9001 9002 " + names_of("00", decimal).substr(90 * 3 + 15)));
    BOOST_TEST(names_of("00", decimal).ends_with("9898 9899 990000"));
    for (char a = 'a'; a < 'z'; ++a)
        for (char b = 'a'; b <= 'z'; ++b) letters.insert({a, b});
    letters.insert({"zaaa", "zaab"});
    BOOST_TEST(names_of("aa", letters).ends_with("yy yz zaaa zaab"));
    for (int i = 1; i <= 1001; ++i) longer.insert(fmt::format("{:03}", i));
    BOOST_TEST(names_of("001", longer).ends_with("998 999 1000 1001"));
    for (int i = 0; i < 40; ++i) hexadecimal.insert(fmt::format("{:02x}", i));
    BOOST_TEST(names_of("00", hexadecimal)
                   .ends_with("0e 0f 10 11 12 13 14 15 16 17 18 19 1a 1b 1c 1d 1e 1f 20 21 22 23 "
                              "24 25 26 27"));
}

BOOST_AUTO_TEST_CASE(names_that_only_look_alike_do_not_go_on) {
    BOOST_TEST(names_of("001", {"001"}) == "-");
    BOOST_TEST(names_of("001", {"001", "02", "0003"}) == "-");
    BOOST_TEST(names_of("1", {"1", "2"}) == "-");
    BOOST_TEST(names_of("img", {"img", "raw"}) == "-");
    BOOST_TEST(names_of("002", {"002"}) == "-");
    BOOST_TEST(names_of("001", {"001", "002", "20261126"}) == "001 002");
    BOOST_TEST(names_of("001", {"001", "bad"}) == "-");
}

BOOST_AUTO_TEST_CASE(a_name_that_is_missing_between_others_is_known) {
    BOOST_TEST(names_of("001", {"001", "003"}) == "001 002! 003");
    BOOST_TEST(names_of("aa", {"aa", "ab", "ad"}) == "aa ab ac! ad");
    BOOST_TEST(names_of("002", {"002", "003"}) == "001! 002 003");
    BOOST_TEST(names_of("001", {"001", "500"}) == "001 ... 500");
}

BOOST_AUTO_TEST_CASE(equal_and_even_lengths_are_those_of_a_cut_file) {
    BOOST_TEST(places_of({100, 100, 40}) == "0 100 200");
    BOOST_TEST(places_of({100, 100, 100}) == "0 100 200");
    BOOST_TEST(places_of({100, 99, 99}) == "0 100 199");
    BOOST_TEST(places_of({100, 100, 102}) == "0 100 200");
    BOOST_TEST(places_of({100, 100, 0}) == "0 100 200");
}

BOOST_AUTO_TEST_CASE(a_part_that_is_missing_or_short_costs_itself_where_the_others_show_its_place) {
    BOOST_TEST(places_of({100, -1, 100, 40}) == "0 100! 200 300");
    BOOST_TEST(places_of({100, 60, 100, 40}) == "0 100! 200 300");
    BOOST_TEST(places_of({100, 100, -1, -1, 40}) == "0 100 200! 300! 400");
}

BOOST_AUTO_TEST_CASE(lengths_that_no_cut_file_has_are_an_error_that_names_the_part) {
    BOOST_TEST(places_of({100, -1, 40}) == "x.002");
    BOOST_TEST(places_of({100, 60, 40}) == "x.002");
    BOOST_TEST(places_of({100, 200}) == "x.002");
    BOOST_TEST(places_of({100, 100, 110, 40}) == "x.003");
    BOOST_TEST(places_of({100, 100, -1, 99}) == "x.004"); // as split -n makes: nobody knows how long the third was
    BOOST_TEST(places_of({-1, 100, 100}) == "x.001");
}

BOOST_AUTO_TEST_CASE(parts_that_end_beyond_what_a_size_can_be_are_an_error) {
    constexpr std::int64_t kQuarter = std::int64_t{1} << 62;
    BOOST_TEST(places_of({kQuarter, kQuarter, -1, kQuarter - 2}) ==
               "0 4611686018427387904 9223372036854775808! 13835058055282163712");
    BOOST_TEST(places_of({kQuarter, kQuarter, -1, kQuarter}) == "x.004");
}

BOOST_AUTO_TEST_CASE(parts_read_as_the_file_that_they_were_cut_from) {
    const CutImage image;
    for (const std::size_t length : {1000U, 4096U, 65536U, 65537U, 300001U}) {
        for (const auto& old : fs::directory_iterator(image.folder.path())) fs::remove(old);
        check_reads(open_disk(image.cut("d.qcow2", length), {}), image.disk);
    }
    check_reads(open_disk(image.cut("zero", 70000, 0), {}), image.disk);
}

BOOST_AUTO_TEST_CASE(a_file_without_others_beside_it_is_itself) {
    const CutImage image;
    const auto opened = open_disk(image.folder.write("d.qcow2.001", image.file).string(), {});
    check_reads(opened, image.disk);
    BOOST_TEST(opened.value().remarks().empty());
}

BOOST_AUTO_TEST_CASE(parts_behind_a_link_are_found_beside_what_it_leads_to, *on_posix()) {
    const CutImage image;
    const TemporaryFolder elsewhere;
    fs::create_symlink(image.cut("d.qcow2", 100000), elsewhere.path() / "case.qcow2");
    check_reads(open_disk((elsewhere.path() / "case.qcow2").string(), {}), image.disk);
}

BOOST_AUTO_TEST_CASE(a_missing_part_is_an_error_for_its_range_and_a_doubt_that_names_it) {
    const CutImage image;
    const std::string first = image.cut("d.qcow2", kPart);
    fs::remove(image.path("d.qcow2.005"));
    const auto opened = open_disk(first, {});
    BOOST_REQUIRE_MESSAGE(opened.has_value(), error_of(opened));
    BOOST_TEST(names(opened.value().remarks(), "d.qcow2.005"));
    // Header, L1 table, an L2 table behind the first cluster; so the fifth part has cluster 1 of the disk.
    std::size_t lost = 0;
    for (std::uint64_t at = 0; at < image.disk.size(); at += kPart) {
        Bytes read(kPart);
        const auto got = opened.value().image->read_at(at, read);
        if (got.has_error()) BOOST_TEST(got.error().what.find("d.qcow2.005") != std::string::npos, got.error().what);
        else BOOST_TEST(std::ranges::equal(read, std::span(image.disk).subspan(at, kPart)));
        lost += got.has_error() ? 1U : 0U;
    }
    BOOST_TEST(lost == 1U);
}

BOOST_AUTO_TEST_CASE(a_part_that_is_shorter_than_the_others_is_not_read) {
    const CutImage image;
    const std::string first = image.cut("d.qcow2", kPart);
    fs::resize_file(image.path("d.qcow2.005"), kPart - 512);
    const auto opened = open_disk(first, {});
    BOOST_REQUIRE_MESSAGE(opened.has_value(), error_of(opened));
    BOOST_TEST(names(opened.value().remarks(), "d.qcow2.005"));
    Bytes read(image.disk.size());
    BOOST_TEST(opened.value().image->read_at(0, read).has_error());
}

BOOST_AUTO_TEST_CASE(parts_of_which_nobody_knows_where_they_lie_are_an_error_that_names_one) {
    const CutImage image;
    const std::string first = image.cut("d.qcow2", 300000);
    fs::remove(image.path("d.qcow2.002"));
    BOOST_TEST(error_of(open_disk(first, {})).find("d.qcow2.002") != std::string::npos);
    image.folder.write("d.qcow2.002", Bytes(300001));
    BOOST_TEST(error_of(open_disk(first, {})).find("d.qcow2.002") != std::string::npos);
    const auto forced = open_disk(first + "#parts=all", {});
    BOOST_REQUIRE_MESSAGE(forced.has_value(), error_of(forced));
    BOOST_TEST(names(forced.value().remarks(), "lengths"));
}

BOOST_AUTO_TEST_CASE(files_of_their_own_are_no_parts_whatever_their_names_say) {
    const CutImage image;
    const std::string first = image.folder.write("vm.001", image.file).string();
    image.folder.write("vm.002", Qcow2Builder({.size = 1 << 20}).bytes());
    const auto opened = open_disk(first, {});
    check_reads(opened, image.disk);
    BOOST_TEST(!names(opened.value().remarks(), ""));
    BOOST_TEST(opened.value().remarks().size() == 1U);
    check_reads(open_disk(image.path("vm.002"), {}), Bytes(1 << 20));
}

BOOST_AUTO_TEST_CASE(a_raw_disk_that_another_image_beside_it_might_go_on_is_a_doubt) {
    const CutImage image;
    image.folder.write("vm.001", Bytes(1 << 20));
    image.folder.write("vm.002", Qcow2Builder({.size = 1 << 20}).bytes());
    const auto opened = open_disk(image.path("vm.001"), {.format = "raw"});
    check_reads(opened, Bytes(1 << 20));
    BOOST_TEST(names(opened.value().remarks(), "vm.002"));
}

BOOST_AUTO_TEST_CASE(a_part_in_the_middle_is_told_to_be_one) {
    const CutImage image;
    image.cut("d.qcow2", kPart);
    const auto opened = open_disk(image.path("d.qcow2.004"), {.format = "raw"});
    check_reads(opened, image.part(3, kPart));
    BOOST_TEST(names(opened.value().remarks(), "d.qcow2.001"));
}

BOOST_AUTO_TEST_CASE(the_key_parts_decides_and_is_refused_where_it_means_nothing) {
    const CutImage image;
    const std::string first = image.cut("d.qcow2", kPart);
    const auto one = open_file(first + "#parts=one", {});
    BOOST_REQUIRE(one.has_value());
    BOOST_TEST(one.value().context.file->size() == kPart);
    BOOST_TEST(error_of(open_disk(first + "#parts=two", {})).find("'two'") != std::string::npos);
    const std::string single = image.folder.write("single.001", image.file).string();
    BOOST_TEST(error_of(open_disk(single + "#parts=one", {})).find("no other part") != std::string::npos);
}

BOOST_AUTO_TEST_CASE(given_parts_are_joined_in_the_order_given) {
    const CutImage image;
    const std::string first = image.folder.write("begin", image.part(0, 300000)).string();
    const std::vector<std::string> more{image.folder.write("rest", image.part(1, 300000)).string(),
                                        image.folder.write("end", image.part(2, 300000)).string()};
    check_reads(open_disk(first, more, {}), image.disk);
    for (const std::string& wrong : {first, image.folder.write("other.qcow2", image.file).string()})
        BOOST_TEST(open_disk(first, std::vector<std::string>{wrong}, {}).has_error(), wrong);
    const std::vector<std::string> turned{more[1], more[0]};
    BOOST_TEST(open_disk(first, turned, {}).has_error()); // the short one is not the last any more
}

BOOST_AUTO_TEST_CASE(given_parts_that_do_not_follow_by_their_names_are_a_doubt) {
    const CutImage image;
    const std::string first = image.cut("d.qcow2", kPart);
    std::vector<std::string> more;
    for (std::size_t i = 2; fs::exists(image.path(fmt::format("d.qcow2.{:03}", i))); ++i)
        more.push_back(image.path(fmt::format("d.qcow2.{:03}", i)));
    const auto all = open_disk(first, more, {});
    check_reads(all, image.disk);
    BOOST_TEST(all.value().remarks().empty());
    std::swap(more[3], more[4]);
    const auto turned = open_disk(first, more, {});
    BOOST_REQUIRE(turned.has_value());
    BOOST_TEST(names(turned.value().remarks(), "d.qcow2.005"));
    more.pop_back();
    BOOST_TEST(open_disk(first, more, {}).value().remarks().size() == 1U);
}

BOOST_AUTO_TEST_CASE(a_backing_file_in_parts_is_joined) {
    const CutImage image;
    image.cut("base.qcow2", 100000);
    Qcow2Builder child({.size = image.disk.size()});
    child.backing("base.qcow2.001");
    check_reads(open_disk(image.folder.write("child.qcow2", child.bytes()).string(), {}), image.disk);
}

BOOST_AUTO_TEST_CASE(links_to_parts_elsewhere_are_followed_as_the_policy_says, *on_posix()) {
    const CutImage image;
    const TemporaryFolder elsewhere;
    const std::string first = image.cut("d.qcow2", 300000);
    fs::rename(image.path("d.qcow2.002"), elsewhere.path() / "secret");
    fs::create_symlink(elsewhere.path() / "secret", image.path("d.qcow2.002"));
    check_reads(open_disk(first, {}), image.disk);
    for (const ReferencePolicy policy : {ReferencePolicy::same_dir, ReferencePolicy::deny})
        BOOST_TEST(error_of(open_disk(first, {.references = policy})).find("d.qcow2.002") != std::string::npos);
    fs::remove(image.path("d.qcow2.002"));
    fs::rename(elsewhere.path() / "secret", image.path("d.qcow2.002"));
    check_reads(open_disk(first, {.references = ReferencePolicy::deny}), image.disk);
}

BOOST_AUTO_TEST_CASE(a_link_below_the_evidence_root_stays_there, *on_posix()) {
    const CutImage image;
    const std::string first = image.cut("d.qcow2", 300000);
    fs::create_directory(image.path("store"));
    fs::rename(image.path("d.qcow2.002"), image.path("store/second"));
    fs::create_symlink("/store/second", image.path("d.qcow2.002"));
    const auto root = evidence_root(image.folder.path(), "root");
    check_reads(open_disk(first, {.root = root.value()}), image.disk);
}

BOOST_AUTO_TEST_CASE(every_part_is_an_input_missing_ones_too) {
    const CutImage image;
    const std::string first = image.cut("d.qcow2", kPart);
    fs::remove(image.path("d.qcow2.005"));
    const auto inputs = std::make_shared<InputFiles>();
    const auto opened = open_disk(first, {.inputs = inputs});
    BOOST_REQUIRE(opened.has_value());
    for (int i = 1; i < 12; ++i) {
        const InputFile wanted = look_at(image.path(fmt::format("d.qcow2.{:03}", i)));
        BOOST_TEST(std::ranges::count(inputs->all(), wanted) == 1, wanted.name);
    }
    BOOST_TEST(inputs->open().size() == 10U);
}

BOOST_AUTO_TEST_CASE(a_change_of_any_part_is_seen) {
    const CutImage image;
    const std::string first = image.cut("d.qcow2", kPart);
    const auto opened = open_file(first, {});
    const FileSource& file = *opened.value().context.file;
    BOOST_TEST(!file.change());
    const IndexKey before = IndexKey::of(file, "test").value();
    fs::last_write_time(image.path("d.qcow2.007"), fs::file_time_type::clock::now() - std::chrono::hours(1));
    BOOST_TEST(file.change().has_value());
    const auto again = open_file(first, {});
    BOOST_TEST((IndexKey::of(*again.value().context.file, "test").value().digest() != before.digest()));
}

BOOST_AUTO_TEST_CASE(an_index_key_knows_the_folders_of_all_parts) {
    const CutImage image;
    const TemporaryFolder elsewhere;
    const std::string first = image.folder.write("first", image.part(0, 600000)).string();
    const std::vector<std::string> more{elsewhere.write("second", image.part(1, 600000)).string()};
    const auto opened = open_file(first, more, {});
    const IndexKey key = IndexKey::of(*opened.value().context.file, "test").value();
    for (const fs::path& folder : {image.folder.path(), elsewhere.path()})
        BOOST_TEST(key.lies_in(*look_at(folder).identity));
}

BOOST_AUTO_TEST_CASE(what_is_known_of_a_whole_file_with_a_gap_is_told_in_runs) {
    const CutImage image;
    const std::string first = image.cut("d.qcow2", kPart);
    fs::remove(image.path("d.qcow2.005"));
    const auto opened = open_file(first, {});
    const ByteSource& file = *opened.value().source;
    BOOST_TEST(file.readability(0, ~std::uint64_t{0}).length == 4 * kPart);
    const Readability lost = file.readability(4 * kPart + 1, ~std::uint64_t{0});
    BOOST_TEST(lost.length == kPart - 1);
    BOOST_TEST(lost.why != nullptr);
    BOOST_TEST(file.readability(5 * kPart, ~std::uint64_t{0}).length == file.size() - 5 * kPart);
    BOOST_TEST(file.readability(file.size(), 1).length == 0U);
    Bytes read(kPart);
    BOOST_TEST(file.read_at(4 * kPart - 1, read).has_error());
    BOOST_TEST(file.read_at(3 * kPart, read).has_value());
}

BOOST_AUTO_TEST_SUITE_END()
