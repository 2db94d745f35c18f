// SPDX-License-Identifier: Apache-2.0
// What a file is taken for, what a name can mean, which keys mean something.
#include "disk/backing_name.hpp"
#include "model.hpp"
#include "open/known_files.hpp"
#include "open/open.hpp"
#include "open/registry.hpp"
#include "open/report.hpp"
#include "qcow2_builder.hpp"
#include "special_files.hpp"
#include "temporary_folder.hpp"
#include "vdi_builder.hpp"

#include <boost/test/unit_test.hpp>

#include <cstring>

using namespace vdisk;
using namespace vdisk::test;

BOOST_AUTO_TEST_SUITE(opening)

namespace {

Bytes with(std::size_t size, std::size_t offset, std::string_view magic) {
    Bytes bytes(size);
    std::memcpy(bytes.data() + offset, magic.data(), magic.size());
    return bytes;
}

std::string_view kind_of(const Bytes& bytes) {
    const FirstLook look = FirstLook::at(*memory(bytes)).value();
    const KnownFile* const known = known_file(look);
    return known == nullptr ? "" : known->what;
}

std::string first_path(std::string_view name) {
    const auto parsed = parse_backing_name(name);
    return parsed.has_value() ? parsed.value().paths.front() : "";
}

} // namespace

BOOST_AUTO_TEST_CASE(a_signature_is_found_at_both_ends_and_nowhere_else) {
    BOOST_TEST(kind_of(with(4096, 257, "ustar")).starts_with("a tar archive"));
    BOOST_TEST(kind_of(with(4096, 4096 - 512, "koly")).starts_with("an Apple disk image"));
    BOOST_TEST(kind_of(with(65536, 32769, "CD001")) == "an ISO 9660 image");
    for (const std::size_t offset : {0U, 1U, 3583U, 3585U, 4088U})
        BOOST_TEST(kind_of(with(4096, offset, "koly")) == "");
    const auto format_of = [](const Bytes& bytes) {
        const auto format = detect_format(*memory(bytes));
        return format.has_value() && format.value() != nullptr ? format.value()->name : "";
    };
    for (const std::size_t offset : {0U, 3584U, 3585U}) BOOST_TEST(format_of(with(4096, offset, "conectix")) == "vhd");
    for (const std::size_t offset : {1U, 3583U, 3586U, 4088U})
        BOOST_TEST(format_of(with(4096, offset, "conectix")) == "");
    for (const std::size_t size : {0U, 1U, 4U, 511U}) BOOST_TEST(kind_of(Bytes(size)) == "");
    BOOST_TEST(kind_of(with(300, 257, "ustar")) == ""); // smaller than any such file
}

BOOST_AUTO_TEST_CASE(the_end_of_a_stream_is_unknown) {
    const Signature footer{.magic = "conectix", .offset = 512, .least_size = 512, .from = Signature::From::end};
    BOOST_TEST((FirstLook::at_start(Bytes(4096)).look_for(footer) == Sign::unknown));
    BOOST_TEST((FirstLook::at(*memory(Bytes(4096))).value().look_for(footer) == Sign::absent));
    BOOST_TEST((FirstLook::at(*memory(Bytes(100))).value().look_for(footer) == Sign::absent));
}

BOOST_AUTO_TEST_CASE(names_of_all_kinds_are_read) {
    BOOST_TEST(first_path("a/b") == "a/b");
    BOOST_TEST(first_path("C:\\VMs\\a.qcow2") == "/VMs/a.qcow2");
    BOOST_TEST(first_path("\\\\?\\C:\\VMs\\a.qcow2") == "/VMs/a.qcow2");
    BOOST_TEST(first_path("file:a") == "a");
    BOOST_TEST(first_path("file:///x/a") == "/x/a");
    BOOST_TEST(first_path("file://./a%20b") == "./a%20b");
    BOOST_TEST(parse_backing_name("file://./a%20b").value().paths.back() == "./a b");
    BOOST_TEST(first_path("json:{\"file.filename\":\"a\"}") == "a");
    BOOST_TEST(first_path("json:{\"driver\":\"qcow2\",\"file\":{\"driver\":\"file\",\"filename\":\"a\"}}") == "a");
    BOOST_TEST(parse_backing_name("json:{\"driver\":\"qcow2\",\"file.filename\":\"a\"}").value().format == "qcow2");
    for (const char* bad : {"json:", "json:1", "json:{}", "json:{\"file\":\"node\"}",
                            "json:{\"file\":\"x\",\"file.a\":1}", "json:{\"driver\":\"nbd\",\"filename\":\"a\"}",
                            "json:{\"file.filename\":\"json:{}\"}", "json:{\"backing\":null,\"file.filename\":\"a\"}",
                            "json:{\"file.filename\":\"a\\u0000\"}", "nbd:a", "file://host/a", "file:", "file:%00"})
        BOOST_TEST(parse_backing_name(bad).has_error(), bad);
}

BOOST_AUTO_TEST_CASE(windows_of_nested_raw_layers_lie_in_each_other) {
    const auto window = [](std::string_view json) { return parse_backing_name(json).value().window.value(); };
    const Window outer = window("json:{\"driver\":\"raw\",\"offset\":512,\"size\":1024,\"file.filename\":\"a\"}");
    BOOST_TEST(outer.offset == 512U);
    BOOST_TEST(outer.length.value() == 1024U);
    const Window inner =
        window("json:{\"driver\":\"raw\",\"offset\":512,\"file\":{\"driver\":\"raw\",\"offset\":\"4096\","
               "\"size\":2048,\"file\":{\"driver\":\"file\",\"filename\":\"a\"}}}");
    BOOST_TEST(inner.offset == 4608U);
    BOOST_TEST(inner.length.value() == 1536U);
    for (const char* bad :
         {"json:{\"driver\":\"raw\",\"offset\":-1,\"file.filename\":\"a\"}",
          "json:{\"driver\":\"raw\",\"offset\":\"1x\",\"file.filename\":\"a\"}",
          "json:{\"driver\":\"raw\",\"offset\":1,\"file\":{\"driver\":\"qcow2\",\"file.filename\":\"a\"}}"})
        BOOST_TEST(parse_backing_name(bad).has_error(), bad);
}

BOOST_AUTO_TEST_CASE(a_link_below_the_root_stays_below_it, *on_posix()) {
    const TemporaryFolder folder;
    const auto root = folder.path() / "mnt";
    std::filesystem::create_directories(root / "srv");
    std::filesystem::create_directories(folder.path() / "case");
    folder.write("mnt/srv/base", Bytes(512, std::byte{1}));
    folder.write("outside", Bytes(512, std::byte{2}));
    std::filesystem::create_symlink("/srv", root / "var");
    std::filesystem::create_symlink("../../../../outside", root / "up");
    std::filesystem::create_symlink("loop", root / "loop");
    const References gate(folder.path() / "case" / "image", ReferencePolicy::any, {}, FileKinds::regular_only, nullptr,
                          evidence_root(root, "root").value());
    BOOST_TEST(gate.open("/var/base").value().file->path() == root / "srv" / "base");
    for (const char* name : {"/up", "/loop", "/var/none"}) BOOST_TEST(gate.open(name).has_error(), name);
    BOOST_TEST((evidence_root(root / "srv" / "base", "root").error().kind == ErrorKind::usage));
}

BOOST_AUTO_TEST_CASE(a_layout_that_is_given_replaces_a_lost_header) {
    const TemporaryFolder folder;
    VdiBuilder image{.disk_size = 16 * 4096};
    image.store(3, Bytes(4096, std::byte{3}));
    image.store(1, Bytes(4096, std::byte{1}));
    Bytes bytes = image.build();
    const auto whole = folder.write("whole.vdi", bytes);
    const auto expected = open_disk(whole.string(), {}).value();
    const Facts facts = expected.file.disks->facts();
    std::fill(bytes.begin(), bytes.begin() + 400, std::byte{0xEE});
    const auto lost = folder.write("lost.vdi", bytes);
    const std::string keys =
        fmt::format("format=vdi,block-size={},map-offset={},data-offset={},size={}", facts["block size"].dump(),
                    facts["block map offset"].dump(), facts["data offset"].dump(), expected.image->size());
    BOOST_TEST(open_disk(lost.string(), {}).has_error());
    const auto opened = open_disk(fmt::format("{}#{}", lost.string(), keys), {});
    BOOST_REQUIRE_MESSAGE(opened.has_value(), (opened.has_error() ? opened.error().what : ""));
    BOOST_TEST(opened.value().remarks().size() == 1U);
    Bytes want(16 * 4096), have(16 * 4096);
    BOOST_REQUIRE(expected.image->read_at(0, want).has_value());
    BOOST_REQUIRE(opened.value().image->read_at(0, have).has_value());
    BOOST_TEST((want == have));
    for (const char* bad : {"format=vdi,block-size=4096", "format=vdi,block-size=x,map-offset=1,data-offset=1,size=1",
                            "format=vdi,block-size=3,map-offset=512,data-offset=512,size=4096",
                            "format=vdi,block-size=4096,map-offset=512,data-offset=512,size=99999999999999"})
        BOOST_TEST(open_disk(fmt::format("{}#{}", lost.string(), bad), {}).has_error(), bad);
}

BOOST_AUTO_TEST_CASE(facts_are_told_as_lines_that_show_what_is_in_what) {
    Facts facts = Facts::object();
    facts["a"]["b"] = true;
    facts["none"] = Facts::array();
    for (const char* const name : {"x", "y"}) {
        Facts element = Facts::object();
        element["name"] = name;
        element["more"]["deep"] = "d";
        facts["list"].push_back(element);
    }
    facts["list"].push_back("word");
    BOOST_TEST(to_text(facts) == "a:\n  b: yes\nlist:\n"
                                 "  - name: x\n    more:\n      deep: d\n"
                                 "  - name: y\n    more:\n      deep: d\n"
                                 "  - word\n");
}

BOOST_AUTO_TEST_SUITE_END()
