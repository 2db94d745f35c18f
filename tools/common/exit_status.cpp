// SPDX-License-Identifier: Apache-2.0
#include "common/exit_status.hpp"

#include <cerrno>
#include <cstdio>
#include <fmt/format.h>

namespace vdisk::tools {

int report(const Error& error) {
    fmt::print(stderr, "{}: {}\n", program_invocation_short_name, error.what);
    return kFailed;
}

void warn(std::string_view message) {
    fmt::print(stderr, "{}: warning: {}\n", program_invocation_short_name, message);
}

} // namespace vdisk::tools
