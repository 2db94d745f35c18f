// SPDX-License-Identifier: Apache-2.0
#include "vdisk/commands.hpp"

#include "base/text.hpp"
#include "common/differences.hpp"
#include "common/inputs.hpp"
#include "open/report.hpp"

#include <optional>

namespace vdisk::tools {
namespace {

using State = Difference::State;

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
class Teller final : public DifferenceSink {
public:
    explicit Teller(bool json) : json_(json) {}

    void add(Difference next) override {
        totals.of(next.state) += next.length;
        if (held_ && held_->goes_on_in(next)) held_->length += next.length;
        else {
            tell();
            held_ = std::move(next);
        }
    }

    void same_by_metadata(std::uint64_t length) override { totals.by_metadata += length; }
    void same_by_content(std::uint64_t length) override { totals.by_content += length; }
    void differs_from(std::uint64_t at) override {
        if (!totals.first_difference) totals.first_difference = at;
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
        compare_disks(one, other, content, teller);
        teller.finish();
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
