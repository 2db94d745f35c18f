// SPDX-License-Identifier: Apache-2.0
/// The sequences of zstd blocks (RFC 8878, 3.1.1.3.2): which earlier bytes a block copies. libzstd decodes them too,
/// but tells nobody.
#pragma once

#include "io/stream/zstd_blocks.hpp"

#include <array>
#include <vector>

namespace vdisk {

/// So many literals, then a copy of `length` bytes from `offset` bytes before.
struct ZstdSequence {
    std::uint32_t literals;
    std::uint32_t length;
    std::uint32_t offset;
};

/// What a compressed block copies, and what it needs of blocks before it besides bytes and repeat offsets.
struct ZstdBlockSequences {
    enum class HuffmanTable : std::uint8_t { unused, own, earlier };

    std::span<const ZstdSequence> sequences; ///< literals may follow the last
    HuffmanTable literals = HuffmanTable::unused;
    bool own_tables = false; ///< it brings all three tables of sequences; a block without sequences brings none
};

/// A table for one of the three numbers of a sequence: states of a finite-state decoder.
class ZstdSequenceTable {
public:
    static constexpr unsigned kLogMost = 9;
    struct State {
        std::uint32_t base; ///< the number, less its extra bits
        std::uint16_t next; ///< the state that follows, less the bits to read for it
        std::uint8_t next_bits;
        std::uint8_t extra_bits;
    };

    /// A number that is its base and so many bits more.
    struct Code {
        std::uint32_t base;
        std::uint8_t bits;
    };

    /// By how often each code comes (-1: less than once), which sums up to 2^log.
    void build(std::span<const std::int16_t> counts, unsigned log, std::span<const Code> codes) noexcept;
    /// One code always.
    void build_single(const Code& code) noexcept;

    [[nodiscard]] const State* states() const noexcept { return states_.data(); }
    [[nodiscard]] unsigned log() const noexcept { return log_; }

private:
    std::array<State, std::size_t{1} << kLogMost> states_{};
    unsigned log_ = 0;
};

/// Reads the sequences of a frame's blocks one after the other. One thread's.
class ZstdSequenceReader {
public:
    void begin_frame() noexcept;

    /// The sequences of a compressed block that expands to so many bytes, its header left off; valid until the next
    /// call. Literals and copies are as long together as the block. `corrupt` if they can't be read: then what comes
    /// behind it in the frame can't either.
    [[nodiscard]] Result<ZstdBlockSequences> read(std::span<const std::byte> block, std::size_t plain_length);

    /// What the next block may repeat, the latest first.
    [[nodiscard]] const RepeatOffsets& repeats() const noexcept { return repeats_; }

private:
    struct Field;
    struct Lengths {
        std::uint64_t literals = 0;
        std::uint64_t copies = 0;
    };
    static const std::array<Field, 3> kFields;

    Result<bool> read_tables(unsigned modes, std::span<const std::byte>& rest);
    Result<Lengths> read_sequences(std::size_t count, std::span<const std::byte> bits);

    std::array<ZstdSequenceTable, 3> tables_{}; ///< of literal lengths, offsets, match lengths, as they come in a block
    std::array<bool, 3> there_{};               ///< whether a block had them
    RepeatOffsets repeats_{};
    std::vector<ZstdSequence> sequences_;
    std::vector<std::byte> padded_;
};

} // namespace vdisk
