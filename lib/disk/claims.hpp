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
    static constexpr std::uint64_t kStructure = ~std::uint64_t{0}; ///< a header or a table, no block of the disk

    std::uint64_t offset = 0;
    std::uint64_t length = 0;
    std::uint64_t owner = kStructure;
    [[nodiscard]] std::uint64_t end() const noexcept { return offset + length; } // no claim reaches beyond 2^64
};

/// What a block of `whole` bytes at `offset` claims: all of it, though the disk may end within it and need no more than
/// `needed`, as all writers store it so. Where the file ends, at `end`, within what the disk does not need, up to
/// there.
[[nodiscard]] Claim block_claim(std::uint64_t offset, std::uint64_t whole, std::uint64_t needed, std::uint64_t end,
                                std::uint64_t owner) noexcept;

/// Ranges of a file in ascending order, none of which touches another.
class HostRanges {
public:
    /// Adds bytes from an offset that is not before that of any range added before.
    void add(std::uint64_t offset, std::uint64_t length);

    [[nodiscard]] bool touch(std::uint64_t offset, std::uint64_t length) const noexcept;
    [[nodiscard]] std::uint64_t bytes() const noexcept; ///< of all
    [[nodiscard]] const std::vector<HostRange>& list() const noexcept { return ranges_; }

private:
    std::vector<HostRange> ranges_;
};

/// Sorts `claims` by offset and gives the bytes that more than one of them has.
[[nodiscard]] HostRanges contested(std::vector<Claim>& claims);

/// The bytes of [start, end) that none of `claims`, sorted by offset, has.
[[nodiscard]] HostRanges unclaimed(const std::vector<Claim>& claims, std::uint64_t start, std::uint64_t end);

/// Bytes of a file that no disk shows and that are no zeros: an examiner wants to see these, and only these. Looks at
/// Limits::audit_look_bytes in all, and takes what lies behind for such bytes. One thread.
class Leaks {
public:
    /// `unit`: bytes that are looked at as one, a sector.
    Leaks(const ByteSource& file, std::uint64_t unit, const Limits& limits)
        : file_(file), unit_(unit), left_(limits.audit_look_bytes), most_(limits.audit_ranges) {}

    /// Adds to `found` the parts of [offset, offset + length), in whole units from `offset` on, that are not zeros.
    /// What lies past the file's end is not there; what can't be read is counted in unread(). Error: `cancelled`.
    [[nodiscard]] Result<void> look(std::uint64_t offset, std::uint64_t length, HostRanges& found);

    /// Keeps ranges, in any order, for tell(). None may be added twice. Error: `limit_exceeded` beyond
    /// Limits::audit_ranges.
    [[nodiscard]] Result<void> add(const HostRanges& ranges);

    /// Looks at all that none of `claims`, sorted by offset, has: a finding "leaked" for each range. Errors: as look()
    /// and add().
    [[nodiscard]] Result<void> find_unclaimed(const std::vector<Claim>& claims, AuditReport& report);

    /// Tells `report` of all ranges.
    [[nodiscard]] Result<void> tell(AuditReport& report);

    /// Bytes that could not be looked at.
    [[nodiscard]] std::uint64_t unread() const noexcept { return unread_; }

private:
    const ByteSource& file_;
    std::uint64_t unit_;
    std::uint64_t left_; ///< bytes that may still be read
    std::size_t most_;
    std::vector<HostRange> ranges_;
    std::uint64_t unread_ = 0;
};

} // namespace vdisk
