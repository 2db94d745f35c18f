// SPDX-License-Identifier: Apache-2.0
/// What a program gives up before it reads what a stranger made, so that a fault in it can do no harm.
#pragma once

#include <filesystem>
#include <vector>

namespace vdisk::system {

/// What a confined program may still do, beside reading.
struct Permissions {
    /// Files that it makes, replaces or removes, in the folders where they lie; devices and pipes that it writes to.
    std::vector<std::filesystem::path> files{};
    /// Folders below which it may do so, also where they have to be made first.
    std::vector<std::filesystem::path> folders{};
    /// Whether it may start other programs, which are confined as it is.
    bool programs = false;
};

/// Confines this process for good: the thread that calls, and threads and programs that it starts from here on; call it
/// before others are there. Taken are writing to any file that is not permitted (Landlock, from Linux 5.13 on), and
/// networks, other programs, other processes, and what only root can do (seccomp). What is refused fails with EPERM or
/// EACCES; descriptors that are open stay as they are. Never fails: an old kernel, or another system, takes less.
/// Landlock knows folders: in one where something may be made, files that are there may be written to as well; and in
/// the folder of temporary files, where make_temporary() needs that.
void confine(const Permissions& permissions) noexcept;

} // namespace vdisk::system
