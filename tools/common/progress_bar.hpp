// SPDX-License-Identifier: Apache-2.0
/// A progress bar on standard error, where that is a terminal.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace vdisk::tools {

/// Redraws itself at most ten times a second; draws nothing if standard error is no terminal. Its line is wiped at the
/// end, and when a signal ends the tool. One at a time, in one thread.
class ProgressBar {
public:
    explicit ProgressBar(std::string label);
    ~ProgressBar();
    ProgressBar(const ProgressBar&) = delete;
    ProgressBar& operator=(const ProgressBar&) = delete;

    void update(std::uint64_t done, std::uint64_t total);

    /// Wipes whatever bar is on the terminal: before anything else is printed there. It comes back with its next
    /// update.
    static void wipe();

private:
    std::string label_;
    bool visible_;
    std::chrono::steady_clock::time_point started_;
    std::chrono::steady_clock::time_point last_{};
};

} // namespace vdisk::tools
