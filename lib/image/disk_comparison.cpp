// SPDX-License-Identifier: Apache-2.0
#include "image/disk_comparison.hpp"

#include "base/zeros.hpp"

#include <algorithm>
#include <array>

namespace vdisk {
namespace {

// Takes the first `length` bytes off what is left of a piece.
MapRun take(std::optional<MapRun>& left, std::uint64_t length) {
    MapRun taken = *left;
    if (length == taken.length) left.reset();
    else left = taken.without_start(length);
    taken.length = length;
    return taken;
}

bool same_cluster(const PackedCluster& a, const PackedCluster& b) noexcept {
    return a.codec == b.codec && a.start.value == b.start.value && a.expanded == b.expanded;
}

bool is_proven(const PackedCluster& cluster) noexcept {
    return !all_zeros(cluster.digest);
}

// Of clusters that are proven by their digests, wherever they lie.
bool same_digest(const PackedCluster& a, const PackedCluster& b) noexcept {
    return is_proven(a) && a.digest == b.digest && a.start.value == b.start.value;
}

// Whether both make the same bytes of a sector of zeros: of two keys none does, and neither do two ciphers.
bool decipher_alike(const Encryption& a, const Encryption& b) {
    if (!a.cipher || !b.cipher || a.numbering != b.numbering) return false;
    constexpr std::uint64_t kNumber = 0x123456789; // of more than 32 bits, for those who count in fewer
    std::array<std::byte, SectorCipher::kSectorBytes> mine{}, other{};
    if (a.cipher->decipher(kNumber, mine).has_error() || b.cipher->decipher(kNumber, other).has_error()) return false;
    return mine == other;
}

} // namespace

DiskComparison::DiskComparison(const Image& first, const Image& second)
    : first_map_(first, GuestOffset{0}, std::min(first.size(), second.size())),
      second_map_(second, GuestOffset{0}, std::min(first.size(), second.size())) {}

std::optional<ComparedRange> DiskComparison::next() {
    if (!first_) first_ = first_map_.next_piece();
    if (!second_) second_ = second_map_.next_piece();
    if (!first_ || !second_) return std::nullopt;
    const std::uint64_t length = std::min(first_->length, second_->length);
    ComparedRange range{.first = take(first_, length), .second = take(second_, length)};
    const bool lost = range.first.kind == MapRun::Kind::unreadable || range.second.kind == MapRun::Kind::unreadable;
    if (lost) range.state = ComparedRange::State::unreadable;
    else if (same_content(range.first, range.second)) range.state = ComparedRange::State::same;
    return range;
}

bool DiskComparison::same_content(const MapRun& first, const MapRun& second) {
    if (first.reads_as_zeros() && second.reads_as_zeros()) return true;
    if (first.kind != second.kind) return false;
    if (first.kind == MapRun::Kind::compressed && same_digest(first.packed, second.packed)) return true;
    if (!in_one_place(first.place, second.place)) return false;
    switch (first.kind) {
    case MapRun::Kind::data: return true;
    case MapRun::Kind::compressed:
        return first.stored_length == second.stored_length && same_cluster(first.packed, second.packed);
    case MapRun::Kind::encrypted: return same_key(first, second);
    case MapRun::Kind::zero:
    case MapRun::Kind::unallocated:
    case MapRun::Kind::unreadable: return false;
    }
    return false;
}

bool DiskComparison::same_key(const MapRun& first, const MapRun& second) {
    if (first.layer != first_keyed_ || second.layer != second_keyed_) {
        first_keyed_ = first.layer;
        second_keyed_ = second.layer;
        keys_are_same_ = decipher_alike(first.layer->encryption(), second.layer->encryption());
    }
    return keys_are_same_;
}

} // namespace vdisk
