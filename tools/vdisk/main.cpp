// SPDX-License-Identifier: Apache-2.0
#include "vdisk/commands.hpp"

#include <array>

namespace {

using namespace vdisk::tools;

constexpr ToolDescription kTool{"vdisk",
                                "Reads virtual disks of hypervisors: qcow2, vdi, vma. Never writes to an image."};

constexpr std::array kCommands{
    CommandRow{"info", "tell what an image is and which files it is read from", add_info},
    CommandRow{"ls", "list the disks in a file", add_ls},
    CommandRow{"export", "write a disk out as a raw, sparse file", add_export},
    CommandRow{"hash", "print hashes of a disk's bytes", add_hash},
    CommandRow{"config", "print a configuration that a file keeps beside its disks", add_config},
    CommandRow{"verify", "read all of a file and check it by its checksums", add_verify},
    CommandRow{"bitmap", "print which parts of a disk a stored bitmap says were written to", add_bitmap},
    CommandRow{"audit", "check a file's bookkeeping: contradictions, damage, unreferenced space", add_audit},
    CommandRow{"leaked", "write out the bytes of a file that nothing in it refers to", add_leaked},
    CommandRow{"ref", "write reference files, which lead to one disk each, and check them", add_ref},
};

} // namespace

int main(int argc, char** argv) {
    return run_tool(kTool, kCommands, argc, argv);
}
