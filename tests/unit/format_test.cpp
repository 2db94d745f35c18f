// SPDX-License-Identifier: Apache-2.0
#include "model.hpp"
#include "open/open.hpp"
#include "open/registry.hpp"
#include "special_files.hpp"
#include "temporary_folder.hpp"

#include <boost/test/unit_test.hpp>

using namespace vdisk;
using namespace vdisk::test;

namespace {

const Bytes kSome(1000, std::byte{7});

ErrorKind refusal(const References& references, std::string_view name) {
    const auto found = references.open(name);
    BOOST_REQUIRE(found.has_error());
    return found.error().kind;
}

} // namespace

BOOST_AUTO_TEST_SUITE(selector)

BOOST_AUTO_TEST_CASE(keys_and_bare_words_are_read) {
    const auto parsed = parse_selector("dir/a.vma#device=drive-scsi0,key-file=k\\,1\\\\").value();
    BOOST_TEST(parsed.path == "dir/a.vma");
    BOOST_TEST(parsed.device.value() == "drive-scsi0");
    BOOST_TEST(parsed.key_file.value() == "k,1\\");
    BOOST_TEST(parse_selector("a#before-update").value().word.value() == "before-update");
    BOOST_TEST(parse_selector("a#x=y").value().word.value() == "x=y"); // a name may have an equals sign
    BOOST_TEST(parse_selector("plain").value().empty());
}

BOOST_AUTO_TEST_CASE(a_file_of_that_name_wins) {
    const TemporaryFolder folder;
    const auto path = folder.write("disk#1", kSome);
    BOOST_TEST(parse_selector(path.string()).value().path == path);
    BOOST_TEST(parse_selector(path.string()).value().empty());
    const auto selected = parse_selector(path.string() + "#snap#2").value();
    BOOST_TEST(selected.path == path);
    BOOST_TEST(selected.word.value() == "snap#2");
}

BOOST_AUTO_TEST_CASE(what_makes_no_sense_is_a_usage_error) {
    for (const char* text : {"a#device=x,device=y", "a#device=", "a#", "a#x,y", "a#x,"})
        BOOST_TEST((parse_selector(text).error().kind == ErrorKind::usage), text);
}

BOOST_AUTO_TEST_CASE(a_mistyped_key_is_no_name) {
    const auto refused = parse_selector("f#keyfile=secret");
    BOOST_REQUIRE(refused.has_error());
    BOOST_TEST(refused.error().what.find("did you mean 'key-file'?") != std::string::npos, refused.error().what);
    BOOST_TEST(reads_as_key("password=x"));
    BOOST_TEST(!reads_as_key("x=y"));
    BOOST_TEST(!reads_as_key("Before=after"));
    BOOST_TEST(parse_selector("f#snapshot=some=name").value().snapshot.value() == "some=name");
}

BOOST_AUTO_TEST_CASE(a_path_that_is_not_there_is_told_as_it_was_typed) {
    const auto missing = parse_typed("/nonexistent/case#12/disk.qcow2");
    BOOST_REQUIRE(missing.has_error());
    BOOST_TEST((missing.error().kind == ErrorKind::io));
    BOOST_TEST(missing.error().what.starts_with("/nonexistent/case#12/disk.qcow2: "), missing.error().what);
    const TemporaryFolder folder;
    const auto path = folder.write("disk", kSome);
    BOOST_TEST(parse_typed(path.string() + "#word").value().word.value() == "word");
}

BOOST_AUTO_TEST_CASE(an_escaped_word_selects_itself) {
    const std::string name = "a,b\\c,,=\\\\";
    BOOST_TEST(parse_selector("f#" + selector_word(name)).value().word.value() == name);
}

BOOST_AUTO_TEST_SUITE_END()

BOOST_AUTO_TEST_SUITE(references)

BOOST_AUTO_TEST_CASE(protocols_devices_and_fifos_are_never_opened, *on_posix()) {
    const TemporaryFolder folder;
    const References gate(folder.path() / "image", ReferencePolicy::any, {});
    make_fifo(folder.path() / "fifo");
    std::filesystem::create_symlink("/dev/null", folder.path() / "null");
    for (const char* name : {"nbd://host/x", "json:{\"driver\":\"nbd\"}", "http://host/x", "fat:rw:/tmp"})
        BOOST_TEST((refusal(gate, name) == ErrorKind::unsupported), name);
    for (const char* name : {"fifo", "null", "/dev/zero", "missing", "."})
        BOOST_TEST((refusal(gate, name) == ErrorKind::io), name);
    BOOST_TEST((refusal(gate, "") == ErrorKind::corrupt));
    BOOST_TEST((refusal(gate, std::string_view("a\0b", 3)) == ErrorKind::corrupt));
    BOOST_TEST((refusal(gate, std::string(5000, 'x')) == ErrorKind::limit_exceeded));
}

BOOST_AUTO_TEST_CASE(a_relative_name_is_found_beside_the_link_and_beside_the_real_file, *on_posix()) {
    const TemporaryFolder real;
    const TemporaryFolder locker;
    real.write("base", kSome);
    std::filesystem::create_symlink(real.write("image", kSome), locker.path() / "image");
    const References gate(locker.path() / "image", ReferencePolicy::any, {});
    BOOST_TEST(gate.open("base").value().file->size() == kSome.size());
    BOOST_TEST(gate.open("file:base").has_value());
}

BOOST_AUTO_TEST_CASE(an_absolute_name_that_is_gone_is_found_beside_the_image) {
    const TemporaryFolder folder;
    folder.write("base", kSome);
    const References gate(folder.path() / "image", ReferencePolicy::any, {});
    const auto found = gate.open("/no/such/folder/base");
    BOOST_REQUIRE(found.has_value());
    BOOST_TEST(!found.value().how.empty());
}

BOOST_AUTO_TEST_CASE(the_policy_confines_what_is_opened, *on_posix()) {
    const TemporaryFolder folder;
    const TemporaryFolder elsewhere;
    folder.write("base", kSome);
    const auto other = elsewhere.write("other", kSome);
    std::filesystem::create_symlink(other, folder.path() / "link");
    const References same_dir(folder.path() / "image", ReferencePolicy::same_dir, {});
    BOOST_TEST(same_dir.open("base").has_value());
    BOOST_TEST((refusal(same_dir, other.string()) == ErrorKind::usage));
    BOOST_TEST((refusal(same_dir, "link") == ErrorKind::usage));
    const References deny(folder.path() / "image", ReferencePolicy::deny, {});
    BOOST_TEST((refusal(deny, "base") == ErrorKind::usage));
}

BOOST_AUTO_TEST_CASE(the_environment_sets_the_policy) {
    set_variable("VDISK_REFERENCES", "same-dir");
    BOOST_TEST((reference_policy_from_environment().value() == ReferencePolicy::same_dir));
    set_variable("VDISK_REFERENCES", "sometimes");
    BOOST_TEST((reference_policy_from_environment().error().kind == ErrorKind::usage));
    set_variable("VDISK_REFERENCES", "");
    BOOST_TEST((reference_policy_from_environment().value() == ReferencePolicy::any));
}

BOOST_AUTO_TEST_SUITE_END()

BOOST_AUTO_TEST_SUITE(registry)

BOOST_AUTO_TEST_CASE(each_format_is_found_by_its_name) {
    for (const Format* format : formats()) BOOST_TEST(find_format(format->name) == format);
    BOOST_TEST(find_format("nonsense") == nullptr);
}

BOOST_AUTO_TEST_CASE(bytes_of_no_format_are_detected_as_none) {
    for (const std::size_t size : {0U, 1U, 4U, 7U, 512U, 10'000U}) {
        Random random(size);
        BOOST_TEST(detect_format(*memory(Bytes(size))).value() == nullptr);
        BOOST_TEST(detect_format(*memory(random_bytes(random, size))).value() == nullptr);
    }
}

BOOST_AUTO_TEST_CASE(an_unknown_file_is_not_this_format) {
    const TemporaryFolder folder;
    const auto path = folder.write("f", kSome);
    BOOST_TEST((open_disk(path.string(), {}).error().kind == ErrorKind::not_this_format));
    OpenOptions raw;
    raw.format = "raw";
    BOOST_TEST(reads_as(*open_disk(path.string(), raw).value().image, kSome, 0, 2000));
    raw.format = "nonsense";
    BOOST_TEST((open_disk(path.string(), raw).error().kind == ErrorKind::usage));
}

BOOST_AUTO_TEST_CASE(a_file_called_raw_is_raw_if_nothing_known_says_otherwise) {
    const TemporaryFolder folder;
    for (const char* name : {"a.raw", "a.dd", "a.img", "A.RAW", "a.b.Dd"})
        BOOST_TEST(reads_as(*open_disk(folder.write(name, kSome).string(), {}).value().image, kSome, 0, 2000));
    const auto refused = [&](const char* name, const Bytes& bytes) {
        const auto opened = open_disk(folder.write(name, bytes).string(), {});
        return opened.has_error() && opened.error().kind == ErrorKind::not_this_format;
    };
    for (const char* name : {"a.raw.gz", "raw", "a.qcow2", "a.raw.bak", ".raw", "a.vma", "a."})
        BOOST_TEST(refused(name, kSome), name);
    Bytes image(65536);
    std::ranges::copy(std::as_bytes(std::span(std::string_view("ADSEGMENTEDFILE"))), image.begin());
    BOOST_TEST(refused("image.raw", image));
    Bytes dmg(8192);
    std::ranges::copy(std::as_bytes(std::span(std::string_view("koly"))), dmg.end() - 512);
    BOOST_TEST(refused("dmg.raw", dmg));                            // whose start a guest wrote
    for (const std::string_view magic : {"vhdxfile", "conectix"}) { // formats that are read: damaged ones, then
        Bytes disk(65536);
        std::ranges::copy(std::as_bytes(std::span(magic)), magic == "vhdxfile" ? disk.begin() : disk.end() - 512);
        BOOST_TEST(open_disk(folder.write("other.raw", disk).string(), {}).has_error(), magic);
    }
    BOOST_TEST(refused("empty.raw", {}));
    Bytes luks(4096);
    std::ranges::copy(std::as_bytes(std::span(std::string_view("LUKS\xBA\xBE"))), luks.begin());
    BOOST_TEST(reads_as(*open_disk(folder.write("luks.raw", luks).string(), {}).value().image, luks, 0, 4096));
    BOOST_TEST(refused("luks", luks));
}

BOOST_AUTO_TEST_SUITE_END()
