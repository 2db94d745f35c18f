// SPDX-License-Identifier: Apache-2.0
#include "hyperv/xpress.hpp"

#include <boost/endian/conversion.hpp>

#include <algorithm>
#include <cstring>

namespace vdisk::hyperv {
namespace {

using boost::endian::little_to_native;

constexpr std::uint32_t kShortest = 3;  // a match's length
constexpr std::uint32_t kInToken = 7;   // three bits, then
constexpr std::uint32_t kInNibble = 15; // four more, then
constexpr std::uint32_t kInByte = 255;  // a byte, then 16 or 32 bits that hold the length itself

class Expander {
public:
    Expander(std::span<const std::byte> packed, std::span<std::byte> out) : in_(packed), out_(out) {}

    // A flag word's bits, from the highest: 0 is a literal, 1 a match. The input ends where a flag's item should begin.
    Result<void> run() {
        while (true) {
            if (flags_left_ == 0) {
                if (left() == 0) break;
                VDISK_TRY(word, take<std::uint32_t>());
                flags_ = word;
                flags_left_ = 32;
            }
            --flags_left_;
            const bool match = ((flags_ >> flags_left_) & 1U) != 0;
            if (left() == 0) break;
            if (match) VDISK_CHECK(copy_match());
            else VDISK_CHECK(literal());
        }
        if (made_ != out_.size())
            return fail(ErrorKind::corrupt, "XPRESS: the stream ends after {} of {} bytes", made_, out_.size());
        return ok();
    }

private:
    std::size_t left() const { return in_.size() - at_; }

    template<class Number> Result<Number> take() {
        if (left() < sizeof(Number)) return fail(ErrorKind::corrupt, "XPRESS: the stream is cut off at byte {}", at_);
        Number value;
        std::memcpy(&value, in_.data() + at_, sizeof value);
        at_ += sizeof value;
        return little_to_native(value);
    }

    Result<void> literal() {
        if (made_ == out_.size()) return too_long();
        out_[made_++] = in_[at_++];
        return ok();
    }

    Result<void> copy_match() {
        VDISK_TRY(token, take<std::uint16_t>());
        const std::size_t distance = (std::size_t{token} >> 3) + 1;
        VDISK_TRY(length, match_length(token & kInToken));
        if (distance > made_)
            return fail(ErrorKind::corrupt, "XPRESS: a match reaches {} bytes back at byte {}", distance, made_);
        if (length > out_.size() - made_) return too_long();
        // Byte by byte: a match may overlap what it makes.
        for (std::uint64_t i = 0; i < length; ++i, ++made_) out_[made_] = out_[made_ - distance];
        return ok();
    }

    Result<std::uint64_t> match_length(std::uint32_t length) {
        if (length < kInToken) return std::uint64_t{length} + kShortest;
        VDISK_TRY(nibble, take_nibble());
        if (nibble < kInNibble) return std::uint64_t{kInToken} + nibble + kShortest;
        VDISK_TRY(byte, take<std::uint8_t>());
        if (byte < kInByte) return std::uint64_t{kInToken} + kInNibble + byte + kShortest;
        VDISK_TRY(word, take<std::uint16_t>());
        std::uint64_t whole = word;
        if (word == 0) {
            VDISK_TRY(wide, take<std::uint32_t>());
            whole = wide;
        }
        if (whole < kInToken + kInNibble) return fail(ErrorKind::corrupt, "XPRESS: a long match of {} bytes", whole);
        return whole + kShortest;
    }

    // Two nibbles share a byte: the first match takes its low half, the next the high one.
    Result<std::uint32_t> take_nibble() {
        if (half_byte_) {
            const std::uint32_t high = *half_byte_ >> 4;
            half_byte_.reset();
            return high;
        }
        VDISK_TRY(byte, take<std::uint8_t>());
        half_byte_ = byte;
        return std::uint32_t{byte} & 15U;
    }

    Error too_long() const {
        return fail(ErrorKind::corrupt, "XPRESS: the stream gives more than {} bytes", out_.size());
    }

    std::span<const std::byte> in_;
    std::span<std::byte> out_;
    std::size_t at_ = 0;
    std::size_t made_ = 0;
    std::uint32_t flags_ = 0;
    unsigned flags_left_ = 0;
    std::optional<std::uint8_t> half_byte_;
};

} // namespace

Result<void> expand_xpress(std::span<const std::byte> packed, std::span<std::byte> out) {
    return Expander(packed, out).run();
}

} // namespace vdisk::hyperv
