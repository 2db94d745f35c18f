// SPDX-License-Identifier: Apache-2.0
/// What is cleaned up when a signal ends a tool: the progress bar's line and the output that is not whole.
#pragma once

#include <string>

namespace vdisk::tools {

/// Takes the signals that end a program, but for those that whoever started it has it ignore. The program still ends by
/// them, after the cleaning up. Makes a file that grows too large an error of write(). Call it once, first.
void install_signal_handlers();

/// Whether a line on the terminal is to be wiped.
void note_bar(bool drawn) noexcept;

/// That file `name` in the open folder `folder` is to be removed; one at a time. `folder` < 0: none.
void note_unfinished(int folder, const std::string& name) noexcept;

} // namespace vdisk::tools
