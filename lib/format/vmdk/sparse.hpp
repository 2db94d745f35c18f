// SPDX-License-Identifier: Apache-2.0
/// The headers of sparse extents: hosted ones (KDMV), those of older ESX servers (COWD) and of today's (seSparse). All
/// three are a directory of tables of grains. Sources: VMware's technical note "Virtual Disk Format 5.0" for the first
/// two; for seSparse, which VMware never described, QEMU's driver and files of ESXi.
#pragma once

#include "base/limits.hpp"
#include "disk/claims.hpp"
#include "disk/remark.hpp"
#include "format/vmdk/descriptor.hpp"

#include <boost/endian/buffers.hpp>

namespace vdisk::vmdk {

using boost::endian::little_uint16_buf_t;
using boost::endian::little_uint32_buf_t;
using boost::endian::little_uint64_buf_t;

constexpr std::string_view kHostedMagic = "KDMV";
constexpr std::string_view kCowdMagic = "COWD";
constexpr std::string_view kSeMagic{"\xBE\xBA\xFE\xCA\0\0\0\0", 8};

/// All numbers of places and lengths are sectors.
struct RawHostedHeader {
    std::array<char, 4> magic;
    little_uint32_buf_t version;
    little_uint32_buf_t flags;
    little_uint64_buf_t capacity;
    little_uint64_buf_t grain_size;
    little_uint64_buf_t descriptor_offset;
    little_uint64_buf_t descriptor_size;
    little_uint32_buf_t table_entries;
    little_uint64_buf_t redundant_directory;
    little_uint64_buf_t directory; ///< kInFooter: the header's copy near the end of the file has it
    little_uint64_buf_t overhead;
    std::uint8_t unclean;
    std::array<char, 4> newlines; ///< damaged by whoever took the file for a text
    little_uint16_buf_t compression;
    std::array<std::byte, 433> padding;
};
static_assert(sizeof(RawHostedHeader) == kSector);

constexpr std::uint64_t kInFooter = ~std::uint64_t{0};

struct RawCowdHeader {
    std::array<char, 4> magic;
    little_uint32_buf_t version;
    little_uint32_buf_t flags;
    little_uint32_buf_t capacity;
    little_uint32_buf_t grain_size;
    little_uint32_buf_t directory;
    little_uint32_buf_t directory_entries;
    little_uint32_buf_t next_free;
    little_uint32_buf_t cylinders; ///< of a disk of its own; a delta has its parent's name here
    little_uint32_buf_t heads;
    little_uint32_buf_t sectors;
};
static_assert(sizeof(RawCowdHeader) == 44);

struct RawSePart {
    little_uint64_buf_t offset;
    little_uint64_buf_t size;
};

struct RawSeHeader {
    std::array<char, 8> magic;
    little_uint64_buf_t version;
    little_uint64_buf_t capacity;
    little_uint64_buf_t grain_size;
    little_uint64_buf_t table_size;
    little_uint64_buf_t flags;
    std::array<little_uint64_buf_t, 4> reserved;
    RawSePart volatile_header;
    RawSePart journal_header;
    RawSePart journal;
    RawSePart directory;
    RawSePart tables;
    RawSePart free_bitmap;
    RawSePart back_map;
    RawSePart grains;
};
static_assert(sizeof(RawSeHeader) == 208);

struct RawSeVolatileHeader {
    little_uint64_buf_t magic;
    little_uint64_buf_t next_free_table;
    little_uint64_buf_t next_transaction;
    little_uint64_buf_t replay_journal;
};

/// A parsed header. The grain size is a power of two from a sector to 16 MiB, a table has 1 to 65536 entries, and the
/// directory that the disk needs lies inside the file as far as one is named.
struct Sparse {
    enum class Kind : std::uint8_t { hosted, cowd, sesparse };

    Kind kind = Kind::hosted;
    std::uint32_t version = 0;
    std::uint64_t disk_size = 0; ///< bytes, > 0
    std::uint64_t grain_size = 0;
    std::uint64_t table_entries = 0;
    std::optional<std::uint64_t> directory{}; ///< byte in the file; nothing: the grains' markers have to be followed
    std::optional<std::uint64_t> redundant{}; ///< of the second directory, with tables of its own
    bool zeroed_grains = false;               ///< entry 1 is a grain of zeros
    bool compressed = false;                  ///< each grain behind a marker
    bool unclean = false;                     ///< was not closed
    bool own_disk = false;                    ///< COWD: a disk that was made without a parent
    std::uint64_t tables_offset = 0;          ///< seSparse alone, bytes, as what follows
    std::uint64_t grains_offset = 0;
    std::uint64_t back_map = 0;
    std::vector<Claim> structures{};       ///< the file's parts that are not grains or tables
    std::optional<std::string> descriptor; ///< the embedded text
    std::vector<Remark> remarks{};         ///< what is odd about all this

    /// Errors: `not_this_format` without a magic, `unsupported`, `corrupt`, `limit_exceeded`, `truncated`, `io`.
    [[nodiscard]] static Result<Sparse> parse(const ByteSource& file, const Limits& limits);

    [[nodiscard]] std::uint64_t entry_bytes() const noexcept { return kind == Kind::sesparse ? 8 : 4; }
    [[nodiscard]] std::uint64_t grains() const noexcept { return div_ceil(disk_size, grain_size); }
    [[nodiscard]] std::uint64_t tables() const noexcept { return div_ceil(grains(), table_entries); }
    [[nodiscard]] std::uint64_t table_bytes() const noexcept { return table_entries * entry_bytes(); }
    /// Bytes of the disk that a grain holds: fewer than its size at the disk's end.
    [[nodiscard]] std::uint64_t bytes_of(std::uint64_t grain) const noexcept {
        return std::min(grain_size, disk_size - grain * grain_size);
    }
};

/// Whether a file begins with a sparse extent's magic.
[[nodiscard]] bool begins_sparse(std::span<const std::byte> head) noexcept;

/// A stable word for a kind.
std::string_view to_string(Sparse::Kind kind) noexcept;

} // namespace vdisk::vmdk
