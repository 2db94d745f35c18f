// SPDX-License-Identifier: Apache-2.0
/// Windows of which only the bytes are kept that decoding really uses.
///
/// Which ones those are is learnt without a look inside the decoder, because decoding only copies: it is run with the window
/// replaced by a pattern whose every few bytes spell their position. Output that then differs from the true one came from the window,
/// and tells from where.
#pragma once

#include "io/stream/zstd_blocks.hpp"

namespace vdisk {

/// Zeros with holes that get filled: pages that nobody touches take no memory. There is room for a ZstdPrefix before them.
class SparseBuffer {
public:
    /// `io` if there is no memory.
    [[nodiscard]] static Result<SparseBuffer> make(std::size_t size);
    ~SparseBuffer();
    SparseBuffer(SparseBuffer&& other) noexcept : data_(std::exchange(other.data_, nullptr)), size_(other.size_) {}
    SparseBuffer& operator=(SparseBuffer&&) = delete;
    [[nodiscard]] std::span<std::byte> bytes() const noexcept { return {data_, size_}; }
    [[nodiscard]] ZstdPrefix prefix() const noexcept { return {{data_ - kZstdPrefixRoom, kZstdPrefixRoom}, bytes()}; }

private:
    SparseBuffer(std::byte* data, std::size_t size) : data_(data), size_(size) {}
    std::byte* data_;
    std::size_t size_;
};

/// Which bytes of a window are used. Parts without any take no memory.
class WindowMarks {
public:
    /// None yet. `io` if there is no memory.
    [[nodiscard]] static Result<WindowMarks> make(std::size_t size);
    /// Marks [from, to).
    void set(std::size_t from, std::size_t to) noexcept;
    [[nodiscard]] std::size_t size() const noexcept { return size_; }
    /// The first marked byte at or behind `at`; size() if there is none.
    [[nodiscard]] std::size_t next(std::size_t at) const noexcept;
    /// The first unmarked one.
    [[nodiscard]] std::size_t next_gap(std::size_t at) const noexcept;
    /// Bytes of the pages in which something is marked: what a sparse window takes in memory.
    [[nodiscard]] std::size_t page_bytes() const noexcept;

private:
    WindowMarks(SparseBuffer bits, std::size_t size)
        : size_(size), memory_(std::move(bits)), bits_(reinterpret_cast<std::uint64_t*>(memory_.bytes().data())), words_(div_ceil(size, 64)) {}
    std::size_t size_;
    SparseBuffer memory_;
    std::uint64_t* bits_;
    std::size_t words_;
};

/// The pattern, as long as the longest window. It repeats after kPatternPeriod, so that one copy in memory does for all of it.
class WindowPattern {
public:
    static constexpr std::size_t kPeriod = std::size_t{1} << 24;

    /// For windows of up to `size` bytes. `io` if there is no memory.
    [[nodiscard]] static Result<WindowPattern> make(std::size_t size);
    ~WindowPattern();
    WindowPattern(WindowPattern&& other) noexcept : data_(std::exchange(other.data_, nullptr)), size_(other.size_), room_(other.room_) {}
    WindowPattern& operator=(WindowPattern&&) = delete;

    /// Its first `size` bytes, and room before them.
    [[nodiscard]] ZstdPrefix prefix(std::size_t size) const noexcept { return {{data_ - kZstdPrefixRoom, kZstdPrefixRoom}, {data_, size}}; }
    /// Gives back the memory that reading it took.
    void forget() const noexcept;

private:
    WindowPattern(std::byte* data, std::size_t size, std::size_t room) : data_(data), size_(size), room_(room) {}
    std::byte* data_;
    std::size_t size_;
    std::size_t room_; ///< whole pages before it
};

/// Recent plain bytes in a ring: byte p lies at p modulo its size.
class PlainRing {
public:
    PlainRing(std::span<const std::byte> bytes) : bytes_(bytes) {}
    [[nodiscard]] std::uint64_t place(std::uint64_t at) const noexcept { return at % bytes_.size(); }
    /// The byte at a place that may be up to one turn behind the ring's end.
    [[nodiscard]] std::byte at_place(std::uint64_t place) const noexcept {
        return bytes_[static_cast<std::size_t>(place < bytes_.size() ? place : place - bytes_.size())];
    }
    void copy(std::uint64_t at, std::span<std::byte> out) const noexcept;
    /// Whether the bytes at both places are the same.
    [[nodiscard]] bool same(std::uint64_t one, std::uint64_t other, std::size_t count) const noexcept {
        std::uint64_t left = place(one);
        std::uint64_t right = place(other);
        while (count > 0 && at_place(left) == at_place(right)) {
            if (++left == bytes_.size()) left = 0;
            if (++right == bytes_.size()) right = 0;
            --count;
        }
        return count == 0;
    }
    /// Whether the bytes at `at` are these.
    [[nodiscard]] bool holds(std::uint64_t at, std::span<const std::byte> bytes) const noexcept;

private:
    std::span<const std::byte> bytes_;
};

/// A copy by an offset that the decoder was to have from before the start.
struct RepeatUse {
    unsigned which;       ///< of the three
    std::uint32_t less;   ///< what the offset was reduced by: 0 or 1
    std::uint64_t at;     ///< where in the output it was put
    std::size_t length;
};

/// What the repeat offsets are with the pattern for a window: so large that no true one is likely to be one of them, or by 1 less.
[[nodiscard]] RepeatOffsets patterned_offsets(std::size_t window) noexcept;

/// What came out of the decoder with the pattern for a window and patterned_offsets(), what should have, and the pattern.
struct PatternedOutput {
    std::span<const std::byte> patterned;
    std::span<const std::byte> truth;
    std::span<const std::byte> pattern;
    std::uint64_t first; ///< which byte of the output behind the window the first one is
};

/// Copies of three bytes do not tell their place fully. To seek for it costs time, and most encoders make none.
enum class ShortCopies : std::uint8_t { pass_over, seek };

/// What the output shows to be used from before the start.
struct WindowUse {
    WindowMarks marks;
    std::vector<RepeatUse> repeats{};
};

/// Marks the bytes of the window (the bytes that end at `at`) that the output shows to be used, and adds the uses of repeat offsets. Misses
/// some only by coincidence or where short copies are passed over, which a run with the sparse window shows; may mark some too many.
void find_used(const PatternedOutput& output, const PlainRing& ring, std::uint64_t at, ShortCopies short_copies, WindowUse& use);

/// A window, and the offsets that go with it.
struct DecoderState {
    SparseBuffer window;
    RepeatOffsets offsets;
};

/// The marked bytes with their places and the offsets, compressed.
[[nodiscard]] Result<std::vector<std::byte>> pack_window(const WindowMarks& marks, const RepeatOffsets& offsets, const PlainRing& ring, std::uint64_t at);

/// The window again, zeros where it was not marked. `corrupt` if `packed` does not hold one.
[[nodiscard]] Result<DecoderState> unpack_window(std::span<const std::byte> packed);

} // namespace vdisk
