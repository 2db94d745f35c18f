// SPDX-License-Identifier: Apache-2.0
#include "vdisk/commands.hpp"

#include "base/text.hpp"
#include "common/inputs.hpp"
#include "image/disk_comparison.hpp"
#include "open/report.hpp"
#include "vdisk/copy.hpp"

#include <algorithm>
#include <cstring>

namespace vdisk::tools {
namespace {

// What is told of a range of two disks.
enum class State : std::uint8_t { different, may_differ, unreadable, only_in_a, only_in_b };

std::string_view to_string(State state) {
    switch (state) {
    case State::different: return "different";
    case State::may_differ: return "may-differ";
    case State::unreadable: return "unreadable";
    case State::only_in_a: return "only-in-a";
    case State::only_in_b: return "only-in-b";
    }
    return "unreadable";
}

struct Difference {
    std::uint64_t start = 0;
    std::uint64_t length = 0;
    State state = State::different;
    std::string why_a{}, why_b{}; ///< of what is unreadable: empty for a disk that can be read there
    bool tried{};                 ///< what is unreadable was found by reading, sector by sector

    bool goes_on_in(const Difference& next) const {
        if (start + length != next.start || state != next.state || tried != next.tried) return false;
        if (tried) return why_a.empty() == next.why_a.empty() && why_b.empty() == next.why_b.empty();
        return why_a == next.why_a && why_b == next.why_b;
    }
};

// Bytes by what is known of them.
struct Totals {
    std::uint64_t by_metadata = 0, by_content = 0; ///< the same
    std::uint64_t different = 0, may_differ = 0, unreadable = 0, only_in_a = 0, only_in_b = 0;
    std::uint64_t ranges = 0;
    std::optional<std::uint64_t> first_difference{};

    std::uint64_t& of(State state) {
        switch (state) {
        case State::different: return different;
        case State::may_differ: return may_differ;
        case State::unreadable: return unreadable;
        case State::only_in_a: return only_in_a;
        case State::only_in_b: return only_in_b;
        }
        return unreadable;
    }

    std::string_view result() const {
        if (unreadable > 0) return "unreadable";
        if (different + only_in_a + only_in_b > 0) return "different";
        return may_differ > 0 ? "may-differ" : "same";
    }
};

// Joins what follows each other and tells it.
class Teller {
public:
    explicit Teller(bool json) : json_(json) {}

    void add(Difference next) {
        totals.of(next.state) += next.length;
        if (held_ && held_->goes_on_in(next)) held_->length += next.length;
        else {
            tell();
            held_ = std::move(next);
        }
    }

    void finish() {
        tell();
        held_.reset();
    }

    Totals totals{};

private:
    void tell() {
        if (!held_) return;
        ProgressBar::wipe();
        if (json_) tell_json();
        else tell_text();
        ++totals.ranges;
    }

    void tell_text() const {
        constexpr std::string_view kRow = "{:>20}  {:>20}  {}\n";
        if (totals.ranges == 0) fmt::print(fmt::runtime(kRow), "START", "LENGTH", "STATE");
        fmt::print(fmt::runtime(kRow), held_->start, held_->length, to_string(held_->state));
        for (const auto& [disk, why] : {std::pair("A", held_->why_a), std::pair("B", held_->why_b)})
            if (!why.empty()) fmt::print("  {}: {}\n", disk, folded(why, 5, 5));
    }

    void tell_json() const {
        Facts row{{"start", held_->start}, {"length", held_->length}, {"state", to_string(held_->state)}};
        if (!held_->why_a.empty()) row["why_a"] = held_->why_a;
        if (!held_->why_b.empty()) row["why_b"] = held_->why_b;
        fmt::print("{}    {}", totals.ranges == 0 ? "\n" : ",\n", row.dump());
    }

    bool json_;
    std::optional<Difference> held_{};
};

// Compares two disks, of which no more than a piece is in memory.
class Comparer {
public:
    Comparer(const Image& a, const Image& b, bool content, Teller& teller)
        : a_(a), b_(b), content_(content), teller_(teller) {}

    void run() {
        ProgressBar bar("comparing");
        const std::uint64_t both = std::min(a_.size(), b_.size());
        DiskComparison comparison(a_, b_);
        while (const auto range = comparison.next()) {
            take(*range);
            bar.update(range->start() + range->length(), both);
        }
        compare_open();
        if (a_.size() > both) teller_.add({both, a_.size() - both, State::only_in_a});
        if (b_.size() > both) teller_.add({both, b_.size() - both, State::only_in_b});
        teller_.finish();
    }

private:
    static std::string why_of(const MapRun& run) { return run.why ? printable(run.why->what) : ""; }

    void take(const ComparedRange& range) {
        if (range.state == ComparedRange::State::open) return open(range.start(), range.length());
        compare_open();
        if (range.state == ComparedRange::State::same) teller_.totals.by_metadata += range.length();
        else teller_.add({range.start(), range.length(), State::unreadable, why_of(range.first), why_of(range.second)});
    }

    void open(std::uint64_t start, std::uint64_t length) {
        if (!content_) return teller_.add({start, length, State::may_differ});
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
            const std::uint64_t half = std::max(kSector, align_down(length / 2, kSector));
            compare(at, half);
            return compare(at + half, length - half);
        }
        const auto why = [](const Result<void>& tried) {
            return tried.has_error() ? printable(tried.error().what) : "";
        };
        teller_.add({at, length, State::unreadable, why(in_a), why(in_b), true});
    }

    static Result<void> read(const Image& disk, std::uint64_t at, std::uint64_t length, std::vector<std::byte>& bytes) {
        bytes.resize(static_cast<std::size_t>(length));
        return read_exact(disk, at, bytes);
    }

    // Of what was read from `at` on, sector by sector.
    void compare_bytes(std::uint64_t at) {
        if (bytes_a_ == bytes_b_) {
            teller_.totals.by_content += bytes_a_.size();
            return;
        }
        for (std::size_t done = 0; done < bytes_a_.size();) {
            const std::size_t length = std::min<std::size_t>(kSector - (at + done) % kSector, bytes_a_.size() - done);
            if (std::memcmp(&bytes_a_[done], &bytes_b_[done], length) == 0) teller_.totals.by_content += length;
            else {
                note_first(at + done, done);
                teller_.add({at + done, length, State::different});
            }
            done += length;
        }
    }

    void note_first(std::uint64_t at, std::size_t done) {
        if (teller_.totals.first_difference) return;
        while (bytes_a_[done] == bytes_b_[done]) ++done, ++at;
        teller_.totals.first_difference = at;
    }

    const Image& a_;
    const Image& b_;
    bool content_;
    Teller& teller_;
    std::uint64_t open_start_ = 0, open_length_ = 0;
    std::vector<std::byte> bytes_a_, bytes_b_;
};

struct Diff {
    ImageArgument a, b;
    bool content = false;
    Printing printing;

    int operator()() {
        b.format = a.format;
        const auto first = a.open_disk();
        if (first.has_error()) return report(first.error());
        const auto second = b.open_disk();
        if (second.has_error()) return report(second.error());
        warn_of_writers();
        const Image& one = *first.value().image;
        const Image& other = *second.value().image;
        const Facts head{{"a", printable(a.path)},
                         {"b", printable(b.path)},
                         {"a size", one.size()},
                         {"b size", other.size()},
                         {"content compared", content}};
        if (printing.json) begin_json(head);
        Teller teller(printing.json);
        Comparer(one, other, content, teller).run();
        if (printing.json) end_json(teller.totals);
        else fmt::print("{}{}{}", teller.totals.ranges > 0 ? "\n" : "", to_text(head), to_text(summary(teller.totals)));
        return status(teller.totals);
    }

private:
    // As that of cmp: it is trouble, too, if nobody can say that what was compared are the disks.
    static int status(const Totals& totals) {
        const bool changed = warn_of_changes();
        const bool trouble = totals.unreadable > 0 || changed || settled(kDone) != kDone;
        return trouble ? kFailed : totals.result() == "same" ? kDone : kPartial;
    }

    // Range by range, because there may be more of them than memory.
    static void begin_json(const Facts& head) {
        std::string text = json_document(head);
        text.resize(text.rfind("\n}")); // the closing brace comes behind the ranges
        fmt::print("{},\n  \"ranges\": [", text);
    }

    static void end_json(const Totals& totals) {
        fmt::print("\n  ],\n  \"summary\": {}\n}}\n", with_json_keys(summary(totals)).dump());
    }

    static Facts summary(const Totals& totals) {
        Facts facts{{"result", totals.result()}, {"ranges", totals.ranges}};
        facts["same by metadata bytes"] = totals.by_metadata;
        facts["same by content bytes"] = totals.by_content;
        facts["different bytes"] = totals.different;
        facts["may differ bytes"] = totals.may_differ;
        facts["unreadable bytes"] = totals.unreadable;
        facts["only in a bytes"] = totals.only_in_a;
        facts["only in b bytes"] = totals.only_in_b;
        if (totals.first_difference) facts["first difference"] = *totals.first_difference;
        return facts;
    }
};

} // namespace

Action add_diff(CommandLine& line) {
    auto action = std::make_shared<Diff>();
    action->a.add_operand_to(line, "A");
    action->b.add_operand_to(line, "B");
    add_format(line, action->a.format);
    line.flag("--content", action->content, "read and compare what metadata can't tell to be the same");
    action->printing.add_to(line);
    return [action] { return (*action)(); };
}

} // namespace vdisk::tools
