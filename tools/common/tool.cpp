// SPDX-License-Identifier: Apache-2.0
#include "common/tool.hpp"

#include "base/nearest.hpp"
#include "base/system/program.hpp"
#include "base/text.hpp"
#include "common/interruption.hpp"
#include "io/index_cache.hpp"

#include "config.h"

#include <algorithm>
#include <cstdio>
#include <exception>

namespace vdisk::tools {
namespace {

// What a stranger made is read from here on.
int act(const CommandLine& line, const Action& action) {
    auto permissions = line.permissions();
    if (permissions && system::environment("VDISK_SANDBOX").value_or("") != "off") {
        if (const auto cache = IndexCache::from_environment(); cache.enabled())
            permissions->folders.push_back(cache.folder());
        system::confine(*permissions);
    }
    return action();
}

class Tool {
public:
    Tool(const ToolDescription& tool, std::span<const CommandRow> commands) : tool_(tool), commands_(commands) {}

    int run(std::span<char* const> words) const {
        if (words.size() < 2) return report(no_command());
        const std::string_view first = words[1];
        if (first == "--version" || first == "-V") return print(PACKAGE_STRING "\n");
        if (first == "--help" || first == "-h") return print(help());
        if (first == "help") return print_help(words.subspan(2));
        if (const CommandRow* row = find(first)) return run(*row, words.subspan(1));
        // The file's name takes the place of the command's name and stays an operand.
        if (tool_.is_file(words[1])) return run(*find(tool_.default_command), words);
        return report(unknown(first));
    }

private:
    static int print(const std::string& text) {
        fmt::print("{}", text);
        return kDone;
    }

    int run(const CommandRow& row, std::span<char* const> words) const {
        CommandLine line;
        const Action action = row.add(line);
        const auto parsed = line.parse(words);
        const std::string command = command_name(row);
        if (parsed.has_error())
            return report(
                fail(ErrorKind::usage, "{}: {} ('{} --help' tells more)", row.name, parsed.error().what, command));
        return parsed.value() ? act(line, action) : print(line.help(command, row.summary));
    }

    int print_help(std::span<char* const> words) const {
        if (words.empty() || std::string_view(words[0]).starts_with('-')) return print(help());
        const CommandRow* row = find(words[0]);
        if (row == nullptr) return report(unknown(words[0]));
        CommandLine line;
        row->add(line);
        return print(line.help(command_name(*row), row->summary));
    }

    std::string command_name(const CommandRow& row) const { return fmt::format("{} {}", tool_.name, row.name); }

    const CommandRow* find(std::string_view name) const {
        const auto row = std::ranges::find_if(commands_, [&](const CommandRow& known) { return known.name == name; });
        return row == commands_.end() ? nullptr : &*row;
    }

    Error no_command() const {
        std::string names;
        for (const CommandRow& row : commands_) names += fmt::format("{}{}", names.empty() ? "" : ", ", row.name);
        return fail(ErrorKind::usage, "a command is missing: {} ('{} --help' tells more)", names, tool_.name);
    }

    Error unknown(std::string_view word) const {
        std::vector<std::string_view> names{"help", "--help", "--version"};
        for (const CommandRow& row : commands_) names.emplace_back(row.name);
        if (word.starts_with('-'))
            return fail(ErrorKind::usage, "there is no option '{}' in front of a command{} ('{} --help' tells more)",
                        printable(word), suggestion(word, names), tool_.name);
        return fail(ErrorKind::usage, "'{}' is neither a command nor a file{} ('{} --help' lists the commands)",
                    printable(word), suggestion(word, names), tool_.name);
    }

    std::string help() const {
        std::vector<CommandLine::Row> rows;
        for (const CommandRow& row : commands_) rows.emplace_back(row.name, row.summary);
        rows.emplace_back("help", "print what a command does and takes: help COMMAND");
        std::string text =
            fmt::format("Usage: {0} COMMAND [OPTION]... {1}...\n       {0} {1}      the same as {0} {2} {1}\n{3}\n",
                        tool_.name, tool_.operand, tool_.default_command, folded(tool_.summary, 0));
        text += "\nCommands:\n" + folded_table(rows);
        const std::vector<CommandLine::Row> options{{"-h, --help", "print this; behind a command, what it takes"},
                                                    {"-V, --version", "print the version"}};
        text += "\nOptions:\n" + folded_table(options);
        return text + notes();
    }

    std::string notes() const {
        CommandLine line;
        if (tool_.add_notes != nullptr) tool_.add_notes(line);
        return line.notes();
    }

    const ToolDescription& tool_;
    std::span<const CommandRow> commands_;
};

int run_one(const char* name, const char* summary, AddCommand add, std::span<char* const> words) {
    CommandLine line;
    const Action action = add(line);
    if (words.size() > 1 && (std::string_view(words[1]) == "--version" || std::string_view(words[1]) == "-V")) {
        fmt::print("{}\n", PACKAGE_STRING);
        return kDone;
    }
    const auto parsed = line.parse(words);
    if (parsed.has_error())
        return report(fail(ErrorKind::usage, "{} ('{} --help' tells more)", parsed.error().what, name));
    if (parsed.value()) return act(line, action);
    fmt::print("{}", line.help(name, summary));
    return kDone;
}

// As getopt_long() takes them.
class Words {
public:
    Words(int argc, char** argv) : texts_(system::words(argc, argv)) {
        for (std::string& text : texts_) pointers_.push_back(text.data());
    }
    [[nodiscard]] std::span<char* const> all() const noexcept { return pointers_; }

private:
    std::vector<std::string> texts_;
    std::vector<char*> pointers_;
};

int run_caught(const std::function<int()>& run) {
    try {
        return run();
    } catch (const std::exception& error) {
        // The standard library's: no memory, or standard output that takes no more, which is told at the end.
        return std::ferror(stdout) != 0 ? kFailed : report(fail(ErrorKind::io, "{}", error.what()));
    }
}

std::string typed; // what typed_command() returns

int run_prepared(std::span<char* const> words, const std::function<int()>& run) {
    for (const char* const word : words) typed += (typed.empty() ? "" : " ") + shell_quoted(word);
    system::prepare_program();
    clean_up_at_ending();
    return close_standard_output(settled(run_caught(run)));
}

} // namespace

const std::string& typed_command() noexcept {
    return typed;
}

int run_tool(const ToolDescription& tool, std::span<const CommandRow> commands, int argc, char** argv) {
    Words words(argc, argv);
    return run_prepared(words.all(), [&] { return Tool(tool, commands).run(words.all()); });
}

int run_program(const char* name, const char* summary, AddCommand add, int argc, char** argv) {
    Words words(argc, argv);
    return run_prepared(words.all(), [&] { return run_one(name, summary, add, words.all()); });
}

} // namespace vdisk::tools
