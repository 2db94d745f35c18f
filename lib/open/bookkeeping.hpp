// SPDX-License-Identifier: Apache-2.0
/// What the bookkeeping of a disk's files says against bytes that can be read all the same.
#pragma once

#include "open/open.hpp"

namespace vdisk {

/// A range of the disk that an audit's finding gives reason to distrust.
struct DistrustedRange {
    std::string file; ///< the layer's
    std::uint64_t offset = 0;
    std::uint64_t length = 0;
    std::string why;
};

/// What an audit of each file of a chain leaves to say of the disk.
struct Distrust {
    std::vector<DistrustedRange> ranges{}; ///< in the order of the chain and of the audits
    bool more = false;                     ///< there are more than are told
    std::vector<std::string> unchecked{};  ///< why the bookkeeping of a file could not be looked at, a line each
};

/// Audits the files of `disk`, which reads their metadata and no data, and returns where findings of severity `error`
/// meet the disk: clusters that are used as two things or that their refcounts call free. Of a parent that is said of
/// its own disk, be it that a layer above hides the range. Refcounts of an image that has its dirty bit set say
/// nothing.
[[nodiscard]] Result<Distrust> find_distrusted(const OpenedDisk& disk, const Progress& progress);

} // namespace vdisk
