// SPDX-License-Identifier: Apache-2.0
/// What is cleaned up when a signal ends a tool: the progress bar's line and the output that is not whole.
#pragma once

#include <string>

namespace vdisk::tools {

/// Has that done when a signal, or Ctrl-C, ends the program, unless whoever started it has it ignore that. Call it
/// once, first.
void clean_up_at_ending();

/// Whether a line on the terminal is to be wiped.
void note_bar(bool drawn) noexcept;

/// That file `name` in the open folder `folder` is to be removed; one at a time. `folder` < 0: none.
void note_unfinished(int folder, const std::string& name) noexcept;

} // namespace vdisk::tools
