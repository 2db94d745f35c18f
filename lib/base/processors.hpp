// SPDX-License-Identifier: Apache-2.0
/// How many threads are worth having here.
#pragma once

#include "base/error.hpp"
#include "base/limits.hpp"

#include <cstddef>

namespace vdisk {

/// Processors that this process may keep busy: those that it may run on (sched_setaffinity(2)), and no more than its
/// control group and those above it allow (`cpu.max`, as cgroups(7) has it; `cpu.cfs_quota_us` of version 1). At least
/// 1. Asked once a process.
[[nodiscard]] std::size_t processors();

/// Threads that may work for one disk, the reader's own included: Limits::threads, or processors(); at most 64.
[[nodiscard]] std::size_t threads_of(const Limits& limits);

/// A number of threads as a person types it; an empty word is 0, which lets threads_of() choose. `what` names it in the
/// error: `usage` for another word than a number from 1 to 64.
[[nodiscard]] Result<std::size_t> parse_threads(std::string_view word, std::string_view what);

/// What $VDISK_THREADS says; 0 if it is unset. Error: `usage`.
[[nodiscard]] Result<std::size_t> threads_from_environment();

} // namespace vdisk
