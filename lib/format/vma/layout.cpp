// SPDX-License-Identifier: Apache-2.0
#include "format/vma/layout.hpp"

#include "base/text.hpp"

#include <algorithm>
#include <bit>

namespace vdisk::vma {
namespace {

constexpr std::uint16_t kAllBlocks = 0xFFFF;
constexpr std::size_t kCopiesCompared = 16;

std::uint64_t popcount(std::uint32_t mask) {
    return static_cast<std::uint64_t>(std::popcount(mask));
}

// How many blocks from `block` on are as it is: stored or not.
std::uint32_t same_blocks(std::uint16_t mask, std::uint32_t block) {
    const std::uint32_t ahead = std::uint32_t{mask} >> block;
    const bool stored = (ahead & 1) != 0;
    const int same = stored ? std::countr_one(ahead) : std::countr_zero(ahead);
    return std::min(static_cast<std::uint32_t>(same), kBlocks - block);
}

} // namespace

DeviceLayout::DeviceLayout(std::shared_ptr<const Archive> archive, std::size_t device)
    : archive_(std::move(archive)), device_(archive_->contents.devices[device]), map_(archive_->contents.maps[device]) {
}

Result<Mapping> DeviceLayout::map(GuestOffset at, std::uint64_t wanted) const {
    VDISK_TRY(run, piece_at(at.value));
    while (run.length < wanted && at.value + run.length < device_.size) {
        VDISK_TRY(next, piece_at(at.value + run.length));
        if (!run.goes_on_in(next)) break;
        run.length += next.length;
    }
    return run;
}

// The clusters, or the blocks of one, that are alike from `at` on.
Result<Extent> DeviceLayout::piece_at(std::uint64_t at) const {
    const auto cluster = static_cast<std::uint32_t>(at / kClusterBytes);
    ClusterMap::Found found = map_.find(cluster);
    if (archive_->check) {
        const ZeroRun* const zeros = map_.zeros_at(cluster);
        if (found.kind == ClusterMap::Found::Kind::zero && zeros != nullptr) found.last = zeros->last_with(cluster);
        if (auto agrees = check(found, cluster); agrees.has_error())
            return Extent::unreadable(std::min((std::uint64_t{cluster} + 1) * kClusterBytes, device_.size) - at,
                                      std::move(agrees).error());
    }
    const std::uint64_t end = std::min((std::uint64_t{found.last} + 1) * kClusterBytes, device_.size);
    switch (found.kind) {
    case ClusterMap::Found::Kind::zero: return Extent::zero(end - at);
    case ClusterMap::Found::Kind::stored: return stored_piece(found.runs.front(), at);
    case ClusterMap::Found::Kind::duplicate: return duplicate_piece(found.runs, at);
    case ClusterMap::Found::Kind::lost: return lost_piece(found, at, end);
    }
    return Extent::zero(end - at);
}

// Whether the archive still says of the cluster, and of those with it, what the map does.
Result<void> DeviceLayout::check(const ClusterMap::Found& found, std::uint32_t cluster) const {
    const MapCheck& check = *archive_->check;
    switch (found.kind) {
    case ClusterMap::Found::Kind::zero: return check.zeros(device_, cluster, map_.zeros_at(cluster));
    case ClusterMap::Found::Kind::stored: return check.stored(device_, found.runs.front());
    case ClusterMap::Found::Kind::duplicate:
        for (const Run& copy : found.runs.first(std::min(found.runs.size(), kCopiesCompared)))
            VDISK_CHECK(check.stored(device_, copy));
        return ok();
    case ClusterMap::Found::Kind::lost: return found.partial == nullptr ? ok() : check.partial(device_, *found.partial);
    }
    return ok();
}

Extent DeviceLayout::lost_piece(const ClusterMap::Found& found, std::uint64_t at, std::uint64_t end) const {
    if (found.partial == nullptr)
        return unreadable(at, end - at, "is in no sound extent of the archive: lost, not zeros");
    const auto block = static_cast<std::uint32_t>(at % kClusterBytes / kBlockBytes);
    const std::uint64_t blocks = same_blocks(found.partial->mask, block);
    const std::uint64_t length = std::min(blocks * kBlockBytes - at % kBlockBytes, end - at);
    if ((found.partial->mask >> block & 1) == 0) return Extent::zero(length);
    return unreadable(at, length, "is in a damaged extent, of whose data it is not known where they are");
}

Extent DeviceLayout::stored_piece(const Run& run, std::uint64_t at) const {
    const std::uint64_t index = at / kClusterBytes - run.first();
    const auto block = static_cast<std::uint32_t>(at % kClusterBytes / kBlockBytes);
    std::uint64_t blocks = same_blocks(run.mask(), block);
    if (run.mask() == kAllBlocks) blocks += std::uint64_t{kBlocks} * (run.count() - 1 - index);
    const std::uint64_t length = std::min(blocks * kBlockBytes - at % kBlockBytes, device_.size - at);
    if ((run.mask() >> block & 1) == 0) return Extent::zero(length);

    const std::uint64_t before =
        index * popcount(run.mask()) + popcount(run.mask() & ((std::uint32_t{1} << block) - 1));
    return Extent::stored(length,
                          HostOffset{archive_->offset_of(run.units()) + before * kBlockBytes + at % kBlockBytes});
}

Result<void> DeviceLayout::read_cluster(const Run& copy, std::span<std::byte> out) const {
    const std::uint64_t start = std::uint64_t{copy.first()} * kClusterBytes;
    for (std::size_t done = 0; done < out.size();) {
        const auto piece = copy.mask() == 0 ? Extent::zero(out.size()) : stored_piece(copy, start + done);
        const auto part =
            out.subspan(done, static_cast<std::size_t>(std::min<std::uint64_t>(piece.length, out.size() - done)));
        if (piece.kind == Extent::Kind::zero) std::ranges::fill(part, std::byte{0});
        else VDISK_CHECK(read_exact(*archive_->source, piece.host.value, part));
        done += part.size();
    }
    return ok();
}

// An archive has each cluster once. More copies than a damaged one may have are not compared: that could take for ever.
Result<Extent> DeviceLayout::duplicate_piece(std::span<const Run> copies, std::uint64_t at) const {
    const std::uint64_t start = align_down(at, kClusterBytes);
    const std::uint64_t length = std::min<std::uint64_t>(kClusterBytes, device_.size - start);
    if (copies.size() > kCopiesCompared)
        return unreadable(at, start + length - at, fmt::format("is stored {} times", copies.size()));
    if (std::ranges::all_of(copies, [](const Run& copy) { return copy.mask() == 0; }))
        return Extent::zero(start + length - at);
    std::vector<std::byte> first(static_cast<std::size_t>(length));
    std::vector<std::byte> other(first.size());
    VDISK_CHECK(read_cluster(copies.front(), first));
    for (const Run& copy : copies.subspan(1)) {
        VDISK_CHECK(read_cluster(copy, other));
        if (other != first)
            return unreadable(at, start + length - at, "is stored more than once with different content");
    }
    if (copies.front().mask() == 0) return Extent::zero(start + length - at);
    return stored_piece(copies.front(), at);
}

Extent DeviceLayout::unreadable(std::uint64_t at, std::uint64_t length, std::string_view why) const {
    return Extent::unreadable(length,
                              fail_at(at, ErrorKind::corrupt, "{}: cluster {} of device '{}' {}",
                                      archive_->source->name(), at / kClusterBytes, shown_name(device_.name), why));
}

} // namespace vdisk::vma
