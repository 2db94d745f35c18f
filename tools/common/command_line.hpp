// SPDX-License-Identifier: Apache-2.0
/// The options and operands of a command: described once, read by getopt_long(), told by --help.
#pragma once

#include "base/error.hpp"
#include "base/system/confinement.hpp"

#include <deque>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace vdisk::tools {

/// One option, as CommandLine reads it. What its functions set, they return, so that a description reads as one
/// sentence.
struct Option {
    char letter = 0;           ///< 0: has none
    std::string name{};        ///< "format" for --format
    std::string placeholder{}; ///< of its value; empty: it takes none
    std::string help{};
    std::function<void(std::string_view)> take{};
    bool list = false;                ///< its value is several, with commas between them
    std::vector<std::string> words{}; ///< what its value may be; empty: anything
    std::vector<std::string> needed{}, excluded{};
    bool given = false;

    /// The words that it may be.
    Option& one_of(std::vector<std::string> allowed);
    /// It makes no sense without, or beside, the option of that long name.
    Option& needs(std::string other);
    Option& excludes(std::string other);

    [[nodiscard]] std::string shown() const { return "--" + name; }
};

/// What a command understands. The variables that are named must outlive parse().
class CommandLine {
public:
    /// `names` is "--json" or "-f,--format"; `placeholder` is what help shows for the value. A list has commas between
    /// its values, and may be given several times.
    Option& flag(std::string_view names, bool& given, std::string help);
    Option& option(std::string_view names, std::string placeholder, std::string& value, std::string help);
    Option& option(std::string_view names, std::string placeholder, std::optional<std::string>& value,
                   std::string help);
    Option& list(std::string_view names, std::string placeholder, std::vector<std::string>& values, std::string help);

    /// Operands, in the order in which they are typed. Nothing follows operands() or optional_operand().
    void operand(std::string name, std::string& value, std::string help);
    void optional_operand(std::string name, std::string& value, std::string help);
    void operands(std::string name, std::vector<std::string>& values, std::string help);

    /// What a command does beside reading, by the variables that say where, as they are once parse() has filled them.
    void writes(const std::string& path) { files_.push_back(&path); }
    void writes_below(const std::string& folder) { folders_.push_back(&folder); }
    void runs_programs() { programs_ = true; }
    /// It has to change the system, as mounting does: it isn't confined.
    void changes_system() { changes_system_ = true; }

    /// What all of that comes to, after parse(); nothing for a command that isn't confined.
    [[nodiscard]] std::optional<system::Permissions> permissions() const;

    /// A table behind the options in help: what there is to say about what is typed.
    using Row = std::pair<std::string, std::string>;
    void note(std::string title, std::vector<Row> rows);

    /// Reads `words`, of which the first is the command's name. False if --help is among them: then nothing else
    /// counts. Errors: `usage`, without the command's name. One thread at a time, since getopt_long() has one state.
    [[nodiscard]] Result<bool> parse(std::span<char* const> words);

    /// "vdisk ls [OPTION]... IMAGE" for `command` "vdisk ls".
    [[nodiscard]] std::string usage(std::string_view command) const;
    /// The whole of --help, and the part of it that note() made.
    [[nodiscard]] std::string help(std::string_view command, std::string_view summary) const;
    [[nodiscard]] std::string notes() const;

private:
    struct Operand {
        std::string name;
        std::string help;
        std::function<void(std::string_view)> take;
        bool required = true;
        bool repeated = false;
    };

    Option& add(std::string_view names, std::string placeholder, std::string help);
    Result<void> take_option(Option& option, std::string_view value);
    Result<void> take_operands(std::span<char* const> given);
    Result<void> check_combinations() const;
    Error unknown_option(std::string_view typed) const;
    Error getopt_error(std::span<char* const> words, int result) const;

    std::deque<Option> options_; // a deque, since callers hold references
    std::vector<Operand> operands_;
    std::vector<const std::string*> files_, folders_;
    bool programs_ = false, changes_system_ = false;
    std::vector<std::pair<std::string, std::vector<Row>>> notes_;
};

/// `text` in lines of at most 80 columns, each but the first behind `indent` blanks; the first has `used` columns
/// taken.
[[nodiscard]] std::string folded(std::string_view text, std::size_t indent, std::size_t used = 0);

/// Lines of "  NAME      what it is", folded.
[[nodiscard]] std::string folded_table(std::span<const CommandLine::Row> rows);

} // namespace vdisk::tools
