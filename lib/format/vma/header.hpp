// SPDX-License-Identifier: Apache-2.0
/// The head of a Proxmox VMA archive: who and when, the device table, the configurations. Integers are big-endian,
/// except the lengths of blobs. Source: pve-qemu's vma.h, vma-reader.c and vma_spec.txt.
#pragma once

#include "base/digest.hpp"
#include "base/limits.hpp"
#include "disk/disk_file.hpp"
#include "io/forward_reader.hpp"

#include <boost/endian/buffers.hpp>

#include <array>
#include <string>
#include <vector>

namespace vdisk::vma {

using boost::endian::big_int64_buf_t;
using boost::endian::big_uint16_buf_t;
using boost::endian::big_uint32_buf_t;
using boost::endian::big_uint64_buf_t;

using Uuid = std::array<std::byte, 16>; ///< in the order in which it is printed
using Md5 = std::array<std::byte, 16>;

constexpr std::array<char, 4> kMagic{'V', 'M', 'A', '\0'};
constexpr std::uint32_t kBlockBytes = 4096;
constexpr std::uint32_t kBlocks = 16; ///< in a cluster
constexpr std::uint32_t kClusterBytes = kBlocks * kBlockBytes;
/// Cluster numbers have 32 bits.
constexpr std::uint64_t kMaxDeviceSize = (std::uint64_t{1} << 32) * kClusterBytes;
/// Extents start at multiples of this behind the header.
constexpr std::uint32_t kAlignment = 512;

struct RawDevice {
    big_uint32_buf_t name; // into the blob buffer
    big_uint32_buf_t reserved;
    big_uint64_buf_t size;
    std::array<std::byte, 16> reserved2;
};
static_assert(sizeof(RawDevice) == 32);

struct RawVmaHeader {
    std::array<char, 4> magic;
    big_uint32_buf_t version;
    Uuid uuid;
    big_int64_buf_t ctime;
    Md5 md5sum; // of the whole header, blobs and padding included, with this field zeroed
    big_uint32_buf_t blob_buffer_offset;
    big_uint32_buf_t blob_buffer_size;
    big_uint32_buf_t header_size; // where the first extent starts
    std::array<std::byte, 1984> reserved;
    std::array<big_uint32_buf_t, 256> config_names; // into the blob buffer, as below; 0: none
    std::array<big_uint32_buf_t, 256> config_data;
    big_uint32_buf_t reserved2;
    std::array<RawDevice, 256> dev_info; // the index is the device's id
};
static_assert(sizeof(RawVmaHeader) == 12288 && alignof(RawVmaHeader) == 1);

struct Device {
    std::uint8_t id = 0;    ///< never 0
    std::string name;       ///< without its NUL; empty if the table's is damaged
    std::uint64_t size = 0; ///< bytes: 1 to kMaxDeviceSize
    bool listed = true;     ///< with its size; else that is the end of the last cluster in the archive

    /// 65536-byte clusters, the last one perhaps not whole.
    [[nodiscard]] std::uint64_t clusters() const noexcept { return div_ceil(size, kClusterBytes); }
    /// The machine's saved RAM, written in ascending order and perhaps longer than its size says.
    [[nodiscard]] bool is_memory() const noexcept { return name == "vmstate"; }
};

/// A header whose checksum was right.
struct Header {
    Uuid uuid{};
    std::int64_t created = 0; ///< Unix seconds
    Md5 md5{};
    std::uint64_t size = 0; ///< bytes; the first extent follows
    std::vector<Device> devices;
    std::vector<Device> sizeless; ///< those whose size in the table is impossible; none is `listed`
    std::vector<Configuration> configurations;
    std::vector<std::string> remarks; ///< what is wrong with single entries of the tables

    /// A device that only the extents know: by the table's name if there is one, else by its number. Its size is 0.
    [[nodiscard]] Device unlisted(std::uint8_t id) const;

    /// Reads exactly the header from `reader`, which must be at the archive's first byte. `name` is the archive's, for
    /// errors.
    [[nodiscard]] static Result<Header> read(ForwardReader& reader, std::string_view name, const Limits& limits);
};

/// 8-4-4-4-12 hexadecimal digits.
std::string uuid_text(const Uuid& uuid);

/// What there is to say where libcrypto refuses MD5.
Error md5_missing(std::string_view name);

} // namespace vdisk::vma
