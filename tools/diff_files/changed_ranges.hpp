// SPDX-License-Identifier: Apache-2.0
/// The ranges in which two states of a disk differ.
#pragma once

#include "common/differences.hpp"

#include <vector>

namespace vdisk::diff_files {

/// Collects them in bounded memory: where there are very many, they become coarser, so that ranges between them count
/// as changed too. What can't be read counts as changed.
class ChangedRanges final : public tools::DifferenceSink {
public:
    struct Range {
        std::uint64_t start = 0, end = 0;
    };

    void add(tools::Difference difference) override;

    /// Ascending, none touching the next.
    [[nodiscard]] const std::vector<Range>& ranges() const noexcept { return ranges_; }

    /// Whether one of them meets the bytes from `start` to `end`.
    [[nodiscard]] bool meet(std::uint64_t start, std::uint64_t end) const;

    /// Bytes of which nobody can say whether they changed.
    [[nodiscard]] std::uint64_t unreadable() const noexcept { return unreadable_; }

private:
    void coarsen();
    void append(Range range);

    std::vector<Range> ranges_;
    std::uint64_t grain_ = 1, unreadable_ = 0;
};

} // namespace vdisk::diff_files
