// SPDX-License-Identifier: Apache-2.0
#include "vdisk/copy.hpp"

#include "base/text.hpp"
#include "common/exit_status.hpp"
#include "common/pieces.hpp"
#include "common/progress_bar.hpp"
#include "io/byte_source.hpp"

#include <algorithm>

namespace vdisk::tools {
namespace {

class Copy {
public:
    Copy(const Image& image, std::span<Sink* const> sinks, OnLoss on_loss)
        : image_(image), buffers_(kPiece), on_loss_(on_loss) {
        for (Sink* sink : sinks) threads_.push_back(std::make_unique<SinkThread>(*sink));
    }

    Result<std::vector<LostRange>> run(std::uint64_t start, std::string label) {
        ProgressBar bar(std::move(label), ProgressBar::Counts::bytes);
        for (std::uint64_t at = start; at < image_.size() && going_;) {
            at += copy_extent(at);
            bar.update(at - start, image_.size() - start);
        }
        for (const auto& thread : threads_) VDISK_CHECK(thread->finish());
        return std::move(lost_);
    }

private:
    // Returns how many bytes it dealt with.
    std::uint64_t copy_extent(std::uint64_t at) {
        const auto found = image_.resolve(GuestOffset{at}, image_.size() - at);
        if (found.has_error()) return lose(at, std::min(kSector, image_.size() - at), found.error().what);
        const Extent& extent = found.value().extent;
        if (extent.kind == Extent::Kind::zero) return give({.bytes = nullptr, .length = extent.length});
        if (extent.kind == Extent::Kind::unreadable) return lose(at, extent.length, extent.why->what);
        // Not to the extent's end: a read over many small ones costs less than one each.
        const std::uint64_t length = extent.length >= kPiece ? kPiece : readable_from(at, extent.length);
        return copy(at, length);
    }

    // The bytes up to the next hole or the end of a piece, of which the first `length` are known to be none.
    std::uint64_t readable_from(std::uint64_t at, std::uint64_t length) const {
        while (length < kPiece && at + length < image_.size()) {
            const auto next = image_.resolve(GuestOffset{at + length}, kPiece - length);
            if (next.has_error()) break;
            const Extent& extent = next.value().extent;
            if (extent.kind == Extent::Kind::zero || extent.kind == Extent::Kind::unreadable) break;
            length += extent.length;
        }
        return length;
    }

    // Reads at most a piece; if that fails, halves it until what can't be read is one sector: each byte that can be
    // read is kept.
    std::uint64_t copy(std::uint64_t at, std::uint64_t length) {
        auto buffer = buffers_.take();
        const auto read = image_.read_at(at, std::span(*buffer).first(static_cast<std::size_t>(length)));
        if (read.has_value()) return give({.bytes = std::move(buffer), .length = length});
        if (length <= kSector) return lose(at, length, read.error().what);
        buffer.reset();
        const std::uint64_t half = first_half(length);
        copy(at, half);
        copy(at + half, length - half);
        return length;
    }

    std::uint64_t lose(std::uint64_t at, std::uint64_t length, const std::string& why) {
        add_lost(lost_, at, length, why);
        giving_ = giving_ && on_loss_ == OnLoss::zeros;
        return give({.bytes = nullptr, .length = length, .lost = std::make_shared<const std::string>(why)});
    }

    std::uint64_t give(Piece piece) {
        if (giving_)
            for (const auto& thread : threads_) going_ = going_ && thread->give(piece);
        return piece.length;
    }

    const Image& image_;
    BufferPool buffers_;
    std::vector<std::unique_ptr<SinkThread>> threads_;
    std::vector<LostRange> lost_;
    OnLoss on_loss_;
    bool giving_ = true; // the sinks are still to have the bytes
    bool going_ = true;  // no sink has failed
};

} // namespace

Result<std::vector<LostRange>> copy_disk(const Image& image, std::uint64_t start, std::span<Sink* const> sinks,
                                         std::string label, OnLoss on_loss) {
    return Copy(image, sinks, on_loss).run(start, std::move(label));
}

Result<void> copy_file(const ByteSource& source, std::span<Sink* const> sinks, std::string label) {
    BufferPool buffers(kPiece);
    std::vector<std::unique_ptr<SinkThread>> threads;
    for (Sink* sink : sinks) threads.push_back(std::make_unique<SinkThread>(*sink));
    ProgressBar bar(std::move(label), ProgressBar::Counts::bytes);
    bool going = true;
    for (std::uint64_t at = 0; at < source.size() && going;) {
        const std::uint64_t length = std::min(kPiece, source.size() - at);
        auto buffer = buffers.take();
        VDISK_CHECK(read_exact(source, at, std::span(*buffer).first(static_cast<std::size_t>(length))));
        for (const auto& thread : threads) going = going && thread->give({.bytes = buffer, .length = length});
        at += length;
        bar.update(at, source.size());
    }
    for (const auto& thread : threads) VDISK_CHECK(thread->finish());
    return ok();
}

void add_lost(std::vector<LostRange>& lost, std::uint64_t offset, std::uint64_t length, const std::string& why) {
    if (!lost.empty() && lost.back().offset + lost.back().length == offset) lost.back().length += length;
    else lost.push_back({offset, length, why});
}

Facts describe_lost(std::span<const LostRange> lost) {
    Facts list = Facts::array();
    for (const LostRange& range : lost)
        list.push_back({{"offset", range.offset}, {"length", range.length}, {"why", printable(range.why)}});
    return list;
}

void warn_of_lost(std::span<const LostRange> lost, std::string_view outcome) {
    for (const LostRange& range : lost)
        warn(fmt::format("disk offset {}, {} bytes can't be read and {}: {}", range.offset, range.length, outcome,
                         range.why));
}

Result<Distrust> distrusted(const OpenedDisk& disk, std::span<const LostRange> lost) {
    const auto bar = std::make_shared<ProgressBar>("looking at the bookkeeping");
    VDISK_TRY(distrust, find_distrusted(disk, [bar](std::uint64_t done, std::uint64_t total) {
                  bar->update(done, total);
                  return true;
              }));
    ProgressBar::wipe();
    std::erase_if(distrust.ranges, [&](const DistrustedRange& range) {
        return std::ranges::any_of(lost, [&](const LostRange& gone) {
            return gone.offset <= range.offset && range.offset + range.length <= gone.offset + gone.length;
        });
    });
    for (const std::string& why : distrust.unchecked)
        warn(fmt::format("{}: so it is not known whether bytes are to be distrusted", why));
    return std::move(distrust);
}

void warn_of_distrusted(const Distrust& distrust) {
    constexpr std::size_t kTold = 20;
    std::vector<Remark> remarks;
    for (const DistrustedRange& range : std::span(distrust.ranges).first(std::min(kTold, distrust.ranges.size())))
        remarks.push_back(
            {Remark::Weight::doubt, fmt::format("disk offset {}, {} bytes are read, but may not be the disk's: {}: {}",
                                                range.offset, range.length, range.file, range.why)});
    if (distrust.ranges.size() > kTold || distrust.more)
        remarks.push_back({Remark::Weight::doubt, "there are more such ranges: 'vdisk audit' lists them"});
    tell_remarks(remarks);
}

Facts describe_distrusted(const Distrust& distrust) {
    Facts rows = Facts::array();
    for (const DistrustedRange& range : distrust.ranges)
        rows.push_back({{"file", range.file}, {"offset", range.offset}, {"length", range.length}, {"why", range.why}});
    return rows;
}

} // namespace vdisk::tools
