// SPDX-License-Identifier: Apache-2.0
/// Finds extents where nothing says where they are: behind damage.
#pragma once

#include "format/vma/extent.hpp"
#include "io/progress.hpp"

namespace vdisk::vma {

/// Looks at every byte for the magic and uuid of an extent, then at its checksum. What it reads and sums in all is
/// bounded by what it goes over, however often it is asked. One thread's.
class ExtentSearch {
public:
    /// All must outlive it.
    ExtentSearch(const ByteSource& source, ExtentJudge& judge, const Progress& progress)
        : source_(source), judge_(judge), progress_(progress) {}

    /// Where the first sound extent at or behind `from` starts; nothing if there is none. Steps over what can't be
    /// read. Errors: `cancelled`, `unsupported` without MD5.
    [[nodiscard]] Result<std::optional<std::uint64_t>> next(std::uint64_t from);

    /// Whether the system could not read something just now.
    [[nodiscard]] bool met_passing_errors() const noexcept { return passing_errors_; }

private:
    Result<std::optional<std::uint64_t>> find_in(std::span<const std::byte> bytes);
    void step_over(const Error& error);
    std::span<const std::byte> read_before() const;

    const ByteSource& source_;
    ExtentJudge& judge_;
    const Progress& progress_;
    std::vector<std::byte> buffer_;
    std::uint64_t buffer_at_ = 0; // where that is in the source
    std::uint64_t at_ = 0;        // where it is
    std::size_t piece_ = 0;       // bytes to read at once
    std::uint64_t step_ = 0;      // over what could not be read
    std::uint64_t summed_ = 0;    // checksums taken in vain
    std::uint64_t searched_ = 0;  // bytes read
    bool passing_errors_ = false;
};

} // namespace vdisk::vma
