// SPDX-License-Identifier: Apache-2.0
#include "common/command_line.hpp"

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

} // namespace

int run_tool(const ToolDescription& tool, std::span<const CommandRow> commands, int argc, char** argv) {
    try {
        return parse_and_run(tool, commands, argc, argv);
    } catch (const std::exception& error) { // the standard library's: no memory
        return report(fail(ErrorKind::io, "{}", error.what()));
    }
}

} // namespace vdisk::tools
