// SPDX-License-Identifier: Apache-2.0
/// The folder in which `vdisk mount` shows disks, and the process that goes on behind the terminal.
#pragma once

#include "base/error.hpp"
#include "base/system/file.hpp"

#include <filesystem>
#include <optional>

namespace vdisk::tools {

/// The folder at `path`, absolute and without symbolic links, if something may be mounted there: it is empty, so that
/// nothing is hidden, evidence neither, and nothing is mounted on it. Errors: `usage`, `io`.
[[nodiscard]] Result<std::filesystem::path> find_mount_point(const std::string& path);

/// A process that goes on when the one that was started has ended. Messages come to the terminal until then.
class Background {
public:
    /// Forks; to be called before any thread or file is. In the parent: the exit status, which is that of the child, or
    /// what it gave to ready(). In the child: nothing. Errors: `io`.
    [[nodiscard]] Result<std::optional<int>> start();

    /// Lets the parent end with `status`, and leaves the terminal. Does nothing where start() was not called.
    void ready(int status);

private:
    Descriptor parent_; ///< a pipe to it
};

} // namespace vdisk::tools
