// SPDX-License-Identifier: Apache-2.0
/// The input files of this run of a tool, and the rule that nothing is written onto one.
#pragma once

#include "common/exit_status.hpp"
#include "io/input_files.hpp"

namespace vdisk::tools {

/// What was read or named so far. Whatever opens a file for a command adds it here.
[[nodiscard]] const InputFilesPtr& inputs();

/// Whether something may be written to what is at `path`, or made there. Error: `usage`, if that is an input by
/// whatever name, lies on one, or holds one.
[[nodiscard]] Result<void> check_no_input(const std::filesystem::path& path);

/// Whether `path` may be covered by a mount. Error: `usage`, if it lies in a folder of which everything is an input.
[[nodiscard]] Result<void> check_no_input_folder(const std::filesystem::path& path);

/// The same as check_no_input() for an open descriptor; `name` is what to call it.
[[nodiscard]] Result<void> check_no_input(int descriptor, std::string_view name);

/// Whether standard output leads into a file that has bytes already, or a block device: by ">>" or "<>", for ">"
/// empties a file before a program runs.
[[nodiscard]] bool standard_output_has_content();

/// Warns of inputs that another program has open for writing: QEMU tells by a lock.
void warn_of_writers();

/// Warns of inputs that were changed since they were opened. True if there is one: what was read of it can't be had
/// again, and may be of no single state.
[[nodiscard]] bool warn_of_changes();

} // namespace vdisk::tools
