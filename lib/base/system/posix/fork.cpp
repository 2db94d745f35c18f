// SPDX-License-Identifier: Apache-2.0
#include "base/system/fork.hpp"

#include <pthread.h>

namespace vdisk::system {

bool at_fork(void (*before)(), void (*in_parent)(), void (*in_child)()) noexcept {
    return ::pthread_atfork(before, in_parent, in_child) == 0;
}

} // namespace vdisk::system
