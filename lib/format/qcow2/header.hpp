// SPDX-License-Identifier: Apache-2.0
/// The qcow2 header and its extensions. Source: QEMU's docs/interop/qcow2, "Header" and "Header extensions".
#pragma once

#include "codec/codec.hpp"
#include "io/byte_source.hpp"

#include <boost/endian/buffers.hpp>

#include <optional>
#include <string>
#include <vector>

namespace vdisk::qcow2 {

using boost::endian::big_uint16_buf_t;
using boost::endian::big_uint32_buf_t;
using boost::endian::big_uint64_buf_t;

constexpr std::uint32_t kMagic = 0x514649FB; // "QFI\xfb"

/// The first 72 bytes: all of a version 2 header.
struct RawQcow2Header {
    big_uint32_buf_t magic;
    big_uint32_buf_t version;
    big_uint64_buf_t backing_file_offset;
    big_uint32_buf_t backing_file_size;
    big_uint32_buf_t cluster_bits;
    big_uint64_buf_t size;
    big_uint32_buf_t crypt_method;
    big_uint32_buf_t l1_size;
    big_uint64_buf_t l1_table_offset;
    big_uint64_buf_t refcount_table_offset;
    big_uint32_buf_t refcount_table_clusters;
    big_uint32_buf_t nb_snapshots;
    big_uint64_buf_t snapshots_offset;
};
static_assert(sizeof(RawQcow2Header) == 72);

/// What version 3 adds.
struct RawQcow2HeaderV3 {
    big_uint64_buf_t incompatible_features;
    big_uint64_buf_t compatible_features;
    big_uint64_buf_t autoclear_features;
    big_uint32_buf_t refcount_order;
    big_uint32_buf_t header_length;
};
static_assert(sizeof(RawQcow2HeaderV3) == 32);

struct RawExtension {
    big_uint32_buf_t type;
    big_uint32_buf_t length;
};
static_assert(sizeof(RawExtension) == 8);

/// Incompatible features: a reader that does not know one of them must refuse the image.
enum Incompatible : std::uint64_t {
    kDirty = 1U << 0,
    kCorrupt = 1U << 1,
    kDataFile = 1U << 2,
    kCompressionType = 1U << 3,
    kExtendedL2 = 1U << 4,
};

/// Features that a reader may ignore, and ones that a writer that does not know them must clear.
enum Compatible : std::uint64_t { kLazyRefcounts = 1U << 0 };
enum Autoclear : std::uint64_t { kBitmapsConsistent = 1U << 0, kDataFileRaw = 1U << 1 };

/// A header extension that is kept as it lies: where its data are.
struct Extension {
    std::uint32_t type = 0;
    std::uint64_t offset = 0;
    std::uint32_t length = 0;
};

constexpr std::uint32_t kExtensionBackingFormat = 0xE2792ACA;
constexpr std::uint32_t kExtensionFeatureNames = 0x6803F857;
constexpr std::uint32_t kExtensionBitmaps = 0x23852875;
constexpr std::uint32_t kExtensionEncryption = 0x0537BE77;
constexpr std::uint32_t kExtensionDataFile = 0x44415441;

/// No disk is larger: sums of guest offsets don't wrap. QEMU stops at 2^61.
constexpr std::uint64_t kMaxDiskSize = std::uint64_t{1} << 62;

/// A parsed header. Its invariants: a known version and cluster size, which extended L2 entries allow if the image has
/// them; the names could be read; no unknown incompatible feature. What it says of places is not looked at: see
/// consistency.hpp.
struct Header {
    std::uint32_t version = 0;
    std::uint32_t cluster_bits = 0;
    std::uint64_t size = 0; ///< bytes of the virtual disk
    std::uint32_t crypt_method = 0;
    std::uint32_t l1_size = 0; ///< entries
    std::uint64_t l1_table_offset = 0;
    std::uint64_t refcount_table_offset = 0;
    std::uint32_t refcount_table_clusters = 0;
    std::uint32_t nb_snapshots = 0;
    std::uint64_t snapshots_offset = 0;
    std::uint64_t incompatible_features = 0;
    std::uint64_t compatible_features = 0;
    std::uint64_t autoclear_features = 0;
    std::uint32_t refcount_order = 4;
    std::uint32_t header_length = 72;
    Codec codec = Codec::deflate;
    std::uint64_t backing_file_offset = 0;
    std::uint32_t backing_file_size = 0; ///< bytes of the name
    std::uint64_t extensions_end = 0;    ///< behind the last header extension, or its end mark
    std::optional<std::string> backing_file{};
    std::string backing_format{};
    std::optional<std::string> data_file{}; ///< the name of the external data file, if the image has one and names it
    std::vector<Extension> extensions{};    ///< all but the end mark, in the file's order

    [[nodiscard]] std::uint64_t cluster_size() const noexcept { return std::uint64_t{1} << cluster_bits; }
    [[nodiscard]] bool has(Incompatible feature) const noexcept { return (incompatible_features & feature) != 0; }

    /// Parses and checks the header of `file`. Errors name the field and its value.
    [[nodiscard]] static Result<Header> parse(const ByteSource& file);
};

} // namespace vdisk::qcow2
