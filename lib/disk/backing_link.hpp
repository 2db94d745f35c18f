// SPDX-License-Identifier: Apache-2.0
/// The parent of an image that names it by a path and nothing else.
#pragma once

#include "disk/disk_file.hpp"

namespace vdisk {

/// How an image leads to the backing file that it names; `format`: as it states it, empty: to be detected.
[[nodiscard]] ParentLink backing_link(const std::string& name, const std::string& format);

/// A name as a file has it, any bytes.
struct StoredName {
    std::string name;
    std::string problem{}; ///< why place or length can't be right, without the file's name; empty if nothing tells so
};

/// The name of a backing file that is stored in `file`, set off by a NUL from what is before and behind it, or by the
/// end of the header of `header_bytes`. Errors: `corrupt` where it is longer than QEMU takes, `truncated`, `io`.
[[nodiscard]] Result<StoredName> read_backing_name(const ByteSource& file, std::uint64_t offset, std::uint64_t length,
                                                   std::uint64_t header_bytes);

} // namespace vdisk
