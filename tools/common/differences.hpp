// SPDX-License-Identifier: Apache-2.0
/// Which ranges of two disks differ: by metadata where they tell, by reading where they leave it open.
#pragma once

#include "image/image.hpp"

#include <string>

namespace vdisk::tools {

/// A range in which two disks, A and B, are not known to be the same.
struct Difference {
    enum class State : std::uint8_t { different, may_differ, unreadable, only_in_a, only_in_b };

    std::uint64_t start = 0;
    std::uint64_t length = 0;
    State state = State::different;
    std::string why_a{}, why_b{}; ///< of what is unreadable: empty for a disk that can be read there
    bool tried{};                 ///< what is unreadable was found by reading, sector by sector

    /// Whether `next` begins where this ends and says the same.
    [[nodiscard]] bool goes_on_in(const Difference& next) const;
};

/// Who is told of a comparison, range by range, in ascending order of what differs.
class DifferenceSink {
public:
    DifferenceSink() = default;
    DifferenceSink(const DifferenceSink&) = delete;
    DifferenceSink& operator=(const DifferenceSink&) = delete;
    virtual ~DifferenceSink() = default;

    virtual void add(Difference difference) = 0;
    /// Bytes that are the same, without having been read, and as read.
    virtual void same_by_metadata(std::uint64_t /*length*/) {}
    virtual void same_by_content(std::uint64_t /*length*/) {}
    /// The first byte that was read and is different; called once, before it is added.
    virtual void differs_from(std::uint64_t /*at*/) {}
};

/// Compares two disks and tells `sink`, with a progress bar. With `content`, what metadata leave open is read; a sector
/// is then the smallest range. Holds no more than a piece of either in memory.
void compare_disks(const Image& a, const Image& b, bool content, DifferenceSink& sink);

} // namespace vdisk::tools
