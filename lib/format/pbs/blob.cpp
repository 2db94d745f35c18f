// SPDX-License-Identifier: Apache-2.0
#include "format/pbs/blob.hpp"

#include "base/digest.hpp"
#include "codec/codec.hpp"
#include "codec/gcm.hpp"
#include "io/expanded_blocks.hpp"

#include <boost/endian/buffers.hpp>
#include <libdeflate.h>

#include <algorithm>
#include <cstring>

namespace vdisk::pbs {
namespace {

using boost::endian::little_uint32_buf_t;

struct RawBlobHeader {
    std::array<unsigned char, 8> magic;
    little_uint32_buf_t crc;
};
static_assert(sizeof(RawBlobHeader) == 12);

struct RawSeal { // behind it, of enciphered blobs
    std::array<std::byte, 16> iv;
    std::array<std::byte, 16> tag;
};

struct Kind {
    std::array<unsigned char, 8> magic;
    bool compressed;
    bool encrypted;
    bool read = true;
};

constexpr std::array kKinds{
    Kind{{0x42, 0xab, 0x38, 0x07, 0xbe, 0x83, 0x70, 0xa1}, false, false},
    Kind{{0x31, 0xb9, 0x58, 0x42, 0x6f, 0xb6, 0xa3, 0x7f}, true, false},
    Kind{{0x7b, 0x67, 0x85, 0xbe, 0x22, 0x2d, 0x4c, 0xf0}, false, true},
    Kind{{0xe6, 0x59, 0x1b, 0xbf, 0x0b, 0xbf, 0xd8, 0x0b}, true, true},
    Kind{{0x1f, 0x87, 0xee, 0xe2, 0x91, 0xce, 0x05, 0x02}, false, false, false}, // signed, given up in July 2020
    Kind{{0x7e, 0xa6, 0x0f, 0xbe, 0x91, 0x1f, 0xa9, 0x60}, true, false, false},
};

Result<Digest> finished(Hasher& hasher, const Key* key) {
    if (key != nullptr) hasher.add(key->id());
    const auto digest = hasher.finish<std::tuple_size_v<Digest>>();
    if (!digest) return fail(ErrorKind::io, "libcrypto failed: SHA-256");
    return *digest;
}

// The payload as it was before it was enciphered.
Result<std::span<std::byte>> deciphered(const BlobHeader& header, std::span<std::byte> payload, const Key* key) {
    if (!header.encrypted) return payload;
    if (key == nullptr) return fail(ErrorKind::usage, "is encrypted, and there is no key");
    auto done = decipher_gcm({.key = key->bytes(), .iv = header.iv, .tag = header.tag}, payload);
    if (done.has_error()) return std::move(done).error();
    return payload;
}

} // namespace

Result<BlobHeader> BlobHeader::parse(std::span<const std::byte> file) {
    RawBlobHeader raw;
    if (file.size() < sizeof raw)
        return fail(ErrorKind::truncated, "has {} bytes, and the header of a blob {}", file.size(), sizeof raw);
    std::memcpy(&raw, file.data(), sizeof raw);
    const auto kind = std::ranges::find(kKinds, raw.magic, &Kind::magic);
    if (kind == kKinds.end()) return fail(ErrorKind::not_this_format, "has not the magic of a blob");
    if (!kind->read)
        return fail(ErrorKind::unsupported, "is a signed blob of before July 2020, which is not read here");
    BlobHeader header{
        .compressed = kind->compressed, .encrypted = kind->encrypted, .crc = raw.crc.value(), .bytes = sizeof raw};
    if (!header.encrypted) return header;
    RawSeal seal;
    if (file.size() < sizeof raw + sizeof seal)
        return fail(ErrorKind::truncated, "has {} bytes, and the header of an encrypted blob {}", file.size(),
                    sizeof raw + sizeof seal);
    std::memcpy(&seal, file.data() + sizeof raw, sizeof seal);
    header.iv = seal.iv;
    header.tag = seal.tag;
    header.bytes += sizeof seal;
    return header;
}

bool crc_fits(const BlobHeader& header, std::span<const std::byte> file) noexcept {
    const std::span<const std::byte> payload = file.subspan(header.bytes);
    return libdeflate_crc32(0, payload.data(), payload.size()) == header.crc;
}

Result<std::size_t> unpack(std::span<std::byte> file, const Key* key, std::span<std::byte> out) {
    VDISK_TRY(header, BlobHeader::parse(file));
    VDISK_TRY(payload, deciphered(header, file.subspan(header.bytes), key));
    if (header.compressed) return expand_frames(payload, out);
    if (payload.size() > out.size())
        return fail(ErrorKind::corrupt, "has {} bytes of content, {} are the most", payload.size(), out.size());
    std::ranges::copy(payload, out.begin());
    return payload.size();
}

Result<Digest> digest_of(std::span<const std::byte> content, const Key* key) {
    Hasher hasher("SHA256");
    hasher.add(content);
    return finished(hasher, key);
}

Result<Digest> digest_of_zeros(std::uint64_t length, const Key* key) {
    static constexpr std::array<std::byte, 65536> kZeros{};
    Hasher hasher("SHA256");
    for (std::uint64_t left = length; left != 0;) {
        const auto piece = static_cast<std::size_t>(std::min<std::uint64_t>(left, kZeros.size()));
        hasher.add(std::span(kZeros).first(piece));
        left -= piece;
    }
    return finished(hasher, key);
}

Result<std::string> read_blob(const ByteSource& file, const Key* key, std::uint64_t most) {
    const auto read = [&]() -> Result<std::string> {
        if (file.size() > most_stored(most))
            return fail(ErrorKind::limit_exceeded, "has {} bytes, the limit is {}", file.size(), most_stored(most));
        VDISK_TRY(stored, read_bytes(file, 0, file.size(), "blob"));
        VDISK_TRY(header, BlobHeader::parse(stored));
        if (!crc_fits(header, stored)) return fail(ErrorKind::corrupt, "its CRC-32 is wrong: it is damaged");
        Block plain(static_cast<std::size_t>(most));
        VDISK_TRY(length, unpack(stored, key, plain.room()));
        return std::string(reinterpret_cast<const char*>(plain.data()), length);
    };
    auto content = read();
    if (content.has_error()) return std::move(content).error().in(file.name());
    return content;
}

} // namespace vdisk::pbs
