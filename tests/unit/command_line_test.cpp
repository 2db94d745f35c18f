// SPDX-License-Identifier: Apache-2.0
#include "common/command_line.hpp"

#include <boost/test/unit_test.hpp>

#include <algorithm>

using namespace vdisk;

BOOST_AUTO_TEST_SUITE(command_line)

using namespace vdisk::tools;

namespace {

using Words = std::vector<std::string>;

// A command with one of each kind of option, and what a command line made of them.
struct Command {
    CommandLine line;
    bool json = false, force = false, snapshots = false;
    std::string format, name;
    Words algorithms, images;

    Command() {
        line.flag("--json", json, "print JSON");
        line.flag("--force", force, "replace what is there").excludes("json");
        line.flag("--snapshots", snapshots, "snapshots too").needs("format");
        line.option("-f,--format", "FORMAT", format, "do not detect the format").one_of({"qcow2", "raw"});
        line.option("-n,--name", "NAME", name, "a name of any kind");
        line.list("-a,--algorithm", "LIST", algorithms, "which hashes").one_of({"md5", "sha1", "sha256"});
        line.operands("IMAGE", images, "the images");
    }

    Result<bool> parse(Words words) {
        words.insert(words.begin(), "command");
        std::vector<char*> pointers;
        for (std::string& word : words) pointers.push_back(word.data());
        return line.parse(pointers);
    }
};

// What is said of a command line that is wrong; empty for one that is not.
std::string complaint(const Words& words) {
    const auto parsed = Command().parse(words);
    return parsed.has_error() ? parsed.error().what : "";
}

// The options and operands of a line that is right.
Command read(const Words& words) {
    Command command;
    const auto parsed = command.parse(words);
    BOOST_TEST_REQUIRE(parsed.has_value(), (parsed.has_error() ? parsed.error().what : ""));
    BOOST_TEST(parsed.value());
    return command;
}

std::vector<std::string_view> lines_of(std::string_view text) {
    std::vector<std::string_view> lines;
    while (!text.empty()) {
        const std::size_t end = std::min(text.find('\n'), text.size());
        lines.push_back(text.substr(0, end));
        text.remove_prefix(std::min(end + 1, text.size()));
    }
    return lines;
}

std::size_t longest_line(std::string_view text) {
    std::size_t most = 0;
    for (const std::string_view line : lines_of(text)) most = std::max(most, line.size());
    return most;
}

} // namespace

BOOST_AUTO_TEST_CASE(options_and_operands_stand_in_any_order) {
    const Words orders[] = {
        {"--json", "-f", "raw", "a", "b"}, {"a", "--json", "b", "-fraw"}, {"a", "b", "--format=raw", "--json"}};
    for (const Words& words : orders) {
        const Command command = read(words);
        BOOST_TEST(command.json);
        BOOST_TEST(!command.force);
        BOOST_TEST(command.format == "raw");
        BOOST_TEST(command.images == (Words{"a", "b"}), boost::test_tools::per_element());
    }
}

BOOST_AUTO_TEST_CASE(a_value_may_hold_equals_signs_and_begin_with_a_dash) {
    BOOST_TEST(read({"--name=a=b=c", "x"}).name == "a=b=c");
    BOOST_TEST(read({"--name", "=", "x"}).name == "=");
    BOOST_TEST(read({"--name=", "x"}).name == "");
    BOOST_TEST(read({"-n", "--json", "x"}).name == "--json");
    BOOST_TEST(read({"-n=b", "x"}).name == "=b"); // as getopt_long() has it for letters
    BOOST_TEST(read({"x#backing=none"}).images.front() == "x#backing=none");
}

BOOST_AUTO_TEST_CASE(two_dashes_end_the_options) {
    const Command command = read({"--json", "--", "--force", "-f", "--"});
    BOOST_TEST(command.json);
    BOOST_TEST(!command.force);
    BOOST_TEST(command.images == (Words{"--force", "-f", "--"}), boost::test_tools::per_element());
    BOOST_TEST(read({"-"}).images.front() == "-");
}

BOOST_AUTO_TEST_CASE(a_list_has_commas_and_may_be_given_again) {
    BOOST_TEST(read({"-a", "md5,sha1", "--algorithm=sha256", "x"}).algorithms == (Words{"md5", "sha1", "sha256"}),
               boost::test_tools::per_element());
    BOOST_TEST(complaint({"-a", "md5,,sha1", "x"}) == "--algorithm can't be '', it is one of: md5, sha1, sha256");
    BOOST_TEST(complaint({"-a", "md5,", "x"}) == "--algorithm can't be '', it is one of: md5, sha1, sha256");
    BOOST_TEST(complaint({"-a", "md4", "x"}) == "--algorithm can't be 'md4', it is one of: md5, sha1, sha256");
    BOOST_TEST(read({"-n", "a,b", "x"}).name == "a,b"); // which is no list
}

BOOST_AUTO_TEST_CASE(the_last_value_of_an_option_counts) {
    BOOST_TEST(read({"-f", "raw", "--format", "qcow2", "x"}).format == "qcow2");
}

BOOST_AUTO_TEST_CASE(an_option_may_be_cut_to_what_only_it_begins_with) {
    BOOST_TEST(read({"--js", "x"}).json);
    BOOST_TEST(read({"--form=raw", "x"}).format == "raw");
    BOOST_TEST(complaint({"--fo", "x"}).starts_with("there is no option '--fo'")); // --force or --format
}

BOOST_AUTO_TEST_CASE(an_unknown_option_is_named_alone_with_the_nearest_one) {
    BOOST_TEST(complaint({"--jsno", "--more", "x"}) == "there is no option '--jsno'; did you mean '--json'?");
    BOOST_TEST(complaint({"x", "--fromat=raw"}) == "there is no option '--fromat'; did you mean '--format'?");
    BOOST_TEST(complaint({"--hepl", "x"}) == "there is no option '--hepl'; did you mean '--help'?");
    BOOST_TEST(complaint({"--completely-different", "x"}) == "there is no option '--completely-different'");
    BOOST_TEST(complaint({"-Q", "x"}) == "there is no option '-Q'");
    BOOST_TEST(complaint({"-Qf", "raw", "x"}) == "there is no option '-Q'");
    BOOST_TEST(complaint({"--\x1b[2J", "x"}) == "there is no option '--\\x1b[2J'");
}

BOOST_AUTO_TEST_CASE(values_that_are_missing_surplus_or_wrong_are_told) {
    BOOST_TEST(complaint({"x", "-f"}) == "-f needs a value");
    BOOST_TEST(complaint({"x", "--format"}) == "--format needs a value");
    BOOST_TEST(complaint({"--json=yes", "x"}) == "--json=yes takes no value");
    BOOST_TEST(complaint({"-f", "vhd", "x"}) == "--format can't be 'vhd', it is one of: qcow2, raw");
    BOOST_TEST(complaint({"-f", "", "x"}) == "--format can't be '', it is one of: qcow2, raw");
}

BOOST_AUTO_TEST_CASE(options_that_need_or_exclude_another_are_told) {
    BOOST_TEST(complaint({"--json", "--force", "x"}) == "--force and --json exclude each other");
    BOOST_TEST(complaint({"--snapshots", "x"}) == "--snapshots is for use with --format only");
    BOOST_TEST(complaint({"--snapshots", "-f", "raw", "x"}) == "");
}

BOOST_AUTO_TEST_CASE(operands_are_counted) {
    BOOST_TEST(complaint({}) == "IMAGE is missing");
    CommandLine line;
    std::string in, out;
    line.operand("IN", in, "what is read");
    line.optional_operand("OUT", out, "what is written");
    const auto parse = [&](Words words) {
        words.insert(words.begin(), "command");
        std::vector<char*> pointers;
        for (std::string& word : words) pointers.push_back(word.data());
        const auto parsed = line.parse(pointers);
        return parsed.has_error() ? parsed.error().what : "";
    };
    BOOST_TEST(parse({"a"}) == "");
    BOOST_TEST(out == "");
    BOOST_TEST(parse({"a", "b"}) == "");
    BOOST_TEST(in + out == "ab");
    BOOST_TEST(parse({"a", "b", "c", "d"}) == "'c' is one argument too many");
    BOOST_TEST(parse({}) == "IN is missing");
    BOOST_TEST(line.usage("tool command") == "tool command [OPTION]... IN [OUT]");
}

BOOST_AUTO_TEST_CASE(help_counts_before_everything_else) {
    for (const Words& words : {Words{"--help"}, Words{"-h"}, Words{"x", "--hel"}, Words{"-h", "--unknown"},
                               Words{"--force", "--json", "-h"}}) {
        const auto parsed = Command().parse(words);
        BOOST_TEST_REQUIRE(parsed.has_value());
        BOOST_TEST(!parsed.value());
    }
    BOOST_TEST(read({"--", "--help"}).images.front() == "--help");
}

BOOST_AUTO_TEST_CASE(help_names_everything_in_80_columns) {
    Command command;
    std::string value;
    command.line.option("--an-option-with-a-name-that-fills-its-column", "VALUE", value,
                        "a long sentence that tells what it is for, and goes on to say so until it has told all of it, "
                        "which takes more than two lines");
    command.line.note("Notes, as they are",
                      {{"key=VALUE", "what a key is for, in more words than fit into what is left of one line of it"}});
    const std::string help = command.line.help(
        "tool command",
        "does what it does, and says so in a sentence that is longer than one line of a terminal has room for");
    BOOST_TEST(longest_line(help) <= 80U);
    for (const char* part :
         {"Usage: tool command [OPTION]... IMAGE...\n", "\n  IMAGE ", "\n      --json ", "\n  -f, --format FORMAT ",
          "\n  -h, --help ", "\n      --an-option-with-a-name-that-fills-its-column VALUE\n   ",
          "\nNotes, as they are:\n  key=VALUE "})
        BOOST_TEST((help.find(part) != std::string::npos), part);
    BOOST_TEST((help.find("one of: md5, sha1,") != std::string::npos));
}

BOOST_AUTO_TEST_CASE(text_is_folded_between_words_and_nothing_of_it_is_lost) {
    std::string text;
    for (int i = 0; i < 200; ++i) text += (i == 0 ? "" : " ") + std::string(static_cast<std::size_t>(1 + i % 11), 'x');
    for (const std::size_t indent : {0U, 5U, 40U}) {
        const std::string lines = folded(text, indent, indent);
        BOOST_TEST(longest_line(std::string(indent, ' ') + lines) <= 80U);
        std::string joined;
        for (const std::string_view line : lines_of(lines))
            joined += (joined.empty() ? "" : " ") + std::string(line.substr(joined.empty() ? 0 : indent));
        BOOST_TEST(joined == text);
    }
    BOOST_TEST(folded("", 4) == "");
    const std::string word(100, 'w'); // longer than a line: stays whole, on a line of its own
    BOOST_TEST(folded("a " + word + " b", 2) == "a\n  " + word + "\n  b");
    BOOST_TEST(folded(std::string(80, 'w'), 0) == std::string(80, 'w'));
    BOOST_TEST(folded(std::string(77, 'w') + " bb c", 0) == std::string(77, 'w') + " bb\nc");
}

BOOST_AUTO_TEST_SUITE_END()
