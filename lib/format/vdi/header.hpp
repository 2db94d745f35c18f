// SPDX-License-Identifier: Apache-2.0
/// The header of a VirtualBox disk image, majors 0 and 1. Source: VirtualBox's own declarations of the format.
#pragma once

#include "base/uuid.hpp"
#include "io/byte_source.hpp"

#include <boost/endian/buffers.hpp>

#include <array>
#include <string>
#include <vector>

namespace vdisk::vdi {

using boost::endian::little_uint32_buf_t;
using boost::endian::little_uint64_buf_t;

constexpr std::uint32_t kSignature = 0xBEDA107F;
constexpr std::uint32_t kBlockFree = 0xFFFFFFFF; ///< the parent's bytes, zeros without one
constexpr std::uint32_t kBlockZero = 0xFFFFFFFE; ///< zeros, also over a parent
constexpr std::uint64_t kEntryBytes = sizeof(little_uint32_buf_t);

using RawUuid = std::array<std::byte, 16>;

/// What every version starts with.
struct RawStart {
    std::array<char, 64> text; ///< who made it, for people; any text
    little_uint32_buf_t signature;
    little_uint32_buf_t version; ///< major << 16 | minor
};
static_assert(sizeof(RawStart) == 72);

struct RawGeometry {
    little_uint32_buf_t cylinders;
    little_uint32_buf_t heads;
    little_uint32_buf_t sectors;
    little_uint32_buf_t sector_size;
};

/// Major 0, behind RawStart. The block map follows at once, the data follow the map.
struct RawHeader0 {
    little_uint32_buf_t type;
    little_uint32_buf_t flags;
    std::array<char, 256> comment;
    RawGeometry geometry;
    little_uint64_buf_t disk_size;
    little_uint32_buf_t block_size;
    little_uint32_buf_t blocks;
    little_uint32_buf_t blocks_allocated;
    RawUuid uuid_create;
    RawUuid uuid_modify;
    RawUuid uuid_linkage;
};
static_assert(sizeof(RawHeader0) == 348);

/// Major 1, behind RawStart. `header_size` says how much of it there is.
struct RawHeader1 {
    little_uint32_buf_t header_size;
    little_uint32_buf_t type;
    little_uint32_buf_t flags;
    std::array<char, 256> comment;
    little_uint32_buf_t map_offset;
    little_uint32_buf_t data_offset;
    RawGeometry legacy_geometry;
    little_uint32_buf_t unused;
    little_uint64_buf_t disk_size;
    little_uint32_buf_t block_size;
    little_uint32_buf_t block_extra;
    little_uint32_buf_t blocks;
    little_uint32_buf_t blocks_allocated;
    RawUuid uuid_create;
    RawUuid uuid_modify;
    RawUuid uuid_linkage;
    RawUuid uuid_parent_modify;
    RawGeometry lchs_geometry;
};
static_assert(sizeof(RawHeader1) == 400);

enum class Type : std::uint32_t { dynamic = 1, fixed = 2, undo = 3, differencing = 4 };

/// A stable word for a type.
std::string_view to_string(Type type) noexcept;

/// What it takes to read a file of which only the block map and the blocks are left, in bytes.
struct GivenLayout {
    std::uint64_t block_size = 0;
    std::uint64_t map_offset = 0;
    std::uint64_t data_offset = 0;
    std::uint64_t disk_size = 0;
    bool has_parent = false; ///< blocks that are not in the map are the parent's, else zeros
};

/// The fields of the file's header whose values can't be, "block size 12345" each: of a major 1 header, whatever the
/// version says. Empty where the header can't be read.
[[nodiscard]] std::vector<std::string> impossible_fields(const ByteSource& file);

/// A parsed header. Its block size is a power of two and its whole map lies inside the file; how many blocks the map
/// has need not fit the disk's size.
struct Header {
    std::uint32_t version = 0;
    std::string creator;            ///< as stored, up to its first NUL
    std::string comment;            ///< likewise
    std::uint32_t header_bytes = 0; ///< all that lies before the map's earliest place
    Type type = Type::dynamic;
    std::uint32_t flags = 0;
    std::uint64_t disk_size = 0;
    std::uint32_t block_size = 0;
    std::uint32_t block_extra = 0; ///< bytes before each block's data
    std::uint32_t blocks = 0;      ///< entries of the map
    std::uint32_t blocks_allocated = 0;
    std::uint64_t map_offset = 0;
    std::uint64_t data_offset = 0;
    Uuid uuid_create{};
    Uuid uuid_modify{};
    Uuid uuid_linkage{}; ///< the parent's uuid_create
    Uuid
        uuid_parent_modify{}; ///< the parent's uuid_modify when this image was made; null where the header is too short

    [[nodiscard]] static Result<Header> parse(const ByteSource& file);

    /// A header made of a layout that a person gives for a file whose own is lost. Errors: as parse() for numbers that
    /// can't be.
    [[nodiscard]] static Result<Header> from_layout(const ByteSource& file, const GivenLayout& given);

    [[nodiscard]] bool has_parent() const noexcept { return type == Type::undo || type == Type::differencing; }
    [[nodiscard]] std::uint64_t map_bytes() const noexcept { return blocks * kEntryBytes; }
    /// From one block in the file to the next.
    [[nodiscard]] std::uint64_t stride() const noexcept { return std::uint64_t{block_extra} + block_size; }
};

} // namespace vdisk::vdi
