// SPDX-License-Identifier: Apache-2.0
#include "common/command_line.hpp"

#include "base/nearest.hpp"
#include "base/text.hpp"

#include <algorithm>
#include <fmt/ranges.h>
#include <getopt.h>

namespace vdisk::tools {
namespace {

constexpr int kHelp = 1;          // getopt_long() returns it for --help and -h
constexpr int kFirstOption = 256; // behind all letters: an option's number in the description
constexpr std::size_t kColumns = 80;
constexpr std::size_t kHelpColumn = 28;

std::vector<std::string> split(std::string_view text) {
    std::vector<std::string> parts;
    for (std::size_t at = 0; at <= text.size();) {
        const std::size_t comma = std::min(text.find(',', at), text.size());
        parts.emplace_back(text.substr(at, comma - at));
        at = comma + 1;
    }
    return parts;
}

} // namespace

Option& Option::one_of(std::vector<std::string> allowed) {
    words = std::move(allowed);
    return *this;
}

Option& Option::needs(std::string other) {
    needed.push_back(std::move(other));
    return *this;
}

Option& Option::excludes(std::string other) {
    excluded.push_back(std::move(other));
    return *this;
}

Option& CommandLine::add(std::string_view names, std::string placeholder, std::string help) {
    Option& option = options_.emplace_back();
    if (!names.starts_with("--")) option.letter = names[1];
    option.name = names.substr(names.find("--") + 2);
    option.placeholder = std::move(placeholder);
    option.help = std::move(help);
    return option;
}

Option& CommandLine::flag(std::string_view names, bool& given, std::string help) {
    Option& option = add(names, "", std::move(help));
    option.take = [&given](std::string_view) { given = true; };
    return option;
}

Option& CommandLine::option(std::string_view names, std::string placeholder, std::string& value, std::string help) {
    Option& option = add(names, std::move(placeholder), std::move(help));
    option.take = [&value](std::string_view text) { value = text; };
    return option;
}

Option& CommandLine::option(std::string_view names, std::string placeholder, std::optional<std::string>& value,
                            std::string help) {
    Option& option = add(names, std::move(placeholder), std::move(help));
    option.take = [&value](std::string_view text) { value = text; };
    return option;
}

Option& CommandLine::list(std::string_view names, std::string placeholder, std::vector<std::string>& values,
                          std::string help) {
    Option& option = add(names, std::move(placeholder), std::move(help));
    option.list = true;
    option.take = [&values](std::string_view text) { values.emplace_back(text); };
    return option;
}

void CommandLine::operand(std::string name, std::string& value, std::string help) {
    operands_.push_back({std::move(name), std::move(help), [&value](std::string_view text) { value = text; }});
}

void CommandLine::optional_operand(std::string name, std::string& value, std::string help) {
    operand(std::move(name), value, std::move(help));
    operands_.back().required = false;
}

void CommandLine::operands(std::string name, std::vector<std::string>& values, std::string help) {
    operands_.push_back({std::move(name), std::move(help),
                         [&values](std::string_view text) { values.emplace_back(text); }, true, true});
}

void CommandLine::note(std::string title, std::vector<Row> rows) {
    notes_.emplace_back(std::move(title), std::move(rows));
}

std::optional<system::Permissions> CommandLine::permissions() const {
    if (changes_system_) return std::nullopt;
    system::Permissions all{.programs = programs_};
    for (const std::string* path : files_)
        if (!path->empty() && *path != "-") all.files.emplace_back(*path);
    for (const std::string* folder : folders_) all.folders.emplace_back(folder->empty() ? "." : *folder);
    return all;
}

Result<bool> CommandLine::parse(std::span<char* const> words) {
    std::string letters = ":h"; // the colon: tell a missing value from an unknown option
    std::vector<::option> longs{{"help", no_argument, nullptr, kHelp}};
    for (std::size_t i = 0; i < options_.size(); ++i) {
        const bool value = !options_[i].placeholder.empty();
        longs.push_back({options_[i].name.c_str(), value ? required_argument : no_argument, nullptr,
                         kFirstOption + static_cast<int>(i)});
        if (options_[i].letter != 0) letters += std::string(1, options_[i].letter) + (value ? ":" : "");
    }
    longs.push_back({});

    std::vector<char*> ordered(words.begin(), words.end()); // getopt_long() moves operands to the end
    ordered.push_back(nullptr);
    const int count = static_cast<int>(words.size());
    optind = 0; // a new start
    opterr = 0;
    for (int got = 0; (got = ::getopt_long(count, ordered.data(), letters.c_str(), longs.data(), nullptr)) != -1;) {
        if (got == 'h' || got == kHelp) return false;
        if (got == '?' || got == ':') return getopt_error(ordered, got);
        const auto found =
            got >= kFirstOption
                ? options_.begin() + (got - kFirstOption)
                : std::ranges::find_if(options_, [&](const Option& option) { return option.letter == got; });
        VDISK_CHECK(take_option(*found, optarg == nullptr ? "" : optarg));
    }
    VDISK_CHECK(take_operands(
        std::span(ordered).subspan(static_cast<std::size_t>(optind), words.size() - static_cast<std::size_t>(optind))));
    VDISK_CHECK(check_combinations());
    return true;
}

Error CommandLine::getopt_error(std::span<char* const> words, int result) const {
    const std::string_view last = words[static_cast<std::size_t>(optind - 1)];
    // On Windows that is the answer to a surplus value, too.
    const bool has_value = last.starts_with("--") && last.find('=') != last.npos;
    if (result == ':' && !has_value) return fail(ErrorKind::usage, "{} needs a value", printable(last));
    if (optopt >= kFirstOption) return fail(ErrorKind::usage, "{} takes no value", printable(last));
    if (optopt != 0) return unknown_option(std::string{'-', static_cast<char>(optopt)});
    return unknown_option(last.substr(0, last.find('=')));
}

Error CommandLine::unknown_option(std::string_view typed) const {
    std::vector<std::string> names{"--help"};
    for (const Option& option : options_) names.push_back(option.shown());
    const std::vector<std::string_view> views(names.begin(), names.end());
    return fail(ErrorKind::usage, "there is no option '{}'{}", printable(typed), suggestion(typed, views));
}

Result<void> CommandLine::take_option(Option& option, std::string_view value) {
    const auto values = option.list ? split(value) : std::vector<std::string>{std::string(value)};
    for (const std::string& one : values) {
        const bool taken = option.words.empty() || std::ranges::find(option.words, one) != option.words.end();
        if (!taken)
            return fail(ErrorKind::usage, "{} can't be '{}', it is one of: {}", option.shown(), printable(one),
                        fmt::join(option.words, ", "));
        option.take(one);
    }
    option.given = true;
    return ok();
}

Result<void> CommandLine::take_operands(std::span<char* const> given) {
    std::size_t next = 0;
    for (const Operand& operand : operands_) {
        if (next == given.size() && operand.required) return fail(ErrorKind::usage, "{} is missing", operand.name);
        const std::size_t most = operand.repeated ? given.size() : std::min(next + 1, given.size());
        for (; next < most; ++next) operand.take(given[next]);
    }
    if (next == given.size()) return ok();
    return fail(ErrorKind::usage, "'{}' is one argument too many", printable(given[next]));
}

Result<void> CommandLine::check_combinations() const {
    const auto is_given = [&](const std::string& name) {
        return std::ranges::any_of(options_, [&](const Option& option) { return option.given && option.name == name; });
    };
    for (const Option& option : options_) {
        if (!option.given) continue;
        for (const std::string& other : option.needed)
            if (!is_given(other)) return fail(ErrorKind::usage, "{} is for use with --{} only", option.shown(), other);
        for (const std::string& other : option.excluded)
            if (is_given(other)) return fail(ErrorKind::usage, "{} and --{} exclude each other", option.shown(), other);
    }
    return ok();
}

std::string CommandLine::usage(std::string_view command) const {
    std::string text = fmt::format("{} [OPTION]...", command);
    for (const Operand& operand : operands_)
        text += fmt::format(" {}{}{}", operand.required ? "" : "[", operand.name,
                            operand.repeated   ? "..."
                            : operand.required ? ""
                                               : "]");
    return text;
}

std::string CommandLine::help(std::string_view command, std::string_view summary) const {
    std::vector<Row> operands, options;
    for (const Operand& operand : operands_) operands.emplace_back(operand.name, operand.help);
    for (const Option& option : options_) {
        const std::string letter = option.letter == 0 ? "    " : fmt::format("-{}, ", option.letter);
        const std::string value = option.placeholder.empty() ? "" : " " + option.placeholder;
        const std::string words =
            option.words.empty() ? "" : fmt::format("; one of: {}", fmt::join(option.words, ", "));
        options.emplace_back(letter + option.shown() + value, option.help + words);
    }
    options.emplace_back("-h, --help", "print this");
    std::string text = fmt::format("Usage: {}\n{}\n", usage(command), folded(summary, 0));
    if (!operands.empty()) text += "\n" + folded_table(operands);
    text += "\nOptions:\n" + folded_table(options);
    return text + notes();
}

std::string CommandLine::notes() const {
    std::string text;
    for (const auto& [title, rows] : notes_) text += fmt::format("\n{}:\n{}", title, folded_table(rows));
    return text;
}

std::string folded(std::string_view text, std::size_t indent, std::size_t used) {
    std::string lines;
    bool first_of_line = true;
    while (!text.empty()) {
        const std::string_view word = text.substr(0, text.find(' '));
        text.remove_prefix(std::min(word.size() + 1, text.size()));
        if (!first_of_line && used + 1 + word.size() > kColumns) {
            lines += "\n" + std::string(indent, ' ');
            used = indent;
            first_of_line = true;
        }
        if (!first_of_line) lines += ' ';
        used += word.size() + (first_of_line ? 0 : 1);
        lines += word;
        first_of_line = false;
    }
    return lines;
}

std::string folded_table(std::span<const CommandLine::Row> rows) {
    std::size_t column = 0; // as narrow as the names allow
    for (const auto& [name, what] : rows) column = std::max(column, std::min(name.size() + 4, kHelpColumn));
    std::string text;
    for (const auto& [name, what] : rows) {
        std::string line = fmt::format("  {:<{}}", name, column - 2);
        if (name.size() + 4 > column) line = fmt::format("  {}\n{:{}}", name, "", column);
        text += line + folded(what, column, column) + "\n";
    }
    return text;
}

} // namespace vdisk::tools
