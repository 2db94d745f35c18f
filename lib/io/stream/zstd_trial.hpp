// SPDX-License-Identifier: Apache-2.0
/// Places in a zstd frame where decoding may be able to start, decided by trying.
#pragma once

#include "io/stream/sparse_window.hpp"
#include "io/stream/zstd_blocks.hpp"

#include <condition_variable>
#include <deque>
#include <thread>

namespace vdisk {

/// A stretch of whole blocks of one frame, and how much of what precedes it their matches can reach.
struct BlockStretch {
    std::uint64_t plain = 0;
    std::uint64_t plain_length = 0;
    std::uint64_t packed = 0;
    std::uint64_t packed_length = 0;
    std::size_t window = 0;
};

/// What all trials of a pass read from. The stretch and its window must be in the ring while a trial runs.
struct TrialContext {
    const ByteSource& source;
    const PlainRing& ring;
    const WindowPattern& pattern;
};

/// Tries starts. Keeps what it allocates, so one object should make many tries. One thread's.
class StartTrier {
public:
    explicit StartTrier(const TrialContext& context) : context_(context) {}

    /// Decodes the stretch from its start, finds the bytes of the window that it uses, and decodes it again with only them: whether
    /// the result is the true one.
    [[nodiscard]] bool can_start(const BlockStretch& stretch);
    /// The same with the window as it can be kept, or nothing.
    [[nodiscard]] std::optional<std::vector<std::byte>> window_for(const BlockStretch& stretch);

private:
    Result<void> prepare(const BlockStretch& stretch);
    Result<WindowMarks> marks_for(const BlockStretch& stretch, ShortCopies short_copies);
    bool is_true(std::span<const std::byte> window);
    template<class Check> bool with_marks(const BlockStretch& stretch, Check&& check);

    const TrialContext& context_;
    std::vector<std::byte> framed_;
    std::vector<std::byte> truth_;
    std::vector<std::byte> decoded_;
    bool short_copies_ = false;   ///< the encoder makes them
    unsigned failures_ = 0;       ///< in a row
};

/// One try, perhaps in another thread.
struct Trial {
    enum class State : std::uint8_t { waiting, running, good, bad };
    BlockStretch stretch;
    State state = State::waiting; ///< guarded by TrialRunner
    WindowRange window{};         ///< where it is kept if good
};
using TrialPtr = std::shared_ptr<Trial>;

/// Runs trials in a second thread, and in the caller's when that has to wait for them.
class TrialRunner {
public:
    TrialRunner(TrialContext context, WindowStore& store) : context_(context), store_(store), own_trier_(context_), thread_trier_(context_) {}
    ~TrialRunner();
    TrialRunner(const TrialRunner&) = delete;
    TrialRunner& operator=(const TrialRunner&) = delete;

    /// The caller's, for tries at once.
    [[nodiscard]] StartTrier& trier() noexcept { return own_trier_; }
    void add(TrialPtr trial);
    /// Returns when no unfinished trial needs plain bytes before `at`.
    void wait_until_free(std::uint64_t at);
    void wait_for_all() { wait_until_free(~std::uint64_t{0}); }

private:
    void run_thread();
    void run(const TrialPtr& trial, StartTrier& trier, std::unique_lock<std::mutex>& lock);
    [[nodiscard]] bool needs_before(std::uint64_t at) const;

    TrialContext context_;
    WindowStore& store_;
    StartTrier own_trier_;
    StartTrier thread_trier_;
    std::mutex mutex_;
    std::condition_variable changed_;
    std::deque<TrialPtr> unfinished_; ///< waiting and running ones
    bool stopping_ = false;
    std::thread thread_;
};

} // namespace vdisk
