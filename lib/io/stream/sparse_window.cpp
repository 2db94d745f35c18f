// SPDX-License-Identifier: Apache-2.0
#include "io/stream/sparse_window.hpp"

#include "base/limits.hpp"
#include "base/system/memory.hpp"

#include <zstd.h>

#include <algorithm>
#include <bit>
#include <cstring>

namespace vdisk {
namespace {

// Gaps between marked bytes that cost more to tell than to keep.
constexpr std::size_t kSmallGap = 6;
constexpr int kPackLevel = 3;

void put_number(std::vector<std::byte>& out, std::uint64_t value) {
    for (; value >= 0x80; value >>= 7) out.push_back(static_cast<std::byte>(value | 0x80));
    out.push_back(static_cast<std::byte>(value));
}

Error bad_window() {
    return fail(ErrorKind::corrupt, "stream index: a window is damaged");
}

class NumberReader {
public:
    explicit NumberReader(std::span<const std::byte> bytes) : rest_(bytes) {}
    Result<std::size_t> get() {
        std::uint64_t value = 0;
        for (unsigned shift = 0; shift < 63 && !rest_.empty(); shift += 7) {
            const auto byte = std::to_integer<std::uint64_t>(rest_.front());
            rest_ = rest_.subspan(1);
            value |= (byte & 0x7F) << shift;
            if (byte < 0x80) return static_cast<std::size_t>(value);
        }
        return bad_window();
    }
    std::span<const std::byte> rest() const noexcept { return rest_; }

private:
    std::span<const std::byte> rest_;
};

Result<std::vector<WindowRun>> read_runs(NumberReader& numbers, std::size_t size) {
    VDISK_TRY(count, numbers.get());
    if (count > numbers.rest().size() / 3) return bad_window(); // two numbers and a byte each
    std::vector<WindowRun> runs;
    runs.reserve(count);
    std::size_t end = 0;
    for (std::size_t i = 0; i < count; ++i) {
        VDISK_TRY(gap, numbers.get());
        VDISK_TRY(length, numbers.get());
        if (length == 0 || gap > size - end || length > size - end - gap) return bad_window();
        runs.push_back({static_cast<std::uint32_t>(end + gap), static_cast<std::uint32_t>(length)});
        end += gap + length;
    }
    return runs;
}

Result<std::vector<std::byte>> compress(std::span<const std::byte> bytes) {
    std::vector<std::byte> out(ZSTD_compressBound(bytes.size()));
    const std::size_t size = ZSTD_compress(out.data(), out.size(), bytes.data(), bytes.size(), kPackLevel);
    if (ZSTD_isError(size)) return fail(ErrorKind::io, "no memory for a window");
    out.resize(size);
    return out;
}

Result<std::vector<std::byte>> decompress(std::span<const std::byte> packed) {
    const unsigned long long size = ZSTD_getFrameContentSize(packed.data(), packed.size());
    constexpr std::size_t kNumbersBefore =
        64; // more than the size, the offsets and the number of runs take; no run's take more than a WindowRun
    if (size > kSparseWindowMost + kNumbersBefore) return bad_window();
    std::vector<std::byte> bytes(static_cast<std::size_t>(size));
    if (ZSTD_decompress(bytes.data(), bytes.size(), packed.data(), packed.size()) != bytes.size()) return bad_window();
    return bytes;
}

} // namespace

Result<WindowMarks> WindowMarks::make(std::size_t size) {
    VDISK_TRY(bits, SparseBuffer::make(div_ceil(size, 64) * sizeof(std::uint64_t)));
    return Result<WindowMarks>(WindowMarks(std::move(bits), size));
}

void WindowMarks::set(std::size_t from, std::size_t to) noexcept {
    while (from < to) {
        const std::size_t count = std::min(to - from, 64 - from % 64);
        bits_[from / 64] |= (~std::uint64_t{0} >> (64 - count)) << from % 64;
        from += count;
    }
}

std::size_t WindowMarks::next(std::size_t at) const noexcept {
    if (at >= size_) return size_;
    std::size_t word = at / 64;
    std::uint64_t bits = bits_[word] >> at % 64 << at % 64;
    while (bits == 0 && ++word < words_) bits = bits_[word];
    return bits == 0 ? size_ : word * 64 + static_cast<std::size_t>(std::countr_zero(bits));
}

std::size_t WindowMarks::next_gap(std::size_t at) const noexcept {
    if (at >= size_) return size_;
    std::size_t word = at / 64;
    std::uint64_t gaps = ~bits_[word] >> at % 64 << at % 64;
    while (gaps == 0 && ++word < words_) gaps = ~bits_[word];
    return gaps == 0 ? size_ : std::min(size_, word * 64 + static_cast<std::size_t>(std::countr_zero(gaps)));
}

Result<SparseBuffer> SparseBuffer::make(std::size_t size) {
    std::byte* const memory = system::reserve_zeros(kZstdPrefixRoom + size);
    if (memory == nullptr) return fail(ErrorKind::io, "no memory for a window of {} bytes", size);
    return SparseBuffer(memory, size);
}

void SparseBuffer::Unmap::operator()(std::byte* memory) const noexcept {
    system::release_zeros(memory, size);
}

void PlainRing::copy(std::uint64_t at, std::span<std::byte> out) const noexcept {
    while (!out.empty()) {
        const auto start = static_cast<std::size_t>(at % bytes_.size());
        const std::size_t count = std::min(out.size(), bytes_.size() - start);
        std::memcpy(out.data(), bytes_.data() + start, count);
        out = out.subspan(count);
        at += count;
    }
}

void keep_marked(const WindowMarks& marks, std::size_t end, const PlainRing& ring, std::uint64_t first,
                 SparseWindow& window) {
    for (std::size_t at = marks.next(window.end()); at < end; at = marks.next(window.end())) {
        const std::size_t stop = std::min(end, marks.next_gap(at));
        const bool joins = !window.runs.empty() && at - window.end() <= kSmallGap;
        const std::size_t from = joins ? window.end() : at;
        const auto length = static_cast<std::uint32_t>(stop - from);
        if (joins) window.runs.back().length += length;
        else window.runs.push_back({static_cast<std::uint32_t>(from), length});
        window.bytes.resize(window.bytes.size() + length);
        ring.copy(first + from, std::span(window.bytes).last(length));
    }
}

// The size of the window, the offsets and the number of runs; for each run the gap before it and its length; all bytes
// of all runs.
Result<std::vector<std::byte>> pack_window(const SparseWindow& window) {
    std::vector<std::byte> plain;
    plain.reserve(window.cost());
    put_number(plain, window.size);
    for (const std::uint32_t offset : window.offsets) put_number(plain, offset);
    put_number(plain, window.runs.size());
    std::size_t end = 0;
    for (const WindowRun& run : window.runs) {
        put_number(plain, run.start - end);
        put_number(plain, run.length);
        end = std::size_t{run.start} + run.length;
    }
    plain.insert(plain.end(), window.bytes.begin(), window.bytes.end());
    return compress(plain);
}

Result<DecoderState> unpack_window(std::span<const std::byte> packed, std::size_t least, std::size_t room) {
    VDISK_TRY(plain, decompress(packed));
    NumberReader numbers(plain);
    VDISK_TRY(size, numbers.get());
    if (size > Limits{}.stream_window_bytes || size < kZstdWindowLeast) return bad_window();
    RepeatOffsets offsets{};
    for (std::uint32_t& offset : offsets) {
        VDISK_TRY(value, numbers.get());
        if (value == 0 || value > size) return bad_window();
        offset = static_cast<std::uint32_t>(value);
    }
    VDISK_TRY(runs, read_runs(numbers, size));
    std::span<const std::byte> bytes = numbers.rest();
    VDISK_TRY(memory, SparseBuffer::make(std::max(size, least) + room));
    for (const WindowRun& run : runs) {
        if (run.length > bytes.size()) return bad_window();
        std::memcpy(memory.bytes().data() + run.start, bytes.data(), run.length);
        bytes = bytes.subspan(run.length);
    }
    if (!bytes.empty()) return bad_window();
    return DecoderState{std::move(memory), size, offsets};
}

} // namespace vdisk
