// SPDX-License-Identifier: Apache-2.0
#include "common/interruption.hpp"

#include "base/system/file.hpp"
#include "base/system/program.hpp"

#include <array>
#include <atomic>
#include <cstring>

namespace vdisk::tools {
namespace {

// What is looked at when a signal has come: nothing that takes a lock or allocates.
std::atomic<bool> bar_drawn{false};
std::atomic<int> unfinished_folder{-1};
std::array<char, 1024> unfinished_name{}; // a name in a folder has at most 255 characters

void clean_up() noexcept {
    if (const int folder = unfinished_folder.exchange(-1); folder >= 0)
        system::remove_in(folder, unfinished_name.data());
    static constexpr std::array<char, 4> kWipe{'\r', '\033', '[', 'K'};
    if (bar_drawn.exchange(false)) (void)system::write(system::kStandardError, kWipe.data(), kWipe.size());
}

} // namespace

void clean_up_at_ending() {
    system::at_ending(clean_up);
}

void note_bar(bool drawn) noexcept {
    bar_drawn = drawn;
}

void note_unfinished(int folder, const std::string& name) noexcept {
    unfinished_folder = -1;
    if (folder < 0 || name.size() >= unfinished_name.size()) return;
    std::memcpy(unfinished_name.data(), name.c_str(), name.size() + 1);
    unfinished_folder = folder;
}

} // namespace vdisk::tools
