// SPDX-License-Identifier: Apache-2.0
/// The log of a VHDX: writes that a crash may have kept from reaching their places. Source: [MS-VHDX], 2.3.
#pragma once

#include "base/limits.hpp"
#include "format/vhdx/header.hpp"

namespace vdisk::vhdx {

/// A file as its log says that it is.
struct Replayed {
    SourcePtr source;
    std::uint64_t entries = 0; ///< that were replayed
    std::vector<Remark> remarks{};
};

/// Lays the active sequence of entries over `file`; nothing is written. A log without anything to replay gives `file`
/// itself. Where the file was cut off after its log was written, what is missing is an error for its range. Errors:
/// `corrupt` where the header says that there is something to be replayed and no complete sequence is there, or where
/// an entry writes where none may; `limit_exceeded`, `io`.
[[nodiscard]] Result<Replayed> replay_log(SourcePtr file, const Header& header, const Limits& limits);

} // namespace vdisk::vhdx
