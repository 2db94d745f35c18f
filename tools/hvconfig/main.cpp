// SPDX-License-Identifier: Apache-2.0
#include "hvconfig/commands.hpp"

#include <array>
#include <filesystem>

namespace {

using namespace vdisk::tools;

bool names_file(const char* word) {
    std::error_code error;
    return std::filesystem::exists(word, error);
}

constexpr ToolDescription kTool{
    .name = "hvconfig",
    .summary = "Reads Hyper-V's configuration and state files: .vmcx, .vmrs, .vsv, .vmgs. Never writes to them.",
    .operand = "FILE",
    .default_command = "info",
    .add_notes = nullptr,
    .is_file = names_file,
};

constexpr std::array kCommands{
    CommandRow{"dump", "print the whole configuration", add_dump},
    CommandRow{"get", "print the value at a path", add_get},
    CommandRow{"info", "tell how the file is made up: headers, tables, log, counts", add_info},
    CommandRow{"verify", "check every structure and checksum and list each fault", add_verify},
    CommandRow{"diff", "compare the keys of two files", add_diff},
    CommandRow{"disks", "list the machine's disks, network adapters and main settings", add_disks},
    CommandRow{"deleted", "recover deleted and replaced keys", add_deleted},
    CommandRow{"guest-state", "list what firmware and TPM keep in a .vmgs file, or extract a part of it",
               add_guest_state},
    CommandRow{"memory", "rebuild the guest's memory from a saved state", add_memory},
};

} // namespace

int main(int argc, char** argv) {
    return run_tool(kTool, kCommands, argc, argv);
}
