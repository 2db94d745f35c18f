// SPDX-License-Identifier: Apache-2.0
/// Windows of which only the bytes are kept that decoding really uses.
#pragma once

#include "io/stream/zstd_blocks.hpp"

namespace vdisk {

/// Zeros with holes that get filled: pages that nobody touches take no memory. There is room for a ZstdPrefix before
/// them.
class SparseBuffer {
public:
    /// `io` if there is no memory.
    [[nodiscard]] static Result<SparseBuffer> make(std::size_t size);
    [[nodiscard]] std::span<std::byte> bytes() const noexcept { return {memory_.get() + kZstdPrefixRoom, size_}; }
    /// The first `window` bytes, and the room before them.
    [[nodiscard]] ZstdPrefix prefix(std::size_t window) const noexcept {
        return {{memory_.get(), kZstdPrefixRoom}, bytes().first(window)};
    }

private:
    struct Unmap {
        std::size_t size;
        void operator()(std::byte* memory) const noexcept;
    };
    SparseBuffer(std::byte* memory, std::size_t size) : memory_(memory, Unmap{kZstdPrefixRoom + size}), size_(size) {}
    std::unique_ptr<std::byte, Unmap> memory_;
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

private:
    WindowMarks(SparseBuffer bits, std::size_t size)
        : size_(size), memory_(std::move(bits)), bits_(reinterpret_cast<std::uint64_t*>(memory_.bytes().data())),
          words_(div_ceil(size, 64)) {}
    std::size_t size_;
    SparseBuffer memory_;
    std::uint64_t* bits_;
    std::size_t words_;
};

/// Recent plain bytes in a ring: byte p lies at p modulo its size.
class PlainRing {
public:
    PlainRing(std::span<const std::byte> bytes) : bytes_(bytes) {}
    void copy(std::uint64_t at, std::span<std::byte> out) const noexcept;

private:
    std::span<const std::byte> bytes_;
};

/// No window that is kept has more bytes and runs together.
constexpr std::size_t kSparseWindowMost = 24U << 20;

struct WindowRun {
    std::uint32_t start;
    std::uint32_t length;
};

/// The bytes before a start that decoding from there uses, and what it must know besides.
struct SparseWindow {
    std::uint32_t size = 0; ///< of all of it
    RepeatOffsets offsets{};
    std::vector<WindowRun> runs;  ///< in order, apart from one another
    std::vector<std::byte> bytes; ///< of all runs

    /// Behind the last of them.
    [[nodiscard]] std::size_t end() const noexcept {
        if (runs.empty()) return 0;
        return std::size_t{runs.back().start} + runs.back().length;
    }
    /// Some measure of what it takes to keep.
    [[nodiscard]] std::size_t cost() const noexcept { return bytes.size() + 3 * runs.size(); }
};

/// Adds the marked ones of the bytes up to `end`, which are those behind what `window` has. The window's first byte is
/// the plain one at `first`.
void keep_marked(const WindowMarks& marks, std::size_t end, const PlainRing& ring, std::uint64_t first,
                 SparseWindow& window);

/// A window as bytes, compressed. `io` if there is no memory.
[[nodiscard]] Result<std::vector<std::byte>> pack_window(const SparseWindow& window);

/// A window in memory, zeros where no bytes were kept, with room behind it.
struct DecoderState {
    SparseBuffer memory;
    std::size_t window;
    RepeatOffsets offsets;

    [[nodiscard]] ZstdPrefix prefix() const noexcept { return memory.prefix(window); }
};

/// The window again, in memory of `room` bytes more than itself and than `least`. `corrupt` if `packed` does not hold
/// one.
[[nodiscard]] Result<DecoderState> unpack_window(std::span<const std::byte> packed, std::size_t least,
                                                 std::size_t room);

} // namespace vdisk
