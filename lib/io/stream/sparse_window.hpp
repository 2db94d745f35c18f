// SPDX-License-Identifier: Apache-2.0
/// Windows of which only the bytes are kept that decoding really uses.
///
/// Which ones those are is learnt without a look inside the decoder, because decoding only copies: it is run with the window
/// replaced by a pattern whose every few bytes spell their position. Output that then differs from the true one came from the window,
/// and tells from where.
#pragma once

#include "io/byte_source.hpp"

namespace vdisk {

/// Which bytes of a window are used.
class WindowMarks {
public:
    explicit WindowMarks(std::size_t size) : size_(size), bits_(div_ceil(size, 64)) {}
    /// Marks [from, to).
    void set(std::size_t from, std::size_t to) noexcept;
    [[nodiscard]] std::size_t size() const noexcept { return size_; }
    /// The first marked byte at or behind `at`; size() if there is none.
    [[nodiscard]] std::size_t next(std::size_t at) const noexcept;
    /// The first unmarked one.
    [[nodiscard]] std::size_t next_gap(std::size_t at) const noexcept;

private:
    std::size_t size_;
    std::vector<std::uint64_t> bits_;
};

/// Zeros with holes that get filled: pages that nobody touches take no memory.
class SparseBuffer {
public:
    /// `io` if there is no memory.
    [[nodiscard]] static Result<SparseBuffer> make(std::size_t size);
    ~SparseBuffer();
    SparseBuffer(SparseBuffer&& other) noexcept : data_(std::exchange(other.data_, nullptr)), size_(other.size_) {}
    SparseBuffer& operator=(SparseBuffer&&) = delete;
    [[nodiscard]] std::span<std::byte> bytes() const noexcept { return {data_, size_}; }

private:
    SparseBuffer(std::byte* data, std::size_t size) : data_(data), size_(size) {}
    std::byte* data_;
    std::size_t size_;
};

/// The pattern, as long as the longest window. It repeats after kPatternPeriod, so that one copy in memory does for all of it.
class WindowPattern {
public:
    static constexpr std::size_t kPeriod = std::size_t{1} << 24;

    /// For windows of up to `size` bytes. `io` if there is no memory.
    [[nodiscard]] static Result<WindowPattern> make(std::size_t size);
    ~WindowPattern();
    WindowPattern(WindowPattern&& other) noexcept : data_(std::exchange(other.data_, nullptr)), size_(other.size_) {}
    WindowPattern& operator=(WindowPattern&&) = delete;

    [[nodiscard]] std::span<const std::byte> bytes() const noexcept { return {data_, size_}; }
    /// Gives back the memory that reading it took.
    void forget() const noexcept;

private:
    WindowPattern(std::byte* data, std::size_t size) : data_(data), size_(size) {}
    std::byte* data_;
    std::size_t size_;
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

private:
    std::span<const std::byte> bytes_;
};

/// What came out of the decoder with the pattern for a window, what should have, and the pattern.
struct PatternedOutput {
    std::span<const std::byte> patterned;
    std::span<const std::byte> truth;
    std::span<const std::byte> pattern;
};

/// Copies of three bytes do not tell their place fully. To seek for it costs time, and most encoders make none.
enum class ShortCopies : std::uint8_t { pass_over, seek };

/// Marks the bytes of the window (the `marks.size()` bytes that end at `at`) that the output shows to be used. Misses some only
/// by coincidence or where short copies are passed over, which a run with the sparse window shows; may mark some too many.
void mark_used(const PatternedOutput& output, const PlainRing& ring, std::uint64_t at, ShortCopies short_copies, WindowMarks& marks);

/// The window (as above) with zeros where it is not marked.
[[nodiscard]] Result<SparseBuffer> sparse_window(const WindowMarks& marks, const PlainRing& ring, std::uint64_t at);

/// The marked bytes with their places, compressed.
[[nodiscard]] Result<std::vector<std::byte>> pack_window(const WindowMarks& marks, const PlainRing& ring, std::uint64_t at);

/// The window again, zeros where it was not marked. `corrupt` if `packed` does not hold one.
[[nodiscard]] Result<SparseBuffer> unpack_window(std::span<const std::byte> packed);

} // namespace vdisk
