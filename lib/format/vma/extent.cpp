// SPDX-License-Identifier: Apache-2.0
#include "format/vma/extent.hpp"

#include <algorithm>
#include <bit>
#include <cstring>

namespace vdisk::vma {
namespace {

// Of the 20 bytes of magic and uuid: so many are alike by chance in no file that there is.
constexpr std::size_t kBytesAlike = 16;

std::uint64_t blocks_of(const RawExtent& extent) {
    std::uint64_t blocks = 0;
    for (const RawBlockInfo& slot : extent.blockinfo) blocks += data_bytes(slot) / kBlockBytes;
    return blocks;
}

template<class Array> std::size_t alike(const Array& left, const Array& right) {
    std::size_t count = 0;
    for (std::size_t i = 0; i < left.size(); ++i) count += left[i] == right[i] ? 1U : 0U;
    return count;
}

} // namespace

std::uint64_t data_bytes(const RawBlockInfo& slot) noexcept {
    if (slot.dev_id == 0) return 0;
    return static_cast<std::uint64_t>(std::popcount(slot.mask.value())) * kBlockBytes;
}

Result<bool> ExtentJudge::sum_is_right(const RawExtent& extent) {
    RawExtent unsummed = extent;
    unsummed.md5sum = {};
    hasher_.add_struct(unsummed);
    const auto md5 = hasher_.finish<sizeof(Md5)>();
    if (!md5) return md5_missing(name_);
    return *md5 == extent.md5sum;
}

Result<std::optional<std::string>> ExtentJudge::fault(const RawExtent& extent) {
    using Fault = std::optional<std::string>;
    if (extent.magic != kExtentMagic) return Fault("its magic is wrong");
    VDISK_TRY(summed, sum_is_right(extent));
    if (!summed) return Fault("its checksum is wrong");
    if (extent.uuid != header_.uuid)
        return Fault(fmt::format("its uuid is {}: it is another archive's", uuid_text(extent.uuid)));
    const std::uint64_t blocks = blocks_of(extent);
    if (blocks != extent.block_count.value())
        return Fault(
            fmt::format("block_count is {}, but its masks have {} blocks", extent.block_count.value(), blocks));
    return Fault();
}

Result<bool> ExtentJudge::is_header(const RawExtent& extent) {
    if (alike(extent.magic, kExtentMagic) + alike(extent.uuid, header_.uuid) >= kBytesAlike) return true;
    if (extent.magic != kExtentMagic) return false;
    return sum_is_right(extent);
}

bool ExtentJudge::may_be_sound(const RawExtent& extent) const noexcept {
    return extent.magic == kExtentMagic && extent.uuid == header_.uuid &&
           blocks_of(extent) == extent.block_count.value();
}

} // namespace vdisk::vma
