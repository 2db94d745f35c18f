// SPDX-License-Identifier: Apache-2.0
#include "common/progress_bar.hpp"

#include "base/system/program.hpp"
#include "common/interruption.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>

namespace vdisk::tools {
namespace {

constexpr std::uint64_t kWidth = 30;
constexpr auto kRedraw = std::chrono::milliseconds(100);

bool on_terminal = false; // some bar's line is

std::string remaining(std::chrono::duration<double> spent, std::uint64_t done, std::uint64_t total) {
    if (done == 0 || spent.count() < 1) return "";
    const double seconds = spent.count() * static_cast<double>(total - done) / static_cast<double>(done);
    return fmt::format(" {}:{:02} left", static_cast<long>(seconds) / 60, static_cast<long>(seconds) % 60);
}

} // namespace

ProgressBar::ProgressBar(std::string label)
    : label_(std::move(label)), visible_(system::takes_control_sequences(system::kStandardError)),
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

void ProgressBar::update(std::uint64_t done, std::uint64_t total) {
    const auto now = std::chrono::steady_clock::now();
    if (!visible_ || total == 0 || now - last_ < kRedraw) return;
    last_ = now;
    on_terminal = true;
    note_bar(true);
    done = std::min(done, total);
    const double part = static_cast<double>(done) / static_cast<double>(total);
    const auto filled = static_cast<std::size_t>(part * static_cast<double>(kWidth));
    fmt::print(stderr, "\r\033[K{} [{:<{}}] {:3.0f} %{}", label_, std::string(filled, '#'), kWidth, part * 100,
               remaining(now - started_, done, total));
    std::fflush(stderr);
}

} // namespace vdisk::tools
