// SPDX-License-Identifier: Apache-2.0
/// A tool that is a row of commands: one source file and one row each.
#pragma once

#include "common/exit_status.hpp"

#include <CLI/CLI.hpp>

#include <functional>
#include <span>

namespace vdisk::tools {

/// What the parsed command line asks for; returns an exit status.
using Action = std::function<int()>;

/// Adds a command's options to the subcommand made for it and returns what it does. The options' storage must live in
/// the action.
using AddCommand = Action (*)(CLI::App& command);

struct CommandRow {
    const char* name;
    const char* summary;
    AddCommand add;
};

struct ToolDescription {
    const char* name;
    const char* summary;
};

/// The whole of a tool's main(): parses, runs the command that was chosen, returns its exit status.
int run_tool(const ToolDescription& tool, std::span<const CommandRow> commands, int argc, char** argv);

} // namespace vdisk::tools
