// SPDX-License-Identifier: Apache-2.0
/// The footer and the dynamic header of a VHD. Source: Microsoft's "Virtual Hard Disk Image Format Specification" 1.0,
/// and what its writers make of it.
#pragma once

#include "base/limits.hpp"
#include "base/uuid.hpp"
#include "disk/remark.hpp"
#include "image/sector_bitmap.hpp"
#include "io/byte_source.hpp"

#include <boost/endian/buffers.hpp>

#include <array>
#include <string>
#include <vector>

namespace vdisk::vhd {

using boost::endian::big_uint16_buf_t;
using boost::endian::big_uint32_buf_t;
using boost::endian::big_uint64_buf_t;

constexpr std::uint64_t kSector = 512;
constexpr std::uint64_t kEntryBytes = sizeof(big_uint32_buf_t);
constexpr std::uint32_t kBlockFree = 0xFFFFFFFF; ///< an entry without a block: the parent's bytes, zeros without one
constexpr std::string_view kFooterCookie = "conectix";
constexpr std::size_t kShortFooter = 511; ///< bytes of a footer before Virtual PC 2004: the last one is missing

/// The last sector of every VHD; of dynamic and differencing ones the first too.
struct RawFooter {
    std::array<char, 8> cookie;
    big_uint32_buf_t features;
    big_uint32_buf_t version;
    big_uint64_buf_t data_offset; ///< of the dynamic header
    big_uint32_buf_t time_stamp;  ///< seconds since 2000-01-01T00:00:00Z
    std::array<char, 4> creator;
    big_uint32_buf_t creator_version;
    std::array<char, 4> creator_host;
    big_uint64_buf_t original_size;
    big_uint64_buf_t current_size;
    big_uint16_buf_t cylinders;
    std::uint8_t heads;
    std::uint8_t sectors;
    big_uint32_buf_t type;
    big_uint32_buf_t checksum;
    std::array<std::byte, 16> unique_id;
    std::uint8_t saved_state;
    std::array<std::byte, 427> reserved;
};
static_assert(sizeof(RawFooter) == 512);

struct RawLocator {
    std::array<char, 4> platform;
    big_uint32_buf_t space; ///< sectors by the specification, bytes by many writers
    big_uint32_buf_t length;
    big_uint32_buf_t reserved;
    big_uint64_buf_t offset;
};
static_assert(sizeof(RawLocator) == 24);

struct RawDynamicHeader {
    std::array<char, 8> cookie;
    big_uint64_buf_t next;
    big_uint64_buf_t table_offset;
    big_uint32_buf_t version;
    big_uint32_buf_t entries;
    big_uint32_buf_t block_size;
    big_uint32_buf_t checksum;
    std::array<std::byte, 16> parent_id;
    big_uint32_buf_t parent_time_stamp;
    big_uint32_buf_t reserved;
    std::array<std::byte, 512> parent_name; ///< UTF-16, big-endian
    std::array<RawLocator, 8> locators;
    std::array<std::byte, 256> reserved_too;
};
static_assert(sizeof(RawDynamicHeader) == 1024);

enum class Type : std::uint32_t { fixed = 2, dynamic = 3, differencing = 4 };

/// A stable word for a type.
std::string_view to_string(Type type) noexcept;

/// A name of the parent that a locator holds.
struct Locator {
    std::string platform; ///< "W2ru": a relative path of Windows, "W2ku": an absolute one, "MacX": a file URL
    std::string name;     ///< UTF-8
    std::uint64_t offset = 0;
    std::uint64_t length = 0; ///< bytes as stored, inside the file
};

/// Where a sum of bytes is stored and whether it is right.
struct Checksum {
    std::uint32_t stored = 0;
    std::uint32_t computed = 0;
    [[nodiscard]] bool good() const noexcept { return stored == computed; }
};

/// A footer that was read, from wherever it lies.
struct Footer {
    RawFooter raw{};
    std::uint64_t offset = 0;
    std::uint64_t length = 0; ///< 512 or 511
    Checksum checksum{};
};

/// A parsed VHD. For a fixed one all members from `table_offset` on mean nothing. Its block size is a power of two from
/// a sector to a gibibyte, and the entries of the block table that the disk needs lie inside the file as far as the
/// header has them.
struct Header {
    Footer footer{}; ///< the one that is believed
    Type type = Type::fixed;
    std::uint64_t disk_size = 0;
    std::uint64_t data_end = 0; ///< where the footer at the file's end begins; without one the end itself
    Uuid unique_id{};
    std::uint64_t header_offset = 0; ///< of the dynamic header
    std::uint64_t table_offset = 0;
    std::uint32_t entries = 0;
    std::uint32_t block_size = 0;
    bool low_bit_first = false; ///< the sector bitmaps: as early versions of XenServer wrote them
    Uuid parent_id{};
    std::uint32_t parent_time_stamp = 0;
    std::string parent_name{};
    std::vector<Locator> locators{};
    std::vector<Remark> remarks{}; ///< what is odd about all this

    /// Errors: `not_this_format` without any footer, `unsupported`, `corrupt`, `truncated`, `io`.
    [[nodiscard]] static Result<Header> parse(const ByteSource& file, const Limits& limits);

    [[nodiscard]] bool has_parent() const noexcept { return type == Type::differencing; }
    /// Of the sector bitmap before each block's data.
    [[nodiscard]] std::uint64_t bitmap_bytes() const noexcept;
    [[nodiscard]] BitOrder bit_order() const noexcept {
        return low_bit_first ? BitOrder::lowest_first : BitOrder::highest_first;
    }
    /// Entries that the disk needs.
    [[nodiscard]] std::uint64_t blocks() const noexcept { return div_ceil(disk_size, block_size); }
    /// Bytes of the disk that block `number` holds: fewer than the block size at the disk's end.
    [[nodiscard]] std::uint64_t bytes_of(std::uint64_t number) const noexcept;
    /// What cylinders, heads and sectors come to, in bytes.
    [[nodiscard]] std::uint64_t chs_size() const noexcept;
};

/// What the footers of a VHD come to, whatever else is wrong with it.
struct Footers {
    Footer believed{};
    bool at_start = false;      ///< there is one
    std::uint64_t data_end = 0; ///< where the one at the file's end begins; without one the end itself
    std::vector<Remark> remarks{};

    /// Errors: as Header::parse.
    [[nodiscard]] static Result<Footers> find(const ByteSource& file);
};

} // namespace vdisk::vhd
