// SPDX-License-Identifier: Apache-2.0
/// Compressed files of every kind over disks whose every sector holds its own number, so that a sector at another's
/// place is seen.
#pragma once

#include "io/stream/stream_codec.hpp"
#include "io/stream/zstd_blocks.hpp"
#include "zlib_stream.hpp"

#include "config.h"

#include <boost/test/unit_test.hpp>
#include <zstd.h>

#ifdef HAVE_LZO
#include <lzo/lzo1x.h>
#endif

#include <cstring>
#include <memory>
#include <random>
#include <string>

namespace vdisk::test {

using Bytes = std::vector<std::byte>;

inline constexpr std::size_t kSector = 512;

// Sectors from `first` on: its number, and some noise where `noisy`.
inline Bytes numbered(std::uint64_t first, std::size_t bytes, bool noisy = false) {
    Bytes disk(bytes);
    std::mt19937_64 random(first + 1);
    for (std::size_t at = 0; at < bytes; at += 8) {
        const std::uint64_t number = noisy && at / 256 % 2 == 1 ? random() : first + at / kSector;
        std::memcpy(&disk[at], &number, std::min<std::size_t>(8, bytes - at));
    }
    return disk;
}

inline void append(Bytes& all, std::span<const std::byte> more) {
    all.insert(all.end(), more.begin(), more.end());
}

inline void put(Bytes& out, std::uint64_t value, unsigned count, bool big) {
    for (unsigned i = 0; i < count; ++i)
        out.push_back(static_cast<std::byte>(value >> (8 * (big ? count - 1 - i : i))));
}

struct Container {
    std::string name;
    const StreamCodec* codec = nullptr;
    Bytes file;
    Bytes plain;
    std::vector<std::size_t> headers; ///< places of bytes that are headers, trailers and the like
};

inline void add_places(Container& container, std::size_t from, std::size_t count) {
    for (std::size_t i = 0; i < count && from + i < container.file.size(); ++i) container.headers.push_back(from + i);
}

// -- zstd

struct FrameChoice {
    bool content_size = true;
    bool checksum = true;
};

inline Bytes zstd_frame(std::span<const std::byte> plain, const FrameChoice& choice) {
    const std::unique_ptr<ZSTD_CCtx, decltype(&ZSTD_freeCCtx)> encoder(ZSTD_createCCtx(), ZSTD_freeCCtx);
    ZSTD_CCtx_setParameter(encoder.get(), ZSTD_c_contentSizeFlag, choice.content_size ? 1 : 0);
    ZSTD_CCtx_setParameter(encoder.get(), ZSTD_c_checksumFlag, choice.checksum ? 1 : 0);
    Bytes out(ZSTD_compressBound(plain.size()));
    const std::size_t size = ZSTD_compress2(encoder.get(), out.data(), out.size(), plain.data(), plain.size());
    BOOST_REQUIRE(!ZSTD_isError(size));
    out.resize(size);
    return out;
}

// All frame and block headers, the beginnings of blocks, and checksums.
inline void find_zstd_headers(Container& container, bool blocks) {
    const std::span<const std::byte> file(container.file);
    for (std::size_t at = 0; at < file.size();) {
        const auto header = parse_zstd_frame_header(file.subspan(at)).value();
        const bool frame = header.kind == ZstdFrameHeader::Kind::frame;
        add_places(container, at, frame ? header.length : 8);
        at += header.length;
        for (bool last = !frame; !last;) {
            const ZstdBlock block = parse_zstd_block(file.subspan(at));
            if (blocks) add_places(container, at, kZstdBlockHeader + (header.checksum ? 5 : 0));
            at += kZstdBlockHeader + block.packed;
            last = block.last;
        }
        if (frame && header.checksum) {
            add_places(container, at, 4);
            at += 4;
        }
    }
}

inline Container zstd_container(std::string name, const std::vector<std::size_t>& sizes, const FrameChoice& choice) {
    Container container{.name = std::move(name), .codec = &kZstdCodec};
    for (const std::size_t size : sizes) {
        const Bytes part = numbered(container.plain.size() / kSector, size, container.plain.size() % 16384 == 0);
        append(container.file, zstd_frame(part, choice));
        append(container.plain, part);
    }
    find_zstd_headers(container, choice.content_size || choice.checksum);
    return container;
}

// -- gzip

inline std::uint32_t crc_of(std::span<const std::byte> plain) {
    return crc32_of(0, plain);
}

// `blocked`: with bgzip's field.
inline Bytes gzip_member(std::span<const std::byte> plain, bool blocked) {
    const Bytes packed = zlib_stream(plain);
    Bytes out;
    for (const unsigned byte : {0x1FU, 0x8BU, 8U, blocked ? 4U : 0U, 0U, 0U, 0U, 0U, 0U, 3U})
        out.push_back(static_cast<std::byte>(byte));
    if (blocked) {
        put(out, 6, 2, false);
        out.push_back(std::byte{'B'});
        out.push_back(std::byte{'C'});
        put(out, 2, 2, false);
        put(out, 10 + 2 + 6 + packed.size() + 8 - 1, 2, false);
    }
    append(out, packed);
    put(out, crc_of(plain), 4, false);
    put(out, plain.size(), 4, false);
    return out;
}

inline Container gzip_container(std::string name, const std::vector<std::size_t>& sizes, bool blocked) {
    Container container{.name = std::move(name), .codec = &kGzipCodec};
    for (const std::size_t size : sizes) {
        const Bytes part = numbered(container.plain.size() / kSector, size, container.plain.size() % 16384 == 0);
        const std::size_t at = container.file.size();
        append(container.file, gzip_member(part, blocked));
        append(container.plain, part);
        add_places(container, at, blocked ? 18 : 10);
        add_places(container, container.file.size() - 8, 8);
    }
    return container;
}

// -- lzop

#ifdef HAVE_LZO
inline Container lzop_container(std::string name, const std::vector<std::size_t>& sizes, bool checks) {
    Container container{.name = std::move(name), .codec = &kLzopCodec};
    Bytes& file = container.file;
    for (const unsigned byte : {0x89U, unsigned{'L'}, unsigned{'Z'}, unsigned{'O'}, 0U, 0x0DU, 0x0AU, 0x1AU, 0x0AU})
        file.push_back(static_cast<std::byte>(byte));
    put(file, 0x1030, 2, true);
    put(file, 0x20A0, 2, true);
    put(file, 0x0940, 2, true);
    put(file, 0x0105, 2, true);
    put(file, checks ? 1 : 0, 4, true);
    put(file, 0100644, 4, true);
    put(file, 0, 8, true);
    put(file, 0, 1, true);
    put(file, adler32(1, reinterpret_cast<const Bytef*>(&file[9]), static_cast<uInt>(file.size() - 9)), 4, true);
    add_places(container, 0, file.size());
    Bytes work(LZO1X_1_MEM_COMPRESS);
    for (const std::size_t size : sizes) {
        const bool noisy = container.plain.size() % 16384 == 0;
        Bytes part = numbered(container.plain.size() / kSector, size, noisy);
        if (container.plain.size() % 32768 == 0) { // one that is stored as it is
            std::mt19937_64 random(7);
            for (std::size_t i = 0; i < part.size(); ++i)
                if (i % kSector >= 8) part[i] = static_cast<std::byte>(random());
        }
        Bytes packed(part.size() + part.size() / 16 + 128);
        lzo_uint length = packed.size();
        lzo1x_1_compress(reinterpret_cast<const unsigned char*>(part.data()), part.size(),
                         reinterpret_cast<unsigned char*>(packed.data()), &length, work.data());
        packed.resize(length);
        if (length >= part.size()) packed = part;
        const std::size_t at = file.size();
        put(file, part.size(), 4, true);
        put(file, packed.size(), 4, true);
        if (checks)
            put(file, adler32(1, reinterpret_cast<const Bytef*>(part.data()), static_cast<uInt>(part.size())), 4, true);
        add_places(container, at, checks ? 12 : 8);
        append(file, packed);
        append(container.plain, part);
    }
    add_places(container, file.size(), 4);
    put(file, 0, 4, true);
    return container;
}
#endif

} // namespace vdisk::test
