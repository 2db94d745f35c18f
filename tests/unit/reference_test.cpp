// SPDX-License-Identifier: Apache-2.0
#include "open/reference/reference.hpp"

#include "model.hpp"
#include "open/open.hpp"
#include "special_files.hpp"
#include "temporary_folder.hpp"
#include "vma_builder.hpp"

#include <boost/test/unit_test.hpp>

using namespace vdisk;
using namespace vdisk::test;
namespace fs = std::filesystem;

namespace {

constexpr std::string_view kHead = "vdisk-reference 1\n";

std::filesystem::path write(const TemporaryFolder& folder, const std::string& name, std::string_view text) {
    return folder.write(name, std::as_bytes(std::span(text)));
}

fs::path write_reference(const TemporaryFolder& folder, const std::string& name, const std::string& lines) {
    return write(folder, name, std::string(kHead) + lines);
}

Result<Selector> parse(const std::string& lines) {
    return parse_reference(std::string(kHead) + lines, "r.vdisk");
}

// A backup with two disks of 64 KiB, filled with 'a' and with 'b'.
fs::path write_backup(const TemporaryFolder& folder, const std::string& name) {
    VmaBuilder builder;
    std::vector<VmaBuilder::Slot> slots;
    const auto add = [&](std::uint8_t device, const std::string& called, char fill) {
        builder.add_device(device, called, VmaBuilder::kCluster);
        slots.push_back(VmaBuilder::slot_of(device, Bytes(VmaBuilder::kCluster, static_cast<std::byte>(fill)), 0));
    };
    add(1, "first", 'a');
    add(2, "second", 'b');
    builder.add_extent(slots);
    return folder.write(name, builder.build());
}

char first_byte(const fs::path& path, const std::string& selector = "") {
    const auto disk = open_disk(path.string() + selector, {});
    const std::string why = disk.has_error() ? disk.error().what : "";
    BOOST_REQUIRE_MESSAGE(disk.has_value(), why);
    Bytes byte(1);
    BOOST_REQUIRE(disk.value().image->read_at(0, byte).has_value());
    return static_cast<char>(byte.front());
}

Error refusal(const fs::path& path, const OpenOptions& options = {}) {
    const auto disk = open_disk(path.string(), options);
    BOOST_REQUIRE(disk.has_error());
    return disk.error();
}

bool says(const Error& error, std::initializer_list<std::string> words) {
    return std::ranges::all_of(words,
                               [&](const std::string& word) { return error.what.find(word) != std::string::npos; });
}

} // namespace

BOOST_AUTO_TEST_SUITE(reference_text_format)

BOOST_AUTO_TEST_CASE(keys_comments_blanks_and_line_ends_are_read) {
    const auto parsed = parse(
        "# a comment\r\n\r\n  image=a b.vma  \r\n\tdevice = drive-scsi0\nkey-file = \"k\\n1 \"\nparent = b#parent=c");
    BOOST_REQUIRE(parsed.has_value());
    BOOST_TEST(parsed.value().path == "a b.vma");
    BOOST_TEST(parsed.value().device.value() == "drive-scsi0");
    BOOST_TEST(parsed.value().key_file.value() == "k\n1 ");
    BOOST_TEST(parsed.value().parent.value() == "b#parent=c");
}

BOOST_AUTO_TEST_CASE(what_is_written_is_read_back) {
    for (const std::string name : {"plain", " blank at an end", "a = b", "#x", "\"quoted\"", "tab\there", "line\nend\r",
                                   "\xC3\xA9", "\xFF\xFE", "c:\\d"}) {
        Selector selector{.path = "x/" + name, .snapshot = name, .key_file = name, .backing = name, .data_file = name};
        const auto text = reference_text(selector);
        BOOST_REQUIRE(text.has_value());
        const auto read = parse_reference(text.value(), "r");
        BOOST_REQUIRE_MESSAGE(read.has_value(), name);
        BOOST_TEST((read.value() == selector), name);
    }
}

// Where names are UTF-16 there are no such ones.
BOOST_AUTO_TEST_CASE(a_name_that_no_text_can_hold_is_refused, *on_posix()) {
    BOOST_TEST((reference_text({.path = "\xFF\n"}).error().kind == ErrorKind::usage));
}

BOOST_AUTO_TEST_CASE(lines_that_make_no_sense_are_named) {
    for (const char* lines :
         {"", "image = a\nimage = b", "image =", "image", "image = a\nimages = b",
          "image = a\ndevice = x\nsnapshot = y", "image = a\nbacking = x\nparent = y", "image = \"a", "image = \"a\" b",
          "image = \"\\u0000\"", "image = a\nword = x", "image = a\ncommand = rm"}) {
        const auto parsed = parse(lines);
        BOOST_REQUIRE_MESSAGE(parsed.has_error(), lines);
        BOOST_TEST((parsed.error().kind == ErrorKind::corrupt), lines);
        BOOST_TEST(says(parsed.error(), {"r.vdisk"}), lines);
    }
    BOOST_TEST(says(parse("image = a\n\nimages = b").error(), {"line 4", "'images'"}));
}

BOOST_AUTO_TEST_CASE(another_version_is_unsupported_and_another_file_is_none) {
    BOOST_TEST((parse_reference("vdisk-reference 2\nimage = a\n", "r").error().kind == ErrorKind::unsupported));
    BOOST_TEST((parse_reference("vdisk-reference 1 \nimage = a\n", "r").error().kind == ErrorKind::unsupported));
    BOOST_TEST((parse_reference("image = a\n", "r").error().kind == ErrorKind::not_this_format));
}

BOOST_AUTO_TEST_SUITE_END()

BOOST_AUTO_TEST_SUITE(reference_files)

BOOST_AUTO_TEST_CASE(a_reference_shows_the_disk_that_it_names) {
    const TemporaryFolder folder;
    write_backup(folder, "b.vma");
    BOOST_TEST(first_byte(write_reference(folder, "1.vdisk", "image = b.vma\ndevice = first\n")) == 'a');
    BOOST_TEST(first_byte(write_reference(folder, "2.vdisk", "image = b.vma\ndevice = second\n")) == 'b');
    BOOST_TEST(identify_file((folder.path() / "1.vdisk").string()).value() == &kReferenceFormat);
    const auto file = open_file((folder.path() / "1.vdisk").string(), {});
    BOOST_TEST(file.value().disks->format().name == "vma");
    BOOST_TEST(file.value().reference == (folder.path() / "1.vdisk").string());
}

BOOST_AUTO_TEST_CASE(a_selector_adds_to_a_reference_and_never_contradicts_it) {
    const TemporaryFolder folder;
    write_backup(folder, "b.vma");
    const auto open_end = write_reference(folder, "any.vdisk", "image = b.vma\n");
    BOOST_TEST(first_byte(open_end, "#second") == 'b');
    BOOST_TEST(first_byte(open_end, "#device=first") == 'a');
    const auto fixed = write_reference(folder, "1.vdisk", "image = b.vma\ndevice = first\nkey-file = b.vma\n");
    for (const char* selector : {"#second", "#device=first", "#snapshot=x", "#key-file=k"})
        BOOST_TEST((refusal(fixed.string() + selector).kind == ErrorKind::usage), selector);
}

BOOST_AUTO_TEST_CASE(both_files_are_found_when_their_folder_moves_and_through_a_link, *on_posix()) {
    const TemporaryFolder folder;
    const TemporaryFolder locker;
    fs::create_directory(folder.path() / "case");
    write_backup(folder, "case/b.vma");
    write_reference(folder, "case/1.vdisk", "image = ./b.vma\ndevice = first\n");
    fs::rename(folder.path() / "case", folder.path() / "moved");
    BOOST_TEST(first_byte(folder.path() / "moved" / "1.vdisk") == 'a');
    fs::create_symlink(folder.path() / "moved" / "1.vdisk", locker.path() / "link.vdisk");
    BOOST_TEST(first_byte(locker.path() / "link.vdisk") == 'a');
    write_reference(folder, "moved/2.vdisk", "image = /gone/b.vma\ndevice = second\n");
    BOOST_TEST(first_byte(folder.path() / "moved" / "2.vdisk") == 'b');
}

BOOST_AUTO_TEST_CASE(errors_name_both_files) {
    const TemporaryFolder folder;
    write_backup(folder, "b.vma");
    write(folder, "text", "no image");
    BOOST_TEST(says(refusal(write_reference(folder, "1.vdisk", "image = gone.vma\n")), {"1.vdisk", "gone.vma"}));
    BOOST_TEST(
        says(refusal(write_reference(folder, "2.vdisk", "image = b.vma\n")), {"2.vdisk", "b.vma", "first", "second"}));
    BOOST_TEST(says(refusal(write_reference(folder, "3.vdisk", "image = b.vma\ndevice = third\n")),
                    {"3.vdisk", "b.vma", "'third'"}));
    BOOST_TEST(says(refusal(write_reference(folder, "4.vdisk", "image = text\n")), {"4.vdisk", "text"}));
    BOOST_TEST(says(refusal(write_reference(folder, "5.vdisk", "image = b.vma\ndevice = first\nparent = text\n")),
                    {"5.vdisk", "b.vma", "parent"}));
    BOOST_TEST(
        says(refusal(write_reference(folder, "6.vdisk", "image = b.vma\nkey-file = gone\n")), {"6.vdisk", "'gone'"}));
}

BOOST_AUTO_TEST_CASE(a_reference_to_a_reference_is_refused, *on_posix()) {
    const TemporaryFolder folder;
    write_backup(folder, "b.vma");
    write_reference(folder, "1.vdisk", "image = b.vma\ndevice = first\n");
    BOOST_TEST((refusal(write_reference(folder, "2.vdisk", "image = 1.vdisk\n")).kind == ErrorKind::unsupported));
    BOOST_TEST((refusal(write_reference(folder, "self.vdisk", "image = self.vdisk\n")).kind == ErrorKind::corrupt));
    fs::create_symlink("self.vdisk", folder.path() / "link");
    write_reference(folder, "self.vdisk", "image = link\n");
    BOOST_TEST((refusal(folder.path() / "self.vdisk").kind == ErrorKind::corrupt));
}

BOOST_AUTO_TEST_CASE(only_regular_files_are_opened_for_a_reference, *on_posix()) {
    const TemporaryFolder folder;
    write_backup(folder, "b.vma");
    make_fifo(folder.path() / "fifo");
    const std::string good = "image = b.vma\ndevice = first\n";
    for (const char* name : {"fifo", "/dev/zero", "/dev/null", "."}) {
        BOOST_TEST((refusal(write_reference(folder, "r", std::string("image = ") + name + "\n")).kind == ErrorKind::io),
                   name);
        for (const char* key : {"key-file", "data-file", "parent", "backing"})
            BOOST_TEST((refusal(write_reference(folder, "r", good + key + " = " + name + "\n")).kind == ErrorKind::io),
                       key << " = " << name);
        BOOST_TEST((refusal(write_reference(folder, "r", good + "parent = b.vma#key-file=" + name + "\n")).kind ==
                    ErrorKind::io),
                   name);
    }
    for (const char* name : {"nbd://host/x", "json:{}", "http://host/x", "exec:true"})
        BOOST_TEST((refusal(write_reference(folder, "r", std::string("image = ") + name + "\n")).kind ==
                    ErrorKind::unsupported),
                   name);
    // Behind "file:" everything is a local file's name, as QEMU has it.
    BOOST_TEST((refusal(write_reference(folder, "r", "image = file:nbd:x\n")).kind == ErrorKind::io));
}

BOOST_AUTO_TEST_CASE(the_policy_for_references_holds) {
    const TemporaryFolder folder;
    const TemporaryFolder elsewhere;
    write_backup(folder, "b.vma");
    const auto near = write_reference(folder, "1.vdisk", "image = b.vma\ndevice = first\n");
    const auto far =
        write_reference(elsewhere, "1.vdisk", "image = " + (folder.path() / "b.vma").string() + "\ndevice = first\n");
    BOOST_TEST((refusal(near, {.references = ReferencePolicy::deny}).kind == ErrorKind::usage));
    BOOST_TEST((refusal(far, {.references = ReferencePolicy::same_dir}).kind == ErrorKind::usage));
    BOOST_TEST(open_disk(near.string(), {.references = ReferencePolicy::same_dir}).has_value());
    BOOST_TEST(first_byte(far) == 'a');
}

BOOST_AUTO_TEST_CASE(what_is_too_large_for_a_reference_is_a_disk_that_begins_like_one) {
    const TemporaryFolder folder;
    write_backup(folder, "b.vma");
    const std::string text = std::string(kHead) + "image = b.vma\ndevice = first\n";
    const std::size_t limit = Limits{}.reference_bytes;
    BOOST_TEST(first_byte(write(folder, "full.vdisk", text + std::string(limit - text.size(), '\n'))) == 'a');
    const auto disk = write(folder, "disk.raw", text + std::string(limit - text.size() + 1, '\n'));
    BOOST_TEST(identify_file(disk.string()).value() == nullptr);
    BOOST_TEST((refusal(disk, {.format = "reference"}).kind == ErrorKind::limit_exceeded));
    BOOST_TEST((refusal(write_reference(folder, "long", "image = " + std::string(5000, 'x') + "\n")).kind ==
                ErrorKind::limit_exceeded));
    std::string nested = "parent = b.vma";
    for (int i = 0; i < 300; ++i) nested += "#parent=b.vma";
    BOOST_TEST((refusal(write_reference(folder, "deep", "image = b.vma\n" + nested + "\n")).kind ==
                ErrorKind::limit_exceeded));
}

BOOST_AUTO_TEST_SUITE_END()
