// SPDX-License-Identifier: Apache-2.0
/// The headers and the region table of a VHDX. Source: Microsoft's specification [MS-VHDX], 2.2.
#pragma once

#include "base/uuid.hpp"
#include "disk/claims.hpp"
#include "disk/remark.hpp"
#include "io/byte_source.hpp"

#include <boost/endian/buffers.hpp>

#include <array>
#include <string>
#include <vector>

namespace vdisk::vhdx {

using boost::endian::little_uint16_buf_t;
using boost::endian::little_uint32_buf_t;
using boost::endian::little_uint64_buf_t;

using RawGuid = std::array<std::byte, 16>; ///< first three fields little-endian

constexpr std::uint64_t kMiB = 1U << 20;
constexpr std::uint64_t kRegionsAt = 192U << 10; ///< of the first region table; before it nothing is ever logged
constexpr std::uint64_t kRegionBytes = 64U << 10;
constexpr std::string_view kFileSignature = "vhdxfile";

struct RawVhdxHeader {
    std::array<char, 4> signature; ///< "head"
    little_uint32_buf_t checksum;
    little_uint64_buf_t sequence;
    RawGuid file_write;
    RawGuid data_write;
    RawGuid log;
    little_uint16_buf_t log_version;
    little_uint16_buf_t version;
    little_uint32_buf_t log_length;
    little_uint64_buf_t log_offset;
    std::array<std::byte, 4016> reserved;
};
static_assert(sizeof(RawVhdxHeader) == 4096);

struct RawRegionEntry {
    RawGuid id;
    little_uint64_buf_t offset;
    little_uint32_buf_t length;
    little_uint32_buf_t required; ///< bit 0
};
static_assert(sizeof(RawRegionEntry) == 32);

struct RawRegionTable {
    std::array<char, 4> signature; ///< "regi"
    little_uint32_buf_t checksum;
    little_uint32_buf_t count;
    little_uint32_buf_t reserved;
    std::array<RawRegionEntry, 2047> entries;
    std::array<std::byte, 16> unused;
};
static_assert(sizeof(RawRegionTable) == kRegionBytes);

/// The header that holds: of the two copies the sound one with the higher number.
struct Header {
    std::string creator; ///< as stored, in UTF-8
    std::uint64_t sequence = 0;
    std::uint64_t offset = 0; ///< of the copy
    Uuid file_write{};
    Uuid data_write{}; ///< changes with the disk's content; a child has it of its parent
    Uuid log{};        ///< null: the log has nothing to be replayed
    std::uint64_t log_offset = 0;
    std::uint32_t log_length = 0;
    bool other_damaged = false; ///< the other copy is: it may have been the newer one
    std::vector<Remark> remarks{};

    /// Errors: `not_this_format`, `unsupported`, `corrupt`, `truncated`, `io`.
    [[nodiscard]] static Result<Header> parse(const ByteSource& file);
};

/// A part of the file.
struct Region {
    std::uint64_t offset = 0;
    std::uint32_t length = 0;
};

/// Where the regions are, none of which shares bytes with another or with the log. All lie on whole mebibytes.
struct Regions {
    Region table{}; ///< the block allocation table
    Region metadata{};
    std::vector<Claim> all{}; ///< with the headers, the log, and regions that are not known here
    std::vector<Remark> remarks{};

    /// `file`: with its log replayed, for that may have region tables. Errors: `unsupported` for a region that must be
    /// known and is not, `corrupt`, `io`.
    [[nodiscard]] static Result<Regions> parse(const ByteSource& file, const Header& header);
};

} // namespace vdisk::vhdx
