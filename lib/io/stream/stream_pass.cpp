// SPDX-License-Identifier: Apache-2.0
#include "io/stream/stream_pass.hpp"

#include <libdeflate.h>
#include <zlib.h>

#include <algorithm>
#include <cstring>

namespace vdisk {

Result<void> PackedInput::fill(std::uint64_t offset, std::size_t count) {
    const std::uint64_t left = source_.size() - std::min(offset, source_.size());
    const auto wanted = static_cast<std::size_t>(std::min<std::uint64_t>(std::max(count, kPackedReadAhead), left));
    std::span<const std::byte> kept;
    if (offset >= start_ && offset < end())
        kept = from(offset).first(static_cast<std::size_t>(std::min<std::uint64_t>(end() - offset, wanted)));
    if (!memory_ || memory_->size() < wanted) {
        BlockMemory larger(wanted, 0);
        std::ranges::copy(kept, larger.data());
        memory_.emplace(std::move(larger));
    } else if (!kept.empty()) std::memmove(memory_->data(), kept.data(), kept.size());
    start_ = offset;
    filled_ = 0; // unless all of it can be read
    VDISK_CHECK(read_exact(source_, offset + kept.size(), std::span(memory_->data(), wanted).subspan(kept.size())));
    filled_ = wanted;
    return ok();
}

std::span<const std::byte> PackedInput::from(std::uint64_t offset) const noexcept {
    return std::span<const std::byte>(memory_->data(), filled_).subspan(static_cast<std::size_t>(offset - start_));
}

Result<std::span<const std::byte>> PackedInput::at(std::uint64_t offset, std::size_t count) {
    if (!memory_ || offset < start_ || offset + count > end()) VDISK_CHECK(fill(offset, count));
    const auto rest = from(offset);
    return rest.first(std::min(count, rest.size()));
}

Result<std::span<const std::byte>> PackedInput::some(std::uint64_t offset) {
    if (!memory_ || offset < start_ || offset >= end()) VDISK_CHECK(fill(offset, 1));
    return from(offset);
}

Result<std::size_t> SpanSource::read_at(std::uint64_t offset, std::span<std::byte> out) const {
    if (offset >= bytes_.size()) return std::size_t{0};
    const auto rest = bytes_.subspan(static_cast<std::size_t>(offset));
    const std::size_t count = std::min(out.size(), rest.size());
    std::copy_n(rest.begin(), count, out.begin());
    return count;
}

std::uint32_t crc32_of(std::uint32_t crc, std::span<const std::byte> bytes) noexcept {
    return libdeflate_crc32(crc, bytes.data(), bytes.size());
}

std::uint32_t crc32_joined(std::uint32_t first, std::uint32_t second, std::uint64_t second_length) noexcept {
    constexpr std::uint64_t kMost = std::uint64_t{1} << 30; // zlib counts in 32 bits on some systems
    for (; second_length > kMost; second_length -= kMost)
        first = static_cast<std::uint32_t>(::crc32_combine(first, 0, static_cast<z_off_t>(kMost)));
    return static_cast<std::uint32_t>(::crc32_combine(first, second, static_cast<z_off_t>(second_length)));
}

bool differ_in_one_byte(std::uint32_t stored, std::uint32_t computed) noexcept {
    const std::uint32_t difference = stored ^ computed;
    for (const std::uint32_t byte : {0xFFU, 0xFF00U, 0xFF0000U, 0xFF000000U})
        if ((difference & ~byte) == 0) return true;
    return false;
}

} // namespace vdisk
