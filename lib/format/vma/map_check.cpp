// SPDX-License-Identifier: Apache-2.0
#include "format/vma/map_check.hpp"

#include "base/text.hpp"

#include <algorithm>

namespace vdisk::vma {
namespace {

bool names(const RawBlockInfo& slot, const Device& device, std::uint32_t cluster) {
    return slot.dev_id == device.id && slot.cluster_num.value() == cluster;
}

} // namespace

// The header that is there, which is a sound one of this archive's.
Result<RawExtent> MapCheck::sound_extent_at(std::uint64_t at) const {
    VDISK_TRY(extent, read_struct<RawExtent>(source_, at, "header of an extent"));
    ExtentJudge judge(header_, source_.name());
    VDISK_TRY(fault, judge.fault(extent));
    if (fault)
        return fail_at(
            at, ErrorKind::corrupt,
            "{}: the extent that the kept map of the archive has here is none: {}: the file was changed, and "
            "its times put back (VDISK_CACHE_DIR=none does without what is kept)",
            source_.name(), *fault);
    return extent;
}

Result<RawExtent> MapCheck::extent_at(std::uint64_t at) const {
    {
        const std::lock_guard lock(mutex_);
        if (const auto known = std::ranges::find(known_, at, &Known::at); known != known_.end() && at != 0)
            return known->extent;
    }
    VDISK_TRY(extent, sound_extent_at(at));
    const std::lock_guard lock(mutex_);
    known_[next_++ % kKnown] = {at, extent};
    return extent;
}

Error MapCheck::contradiction(const Device& device, std::uint32_t cluster, std::uint64_t at) const {
    return fail_at(
        at, ErrorKind::corrupt,
        "{}: the extent here says of cluster {} of device '{}' what the kept map of the archive does not: the "
        "file was changed, and its times put back (VDISK_CACHE_DIR=none does without what is kept)",
        source_.name(), cluster, shown_name(device.name));
}

Result<void> MapCheck::stored(const Device& device, const Run& run) const {
    if (run.mask() == 0) return contradiction(device, run.first(), 0);
    const std::uint64_t place = contents_.offset_of(header_, run.units());
    const auto& extents = contents_.extents_with_data;
    const auto behind = std::ranges::upper_bound(extents, place, {}, [](const Count& at) { return at.value(); });
    if (behind == extents.begin()) return contradiction(device, run.first(), place);
    const std::uint64_t at = *std::prev(behind);
    VDISK_TRY(extent, extent_at(at));
    std::uint64_t data = at + sizeof(RawExtent);
    std::uint64_t due = place;
    std::uint32_t next = run.first();
    for (const RawBlockInfo& slot : extent.blockinfo) {
        const bool agrees = names(slot, device, next) && data == due && slot.mask.value() == run.mask();
        data += data_bytes(slot);
        if (!agrees) continue;
        if (next++ == run.last()) return ok();
        due = data;
    }
    return contradiction(device, next, at);
}

Result<void> MapCheck::zeros(const Device& device, std::uint32_t cluster, const ZeroRun* run) const {
    if (run == nullptr) return contradiction(device, cluster, 0);
    const std::uint64_t at = contents_.offset_of(header_, run->header_of(cluster));
    VDISK_TRY(extent, extent_at(at));
    std::uint32_t next = cluster;
    for (const RawBlockInfo& slot : extent.blockinfo)
        if (names(slot, device, next) && slot.mask.value() == 0 && next++ == run->last_with(cluster)) return ok();
    return contradiction(device, next, at);
}

Result<void> MapCheck::partial(const Device& device, const PartialCluster& cluster) const {
    const std::uint64_t at = contents_.offset_of(header_, cluster.units);
    VDISK_TRY(extent, extent_at(at));
    const bool said = std::ranges::any_of(extent.blockinfo, [&](const RawBlockInfo& slot) {
        return names(slot, device, cluster.cluster) && (slot.mask.value() & ~unsigned{cluster.mask}) == 0;
    });
    return said ? Result<void>(ok()) : contradiction(device, cluster.cluster, at);
}

} // namespace vdisk::vma
