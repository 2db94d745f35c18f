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

// Opens a hostile file as raw. Whatever is read of it, the index is no larger than the file and some.
void check_hostile(const std::filesystem::path& path, std::size_t findings_most) {
    OpenOptions options;
    options.format = "raw";
    const OpenedDisk disk = required(open_disk(path.string(), options), "opening");
    const StreamSource& stream = *disk.file.context.stream;
    require_at_most(stream.statistics().index_size, std::filesystem::file_size(path) + kMiB, "bytes of the index");
    require_at_most(stream.findings().size(), findings_most, "findings");
    require_at_most(stream.remarks().size(), 4, "remarks");
    Bytes out(512);
    for (std::uint64_t part = 0; part < 8; ++part) (void)disk.image->read_at(disk.image->size() / 8 * part, out);
}

LimitCase hostile(const std::string& what, const std::string& name, const std::string& part, std::uint64_t times,
                  const std::string& before = {}) {
    return {.name = "stream: " + what,
            .make =
                [=](const Folder& folder) {
                    std::ofstream file(folder / name, std::ios::binary);
                    file << before;
                    for (std::uint64_t i = 0; i < times; ++i) file << part;
                },
            .check = [=](const Folder& folder) { check_hostile(folder / name, Limits{}.stream_findings + 1); }};
}

// Two zstd frames of a sector each, and a skippable one of 3 GiB, a hole, between them.
void write_skippable_hole(const Folder& folder) {
    const Bytes sector(512);
    Bytes frame(ZSTD_compressBound(sector.size()));
    frame.resize(ZSTD_compress(frame.data(), frame.size(), sector.data(), sector.size(), 1));
    const std::uint32_t length = 3U << 30;
    std::ofstream file(folder / "disk.zst", std::ios::binary);
    file.write(reinterpret_cast<const char*>(frame.data()), static_cast<std::streamsize>(frame.size()));
    file.write("\x50\x2A\x4D\x18", 4);
    for (unsigned i = 0; i < 4; ++i) file.put(static_cast<char>(length >> (8 * i)));
    file.seekp(static_cast<std::streamoff>(length), std::ios::cur);
    file.write(reinterpret_cast<const char*>(frame.data()), static_cast<std::streamsize>(frame.size()));
}

// The first bytes of a zstd frame, and a hole: blocks of no length without end.
LimitCase sparse(const std::string& what, const std::string& head) {
    return {.name = "stream: a hole of 4 TiB behind the beginning of " + what + " is looked at for a moment only",
            .make =
                [=](const Folder& folder) {
                    std::ofstream(folder / "disk", std::ios::binary) << head;
                    std::filesystem::resize_file(folder / "disk", std::uint64_t{4} << 40);
                },
            .check =
                [](const Folder& folder) {
                    const CountedReads reads;
                    (void)identify_file((folder / "disk").string());
                    require_at_most(reads.bytes(), 8 * kMiB, "bytes read");
                }};
}

// Opens what decompresses to `plain`, zeros, and reads at some places.
void check_stream(const std::filesystem::path& path, const Plain& plain) {
    const CountedReads reads;
    const std::uint64_t packed = std::filesystem::file_size(path);
    const OpenedDisk disk = required(open_disk(path.string(), {}), "opening");
    require(disk.image->size() == plain.size(), "the size is wrong: " + std::to_string(disk.image->size()));
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
    const std::string bad_member = "\x1F\x8B\x08\0\0\0\0\0\0\3\x01\x01\0\xFE\xFFx\x11\x22\x33\x44\1\0\0\0"s;
    const std::string good_member = "\x1F\x8B\x08\0\0\0\0\0\0\3\x01\x01\0\xFE\xFFx\x83\x16\xDC\x8C\1\0\0\0"s;
    const std::string bad_frame = "\x28\xB5\x2F\xFD\x24\x01\x09\0\0x\x11\x22\x33\x44"s;
    const std::string good_frame = "\x28\xB5\x2F\xFD\x20\x01\x09\0\0x"s;
    const std::string gzip_head = "\x1F\x8B\x08\0\0\0\0\0\0\3"s;
    const std::string broken_frame = "\x28\xB5\x2F\xFD\x20\x02\x08\0\0x\x0F\0\0"s; // its second block is of no kind
    cases.push_back(hostile("a million gzip members with bad checks", "disk.gz", bad_member, 1'000'000));
    cases.push_back(hostile("gzip members with good and bad checks", "disk.gz", bad_member + good_member, 400'000));
    cases.push_back(hostile("a million zstd frames with bad checks", "disk.zst", bad_frame, 1'000'000));
    cases.push_back(hostile("zstd frames with good and bad checks", "disk.zst", bad_frame + good_frame, 400'000));
    cases.push_back(hostile("zstd frames that break off", "disk.zst", broken_frame + good_frame, 400'000));
    cases.push_back(hostile("good and empty gzip members", "disk.gz",
                            good_member + "\x1F\x8B\x08\0\0\0\0\0\0\3\3\0\0\0\0\0\0\0\0\0"s, 400'000));
    cases.push_back(hostile("gzip members between other bytes", "disk.gz", good_member + "x", 400'000));
    cases.push_back(hostile("ten million empty stored blocks", "disk.gz", "\0\0\0\xFF\xFF"s, 10'000'000, gzip_head));
    cases.push_back(hostile("a byte of content between empty stored blocks", "disk.gz",
                            "\0\1\0\xFE\xFFx\0\0\0\xFF\xFF\0\0\0\xFF\xFF"s, 1'000'000, gzip_head));
    cases.push_back(hostile("sizes that add up to more than 2^64", "disk.zst",
                            "\x28\xB5\x2F\xFD\xC0\x58\0\0\0\0\0\0\0\x40\x20\0\0ABCD\x07\0\0"s, 100'000));
    cases.push_back(
        {.name = "stream: a skippable frame of 3 GiB", .make = write_skippable_hole, .check = [](const Folder& folder) {
             check_stream(folder / "disk.zst", {.length = 1024, .times = 1});
         }});
    cases.push_back(sparse("a zstd frame", "\x28\xB5\x2F\xFD\0\x58"s));
    cases.push_back(sparse("a zstd frame that ends", "\x28\xB5\x2F\xFD\0\x58\x01\0\0"s));
    cases.push_back(sparse("a gzip member", gzip_head));
    cases.push_back(sparse("an lzop file", "\x89LZO\0\x0D\x0A\x1A\x0A\x10\x30\x20\xA0\x09\x40"s));
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
    const auto lzop_text = [] {
        const Bytes header = lzop_header();
        return std::string(reinterpret_cast<const char*>(header.data()), header.size());
    }();
    std::string checked = lzop_text; // with a check of plain bytes; its own is wrong then, which is told
    checked[20] = '\1';
    cases.push_back(
        hostile("a million lzop blocks with bad checks", "disk.lzo", "\0\0\0\1\0\0\0\1\1\1\1\1x"s, 1'000'000, checked));
    cases.push_back(
        hostile("lzop files of a block of a byte", "disk.lzo", lzop_text + "\0\0\0\1\0\0\0\1x\0\0\0\0"s, 300'000));
    cases.push_back(
        hostile("lzop blocks that claim 64 MiB", "disk.lzo", "\4\0\0\0\0\4\0\0\1\1\1\1x"s, 100'000, checked));
    cases.push_back(stream("a million lzop blocks of a byte", "disk.lzo", {.length = 1, .times = 1'000'000}, lzop));
#endif
    return cases;
}

} // namespace vdisk::test
