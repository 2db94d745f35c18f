// SPDX-License-Identifier: Apache-2.0
#include "io/stream/index_builder.hpp"

#include <algorithm>
#include <limits>

namespace vdisk {
namespace {

// A segment may be short because of damage this often, and once more for so many compressed bytes.
constexpr std::uint64_t kShortSegments = 4096;
constexpr std::uint64_t kStoredForOne = 4096;
// Plain bytes in which distances grow by their first value.
constexpr std::uint64_t kGrowth = std::uint64_t{64} << 30;

} // namespace

std::uint64_t grown(std::uint64_t base, std::uint64_t plain) noexcept {
    return std::min(std::max(base, kSegmentMost), base + base / 64 * (plain / (kGrowth / 64)));
}

bool IndexBuilder::room_for(std::uint64_t length) const noexcept {
    constexpr std::uint64_t kMost = std::numeric_limits<std::int64_t>::max();
    return length <= kMost - index_.size;
}

const Segment* IndexBuilder::last(std::size_t first) const noexcept {
    return index_.segments.size() > first ? &index_.segments.back() : nullptr;
}

void IndexBuilder::find(std::string finding) {
    if (index_.findings.size() < limits_.stream_findings) index_.findings.push_back(std::move(finding));
    else ++more_findings_;
}

std::uint32_t IndexBuilder::doubt(Doubt::Kind kind, Error why) {
    find(why.what);
    auto& doubts = index_.doubts;
    if (doubts.size() >= limits_.stream_findings) {
        // One more of each kind stands for all that come.
        const auto same = [&](const Doubt& doubt) { return doubt.kind == kind; };
        const auto shared =
            std::find_if(doubts.begin() + static_cast<std::ptrdiff_t>(limits_.stream_findings), doubts.end(), same);
        if (shared != doubts.end()) return static_cast<std::uint32_t>(shared - doubts.begin() + 1);
        why = fail(ErrorKind::corrupt, "one of more damaged places than are told one by one");
    }
    doubts.push_back({std::move(why).in(name_), kind});
    return static_cast<std::uint32_t>(doubts.size());
}

// The one that says more against a segment.
std::uint32_t IndexBuilder::worse(std::uint32_t left, std::uint32_t right) const noexcept {
    const auto weight = [&](std::uint32_t reason) {
        return reason == 0 ? 0 : index_.doubts[reason - 1].kind == Doubt::Kind::altered ? 1 : 2;
    };
    return weight(left) >= weight(right) ? left : right;
}

bool IndexBuilder::crowded() const noexcept {
    return index_.segments.size() > kShortSegments + packed_ / kStoredForOne;
}

void IndexBuilder::add(Segment segment) {
    segment.plain = index_.size;
    segment.reason = worse(segment.reason, adrift_);
    index_.size += segment.length;
    packed_ = std::max(packed_, segment.packed + segment.packed_length);
    index_.segments.push_back(segment);
}

void IndexBuilder::add_part(Segment segment, std::uint64_t most) {
    segment.reason = worse(segment.reason, adrift_);
    if (segment.length > 0 && !join(segment, grown(most, index_.size))) add(segment);
}

// What lies between two parts of a stream has no plain bytes, unless it is lost and a segment itself.
bool IndexBuilder::join(const Segment& segment, std::uint64_t most) {
    if (index_.segments.empty()) return false;
    Segment& before = index_.segments.back();
    const bool lost_before = before.kind == Segment::Kind::lost;
    const bool lost_now = segment.kind == Segment::Kind::lost;
    const bool fits = (lost_before ? 0 : before.length) + (lost_now ? 0 : segment.length) <= most;
    if (!fits || (before.reason != segment.reason && !crowded())) return false;

    const std::uint32_t reason = worse(before.reason, segment.reason);
    const std::uint64_t packed_end = segment.packed + segment.packed_length;
    if (before.kind == Segment::Kind::whole && segment.kind == Segment::Kind::whole &&
        packed_end - before.packed <= limits_.stream_stored_bytes) {
        before.crc = crc32_joined(before.crc, segment.crc, segment.length);
        before.packed_length = packed_end - before.packed;
        if (segment.cover == Segment::Cover::nothing) before.cover = segment.cover;
    } else if (!(lost_before && lost_now)) {
        if (reason == 0 || before.lead > 0 || !crowded()) return false;
        before = {.kind = Segment::Kind::lost, .plain = before.plain, .length = before.length};
    }
    before.reason = reason;
    before.length += segment.length;
    index_.size += segment.length;
    packed_ = std::max(packed_, packed_end);
    return true;
}

void IndexBuilder::grow(std::uint64_t length, std::uint32_t crc, std::uint64_t packed_length) {
    Segment& last = index_.segments.back();
    last.crc = crc32_joined(last.crc, crc, length);
    last.length += length;
    last.packed_length = packed_length;
    index_.size += length;
    packed_ = std::max(packed_, last.packed + packed_length);
}

void IndexBuilder::add_lost(std::uint64_t length, std::uint32_t reason, std::uint64_t most) {
    add_part({.kind = Segment::Kind::lost, .cover = Segment::Cover::nothing, .reason = reason, .length = length}, most);
}

void IndexBuilder::judge(std::size_t first, std::uint32_t reason, Segment::Cover cover, std::uint64_t most) {
    if (first >= index_.segments.size()) return;
    const std::uint64_t start = index_.segments[first].plain;
    if (reason != 0 && crowded() && index_.size - start <= most) {
        const std::uint64_t length = index_.size - start;
        index_.segments.resize(first);
        index_.size = start;
        return add_lost(length, reason, most);
    }
    for (std::size_t i = first; i < index_.segments.size(); ++i) {
        index_.segments[i].reason = worse(reason, index_.segments[i].reason);
        index_.segments[i].cover = cover;
    }
}

Result<StreamIndex> IndexBuilder::finish(std::uint64_t windows_size) {
    if (more_findings_ > 0) index_.findings.push_back(fmt::format("{} more places are damaged", more_findings_));
    if (auto good = check(index_, {packed_size_, windows_size, limits_.stream_stored_bytes}); good.has_error())
        return std::move(good).error().in(name_);
    return std::move(index_);
}

} // namespace vdisk
