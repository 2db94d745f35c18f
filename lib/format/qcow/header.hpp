// SPDX-License-Identifier: Apache-2.0
/// The header of a qcow image of version 1. Sources: QEMU's block driver; libqcow's description of the format.
#pragma once

#include "disk/cluster_file.hpp"

#include <boost/endian/buffers.hpp>

namespace vdisk::qcow {

using boost::endian::big_uint16_buf_t;
using boost::endian::big_uint32_buf_t;
using boost::endian::big_uint64_buf_t;

struct RawQcowHeader {
    std::array<char, 4> magic;
    big_uint32_buf_t version;
    big_uint64_buf_t backing_file_offset;
    big_uint32_buf_t backing_file_size;
    big_uint32_buf_t mtime;
    big_uint64_buf_t size;
    std::uint8_t cluster_bits;
    std::uint8_t l2_bits;
    big_uint16_buf_t padding;
    big_uint32_buf_t crypt_method;
    big_uint64_buf_t l1_table_offset;
};
static_assert(sizeof(RawQcowHeader) == 48);

/// Magic and version: from version 2 on it is another format.
constexpr std::string_view kMagic("QFI\xFB\0\0\0\1", 8);

/// A parsed header. Its invariants: cluster and table sizes that QEMU takes, an L1 table for all of the disk inside the
/// file, a known encryption.
struct Header {
    std::uint64_t size = 0; ///< bytes of the virtual disk, > 0
    std::uint32_t cluster_bits = 0;
    std::uint32_t l2_bits = 0; ///< an L2 table has 2^l2_bits entries
    std::uint64_t l1_table_offset = 0;
    std::uint32_t mtime = 0;
    bool encrypted = false;
    std::optional<StoredName> backing{};
    std::uint64_t backing_file_offset = 0;
    std::uint32_t backing_file_size = 0;

    [[nodiscard]] std::uint64_t cluster_size() const noexcept { return std::uint64_t{1} << cluster_bits; }

    /// Errors name the field and its value.
    [[nodiscard]] static Result<Header> parse(const ByteSource& file);

    /// What has to be known to read and to audit the disk; without the encryption, which needs a key.
    [[nodiscard]] ClusterImage image() const;
};

} // namespace vdisk::qcow
