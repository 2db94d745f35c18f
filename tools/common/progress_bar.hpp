// SPDX-License-Identifier: Apache-2.0
/// A progress bar on standard error, where that is a terminal.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

namespace vdisk::tools {

/// Redraws itself at most ten times a second; draws nothing if standard error is no terminal. Its line is wiped at the
/// end, and when a signal ends the tool. One at a time, in one thread.
class ProgressBar {
public:
    /// What update() counts: of bytes the rate is shown, too.
    enum class Counts : std::uint8_t { steps, bytes };

    explicit ProgressBar(std::string label, Counts counts = Counts::steps);
    ~ProgressBar();
    ProgressBar(const ProgressBar&) = delete;
    ProgressBar& operator=(const ProgressBar&) = delete;

    void update(std::uint64_t done, std::uint64_t total);

    /// The same where nobody knows how much there will be: the number alone.
    void count(std::uint64_t done);

    /// Wipes whatever bar is on the terminal: before anything else is printed there. It comes back with its next
    /// update.
    static void wipe();

private:
    bool is_due();
    static void show(const std::string& line);

    std::string label_;
    Counts counts_;
    bool visible_;
    std::chrono::steady_clock::time_point started_;
    std::optional<std::uint64_t> first_{}; ///< what was done before: work that goes on began elsewhere
    std::chrono::steady_clock::time_point last_{};
};

} // namespace vdisk::tools
