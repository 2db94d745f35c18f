// SPDX-License-Identifier: Apache-2.0
#include "config.h"
#include "vdisk/commands.hpp"

#include "disk/selector.hpp"

#include <array>
#include <filesystem>

namespace {

using namespace vdisk::tools;

// A path, or the beginning of one up to a '#'.
bool names_file(const char* word) {
    const auto selector = vdisk::parse_selector(word);
    std::error_code error;
    return std::filesystem::exists(selector.has_value() ? selector.value().path : std::filesystem::path(word), error);
}

constexpr ToolDescription kTool{
    .name = "vdisk",
    .summary = "Reads virtual disks of hypervisors. Never writes to an image.",
    .operand = "IMAGE",
    .default_command = "info",
    .add_notes = add_image_notes,
    .is_file = names_file,
};

constexpr std::array kCommands{
    CommandRow{"info", "tell what an image is and which files it is read from", add_info},
    CommandRow{"ls", "list the disks in a file", add_ls},
    CommandRow{"export", "write a disk out as a raw, sparse file, or as a compressed qcow2", add_export},
    CommandRow{"map", "tell where each run of a disk lies in its files, and back", add_map},
    CommandRow{"diff", "tell which ranges of two disks differ", add_diff},
#ifdef HAVE_FUSE
    CommandRow{"mount", "show the disks and snapshots of an image as raw files in a folder", add_mount},
#endif
    CommandRow{"hash", "print hashes of a disk's bytes", add_hash},
    CommandRow{"config", "print a configuration that a file keeps beside its disks", add_config},
    CommandRow{"verify", "read all of a file and check it by its checksums", add_verify},
    CommandRow{"bitmap", "print which parts of a disk a stored bitmap says were written to", add_bitmap},
    CommandRow{"audit", "check a file's bookkeeping: contradictions, damage, unreferenced space", add_audit},
    CommandRow{"leaked", "write out the bytes of a file that nothing in it refers to", add_leaked},
    CommandRow{"ref", "write reference files, which lead to one disk each, and check them", add_ref},
    CommandRow{"report", "write a page about an image that a case file can hold", add_report},
};

} // namespace

int main(int argc, char** argv) {
    return run_tool(kTool, kCommands, argc, argv);
}
