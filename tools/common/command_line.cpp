// SPDX-License-Identifier: Apache-2.0
#include "common/command_line.hpp"

#include "common/interruption.hpp"

#include "config.h"

namespace vdisk::tools {
namespace {

int parse_and_run(const ToolDescription& description, std::span<const CommandRow> commands, int argc, char** argv) {
    CLI::App tool(description.summary, description.name);
    tool.set_version_flag("--version", PACKAGE_STRING);
    tool.require_subcommand(1);
    Action chosen;
    for (const CommandRow& row : commands) {
        CLI::App* command = tool.add_subcommand(row.name, row.summary);
        Action action = row.add(*command);
        command->final_callback([&chosen, action = std::move(action)] { chosen = action; });
    }
    try {
        tool.parse(argc, argv);
    } catch (const CLI::ParseError& error) {
        return tool.exit(error) == 0 ? kDone : kFailed;
    }
    return chosen();
}

int run_caught(const ToolDescription& tool, std::span<const CommandRow> commands, int argc, char** argv) {
    try {
        return parse_and_run(tool, commands, argc, argv);
    } catch (const std::exception& error) {
        // The standard library's: no memory, or standard output that takes no more, which is told at the end.
        return std::ferror(stdout) != 0 ? kFailed : report(fail(ErrorKind::io, "{}", error.what()));
    }
}

} // namespace

int run_tool(const ToolDescription& tool, std::span<const CommandRow> commands, int argc, char** argv) {
    hold_standard_streams();
    install_signal_handlers();
    return close_standard_output(run_caught(tool, commands, argc, argv));
}

} // namespace vdisk::tools
