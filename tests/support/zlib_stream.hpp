// SPDX-License-Identifier: Apache-2.0
/// What zlib makes of bytes, for tests of those who read it.
#pragma once

#include <cstddef>
#include <span>
#include <stdexcept>
#include <vector>
#include <zlib.h>

namespace vdisk::test {

struct ZlibChoice {
    int level = 6;
    int window_bits = -MAX_WBITS; ///< as deflateInit2() has it: negative for a bare stream, 16 more for gzip
};

inline std::vector<std::byte> zlib_stream(std::span<const std::byte> plain, const ZlibChoice& choice = {}) {
    z_stream stream{};
    if (deflateInit2(&stream, choice.level, Z_DEFLATED, choice.window_bits, 8, Z_DEFAULT_STRATEGY) != Z_OK)
        throw std::runtime_error("zlib can't begin");
    std::vector<std::byte> out(deflateBound(&stream, static_cast<uLong>(plain.size())) + 64);
    stream.next_in = const_cast<Bytef*>(reinterpret_cast<const Bytef*>(plain.data()));
    stream.avail_in = static_cast<uInt>(plain.size());
    stream.next_out = reinterpret_cast<Bytef*>(out.data());
    stream.avail_out = static_cast<uInt>(out.size());
    const int ended = deflate(&stream, Z_FINISH);
    out.resize(stream.total_out);
    deflateEnd(&stream);
    if (ended != Z_STREAM_END) throw std::runtime_error("zlib can't end");
    return out;
}

} // namespace vdisk::test
