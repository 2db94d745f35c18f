// SPDX-License-Identifier: Apache-2.0
#include "hyperv/ram_block.hpp"

#include "hyperv/xpress.hpp"

#include <boost/endian/conversion.hpp>

#include <algorithm>
#include <cstring>

namespace vdisk::hyperv {
namespace {

constexpr std::uint32_t kEnd = 0xFFFFFFFF;
constexpr std::uint32_t kFillPage = 0xFFFFFFFE;  // 8 bytes of pattern
constexpr std::uint32_t kFillPages = 0xFFFFFFFD; // the same and a count of pages
constexpr std::uint32_t kPiece = 0xFFFFFFFC;     // lengths before and after, then bytes
constexpr std::size_t kPattern = 8;

class StreamReader {
public:
    StreamReader(std::span<const std::byte> stored, RamBlock& block) : in_(stored), block_(block) {}

    void run() {
        auto done = read();
        if (done.has_error()) note(done.error().what);
        if (done.has_value() && !spoiled_) return;
        // Behind a page whose bytes could not be expanded, only a stream that comes out even is to be believed.
        if (done.has_error() && spoiled_) drop_from(*spoiled_);
        if (done.has_error()) drop_from(made_);
    }

private:
    std::size_t left() const { return in_.size() - at_; }
    std::span<std::byte> room() const { return std::span(block_.bytes).subspan(made_); }

    Result<void> read() {
        while (left() > 0) {
            VDISK_TRY(token, take_number());
            if (token == kEnd) break;
            VDISK_CHECK(token_content(token));
        }
        if (made_ != kBlockBytes)
            return fail(ErrorKind::corrupt, "the stream ends after {} of {} pages", made_ / kPageBytes, kPagesPerBlock);
        return ok();
    }

    Result<void> token_content(std::uint32_t token) {
        if (token == kFillPage) return fill(1);
        if (token == kFillPages) return fill_counted();
        if (token == kPiece) return piece();
        if (token == 0 || token > kPageBytes)
            return fail(ErrorKind::corrupt, "page token {:#x} is no length of a page", token);
        return stored(token, kPageBytes);
    }

    Result<std::uint32_t> take_number() {
        VDISK_TRY(bytes, take(sizeof(std::uint32_t)));
        std::uint32_t value;
        std::memcpy(&value, bytes.data(), sizeof value);
        return boost::endian::little_to_native(value);
    }

    Result<std::span<const std::byte>> take(std::size_t length) {
        if (left() < length)
            return fail(ErrorKind::corrupt, "the stream is cut off at byte {} in page {}", at_, made_ / kPageBytes);
        at_ += length;
        return in_.subspan(at_ - length, length);
    }

    Result<void> fill_counted() {
        const std::size_t pattern = at_;
        VDISK_CHECK(take(kPattern));
        VDISK_TRY(count, take_number());
        at_ = pattern;
        VDISK_CHECK(fill(count));
        at_ += sizeof count;
        return ok();
    }

    Result<void> fill(std::uint32_t pages) {
        VDISK_TRY(pattern, take(kPattern));
        if (pages > room().size() / kPageBytes)
            return fail(ErrorKind::corrupt, "a fill of {} pages runs past 1 MiB at page {}", pages, made_ / kPageBytes);
        const auto target = room().first(pages * kPageBytes);
        for (std::size_t i = 0; i < target.size(); i += kPattern)
            std::memcpy(target.data() + i, pattern.data(), kPattern);
        advance(target.size());
        return ok();
    }

    Result<void> piece() {
        VDISK_TRY(whole, take_number());
        VDISK_TRY(packed, take_number());
        if (whole > kPageBytes || packed > left())
            return fail(ErrorKind::corrupt, "a piece of {} bytes, {} stored, is cut off or too long at page {}", whole,
                        packed, made_ / kPageBytes);
        return stored(packed, whole);
    }

    // `packed` bytes that make `whole`; a failure to expand them costs only their page, since the stream goes on behind
    // them.
    Result<void> stored(std::uint32_t packed, std::size_t whole) {
        VDISK_TRY(bytes, take(packed));
        if (whole > room().size()) return fail(ErrorKind::corrupt, "the stream gives more than 1 MiB");
        const auto target = room().first(whole);
        if (packed == whole) {
            std::copy(bytes.begin(), bytes.end(), target.begin());
        } else if (auto expanded = expand_xpress(bytes, target); expanded.has_error()) {
            spoil(whole, expanded.error().what);
            return ok();
        }
        advance(whole);
        return ok();
    }

    // A page is good once its last byte is made and none of it was spoiled.
    void advance(std::size_t length) {
        const std::size_t first = made_ / kPageBytes;
        made_ += length;
        for (std::size_t page = first; page < made_ / kPageBytes; ++page) block_.good.set(page, !bad_.test(page));
    }

    void spoil(std::size_t length, std::string_view why) {
        note(fmt::format("page {}: {}", made_ / kPageBytes, why));
        if (!spoiled_) spoiled_ = made_;
        const std::size_t end = made_ + length;
        for (std::size_t page = made_ / kPageBytes; page * kPageBytes < end; ++page) bad_.set(page);
        made_ = end;
    }

    void drop_from(std::size_t offset) {
        for (std::size_t page = offset / kPageBytes; page < kPagesPerBlock; ++page) block_.good.reset(page);
    }

    void note(std::string why) {
        if (block_.fault.empty()) block_.fault = std::move(why);
    }

    std::span<const std::byte> in_;
    RamBlock& block_;
    std::size_t at_ = 0;
    std::size_t made_ = 0;
    std::optional<std::size_t> spoiled_; // where the first page that could not be expanded begins
    std::bitset<kPagesPerBlock> bad_;
};

} // namespace

void decode_ram_block(std::span<const std::byte> stored, std::uint64_t length, RamBlock& block) {
    block.good.reset();
    block.fault.clear();
    if (length > kBlockBytes) {
        block.fault = fmt::format("{} bytes, more than 1 MiB", length);
    } else if (length == 0) {
        block.fault = "empty";
    } else if (length == kBlockBytes) {
        std::copy(stored.begin(), stored.end(), block.bytes.begin());
        for (std::size_t page = 0; page < stored.size() / kPageBytes; ++page) block.good.set(page);
        if (!block.whole()) block.fault = fmt::format("only {} of {} bytes are there", stored.size(), length);
    } else {
        StreamReader(stored, block).run();
    }
}

} // namespace vdisk::hyperv
