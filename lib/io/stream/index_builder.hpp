// SPDX-License-Identifier: Apache-2.0
/// Where a pass keeps what it learns.
#pragma once

#include "io/stream/stream_pass.hpp"

namespace vdisk {

/// Plain bytes that are lost where nobody knows how many: more than anything is long that is found by what it looks
/// like (an extent of a VMA archive has at most 3.7 MiB), so that nothing that begins before them is read on behind
/// them.
constexpr std::uint64_t kUnknownGap = 4U << 20;

/// A distance that is `base` at first and grows with the place, so that the index of a disk of 60 TiB has a million
/// segments and not sixty.
[[nodiscard]] std::uint64_t grown(std::uint64_t base, std::uint64_t plain) noexcept;

/// An index in the making. Its segments tile the plain bytes whatever it is told, and what it keeps of damage is
/// bounded: where small parts that are damaged lie between small ones that are not, they become one that is.
class IndexBuilder {
public:
    /// `name` is the file's, `packed_size` its size.
    IndexBuilder(std::string_view name, std::uint64_t packed_size, const Limits& limits)
        : name_(name), packed_size_(packed_size), limits_(limits) {}

    /// Plain bytes until now: where the next segment begins.
    [[nodiscard]] std::uint64_t size() const noexcept { return index_.size; }
    [[nodiscard]] std::size_t segments() const noexcept { return index_.segments.size(); }
    /// Whether so many plain bytes more are still a size.
    [[nodiscard]] bool room_for(std::uint64_t length) const noexcept;
    /// The last segment, if there is one from number `first` on.
    [[nodiscard]] const Segment* last(std::size_t first = 0) const noexcept;

    /// Tells what is wrong.
    void find(std::string finding);
    /// Tells it, and returns what Segment::reason says of it.
    [[nodiscard]] std::uint32_t doubt(Doubt::Kind kind, Error why);
    /// Valid until doubt() is called again.
    [[nodiscard]] const Error& why(std::uint32_t reason) const { return index_.doubts[reason - 1].why; }

    /// From now on nothing can be placed, because of this.
    void lose_place(std::uint32_t reason) noexcept { adrift_ = adrift_ == 0 ? reason : adrift_; }
    /// Whether what comes can be placed.
    [[nodiscard]] bool placed() const noexcept { return adrift_ == 0; }

    /// A segment of its own; its `plain` is set here.
    void add(Segment segment);
    /// A whole part of the stream, joined with those before it up to `most` plain bytes.
    void add_part(Segment segment, std::uint64_t most);
    /// The last segment and one more that begins behind it are one; `packed_length` is that of both.
    void grow(std::uint64_t length, std::uint32_t crc, std::uint64_t packed_length);
    /// Plain bytes that are not there.
    void add_lost(std::uint64_t length, std::uint32_t reason, std::uint64_t most);
    /// What holds for the segments from number `first` on: with more damage than is told part by part, and up to `most`
    /// plain bytes, they become a lost one.
    void judge(std::size_t first, std::uint32_t reason, Segment::Cover cover, std::uint64_t most);

    void saw_window(std::uint32_t log) noexcept { index_.window_log = std::max(index_.window_log, log); }

    /// The index. `corrupt` if it does not hold what check() asks for.
    [[nodiscard]] Result<StreamIndex> finish(std::uint64_t windows_size);

private:
    [[nodiscard]] bool crowded() const noexcept;
    bool join(const Segment& segment, std::uint64_t most);
    [[nodiscard]] std::uint32_t worse(std::uint32_t left, std::uint32_t right) const noexcept;

    std::string name_;
    std::uint64_t packed_size_;
    Limits limits_;
    StreamIndex index_;
    std::uint64_t packed_ = 0;        ///< as far in the file as segments lead
    std::uint64_t more_findings_ = 0; ///< that are not kept
    std::uint32_t adrift_ = 0;        ///< what made all that follows unplaced
};

} // namespace vdisk
