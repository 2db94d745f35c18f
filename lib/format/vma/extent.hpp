// SPDX-License-Identifier: Apache-2.0
/// The header of an extent: which clusters follow it. Source: pve-qemu's vma.h and vma_spec.txt.
#pragma once

#include "format/vma/header.hpp"

#include <optional>

namespace vdisk::vma {

constexpr std::size_t kSlots = 59;
constexpr std::array<char, 4> kExtentMagic{'V', 'M', 'A', 'E'};

struct RawBlockInfo {
    big_uint16_buf_t mask; // bit i, from the lowest: block i is stored
    std::uint8_t reserved;
    std::uint8_t dev_id; // 0: the slot is not used
    big_uint32_buf_t cluster_num;
};

struct RawExtent {
    std::array<char, 4> magic;
    big_uint16_buf_t reserved;
    big_uint16_buf_t block_count; // stored blocks; they follow the header, slot by slot
    Uuid uuid;
    Md5 md5sum; // of this structure with this field zeroed; nothing covers the blocks
    std::array<RawBlockInfo, kSlots> blockinfo;
};
static_assert(sizeof(RawExtent) == 512 && alignof(RawExtent) == 1);

/// Bytes of data that a slot has.
[[nodiscard]] std::uint64_t data_bytes(const RawBlockInfo& slot) noexcept;

/// Judges the headers of one archive's extents. One thread's.
class ExtentJudge {
public:
    /// Both must outlive it; `name` is the archive's, for errors.
    ExtentJudge(const Header& header, std::string_view name) : header_(header), name_(name) {}

    /// Why a header can't be trusted; nothing if it can. Errors: `unsupported` without MD5.
    [[nodiscard]] Result<std::optional<std::string>> fault(const RawExtent& extent);

    /// Whether these bytes are an extent's header, though perhaps a damaged one or of another archive. Errors as
    /// fault().
    [[nodiscard]] Result<bool> is_header(const RawExtent& extent);

    /// Whether they could be a sound header of this archive, by what costs nothing to compare.
    [[nodiscard]] bool may_be_sound(const RawExtent& extent) const noexcept;

private:
    Result<bool> sum_is_right(const RawExtent& extent);

    const Header& header_;
    std::string_view name_;
    Hasher hasher_{"MD5"};
};

} // namespace vdisk::vma
