// SPDX-License-Identifier: Apache-2.0
#include "limits.hpp"
#include "open/open.hpp"
#include "system_reads.hpp"

#include <zlib.h>
#include <zstd.h>

#include "config.h"
#ifdef HAVE_LZO
#include <lzo/lzo1x.h>
#endif

#include <algorithm>
#include <array>
#include <fstream>
#include <random>

namespace vdisk::test {
namespace {

constexpr std::uint64_t kMiB = 1U << 20;

// Plain bytes: the same piece again and again. Made where they are needed: what the parent process holds counts for
// each case.
struct Plain {
    std::size_t length;
    std::uint64_t times;
    bool noise = false;

    std::uint64_t size() const { return length * times; }
    Bytes piece() const {
        Bytes bytes(length);
        std::mt19937_64 random(5);
        for (std::size_t i = 0; noise && i < length; ++i) bytes[i] = static_cast<std::byte>(random());
        return bytes;
    }
};

Plain zeros(std::uint64_t size) {
    return {.length = kMiB, .times = size / kMiB};
}

void write_zstd(const std::filesystem::path& path, const Plain& plain, int window_log = 0) {
    const std::unique_ptr<ZSTD_CCtx, decltype(&ZSTD_freeCCtx)> encoder(ZSTD_createCCtx(), ZSTD_freeCCtx);
    ZSTD_CCtx_setParameter(encoder.get(), ZSTD_c_checksumFlag, 1);
    ZSTD_CCtx_setParameter(encoder.get(), ZSTD_c_compressionLevel, 1);
    if (window_log > 0) {
        ZSTD_CCtx_setParameter(encoder.get(), ZSTD_c_windowLog, window_log);
        ZSTD_CCtx_setParameter(encoder.get(), ZSTD_c_enableLongDistanceMatching, 1);
    }
    std::ofstream file(path, std::ios::binary);
    const Bytes piece = plain.piece();
    Bytes out(ZSTD_CStreamOutSize());
    for (std::uint64_t i = 0; i <= plain.times; ++i) {
        const ZSTD_EndDirective directive = i == plain.times ? ZSTD_e_end : ZSTD_e_continue;
        ZSTD_inBuffer rest{piece.data(), i == plain.times ? 0 : piece.size(), 0};
        for (std::size_t left = 1; left != 0;) {
            ZSTD_outBuffer filled{out.data(), out.size(), 0};
            left = ZSTD_compressStream2(encoder.get(), &filled, &rest, directive);
            require(!ZSTD_isError(left), "zstd");
            file.write(reinterpret_cast<const char*>(out.data()), static_cast<std::streamsize>(filled.pos));
            if (directive == ZSTD_e_continue) left = rest.pos < rest.size ? 1 : 0;
        }
    }
}

// One member. Every piece ends at a byte and refers to nothing before it, so it is compressed once.
void write_gzip(const std::filesystem::path& path, const Plain& plain) {
    z_stream stream{};
    require(deflateInit2(&stream, 9, Z_DEFLATED, -MAX_WBITS, 8, Z_DEFAULT_STRATEGY) == Z_OK, "zlib");
    const Bytes piece = plain.piece();
    Bytes packed(deflateBound(&stream, piece.size()) + 64);
    stream.next_in = const_cast<Bytef*>(reinterpret_cast<const Bytef*>(piece.data()));
    stream.avail_in = static_cast<uInt>(piece.size());
    stream.next_out = reinterpret_cast<Bytef*>(packed.data());
    stream.avail_out = static_cast<uInt>(packed.size());
    require(deflate(&stream, Z_FULL_FLUSH) == Z_OK && stream.avail_in == 0, "zlib");
    packed.resize(stream.total_out);
    deflateEnd(&stream);
    const uLong piece_crc = crc32_z(0, reinterpret_cast<const Bytef*>(piece.data()), piece.size());
    uLong crc = 0;
    std::ofstream file(path, std::ios::binary);
    file.write("\x1f\x8b\x08\0\0\0\0\0\0\3", 10);
    for (std::uint64_t i = 0; i < plain.times; ++i) {
        file.write(reinterpret_cast<const char*>(packed.data()), static_cast<std::streamsize>(packed.size()));
        crc = crc32_combine(crc, piece_crc, static_cast<z_off_t>(piece.size()));
    }
    file.write("\3\0", 2); // an empty last block
    for (const std::uint64_t number : {static_cast<std::uint64_t>(crc), plain.size()})
        for (unsigned i = 0; i < 4; ++i) file.put(static_cast<char>(number >> (8 * i)));
}

#ifdef HAVE_LZO
void put_big(Bytes& bytes, std::uint64_t value, unsigned count) {
    for (unsigned i = count; i-- > 0;) bytes.push_back(static_cast<std::byte>(value >> (8 * i)));
}

// Without checks, which the format allows.
Bytes lzop_header() {
    Bytes bytes;
    for (const int byte : std::array<int, 9>{0x89, 'L', 'Z', 'O', 0x00, 0x0D, 0x0A, 0x1A, 0x0A})
        bytes.push_back(static_cast<std::byte>(byte));
    const std::size_t magic = bytes.size();
    put_big(bytes, 0x1030, 2); // version, that of the library, the one that is needed
    put_big(bytes, 0x20A0, 2);
    put_big(bytes, 0x0940, 2);
    put_big(bytes, 1, 1); // lzo1x_1
    put_big(bytes, 5, 1);
    put_big(bytes, 0, 4); // flags
    put_big(bytes, 0100644, 4);
    put_big(bytes, 0, 4);
    put_big(bytes, 0, 4);
    put_big(bytes, 0, 1);
    put_big(bytes,
            adler32(1, reinterpret_cast<const Bytef*>(bytes.data() + magic), static_cast<uInt>(bytes.size() - magic)),
            4);
    return bytes;
}

void write_lzop(const std::filesystem::path& path, const Plain& plain) {
    Bytes work(LZO1X_1_MEM_COMPRESS);
    const Bytes piece = plain.piece();
    Bytes packed(piece.size() + piece.size() / 16 + 128);
    lzo_uint length = packed.size();
    require(lzo_init() == LZO_E_OK, "lzo");
    lzo1x_1_compress(reinterpret_cast<const unsigned char*>(piece.data()), piece.size(),
                     reinterpret_cast<unsigned char*>(packed.data()), &length, work.data());
    Bytes block;
    put_big(block, piece.size(), 4);
    const bool stored = length >= piece.size(); // blocks that don't get smaller are stored as they are
    put_big(block, stored ? piece.size() : length, 4);
    const Bytes& bytes = stored ? piece : packed;
    block.insert(block.end(), bytes.begin(),
                 bytes.begin() + static_cast<std::ptrdiff_t>(stored ? piece.size() : length));
    std::ofstream file(path, std::ios::binary);
    const Bytes header = lzop_header();
    file.write(reinterpret_cast<const char*>(header.data()), static_cast<std::streamsize>(header.size()));
    for (std::uint64_t i = 0; i < plain.times; ++i)
        file.write(reinterpret_cast<const char*>(block.data()), static_cast<std::streamsize>(block.size()));
    file.write("\0\0\0\0", 4);
}
#endif

// Empty frames or members, one after the other.
void write_repeated(const std::filesystem::path& path, const std::string& what, std::uint64_t times) {
    std::ofstream file(path, std::ios::binary);
    for (std::uint64_t i = 0; i < times; ++i) file << what;
}

// Opens what decompresses to `plain`, zeros, and reads at some places.
void check_stream(const std::filesystem::path& path, const Plain& plain) {
    const CountedReads reads;
    const std::uint64_t packed = std::filesystem::file_size(path);
    const OpenedDisk disk = required(open_disk(path.string(), {}), "opening");
    require(disk.image->size() == plain.size(), "the size is wrong");
    require_at_most(reads.bytes(), 2 * packed + 4 * kMiB, "bytes read");
    const std::uint64_t index = disk.file.context.stream->statistics().index_size;
    require_at_most(index, plain.size() / 64 + kMiB, "bytes of the index");
    Bytes out(65536);
    for (std::uint64_t part = 0; plain.size() > 0 && part < 8; ++part) {
        const std::uint64_t offset = plain.size() / 8 * part;
        const std::size_t got = required(disk.image->read_at(offset, out), "reading");
        require(got == std::min<std::uint64_t>(out.size(), plain.size() - offset), "a read is short");
        for (std::size_t i = 0; i < got; ++i) require(out[i] == std::byte{0}, "wrong bytes");
    }
    const Limits limits;
    require_at_most(disk.file.context.stream->statistics().decoded, 8 * (limits.stream_decode_bytes + 64 * kMiB),
                    "bytes decoded for eight reads");
}

LimitCase stream(const std::string& what, const std::string& name, const Plain& plain,
                 void (*write)(const std::filesystem::path&, const Plain&)) {
    return {.name = "stream: " + what,
            .make = [=](const Folder& folder) { write(folder / name, plain); },
            .check = [=](const Folder& folder) { check_stream(folder / name, plain); }};
}

LimitCase empty_parts(const std::string& what, const std::string& name, const std::string& part) {
    return {.name = "stream: a million " + what,
            .make = [=](const Folder& folder) { write_repeated(folder / name, part, 1'000'000); },
            .check = [=](const Folder& folder) { check_stream(folder / name, {.length = 1, .times = 0}); }};
}

} // namespace

std::vector<LimitCase> stream_limits() {
    using namespace std::string_literals;
    const auto zstd = [](const std::filesystem::path& path, const Plain& plain) { write_zstd(path, plain); };
    const auto gzip = [](const std::filesystem::path& path, const Plain& plain) { write_gzip(path, plain); };
    std::vector<LimitCase> cases{
        stream("2 GiB of zeros by zstd", "disk.zst", zeros(2048 * kMiB), zstd),
        stream("2 GiB of zeros by gzip", "disk.gz", zeros(2048 * kMiB), gzip),
        empty_parts("empty zstd frames", "disk.zst", "\x28\xB5\x2F\xFD\x00\x58\x01\x00\x00"s),
        empty_parts("skippable zstd frames", "disk.zst", "\x50\x2A\x4D\x18\x00\x00\x00\x00"s),
        empty_parts("empty gzip members", "disk.gz", "\x1F\x8B\x08\0\0\0\0\0\0\3\3\0\0\0\0\0\0\0\0\0"s),
    };
    cases.push_back(
        {.name = "stream: a window of 128 MiB, all of it in use",
         .make =
             [](const Folder& folder) {
                 write_zstd(folder / "disk.zst", {.length = 100 * kMiB, .times = 4, .noise = true}, 27);
             },
         .check =
             [](const Folder& folder) {
                 const CountedReads reads;
                 const OpenedDisk disk = required(open_disk((folder / "disk.zst").string(), {}), "opening");
                 require(disk.image->size() == 400 * kMiB, "the size is wrong");
                 Bytes out(65536);
                 Bytes again(65536);
                 for (std::uint64_t at = 7 * kMiB; at < 100 * kMiB; at += 31 * kMiB) {
                     require(required(disk.image->read_at(at, out), "reading") == out.size(), "a read is short");
                     require(required(disk.image->read_at(at + 300 * kMiB, again), "reading") == again.size(),
                             "a read is short");
                     require(out == again, "wrong bytes");
                 }
                 require_at_most(reads.bytes(), 8 * std::filesystem::file_size(folder / "disk.zst"), "bytes read");
             }});
#ifdef HAVE_LZO
    const auto lzop = [](const std::filesystem::path& path, const Plain& plain) { write_lzop(path, plain); };
    cases.push_back(stream("2 GiB of zeros by lzop", "disk.lzo", zeros(2048 * kMiB), lzop));
    cases.push_back(stream("lzop blocks of 64 MiB", "disk.lzo", {.length = 64 * kMiB, .times = 16}, lzop));
    cases.push_back(stream("a million lzop blocks of a byte", "disk.lzo", {.length = 1, .times = 1'000'000}, lzop));
#endif
    return cases;
}

} // namespace vdisk::test
