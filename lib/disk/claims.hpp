// SPDX-License-Identifier: Apache-2.0
/// Who claims which bytes of a file: where two do, at most one of them is right.
#pragma once

#include "disk/audit.hpp"
#include "io/byte_source.hpp"

#include <functional>
#include <vector>

namespace vdisk {

/// Bytes of a file and the number of who uses them.
struct Claim {
    static constexpr std::uint32_t kStructure = 0xFFFFFFFF; ///< a header or a table, no block of the disk

    std::uint64_t offset = 0;
    std::uint64_t length = 0;
    std::uint32_t owner = kStructure;
    [[nodiscard]] std::uint64_t end() const noexcept { return offset + length; } // no claim reaches beyond 2^64
};

/// Ranges of a file in ascending order, none of which touches another.
class HostRanges {
public:
    /// Adds bytes from an offset that is not before that of any range added before.
    void add(std::uint64_t offset, std::uint64_t length);

    [[nodiscard]] bool touch(std::uint64_t offset, std::uint64_t length) const noexcept;
    [[nodiscard]] const std::vector<HostRange>& list() const noexcept { return ranges_; }

private:
    std::vector<HostRange> ranges_;
};

/// Sorts `claims` by offset and gives the bytes that more than one of them has.
[[nodiscard]] HostRanges contested(std::vector<Claim>& claims);

/// The bytes of [start, end) that none of `claims`, sorted by offset, has.
[[nodiscard]] HostRanges unclaimed(const std::vector<Claim>& claims, std::uint64_t start, std::uint64_t end);

/// Bytes that no disk shows, from all over a file, in any order.
class Leaks {
public:
    explicit Leaks(const Limits& limits) : most_(limits.audit_ranges) {}

    /// Error: `limit_exceeded` beyond Limits::audit_ranges.
    [[nodiscard]] Result<void> add(const HostRanges& ranges);

    /// Tells `report` of all of them. None may have been added twice.
    [[nodiscard]] Result<void> tell(AuditReport& report);

private:
    std::size_t most_;
    std::vector<HostRange> ranges_;
};

/// Of the bytes in a range of a file, those that are not zeros: an examiner wants to see these, and only these. Reads
/// Limits::audit_look_bytes in all, and takes what lies behind for such bytes. One thread.
class WrittenBytes {
public:
    WrittenBytes(const ByteSource& file, const Limits& limits) : file_(file), left_(limits.audit_look_bytes) {}

    /// Adds to `found` the parts of [offset, offset + length), in whole units of `unit` bytes from `offset` on, that
    /// are not zeros. What lies past the file's end is not there. Error: `io`.
    [[nodiscard]] Result<void> look(std::uint64_t offset, std::uint64_t length, std::uint64_t unit, HostRanges& found);

private:
    const ByteSource& file_;
    std::uint64_t left_;
};

} // namespace vdisk
