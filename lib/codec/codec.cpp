// SPDX-License-Identifier: Apache-2.0
#include "codec/codec.hpp"

#include <libdeflate.h>
#include <zlib.h>
#include <zstd.h>

#include <algorithm>
#include <limits>
#include <memory>
#include <vector>

namespace vdisk {
namespace {

// Windows of 2^27 are what `zstd --long` may use at most by default; a 2 MiB cluster never needs more than 2^21.
constexpr int kZstdWindowLogMax = 27;
// What a zlib stream may expand to beyond what is wanted of it: the largest of the clusters that only end on the disk.
constexpr std::size_t kZlibBeyond = 2U << 20;
constexpr std::size_t kZlibBeyondAtOnce = 32U << 10;

Error out_of_memory() {
    return fail(ErrorKind::io, "no memory for a decompressor");
}

// zlib, for what libdeflate refuses although the wanted bytes are all there: a stream that goes on beyond the cluster,
// or that lacks its end mark. QEMU reads both.
Result<void> inflate_prefix(std::span<const std::byte> packed, std::span<std::byte> out) {
    if (packed.size() > std::numeric_limits<uInt>::max() || out.size() > std::numeric_limits<uInt>::max())
        return fail(ErrorKind::limit_exceeded, "a compressed cluster of {} bytes", packed.size());
    z_stream stream{};
    if (inflateInit2(&stream, -MAX_WBITS) != Z_OK) return out_of_memory();
    const std::unique_ptr<z_stream, decltype(&inflateEnd)> ender(&stream, inflateEnd);
    stream.next_in = const_cast<Bytef*>(reinterpret_cast<const Bytef*>(packed.data()));
    stream.avail_in = static_cast<uInt>(packed.size());
    stream.next_out = reinterpret_cast<Bytef*>(out.data());
    stream.avail_out = static_cast<uInt>(out.size());
    const int status = inflate(&stream, Z_FINISH);
    if ((status == Z_STREAM_END || status == Z_BUF_ERROR) && stream.avail_out == 0) return ok();
    return fail(ErrorKind::corrupt, "deflate data expands to {} of {} bytes{}{}", out.size() - stream.avail_out,
                out.size(), stream.msg != nullptr ? ": " : "", stream.msg != nullptr ? stream.msg : "");
}

libdeflate_decompressor* inflater() {
    static thread_local const std::unique_ptr<libdeflate_decompressor, decltype(&libdeflate_free_decompressor)> decoder(
        libdeflate_alloc_decompressor(), libdeflate_free_decompressor);
    return decoder.get();
}

Result<void> expand_deflate(std::span<const std::byte> packed, std::span<std::byte> out) {
    if (inflater() == nullptr) return out_of_memory();
    std::size_t used = 0;
    const auto status = libdeflate_deflate_decompress_ex(inflater(), packed.data(), packed.size(), out.data(),
                                                         out.size(), &used, nullptr);
    if (status == LIBDEFLATE_SUCCESS) return ok();
    return inflate_prefix(packed, out);
}

// zlib itself, for a stream that goes on beyond what is wanted: its checksum is that of all of it.
Result<void> inflate_checked(std::span<const std::byte> packed, std::span<std::byte> out) {
    if (packed.size() > std::numeric_limits<uInt>::max() || out.size() > std::numeric_limits<uInt>::max())
        return fail(ErrorKind::limit_exceeded, "a compressed cluster of {} bytes", packed.size());
    z_stream stream{};
    if (inflateInit2(&stream, MAX_WBITS) != Z_OK) return out_of_memory();
    const std::unique_ptr<z_stream, decltype(&inflateEnd)> ender(&stream, inflateEnd);
    stream.next_in = const_cast<Bytef*>(reinterpret_cast<const Bytef*>(packed.data()));
    stream.avail_in = static_cast<uInt>(packed.size());
    stream.next_out = reinterpret_cast<Bytef*>(out.data());
    stream.avail_out = static_cast<uInt>(out.size());
    int status = inflate(&stream, Z_NO_FLUSH);
    std::vector<Bytef> beyond(stream.avail_out == 0 ? kZlibBeyondAtOnce : 0);
    while (status == Z_OK && !beyond.empty() && stream.total_out < out.size() + kZlibBeyond) {
        stream.next_out = beyond.data();
        stream.avail_out = static_cast<uInt>(beyond.size());
        status = inflate(&stream, Z_NO_FLUSH);
    }
    if (status == Z_STREAM_END && stream.total_out >= out.size()) return ok();
    return fail(ErrorKind::corrupt, "zlib data expands to {} bytes of {}{}{}{}", stream.total_out, out.size(),
                status == Z_OK ? " without an end" : "", stream.msg != nullptr ? ": " : "",
                stream.msg != nullptr ? stream.msg : "");
}

Result<void> expand_zlib(std::span<const std::byte> packed, std::span<std::byte> out) {
    if (inflater() == nullptr) return out_of_memory();
    std::size_t used = 0;
    const auto status =
        libdeflate_zlib_decompress_ex(inflater(), packed.data(), packed.size(), out.data(), out.size(), &used, nullptr);
    if (status == LIBDEFLATE_SUCCESS) return ok();
    return inflate_checked(packed, out);
}

ZSTD_DCtx* zstd_decoder() {
    static thread_local const std::unique_ptr<ZSTD_DCtx, decltype(&ZSTD_freeDCtx)> decoder(ZSTD_createDCtx(),
                                                                                           ZSTD_freeDCtx);
    if (decoder) ZSTD_DCtx_reset(decoder.get(), ZSTD_reset_session_and_parameters);
    return decoder.get();
}

Result<void> expand_zstd(std::span<const std::byte> packed, std::span<std::byte> out) {
    ZSTD_DCtx* const decoder = zstd_decoder();
    if (decoder == nullptr) return out_of_memory();
    ZSTD_DCtx_setParameter(decoder, ZSTD_d_windowLogMax, kZstdWindowLogMax);
    ZSTD_inBuffer in{packed.data(), packed.size(), 0};
    ZSTD_outBuffer filled{out.data(), out.size(), 0};
    // The stored bytes are padded to a sector, so the one-shot call, which refuses what follows the frame, can't be
    // used. A frame that goes on behind the cluster was made for a larger one, and QEMU takes none either.
    std::size_t status = 1; // 0 when the frame ends
    while (status != 0) {
        const std::size_t before_in = in.pos;
        const std::size_t before_out = filled.pos;
        status = ZSTD_decompressStream(decoder, &filled, &in);
        if (ZSTD_isError(status)) return fail(ErrorKind::corrupt, "zstd data: {}", ZSTD_getErrorName(status));
        if (in.pos == before_in && filled.pos == before_out) break;
    }
    if (filled.pos != filled.size)
        return fail(ErrorKind::corrupt, "zstd data expands to {} of {} bytes", filled.pos, filled.size);
    if (status != 0) return fail(ErrorKind::corrupt, "zstd data does not end with its {} bytes", filled.size);
    return ok();
}

Result<void> copy(std::span<const std::byte> packed, std::span<std::byte> out) {
    if (packed.size() < out.size())
        return fail(ErrorKind::truncated, "{} of {} bytes are there", packed.size(), out.size());
    std::copy_n(packed.begin(), out.size(), out.begin());
    return ok();
}

} // namespace

Result<std::size_t> expand_frames(std::span<const std::byte> packed, std::span<std::byte> out) {
    ZSTD_DCtx* const decoder = zstd_decoder();
    if (decoder == nullptr) return out_of_memory();
    const std::size_t done = ZSTD_decompressDCtx(decoder, out.data(), out.size(), packed.data(), packed.size());
    if (ZSTD_isError(done)) return fail(ErrorKind::corrupt, "zstd data: {}", ZSTD_getErrorName(done));
    return done;
}

Result<void> expand(Codec codec, std::span<const std::byte> packed, std::span<std::byte> out) {
    switch (codec) {
    case Codec::deflate: return expand_deflate(packed, out);
    case Codec::zstd: return expand_zstd(packed, out);
    case Codec::zlib: return expand_zlib(packed, out);
    case Codec::none: return copy(packed, out);
    }
    return fail(ErrorKind::unsupported, "unknown codec");
}

} // namespace vdisk
