// SPDX-License-Identifier: Apache-2.0
#include "base/error.hpp"

namespace vdisk {

std::string_view to_string(ErrorKind kind) noexcept {
    switch (kind) {
    case ErrorKind::not_this_format: return "not-this-format";
    case ErrorKind::unsupported: return "unsupported";
    case ErrorKind::corrupt: return "corrupt";
    case ErrorKind::limit_exceeded: return "limit-exceeded";
    case ErrorKind::truncated: return "truncated";
    case ErrorKind::io: return "io";
    case ErrorKind::usage: return "usage";
    case ErrorKind::cancelled: return "cancelled";
    }
    return "corrupt";
}

Error Error::in(std::string_view context) && {
    const std::string head = fmt::format("{}: ", context);
    if (what.starts_with(head)) return std::move(*this); // a file's name is said once
    return Error{kind, head + what, offset};
}

} // namespace vdisk
