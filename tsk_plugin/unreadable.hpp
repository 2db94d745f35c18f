// SPDX-License-Identifier: Apache-2.0
/// How much of a disk metadata or the file's length show to be unreadable, before anything is read.
#pragma once

#include "image/image.hpp"

#include <chrono>

namespace vdisk::tsk {

struct Unreadable {
    std::uint64_t bytes = 0;
    std::uint64_t ranges = 0;
    std::uint64_t first = 0;            ///< the disk offset of the first
    std::shared_ptr<const Error> why{}; ///< of the first; nullptr if there is none
    std::uint64_t looked_at = 0;        ///< bytes from the disk's start that this is about
};

/// Looks at where the disk's bytes come from, front to back, for about `time`: a few milliseconds for each 10 GiB.
[[nodiscard]] Unreadable find_unreadable(const Image& disk, std::chrono::milliseconds time);

/// One line for people, without a line break; empty if there is none.
[[nodiscard]] std::string text_of(const Unreadable& found, std::uint64_t disk_size);

} // namespace vdisk::tsk
