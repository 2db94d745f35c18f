// SPDX-License-Identifier: Apache-2.0
#include "common/progress_bar.hpp"

#include "base/system/program.hpp"
#include "base/text.hpp"
#include "common/interruption.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>

namespace vdisk::tools {
namespace {

constexpr std::size_t kLineColumns = 79; // of a terminal; a line that is folded could not be wiped
constexpr std::size_t kLeastWidth = 10, kMostWidth = 30;
constexpr auto kRedraw = std::chrono::milliseconds(100);

bool on_terminal = false; // some bar's line is

using Seconds = std::chrono::duration<double>;

std::string clock(double seconds) {
    const auto whole = static_cast<std::uint64_t>(std::min(seconds, 1e9));
    const std::uint64_t hours = whole / 3600, minutes = whole / 60 % 60;
    return hours > 0 ? fmt::format("{}:{:02}:{:02}", hours, minutes, whole % 60)
                     : fmt::format("{}:{:02}", minutes, whole % 60);
}

// After a second, when there is something to reckon with.
std::string rate_and_rest(Seconds spent, std::uint64_t done, std::uint64_t left, ProgressBar::Counts counts) {
    if (done == 0 || spent.count() < 1) return "";
    const double rate = static_cast<double>(done) / spent.count();
    const std::string shown = counts == ProgressBar::Counts::bytes
                                  ? fmt::format(" {}/s", human_size(static_cast<std::uint64_t>(rate)))
                                  : std::string();
    return fmt::format("{} {} left", shown, clock(static_cast<double>(left) / rate));
}

} // namespace

ProgressBar::ProgressBar(std::string label, Counts counts)
    : label_(std::move(label)), counts_(counts), visible_(system::takes_control_sequences(system::kStandardError)),
      started_(std::chrono::steady_clock::now()) {}

ProgressBar::~ProgressBar() {
    wipe();
}

void ProgressBar::wipe() {
    if (!on_terminal) return;
    fmt::print(stderr, "\r\033[K");
    on_terminal = false;
    note_bar(false);
}

bool ProgressBar::is_due() {
    const auto now = std::chrono::steady_clock::now();
    if (!visible_ || now - last_ < kRedraw) return false;
    last_ = now;
    return true;
}

void ProgressBar::show(const std::string& line) {
    on_terminal = true;
    note_bar(true);
    fmt::print(stderr, "\r\033[K{}", line);
    std::fflush(stderr);
}

void ProgressBar::update(std::uint64_t done, std::uint64_t total) {
    if (!first_) first_ = done;
    if (total == 0 || !is_due()) return;
    done = std::min(done, total);
    const double part = static_cast<double>(done) / static_cast<double>(total);
    const std::string end =
        fmt::format("] {:3.0f} %{}", part * 100,
                    rate_and_rest(last_ - started_, done - std::min(*first_, done), total - done, counts_));
    const std::size_t used = label_.size() + end.size() + 2;
    const std::size_t width = std::clamp(kLineColumns - std::min(used, kLineColumns), kLeastWidth, kMostWidth);
    const auto filled = static_cast<std::size_t>(part * static_cast<double>(width));
    show(fmt::format("{} [{:<{}}{}", label_, std::string(filled, '#'), width, end));
}

void ProgressBar::count(std::uint64_t done) {
    if (is_due()) show(fmt::format("{}: {}", label_, done));
}

} // namespace vdisk::tools
