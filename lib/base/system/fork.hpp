// SPDX-License-Identifier: Apache-2.0
/// What is called around fork().
#pragma once

namespace vdisk::system {

/// Has `before` called by the thread that forks, before it does, and then one of the others. False if there is no
/// memory. Where there is no fork(), nothing is ever called. What is in a library is forgotten when it is unloaded.
[[nodiscard]] bool at_fork(void (*before)(), void (*in_parent)(), void (*in_child)()) noexcept;

} // namespace vdisk::system
