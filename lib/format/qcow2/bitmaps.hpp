// SPDX-License-Identifier: Apache-2.0
/// Bitmaps stored in a qcow2 image. Source: QEMU's docs/interop/qcow2, "Bitmaps extension" and "Bitmaps".
#pragma once

#include "base/facts.hpp"
#include "base/limits.hpp"
#include "disk/dirty_bitmap.hpp"
#include "format/qcow2/header.hpp"

#include <span>

namespace vdisk::qcow2 {

enum BitmapFlag : std::uint32_t { kBitmapInUse = 1U << 0, kBitmapAuto = 1U << 1, kBitmapExtraCompatible = 1U << 2 };

/// One entry of the directory. Its table has not been looked at.
struct Bitmap {
    std::string name;
    std::uint64_t table_offset = 0;
    std::uint32_t table_size = 0; ///< entries
    std::uint32_t flags = 0;
    std::uint8_t type = 0;
    std::uint8_t granularity_bits = 0; ///< at most 63
    std::uint32_t extra_data_size = 0;
};

/// The entries up to the first that can't be read.
struct BitmapDirectory {
    std::uint64_t offset = 0;
    std::uint64_t size = 0; ///< bytes
    std::vector<Bitmap> bitmaps;
    std::optional<Error> damage{}; ///< why it ends before it should
};

/// The offset of a bitmap's data as an entry of its table has it; 0: not stored, bit 0 says what all its bits are.
constexpr std::uint64_t kBitmapOffsetMask = 0x00FFFFFFFFFFFE00;
constexpr std::uint64_t kBitmapAllOnes = 1;

/// Reads the directory that the image's bitmaps extension points to, at most Limits::bitmaps of its entries; an empty
/// one if there is no such extension.
[[nodiscard]] BitmapDirectory read_bitmaps(const ByteSource& file, const Header& header, const Limits& limits);

/// The table's entries. Errors: `truncated`, or `limit_exceeded` beyond Limits::table_bytes.
[[nodiscard]] Result<std::vector<std::uint64_t>> read_bitmap_table(const ByteSource& file, const Bitmap& bitmap,
                                                                   const Limits& limits);

/// All bitmaps for `vdisk info`, each with the number of its dirty bytes if counting them means reading no more than
/// Limits::table_bytes for all of them. Null if there are none.
[[nodiscard]] Facts describe_bitmaps(const SourcePtr& file, const Header& header, const Limits& limits);

/// The bitmap of this name. Errors: `usage` if there is none, `unsupported` if it is of an unknown type or has unknown
/// data without which it must not be used.
[[nodiscard]] Result<DirtyBitmap> open_bitmap(const SourcePtr& file, const Header& header, std::string_view name,
                                              const Limits& limits);

} // namespace vdisk::qcow2
