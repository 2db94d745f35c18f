// SPDX-License-Identifier: Apache-2.0
#include "base/digest.hpp"
#include "format/vma/vma.hpp"
#include "format_target.hpp"

#include <algorithm>
#include <cstring>

namespace {

using Bytes = std::vector<std::byte>;

std::size_t big_endian(const Bytes& bytes, std::size_t at, std::size_t count) {
    std::size_t value = 0;
    for (std::size_t i = 0; i < count; ++i) value = value << 8 | static_cast<std::size_t>(bytes[at + i]);
    return value;
}

void put_md5(Bytes& bytes, std::size_t start, std::size_t size, std::size_t field) {
    const auto summed = std::span(bytes).subspan(start, size);
    std::ranges::fill(summed.subspan(field, 16), std::byte{0});
    vdisk::Hasher hasher("MD5");
    hasher.add(summed);
    if (const auto md5 = hasher.finish<16>()) std::ranges::copy(*md5, summed.subspan(field, 16).begin());
}

// Makes the checksums right, which no mutation would find: of the header, and of whatever starts like an extent of this
// archive and is not marked by its first reserved byte as meant to be damaged.
void put_checksums(Bytes& bytes) {
    if (bytes.size() < 64) return;
    const std::size_t header = big_endian(bytes, 56, 4);
    if (header <= 12288 || header > bytes.size()) return;
    put_md5(bytes, 0, header, 32);
    for (std::size_t at = header; at + 512 <= bytes.size(); at += 512) {
        if (std::memcmp(bytes.data() + at, "VMAE", 4) != 0 || bytes[at + 4] == std::byte{0xBD}) continue;
        std::memcpy(bytes.data() + at + 8, bytes.data() + 8, 16);
        put_md5(bytes, at, 512, 24);
    }
}

} // namespace

void vdisk::fuzz::vma(Input input) {
    Bytes archive(input.begin(), input.end());
    put_checksums(archive);
    run(kVmaFormat, archive);
}
