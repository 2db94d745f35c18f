// SPDX-License-Identifier: Apache-2.0
#include "common/differences.hpp"

#include "base/text.hpp"
#include "common/pieces.hpp"
#include "common/progress_bar.hpp"
#include "image/disk_comparison.hpp"

#include <algorithm>
#include <cstring>

namespace vdisk::tools {
namespace {

// Compares two disks, of which no more than a piece is in memory.
class Comparer {
public:
    Comparer(const Image& a, const Image& b, bool content, DifferenceSink& sink)
        : a_(a), b_(b), content_(content), sink_(sink) {}

    void run() {
        ProgressBar bar("comparing", ProgressBar::Counts::bytes);
        const std::uint64_t both = std::min(a_.size(), b_.size());
        DiskComparison comparison(a_, b_);
        while (const auto range = comparison.next()) {
            take(*range);
            bar.update(range->start() + range->length(), both);
        }
        compare_open();
        if (a_.size() > both) sink_.add({both, a_.size() - both, Difference::State::only_in_a});
        if (b_.size() > both) sink_.add({both, b_.size() - both, Difference::State::only_in_b});
    }

private:
    static std::string why_of(const MapRun& run) { return run.why ? printable(run.why->what) : ""; }

    void take(const ComparedRange& range) {
        if (range.state == ComparedRange::State::open) return open(range.start(), range.length());
        compare_open();
        if (range.state == ComparedRange::State::same) sink_.same_by_metadata(range.length());
        else
            sink_.add({range.start(), range.length(), Difference::State::unreadable, why_of(range.first),
                       why_of(range.second)});
    }

    void open(std::uint64_t start, std::uint64_t length) {
        if (!content_) return sink_.add({start, length, Difference::State::may_differ});
        if (open_length_ == 0) open_start_ = start;
        open_length_ += length;
        if (open_length_ >= kPiece) compare_open();
    }

    // Reads and compares what could not be told from metadata, so far.
    void compare_open() {
        while (open_length_ > 0) {
            const std::uint64_t length = std::min(kPiece, open_length_);
            compare(open_start_, length);
            open_start_ += length;
            open_length_ -= length;
        }
    }

    // If either can't be read, halves the range until what can't be read is one sector.
    void compare(std::uint64_t at, std::uint64_t length) {
        const auto in_a = read(a_, at, length, bytes_a_);
        const auto in_b = read(b_, at, length, bytes_b_);
        if (in_a.has_value() && in_b.has_value()) return compare_bytes(at);
        if (length > kSector) {
            const std::uint64_t half = first_half(length);
            compare(at, half);
            return compare(at + half, length - half);
        }
        const auto why = [](const Result<void>& tried) {
            return tried.has_error() ? printable(tried.error().what) : "";
        };
        sink_.add({at, length, Difference::State::unreadable, why(in_a), why(in_b), true});
    }

    static Result<void> read(const Image& disk, std::uint64_t at, std::uint64_t length, std::vector<std::byte>& bytes) {
        bytes.resize(static_cast<std::size_t>(length));
        return read_exact(disk, at, bytes);
    }

    // Of what was read from `at` on, sector by sector.
    void compare_bytes(std::uint64_t at) {
        if (bytes_a_ == bytes_b_) {
            sink_.same_by_content(bytes_a_.size());
            return;
        }
        for (std::size_t done = 0; done < bytes_a_.size();) {
            const std::size_t length = std::min<std::size_t>(kSector - (at + done) % kSector, bytes_a_.size() - done);
            if (std::memcmp(&bytes_a_[done], &bytes_b_[done], length) == 0) sink_.same_by_content(length);
            else {
                note_first(at + done, done);
                sink_.add({at + done, length, Difference::State::different});
            }
            done += length;
        }
    }

    // Of the first sector that is told to differ, and of no other.
    void note_first(std::uint64_t at, std::size_t done) {
        if (noted_) return;
        noted_ = true;
        while (bytes_a_[done] == bytes_b_[done]) ++done, ++at;
        sink_.differs_from(at);
    }

    const Image& a_;
    const Image& b_;
    bool content_;
    DifferenceSink& sink_;
    bool noted_ = false;
    std::uint64_t open_start_ = 0, open_length_ = 0;
    std::vector<std::byte> bytes_a_, bytes_b_;
};

} // namespace

bool Difference::goes_on_in(const Difference& next) const {
    if (start + length != next.start || state != next.state || tried != next.tried) return false;
    if (tried) return why_a.empty() == next.why_a.empty() && why_b.empty() == next.why_b.empty();
    return why_a == next.why_a && why_b == next.why_b;
}

void compare_disks(const Image& a, const Image& b, bool content, DifferenceSink& sink) {
    Comparer(a, b, content, sink).run();
}

} // namespace vdisk::tools
