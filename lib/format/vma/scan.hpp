// SPDX-License-Identifier: Apache-2.0
/// The pass over an archive's extents, from the first to the last and never back.
#pragma once

#include "format/vma/contents.hpp"

#include "io/progress.hpp"

namespace vdisk::vma {

struct ScanOptions {
    Limits limits{};
    Progress progress{};    ///< told of bytes of the archive, where their number is known; may be empty
    bool read_data = false; ///< read the clusters' data too: one that can't be read is lost
};

/// Goes over the extents from `reader`, which must be at the end of the header. A damaged extent costs the clusters in
/// it: the next one is searched for by its magic, uuid and checksum. Errors: `limit_exceeded`, `cancelled`,
/// `unsupported`.
[[nodiscard]] Result<Contents> scan(ForwardReader& reader, std::string_view name, const Header& header,
                                    const ScanOptions& options);

} // namespace vdisk::vma
