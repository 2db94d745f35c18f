// SPDX-License-Identifier: Apache-2.0
/// Other programs that are asked something.
#pragma once

#include "base/error.hpp"

#include <chrono>
#include <string>
#include <vector>

namespace vdisk::system {

/// What a program that has ended told.
struct ProgramAnswer {
    int status = 0;    ///< its exit status, or 128 and the signal that ended it
    std::string text;  ///< what it printed to both of its outputs, any bytes
    bool more = false; ///< it printed more than that
};

/// How much is taken from it.
struct ProgramBounds {
    std::size_t bytes = 256U << 10;
    std::chrono::seconds time{60};
};

/// Runs `words`, of which the first is looked for in $PATH, without a shell, with nothing on its standard input, in the
/// C locale, and with UTC for its time zone. A program that prints or takes longer than `bounds` allows is ended.
/// Errors: `unsupported` where there is no such program, `limit_exceeded` where its time was over, `io`.
[[nodiscard]] Result<ProgramAnswer> ask_program(const std::vector<std::string>& words, const ProgramBounds& bounds);

} // namespace vdisk::system
