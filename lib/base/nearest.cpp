// SPDX-License-Identifier: Apache-2.0
#include "base/nearest.hpp"

#include <algorithm>
#include <fmt/core.h>
#include <vector>

namespace vdisk {
namespace {

constexpr std::size_t kLongestTyped = 64; // longer ones are no mistyped words

} // namespace

std::size_t edit_distance(std::string_view a, std::string_view b) {
    // Rows of the table of distances between the beginnings of both: two before, one before, this one.
    std::vector<std::size_t> second(b.size() + 1), last(b.size() + 1), row(b.size() + 1);
    for (std::size_t j = 0; j <= b.size(); ++j) row[j] = j;
    for (std::size_t i = 1; i <= a.size(); ++i) {
        second.swap(last);
        last.swap(row);
        row[0] = i;
        for (std::size_t j = 1; j <= b.size(); ++j) {
            row[j] = std::min({last[j] + 1, row[j - 1] + 1, last[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1)});
            const bool swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
            if (swapped) row[j] = std::min(row[j], second[j - 2] + 1);
        }
    }
    return row[b.size()];
}

std::string_view nearest(std::string_view typed, std::span<const std::string_view> words) {
    if (typed.size() > kLongestTyped) return {};
    std::string_view best;
    std::size_t least = typed.size() / 3 + 1;
    for (const std::string_view word : words)
        if (const std::size_t distance = edit_distance(typed, word); distance <= least && distance < word.size()) {
            if (!best.empty() && distance == least) continue; // the first of equals
            least = distance;
            best = word;
        }
    return best;
}

std::string suggestion(std::string_view typed, std::span<const std::string_view> words) {
    const std::string_view meant = nearest(typed, words);
    return meant.empty() ? std::string() : fmt::format("; did you mean '{}'?", meant);
}

} // namespace vdisk
