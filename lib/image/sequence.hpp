// SPDX-License-Identifier: Apache-2.0
/// Notices that a disk is read from front to back.
#pragma once

#include "base/fork_guard.hpp"

#include <algorithm>
#include <cstdint>
#include <mutex>
#include <optional>

namespace vdisk {

/// Thread-safe, usable in a child of fork(); one for each disk.
class Sequence {
public:
    struct Range {
        std::uint64_t start;
        std::uint64_t end;
    };

    /// `window`: bytes that are prepared ahead, at least kWindow.
    explicit Sequence(std::uint64_t window = kWindow) : window_(std::max(window, kWindow)) {}

    /// Notes a read of `length` bytes at `offset`. If that is part of a long run, the bytes worth preparing now: what
    /// is left of this read and behind it the window, or twice the run if that is less, each byte once.
    [[nodiscard]] std::optional<Range> advance(std::uint64_t offset, std::uint64_t length) {
        const std::lock_guard lock(mutex_);
        const bool continues = offset == expected_;
        run_ = continues ? run_ + length : length;
        expected_ = offset + length;
        if (!continues) prepared_ = offset;
        if (run_ <= kShortRun) return std::nullopt;
        const std::uint64_t start = std::max(prepared_, offset);
        const std::uint64_t window = std::min(window_, 2 * run_);
        const std::uint64_t end = expected_ + window;
        if (end < start + window / 4) return std::nullopt; // not worth a look at the tables yet
        prepared_ = end;
        return Range{start, end};
    }

private:
    // TSK reads 64 KiB at a time; a small file is read before threads would pay.
    static constexpr std::uint64_t kShortRun = 256U << 10;
    // Two of the largest clusters, and a quarter of the default cluster cache.
    static constexpr std::uint64_t kWindow = 4U << 20;

    std::uint64_t window_;
    std::mutex mutex_;
    std::uint64_t expected_ = 0;
    std::uint64_t run_ = 0;
    std::uint64_t prepared_ = 0;
    ForkGuard fork_{&mutex_};
};

} // namespace vdisk
