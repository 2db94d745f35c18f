// SPDX-License-Identifier: Apache-2.0
/// Writing numbers and texts into a file that is being built in memory.
#pragma once

#include "random_bytes.hpp"
#include "utf16.hpp"

#include <span>
#include <string_view>

namespace vdisk::test {

/// Puts bytes at an offset; the file grows as it must.
inline void put_bytes(Bytes& file, std::uint64_t at, std::span<const std::byte> bytes) {
    if (file.size() < at + bytes.size()) file.resize(at + bytes.size());
    std::copy(bytes.begin(), bytes.end(), file.begin() + static_cast<std::ptrdiff_t>(at));
}

inline void put_text(Bytes& file, std::uint64_t at, std::string_view text) {
    put_bytes(file, at, std::as_bytes(std::span(text)));
}

/// A number of `size` bytes, the lowest first.
inline void put_little(Bytes& file, std::uint64_t at, std::uint64_t value, std::size_t size) {
    for (std::size_t i = 0; i < size; ++i) {
        const auto byte = static_cast<std::byte>(value >> (8 * i));
        put_bytes(file, at + i, std::span(&byte, 1));
    }
}

/// A number of `size` bytes, the highest first.
inline void put_big(Bytes& file, std::uint64_t at, std::uint64_t value, std::size_t size) {
    for (std::size_t i = 0; i < size; ++i) {
        const auto byte = static_cast<std::byte>(value >> (8 * (size - 1 - i)));
        put_bytes(file, at + i, std::span(&byte, 1));
    }
}

/// An identifier that is `n` in its first field, in Microsoft's order: "0000000n-0000-0000-0000-0000000000aa".
inline Bytes guid(unsigned n) {
    Bytes bytes(16);
    for (std::size_t i = 0; i < 4; ++i) bytes[i] = static_cast<std::byte>(n >> (8 * i));
    if (n != 0) bytes[15] = std::byte{0xAA};
    return bytes;
}

} // namespace vdisk::test
