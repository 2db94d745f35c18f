// SPDX-License-Identifier: Apache-2.0
/// Going through tables as a whole, as an opening and an audit do. A piece that can't be read costs only what it maps.
#pragma once

#include "disk/audit.hpp"
#include "io/byte_source.hpp"

#include <algorithm>
#include <span>
#include <vector>

namespace vdisk {

/// What could not be read of a file's tables. The disk's layout gives errors for what it maps; what is known of the
/// tables as a whole (who shares a place, what nobody has) is known as far as the rest tells.
class LostPieces {
public:
    void add(std::uint64_t offset, std::uint64_t length, const Error& why);
    [[nodiscard]] bool none() const noexcept { return bytes_ == 0; }
    void tell(std::vector<Remark>& remarks) const;

    /// An error "lost-table" for each piece; where there is one, what nothing refers to is not known, which is told
    /// too.
    void tell(AuditReport& report) const;

private:
    struct Piece {
        HostRange range;
        std::string why;
    };
    std::uint64_t bytes_ = 0;
    std::vector<Piece> first_; ///< a bounded number of them
};

/// Reads the `count` entries at `offset`, 64 KiB at once, and calls `take(first, entries)` for each piece in ascending
/// order: the number of its first entry, and a span. What can't be read is added to `lost`, in pieces of 4 KiB.
/// Errors: those of `take`; `cancelled`.
template<class Entry, class Take>
[[nodiscard]] Result<void> for_each_piece(const ByteSource& file, std::uint64_t offset, std::uint64_t count,
                                          LostPieces& lost, const Take& take) {
    constexpr std::uint64_t kAtOnce = (64U << 10) / sizeof(Entry);
    constexpr std::uint64_t kLeast = (4U << 10) / sizeof(Entry);
    const std::uint64_t there = offset < file.size() ? (file.size() - offset) / sizeof(Entry) : 0;
    if (there < count) {
        lost.add(offset + there * sizeof(Entry), (count - there) * sizeof(Entry),
                 {ErrorKind::truncated, fmt::format("the file ends at {}", file.size())});
        count = there;
    }
    std::vector<Entry> entries;
    for (std::uint64_t first = 0, step = kAtOnce; first < count;) {
        entries.resize(static_cast<std::size_t>(std::min(step, count - first)));
        const std::uint64_t at = offset + first * sizeof(Entry);
        const auto read = read_exact(file, at, std::as_writable_bytes(std::span(entries)));
        if (read.has_error() && read.error().kind == ErrorKind::cancelled) return Error(read.error());
        if (read.has_error() && entries.size() > kLeast) {
            step = kLeast;
            continue;
        }
        if (read.has_error()) lost.add(at, entries.size() * sizeof(Entry), read.error());
        else VDISK_CHECK(take(first, std::span<const Entry>(entries)));
        first += entries.size();
        if (first % kAtOnce == 0) step = kAtOnce;
    }
    return ok();
}

} // namespace vdisk
