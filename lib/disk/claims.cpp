// SPDX-License-Identifier: Apache-2.0
#include "disk/claims.hpp"

#include "base/zeros.hpp"

#include <algorithm>

namespace vdisk {

Claim block_claim(std::uint64_t offset, std::uint64_t whole, std::uint64_t needed, std::uint64_t end,
                  std::uint64_t owner) noexcept {
    const std::uint64_t there = offset < end ? end - offset : 0;
    return {.offset = offset,
            .length = std::min({whole, std::max(needed, there), ~std::uint64_t{0} - offset}),
            .owner = owner};
}

void HostRanges::add(std::uint64_t offset, std::uint64_t length) {
    if (length == 0) return;
    if (!ranges_.empty()) {
        HostRange& last = ranges_.back();
        if (offset <= last.offset.value + last.length) {
            last.length = std::max(last.length, offset + length - last.offset.value);
            return;
        }
    }
    ranges_.push_back({HostOffset{offset}, length});
}

bool HostRanges::touch(std::uint64_t offset, std::uint64_t length) const noexcept {
    const auto next = std::ranges::upper_bound(ranges_, HostOffset{offset}, {}, &HostRange::offset);
    if (next != ranges_.end() && next->offset.value - offset < length) return true;
    return next != ranges_.begin() && std::prev(next)->offset.value + std::prev(next)->length > offset;
}

std::uint64_t HostRanges::bytes() const noexcept {
    std::uint64_t bytes = 0;
    for (const HostRange& range : ranges_) bytes += range.length;
    return bytes;
}

HostRanges contested(std::vector<Claim>& claims) {
    std::ranges::sort(claims, [](const Claim& a, const Claim& b) {
        return a.offset != b.offset ? a.offset < b.offset : a.owner < b.owner;
    });
    HostRanges shared;
    std::uint64_t taken = 0; // all before is claimed
    for (const Claim& claim : claims) {
        if (claim.offset < taken) shared.add(claim.offset, std::min(claim.end(), taken) - claim.offset);
        taken = std::max(taken, claim.end());
    }
    return shared;
}

HostRanges unclaimed(const std::vector<Claim>& claims, std::uint64_t start, std::uint64_t end) {
    HostRanges free;
    std::uint64_t taken = start;
    for (const Claim& claim : claims) {
        if (claim.offset > taken && taken < end) free.add(taken, std::min(claim.offset, end) - taken);
        taken = std::max(taken, claim.end());
    }
    if (taken < end) free.add(taken, end - taken);
    return free;
}

Result<void> Leaks::add(const HostRanges& ranges) {
    if (ranges.list().size() > most_ - ranges_.size())
        return fail(ErrorKind::limit_exceeded, "an audit keeps at most {} ranges that nothing refers to", most_);
    ranges_.insert(ranges_.end(), ranges.list().begin(), ranges.list().end());
    return ok();
}

Result<void> Leaks::tell(AuditReport& report) {
    std::ranges::sort(ranges_, {}, &HostRange::offset);
    for (const HostRange& range : ranges_) VDISK_CHECK(report.leak(range.offset, range.length));
    if (unread_ > 0)
        report.add(Severity::note, "leftovers-unknown", {},
                   "{} bytes that nothing refers to can't be read: whether they are zeros is not known", unread_);
    return ok();
}

Result<void> Leaks::find_unclaimed(const std::vector<Claim>& claims, AuditReport& report) {
    const HostRanges gaps = unclaimed(claims, 0, file_.size());
    for (const HostRange& gap : gaps.list()) {
        HostRanges found;
        VDISK_CHECK(look(gap.offset.value, gap.length, found));
        for (const HostRange& range : found.list())
            report.add(Severity::warning, "leaked", {.host = range.offset, .length = range.length},
                       "nothing refers to {} bytes at offset {}, which are no zeros", range.length, range.offset.value);
        VDISK_CHECK(add(found));
    }
    return ok();
}

Result<void> Leaks::look(std::uint64_t offset, std::uint64_t length, HostRanges& found) {
    constexpr std::uint64_t kAtOnce = 1U << 20;
    constexpr std::uint64_t kLeast = 64U << 10; // where a read failed
    std::uint64_t most = kAtOnce;
    const std::uint64_t end = offset + std::min(length, file_.size() - std::min(offset, file_.size()));
    std::vector<std::byte> bytes;
    for (std::uint64_t at = offset; at < end; at += bytes.size()) {
        const std::uint64_t taken = std::min(end - at, std::max(unit_, align_down(most, unit_)));
        if (taken > left_) {
            found.add(at, end - at);
            return ok();
        }
        left_ -= taken;
        bytes.resize(static_cast<std::size_t>(taken));
        if (const auto read = read_exact(file_, at, bytes); read.has_error()) {
            if (read.error().kind == ErrorKind::cancelled) return Error(read.error());
            if (most > kLeast && taken > kLeast) {
                most = kLeast;
                bytes.clear();
            } else unread_ += taken;
            continue;
        }
        for (std::uint64_t i = 0; i < taken; i += unit_) {
            const auto piece = std::span(bytes).subspan(static_cast<std::size_t>(i),
                                                        static_cast<std::size_t>(std::min(unit_, taken - i)));
            if (!all_zeros(piece)) found.add(at + i, piece.size());
        }
    }
    return ok();
}

} // namespace vdisk
