// SPDX-License-Identifier: Apache-2.0
/// The exit statuses that all our tools share, and how they report an error.
#pragma once

#include "base/error.hpp"
#include "disk/remark.hpp"

#include <span>
#include <string_view>

namespace vdisk::tools {

constexpr int kDone = 0;    ///< all that was asked for
constexpr int kPartial = 1; ///< something could not be read or was found damaged; the rest was done
constexpr int kFailed = 2;  ///< nothing was done: usage, or a file that can't be opened

/// Prints `tool: message` to standard error, each line of it so; returns kFailed.
int report(const Error& error);

/// Prints a warning line to standard error.
void warn(std::string_view message);

/// Prints what has to be said of a disk to standard error, each line once. From a doubt on, settled() knows that not
/// all is well.
void tell_remarks(std::span<const Remark> remarks);

/// Prints what reading the disk `name` cost to standard error: a StatisticsReport (open/statistics.hpp).
void tell_statistics(std::string_view name, std::string_view text);

/// `status`, or kPartial in the place of kDone if a doubt was told: bytes that may be others than the guest's are no
/// complete success.
[[nodiscard]] int settled(int status) noexcept;

/// Writes out what standard output still holds: the one check whether all of it was written. Returns `status`, or
/// kFailed with an error line if it was not. Call it once, last.
[[nodiscard]] int close_standard_output(int status);

} // namespace vdisk::tools
