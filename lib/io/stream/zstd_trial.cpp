// SPDX-License-Identifier: Apache-2.0
#include "io/stream/zstd_trial.hpp"

#include <algorithm>
#include <cstring>
#include <system_error>

namespace vdisk {
namespace {

bool same(std::span<const std::byte> left, std::span<const std::byte> right) {
    return left.empty() || std::memcmp(left.data(), right.data(), left.size()) == 0;
}

// So often in a row may starts fail before it is looked whether short copies were passed over.
constexpr unsigned kFailuresUntilShort = 4;

} // namespace

Result<void> StartTrier::prepare(const BlockStretch& stretch) {
    framed_.resize(kZstdHeaderRoom + static_cast<std::size_t>(stretch.packed_length));
    truth_.resize(static_cast<std::size_t>(stretch.plain_length));
    decoded_.resize(truth_.size());
    VDISK_CHECK(read_exact(context_.source, stretch.packed, std::span(framed_).subspan(kZstdHeaderRoom)));
    context_.ring.copy(stretch.plain, truth_);
    return ok();
}

Result<WindowMarks> StartTrier::marks_for(const BlockStretch& stretch, ShortCopies short_copies) {
    WindowMarks marks(stretch.window);
    const auto pattern = context_.pattern.bytes().first(stretch.window);
    const auto expanded = expand_zstd_blocks(framed_, pattern, decoded_);
    // What comes later than the window is long reaches the old window only through what comes before.
    const std::size_t looked_at = std::min(decoded_.size(), stretch.window);
    if (expanded.has_value())
        mark_used({std::span(decoded_).first(looked_at), std::span(truth_).first(looked_at), pattern}, context_.ring, stretch.plain, short_copies, marks);
    context_.pattern.forget();
    VDISK_CHECK(expanded);
    return Result<WindowMarks>(std::move(marks));
}

bool StartTrier::is_true(std::span<const std::byte> window) {
    return expand_zstd_blocks(framed_, window, decoded_).has_value() && same(decoded_, truth_);
}

// `check` looks at the marks. Where they do not do, they may miss short copies.
template<class Check> bool StartTrier::with_marks(const BlockStretch& stretch, Check&& check) {
    if (prepare(stretch).has_error()) return false;
    for (const bool seek : {false, true}) {
        if (seek != short_copies_ && !(seek && failures_ >= kFailuresUntilShort)) continue;
        const auto marks = marks_for(stretch, seek ? ShortCopies::seek : ShortCopies::pass_over);
        if (marks.has_error() || !check(marks.value())) continue;
        short_copies_ = seek;
        failures_ = 0;
        return true;
    }
    failures_ = failures_ >= kFailuresUntilShort ? 0 : failures_ + 1;
    return false;
}

bool StartTrier::can_start(const BlockStretch& stretch) {
    return with_marks(stretch, [&](const WindowMarks& marks) {
        const auto window = sparse_window(marks, context_.ring, stretch.plain);
        return window.has_value() && is_true(window.value().bytes());
    });
}

std::optional<std::vector<std::byte>> StartTrier::window_for(const BlockStretch& stretch) {
    std::optional<std::vector<std::byte>> kept;
    failures_ = kFailuresUntilShort; // a start that is almost sure is worth the time
    with_marks(stretch, [&](const WindowMarks& marks) {
        auto packed = pack_window(marks, context_.ring, stretch.plain);
        if (packed.has_error()) return false;
        const auto window = unpack_window(packed.value()); // just as a reader will
        if (window.has_error() || !is_true(window.value().bytes())) return false;
        kept = std::move(packed).value();
        return true;
    });
    return kept;
}

TrialRunner::~TrialRunner() {
    {
        const std::lock_guard lock(mutex_);
        stopping_ = true;
        std::erase_if(unfinished_, [](const TrialPtr& trial) { return trial->state == Trial::State::waiting; });
    }
    changed_.notify_all();
    if (thread_.joinable()) thread_.join();
}

void TrialRunner::add(TrialPtr trial) {
    {
        const std::lock_guard lock(mutex_);
        unfinished_.push_back(std::move(trial));
    }
    changed_.notify_all();
    if (thread_.joinable()) return;
    try {
        thread_ = std::thread([this] { run_thread(); });
    } catch (const std::system_error&) {
        // No second thread: the first one runs the trials when it has to wait for them.
    }
}

void TrialRunner::run_thread() {
    std::unique_lock lock(mutex_);
    for (;;) {
        const auto waiting = std::ranges::find(unfinished_, Trial::State::waiting, [](const TrialPtr& trial) { return trial->state; });
        if (waiting != unfinished_.end()) run(TrialPtr(*waiting), thread_trier_, lock);
        else if (stopping_) return;
        else changed_.wait(lock);
    }
}

// `lock` is open while the trial runs.
void TrialRunner::run(const TrialPtr& trial, StartTrier& trier, std::unique_lock<std::mutex>& lock) {
    trial->state = Trial::State::running;
    lock.unlock();
    std::optional<WindowRange> kept;
    try {
        if (const auto window = trier.window_for(trial->stretch))
            if (auto added = store_.add(*window); added.has_value()) kept = added.value();
    } catch (const std::bad_alloc&) {
        // One restart point less.
    }
    lock.lock();
    trial->state = kept ? Trial::State::good : Trial::State::bad;
    trial->window = kept.value_or(WindowRange{});
    std::erase(unfinished_, trial);
    changed_.notify_all();
}

bool TrialRunner::needs_before(std::uint64_t at) const {
    return std::ranges::any_of(unfinished_, [&](const TrialPtr& trial) { return trial->stretch.plain - trial->stretch.window < at; });
}

void TrialRunner::wait_until_free(std::uint64_t at) {
    std::unique_lock lock(mutex_);
    while (needs_before(at)) {
        const auto waiting = std::ranges::find(unfinished_, Trial::State::waiting, [](const TrialPtr& trial) { return trial->state; });
        if (waiting != unfinished_.end()) run(TrialPtr(*waiting), own_trier_, lock);
        else changed_.wait(lock);
    }
}

} // namespace vdisk
