// SPDX-License-Identifier: Apache-2.0
/// The pass over an archive's extents, from the first to the last and never back.
#pragma once

#include "format/vma/contents.hpp"

#include "io/progress.hpp"

namespace vdisk::vma {

struct ScanOptions {
    Limits limits{};
    Progress progress{};    ///< told of bytes of the archive, where their number is known; may be empty
    bool read_data = false; ///< read the clusters' data too: what can't be read is lost
    /// Take an extent's data by its masks also where bytes are missing or too many behind its header: for streams whose
    /// checksums don't hold and that are to be read all the same, as there these bytes are no worse than the others.
    bool read_misplaced = false;
};

/// Goes over the extents from `reader`, which must be at the end of the header. Behind damage the next extent is
/// searched for at every byte, also among the data of the last one. In a pass over a stream, which can't go back,
/// damage ends the scan: Contents::unfinished says that it is to be made anew over the stream as a source. Errors:
/// `limit_exceeded`, `cancelled`, `unsupported`.
[[nodiscard]] Result<Contents> scan(ForwardReader& reader, std::string_view name, const Header& header,
                                    const ScanOptions& options);

} // namespace vdisk::vma
