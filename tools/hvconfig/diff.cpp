// SPDX-License-Identifier: Apache-2.0
#include "hvconfig/commands.hpp"

#include "base/text.hpp"
#include "common/json_output.hpp"
#include "hvconfig/values.hpp"
#include "hyperv/value.hpp"

#include <algorithm>
#include <map>

namespace vdisk::tools {
namespace {

using hyperv::KeyId;
using hyperv::KeyType;
using hyperv::Storage;

// Siblings that share a name are told apart by their number.
using StepName = std::pair<std::string_view, std::uint32_t>;

StepName step_name(const Storage& storage, KeyId key) {
    return {storage.key(key).entry.name, std::max(storage.tree().occurrence(key), 1U)};
}

// Compares two trees side by side. Memory is that of the widest node, however deep the trees are.
class Comparison {
public:
    Comparison(const Storage& left, const Storage& right, TextOutput& out, bool json)
        : left_(left), right_(right), out_(out), json_(json) {}

    Result<void> run() {
        using Kind = hyperv::Tree::RootKind;
        VDISK_CHECK(compare_lists(left_.tree().tops(Kind::root), right_.tree().tops(Kind::root)));
        while (!pairs_.empty()) {
            const auto [a, b] = pairs_.back();
            pairs_.pop_back();
            VDISK_CHECK(compare_lists(left_.tree().children(a), right_.tree().children(b)));
        }
        return ok();
    }

    /// Subtrees count once.
    struct Counts {
        std::size_t added = 0, removed = 0, changed = 0;
    };
    const Counts& counts() const { return counts_; }

private:
    Result<void> compare_lists(std::span<const KeyId> left, std::span<const KeyId> right) {
        std::map<StepName, KeyId> by_name;
        for (const KeyId key : right) by_name.emplace(step_name(right_, key), key);
        const std::size_t first_pair = pairs_.size();
        for (const KeyId key : left) {
            const auto match = by_name.find(step_name(left_, key));
            if (match == by_name.end()) {
                ++counts_.removed;
                VDISK_CHECK(one_sided('-', left_, key));
                continue;
            }
            VDISK_CHECK(compare(key, match->second));
            by_name.erase(match);
        }
        std::reverse(pairs_.begin() + static_cast<std::ptrdiff_t>(first_pair), pairs_.end());
        for (const KeyId key : right) {
            if (!by_name.contains(step_name(right_, key))) continue;
            ++counts_.added;
            VDISK_CHECK(one_sided('+', right_, key));
        }
        return ok();
    }

    Result<void> compare(KeyId a, KeyId b) {
        const bool nodes = left_.key(a).entry.type == KeyType::node && right_.key(b).entry.type == KeyType::node;
        if (nodes) {
            pairs_.emplace_back(a, b);
            return ok();
        }
        const auto same = same_value(a, b);
        if (same.has_value() && same.value()) return ok(); // of what can't be read nobody knows
        ++counts_.changed;
        VDISK_CHECK(one_sided('-', left_, a));
        return one_sided('+', right_, b);
    }

    Result<bool> same_value(KeyId a, KeyId b) const {
        if (left_.key(a).entry.type == KeyType::string && right_.key(b).entry.type == KeyType::string)
            return same_text(a, b);
        const bool alike = left_.key(a).entry.type == right_.key(b).entry.type &&
                           left_.value_size(a) == right_.value_size(b) &&
                           left_.key(a).entry.has_value() == right_.key(b).entry.has_value();
        if (!alike) return false;
        std::vector<std::byte> one(1U << 16), other(1U << 16);
        for (std::uint64_t at = 0; at < left_.value_size(a);) {
            VDISK_TRY(got, left_.read_value(a, at, one));
            VDISK_TRY(also, right_.read_value(b, at, other));
            if (got != also || !std::equal(one.begin(), one.begin() + static_cast<std::ptrdiff_t>(got), other.begin()))
                return false;
            at += got;
        }
        return true;
    }

    // One writer ends strings with NUL, another does not; that is no difference.
    Result<bool> same_text(KeyId a, KeyId b) const {
        VDISK_TRY(one, left_.value(a));
        VDISK_TRY(other, right_.value(b));
        const Utf16Text left = decode_utf16(one), right = decode_utf16(other);
        return left.exact && right.exact ? left.utf8 == right.utf8 : one == other;
    }

    Result<void> one_sided(char sign, const Storage& storage, KeyId top) {
        return walk(
            storage.tree(), std::span(&top, 1),
            [&](KeyId key, std::size_t) -> Result<void> {
                if (json_) print_json(sign, storage, key);
                else print_flat(out_, storage, key, fmt::format("{} {}", sign, hyperv::path_of(storage, key)));
                return ok();
            },
            [](KeyId, std::size_t) -> Result<void> { return ok(); });
    }

    void print_json(char sign, const Storage& storage, KeyId key) {
        out_.print("{}\n {{\"in\":\"{}\",\"key\":", printed_++ == 0 ? "" : ",", sign == '-' ? "FILE" : "OTHER");
        print_json_key(out_, storage, key);
        out_.put("}");
    }

    const Storage& left_;
    const Storage& right_;
    TextOutput& out_;
    bool json_;
    std::size_t printed_ = 0;
    std::vector<std::pair<KeyId, KeyId>> pairs_;
    Counts counts_;
};

struct Diff {
    FileArgument left;
    std::string right;
    bool json = false;

    int operator()() const {
        const auto a = left.open();
        if (a.has_error()) return report(a.error());
        const auto b = open_storage(right, left.options());
        if (b.has_error()) return report(b.error());
        const bool sound = (warn_of_findings(*a.value()) | warn_of_findings(*b.value())) == kDone;
        TextOutput out;
        if (json) out.print("{{\"vdisk_json\":{},\"differences\":[", kJsonVersion);
        Comparison comparison(*a.value(), *b.value(), out, json);
        if (auto done = comparison.run(); done.has_error()) return report(done.error());
        const auto [added, removed, changed] = comparison.counts();
        if (json) out.print("],\n\"added\":{},\"removed\":{},\"changed\":{}}}\n", added, removed, changed);
        else out.print("{} added, {} removed, {} changed\n", added, removed, changed);
        return added + removed + changed > 0 || !sound || !out.complete() ? kPartial : kDone;
    }
};

} // namespace

Action add_diff(CommandLine& line) {
    auto action = std::make_shared<Diff>();
    action->left.add_to(line);
    line.operand("OTHER", action->right, "the file to compare with");
    line.flag("--json", action->json, "print JSON, as vdisk-json(5) describes it");
    return [action] { return (*action)(); };
}

} // namespace vdisk::tools
