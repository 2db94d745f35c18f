// SPDX-License-Identifier: Apache-2.0
/// Pictures of where what lies, as SVG within a page: strips whose columns are equal parts of a disk or a file.
#pragma once

#include "image/disk_map.hpp"

#include <algorithm>
#include <array>
#include <string>
#include <vector>

namespace vdisk::tools {

/// Kinds that a strip tells apart: those of MapRun, and a file's.
enum class Shade : std::uint8_t { data, compressed, encrypted, zero, unallocated, unreadable, leaked, used };
inline constexpr std::size_t kShades = 8;

/// The word that people read for it.
[[nodiscard]] std::string_view to_string(Shade shade) noexcept;

/// Bytes by shade.
using Shares = std::array<std::uint64_t, kShades>;

/// `size` bytes in equal cells, and what each is made of. Bounded in memory by the number of cells.
class Cells {
public:
    /// No more than `most` (> 0) cells, each of whole sectors. `size` may be 0: no cells.
    Cells(std::uint64_t size, std::size_t most);

    /// `length` bytes from `offset` on, which lie within `size`, are `shade`.
    void add(std::uint64_t offset, std::uint64_t length, Shade shade);

    [[nodiscard]] std::size_t count() const noexcept { return shares_.size(); }
    [[nodiscard]] std::uint64_t offset_of(std::size_t cell) const noexcept { return std::min(size_, cell * bytes_); }
    /// What cells [first, first + count) are made of.
    [[nodiscard]] Shares sum(std::size_t first, std::size_t count) const;

    /// A strip of those cells. `title` is text for who can't see it, before what they are made of.
    [[nodiscard]] std::string strip(std::size_t first, std::size_t count, std::string_view title) const;

private:
    std::uint64_t size_;
    std::uint64_t bytes_; ///< of a cell
    std::vector<Shares> shares_;
};

/// The patterns that strips are filled with; once in a page, before the first strip. Kinds differ by pattern as by
/// colour.
[[nodiscard]] std::string patterns();

/// What a page's style needs for strips.
[[nodiscard]] std::string_view strip_style();

/// A square with the pattern of a shade, for legends.
[[nodiscard]] std::string swatch(Shade shade);

/// "data 1 MiB, zeros 64 KiB".
[[nodiscard]] std::string in_words(const Shares& shares);

/// The map of a disk, walked once with a progress bar: metadata alone are read. `names` are of the layers, as text.
[[nodiscard]] std::string map_pictures(const Image& disk, const std::vector<std::string>& names, bool& unreadable);

} // namespace vdisk::tools
