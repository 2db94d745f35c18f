// SPDX-License-Identifier: Apache-2.0
#include "common/interruption.hpp"

#include <array>
#include <atomic>
#include <csignal>
#include <cstring>
#include <unistd.h>

namespace vdisk::tools {
namespace {

// What the handler looks at: nothing that takes a lock or allocates.
std::atomic<bool> bar_drawn{false};
std::atomic<int> unfinished_folder{-1};
std::array<char, 256> unfinished_name{}; // a name in a folder has at most 255 bytes

void clean_up_and_end(int signal) {
    if (const int folder = unfinished_folder.exchange(-1); folder >= 0) ::unlinkat(folder, unfinished_name.data(), 0);
    static constexpr std::array<char, 4> kWipe{'\r', '\033', '[', 'K'};
    if (bar_drawn.exchange(false) && ::write(STDERR_FILENO, kWipe.data(), kWipe.size()) < 0) {
    }                   // nobody is left to tell
    std::raise(signal); // as its handler was reset on the way in, that ends the program once this one returns
}

} // namespace

void install_signal_handlers() {
    for (const int signal : {SIGHUP, SIGINT, SIGQUIT, SIGPIPE, SIGTERM, SIGXCPU}) {
        struct sigaction action {};
        if (::sigaction(signal, nullptr, &action) != 0 || action.sa_handler == SIG_IGN) continue;
        action = {};
        action.sa_handler = clean_up_and_end;
        action.sa_flags = static_cast<int>(SA_RESETHAND);
        ::sigaction(signal, &action, nullptr);
    }
    std::signal(SIGXFSZ, SIG_IGN);
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
