// SPDX-License-Identifier: Apache-2.0
#include "format/vma/search.hpp"

#include <algorithm>
#include <cstring>
#include <string_view>

namespace vdisk::vma {
namespace {

constexpr std::size_t kPiece = 1U << 20;
constexpr std::size_t kSector = 512;
// What can't be read is stepped over faster and faster, up to this.
constexpr std::uint64_t kMostStep = 1U << 20;
// In what was made to look like headers everywhere, checksums are taken of so many for each searched sector.
constexpr std::uint64_t kSumsInVain = 4;

} // namespace

Result<std::optional<std::uint64_t>> ExtentSearch::next(std::uint64_t from) {
    at_ = from;
    piece_ = kPiece;
    step_ = kSector;
    while (at_ < source_.size() && source_.size() - at_ >= sizeof(RawExtent)) {
        VDISK_CHECK(tell(progress_, at_, source_.size()));
        if (const auto had = read_before(); had.size() >= sizeof(RawExtent)) {
            VDISK_TRY(found, find_in(had));
            if (found) return std::optional(at_ + *found);
            at_ += had.size() - (sizeof(RawExtent) - 1);
            continue;
        }
        const Readability known = source_.readability(at_, piece_);
        if (known.why) {
            at_ += known.length;
            continue;
        }
        buffer_.resize(static_cast<std::size_t>(std::min<std::uint64_t>(piece_, known.length)));
        const auto got = source_.read_at(at_, buffer_);
        if (got.has_error()) {
            if (got.error().kind == ErrorKind::cancelled) return Error(got.error());
            buffer_.clear();
            step_over(got.error());
            continue;
        }
        buffer_.resize(got.value());
        buffer_at_ = at_;
        searched_ += buffer_.size();
        VDISK_TRY(found, find_in(buffer_));
        if (found) return std::optional(at_ + *found);
        // A header may begin in this piece and end in the next one; but not across what can't be read.
        const bool goes_on = buffer_.size() >= sizeof(RawExtent) && known.length >= piece_;
        at_ += goes_on ? buffer_.size() - (sizeof(RawExtent) - 1) : std::max<std::size_t>(buffer_.size(), 1);
        piece_ = std::min(piece_ * 2, kPiece);
        step_ = kSector;
    }
    return std::optional<std::uint64_t>();
}

// What is at hand from `at_` on: where each header found claims data among which the next one is, searches follow each
// other closely.
std::span<const std::byte> ExtentSearch::read_before() const {
    if (at_ < buffer_at_ || at_ - buffer_at_ >= buffer_.size()) return {};
    return std::span(buffer_).subspan(static_cast<std::size_t>(at_ - buffer_at_));
}

// Something in the piece can't be read: it is looked for by smaller and smaller pieces.
void ExtentSearch::step_over(const Error& error) {
    passing_errors_ = passing_errors_ || error.kind == ErrorKind::io || error.kind == ErrorKind::truncated;
    if (piece_ > sizeof(RawExtent)) {
        piece_ /= 2;
        return;
    }
    at_ += step_;
    step_ = std::min(step_ * 2, kMostStep);
}

Result<std::optional<std::uint64_t>> ExtentSearch::find_in(std::span<const std::byte> bytes) {
    const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    constexpr std::string_view kExtent(kExtentMagic.data(), kExtentMagic.size());
    for (std::size_t from = 0; bytes.size() - from >= sizeof(RawExtent);) {
        const std::size_t at = text.find(kExtent, from);
        if (at == std::string_view::npos || bytes.size() - at < sizeof(RawExtent)) break;
        RawExtent extent;
        std::memcpy(&extent, bytes.data() + at, sizeof extent);
        from = at + 1;
        if (!judge_.may_be_sound(extent) || summed_ > kSumsInVain * (searched_ / kSector + kSector)) continue;
        VDISK_TRY(wrong, judge_.fault(extent));
        if (!wrong) return std::optional<std::uint64_t>(at);
        ++summed_;
    }
    return std::optional<std::uint64_t>();
}

} // namespace vdisk::vma
