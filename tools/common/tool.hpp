// SPDX-License-Identifier: Apache-2.0
/// A tool that is a row of commands: one source file and one row each.
#pragma once

#include "common/command_line.hpp"
#include "common/exit_status.hpp"

#include <functional>
#include <span>

namespace vdisk::tools {

/// What the parsed command line asks for; returns an exit status.
using Action = std::function<int()>;

/// Describes a command's options and returns what it does. The options' storage must live in the action.
using AddCommand = Action (*)(CommandLine& line);

struct CommandRow {
    const char* name;
    const char* summary;
    AddCommand add;
};

struct ToolDescription {
    const char* name;
    const char* summary;
    const char* operand;         ///< what its commands read: "IMAGE"
    const char* default_command; ///< runs where a file's name stands in the command's place
    /// What `TOOL --help` says behind the commands; may be null.
    void (*add_notes)(CommandLine& line);
    /// Whether a word that is no command names a file.
    bool (*is_file)(const char* word);
};

/// The words that this process was started with, as a shell would be given them; empty before run_tool().
[[nodiscard]] const std::string& typed_command() noexcept;

/// The whole of a tool's main(): reads the command line, runs the command that was chosen, returns its exit status.
int run_tool(const ToolDescription& tool, std::span<const CommandRow> commands, int argc, char** argv);

/// The whole of main() of a program that is one command: `name`, what it does in a sentence, and its options.
int run_program(const char* name, const char* summary, AddCommand add, int argc, char** argv);

} // namespace vdisk::tools
