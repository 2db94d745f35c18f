// SPDX-License-Identifier: Apache-2.0
#include "io/stream/zstd_starts.hpp"

#include <algorithm>
#include <system_error>

namespace vdisk {
namespace {

// So many candidates for a start.
constexpr std::uint64_t kCandidates = 6;
// An open candidate takes a bit for every byte of the window; all together no more than this.
constexpr std::uint64_t kMarksMost = 32U << 20;
// From far before so much is copied that starts as near as they should be would make for large indexes. So long windows
// may take one of so many compressed bytes, and some more at first, and runs last until they do.
constexpr std::uint64_t kLongShare = 72;
constexpr std::uint64_t kLongFree = 1U << 20;
// A candidate's cost that does not matter.
constexpr std::size_t kSmallCost = 64;
constexpr std::size_t kBatchBlocks = 1024;
constexpr std::size_t kBatchesWaiting = 16;

// From one candidate to the next.
std::uint64_t candidate_step(const StartDistances& distances, std::uint64_t window) {
    const std::uint64_t open_most = kMarksMost * 8 / std::max<std::uint64_t>(window, 1);
    return std::max((distances.far - distances.near) / kCandidates, window / std::max<std::uint64_t>(open_most, 1));
}

} // namespace

StartDistances::StartDistances(std::uint64_t read_most)
    : most(read_most), near(most / 2), far(most - most / 16 - most / 64), first_segment(most / 16), segment(most / 4),
      batch(most / 16), ahead(most / 2), keep(most / 8) {}

void StartChooser::begin_frame(const FrameBegin& frame) {
    frame_ = frame;
    on_track_ = true;
    beyond_window_ = false;
    position_ = piece_ = kept_at_ = frame.plain;
    sequences_.begin_frame();
    candidates_.clear();
    candidate_from_ = free_from_ = frame.plain + spread(distances_.near);
    windows_bytes_ = window_expected_ = 0;
    run_ = lasting_ = {.from = frame.plain, .plain = frame.plain, .packed = frame.packed};
    kind_ = RunKind::lasting;
}

void StartChooser::look_at(const FrameBlock& block) {
    if (block.begins_piece) piece_ = block.plain;
    if (!block.compressed) begin_free_run(block);
    else {
        if (kind_ == RunKind::free) leave_run();
        if (on_track_ && !follow(block)) lose_track();
    }
    position_ = block.plain + block.plain_length;
    if (position_ - kept_at_ >= distances_.keep) keep_copies(false);
    choose();
}

void StartChooser::end_frame() {
    keep_copies(true);
    choose();
}

// What the rest of the frame copies nobody knows, nor which tables it uses.
void StartChooser::lose_track() {
    on_track_ = false;
    if (kind_ != RunKind::lasting) leave_run();
    std::erase_if(candidates_, [](const Candidate& candidate) { return candidate.marks || !candidate.huffman_table; });
}

StartsFound StartChooser::take() {
    return {std::exchange(found_, {}), candidates_.empty() ? piece_ : candidates_.front().plain, position_,
            beyond_window_};
}

bool StartChooser::follow(const FrameBlock& block) {
    const auto framed = input_.at(block.packed, block.packed_length);
    if (framed.has_error() || framed.value().size() < block.packed_length) return false;
    const RepeatOffsets repeats = sequences_.repeats();
    const auto read = sequences_.read(framed.value().subspan(kZstdBlockHeader), block.plain_length);
    if (read.has_error()) return false;
    look_at_tables(read.value());
    consider(block, read.value(), repeats);
    return look_at_copies(block, read.value().sequences);
}

void StartChooser::look_at_tables(const ZstdBlockSequences& block) {
    using HuffmanTable = ZstdBlockSequences::HuffmanTable;
    if (block.literals == HuffmanTable::earlier) {
        std::erase_if(candidates_, [](const Candidate& candidate) { return !candidate.huffman_table; });
        if (kind_ == RunKind::without_table) leave_run();
    }
    if (block.literals == HuffmanTable::own) {
        for (Candidate& candidate : candidates_) candidate.huffman_table = true;
        if (kind_ == RunKind::without_table) lasting_ = run_;
        kind_ = RunKind::lasting;
    }
}

// Whether decoding can start with the block, and something is known of it then.
void StartChooser::consider(const FrameBlock& block, const ZstdBlockSequences& read, const RepeatOffsets& repeats) {
    using HuffmanTable = ZstdBlockSequences::HuffmanTable;
    const std::uint64_t reach = reach_of(block.plain);
    if (!block.begins_piece || !read.own_tables || read.literals == HuffmanTable::earlier ||
        block.plain < candidate_from_ || reach < kZstdWindowLeast)
        return;
    if (std::ranges::any_of(repeats, [&](std::uint32_t offset) { return offset == 0 || offset > reach; })) return;
    if (long_window() && room_for_windows(block.packed) < window_expected_) return;
    auto marks = WindowMarks::make(static_cast<std::size_t>(reach));
    if (marks.has_error()) return;
    candidates_.push_back(
        {.plain = block.plain,
         .packed = block.packed,
         .marks = std::move(marks).value(),
         .huffman_table = read.literals == HuffmanTable::own,
         .window = {.size = static_cast<std::uint32_t>(reach), .offsets = repeats, .runs = {}, .bytes = {}}});
    candidate_from_ = block.plain + spread(candidate_step(distances_, frame_.window));
}

std::uint64_t StartChooser::room_for_windows(std::uint64_t packed) const noexcept {
    const std::uint64_t room = (packed - frame_.packed) / kLongShare + kLongFree;
    return room - std::min(room, windows_bytes_);
}

// False if a copy is from beyond the window.
bool StartChooser::look_at_copies(const FrameBlock& block, std::span<const ZstdSequence> sequences) {
    const std::uint64_t latest = candidates_.empty() ? 0 : candidates_.back().plain;
    std::uint64_t at = block.plain;
    for (const ZstdSequence& sequence : sequences) {
        at += sequence.literals;
        if (sequence.offset > reach_of(at)) {
            beyond_window_ = true;
            return false;
        }
        const std::uint64_t from = at - sequence.offset;
        if (from < latest) mark(from, from + sequence.length);
        at += sequence.length;
    }
    return true;
}

// A block copies these bytes.
void StartChooser::mark(std::uint64_t from, std::uint64_t to) noexcept {
    for (auto candidate = candidates_.rbegin(); candidate != candidates_.rend() && candidate->plain > from;
         ++candidate) {
        if (!candidate->marks) return; // nor do those before it
        const std::uint64_t first = candidate->plain - candidate->window.size;
        candidate->marks->set(static_cast<std::size_t>(from - first),
                              static_cast<std::size_t>(std::min(to, candidate->plain) - first));
    }
}

// Keeps of all windows the bytes that no copy can reach any more.
void StartChooser::keep_copies(bool all) {
    kept_at_ = position_;
    for (Candidate& candidate : candidates_) {
        if (!candidate.marks) continue;
        const std::uint64_t first = candidate.plain - candidate.window.size;
        const std::uint64_t reached =
            all ? candidate.plain : std::min(candidate.plain, position_ - std::min(position_, frame_.window));
        if (reached <= first) continue;
        keep_marked(*candidate.marks, static_cast<std::size_t>(reached - first), ring_, first, candidate.window);
        if (reached == candidate.plain) candidate.marks.reset();
    }
    keep_within_memory();
}

// So much for all windows together; beyond that the dearest goes.
void StartChooser::keep_within_memory() {
    const auto cost = [](const Candidate& candidate) {
        return candidate.window.bytes.size() + candidate.window.runs.size() * sizeof(WindowRun);
    };
    for (;;) {
        std::size_t all = 0;
        for (const Candidate& candidate : candidates_) all += cost(candidate);
        if (all <= kSparseWindowMost) return;
        const auto dearest = std::ranges::max_element(candidates_, {}, cost);
        window_expected_ = cost(*dearest);
        candidates_.erase(dearest);
    }
}

void StartChooser::choose() {
    while (const auto chosen = best()) {
        const auto candidate = candidates_.begin() + static_cast<std::ptrdiff_t>(*chosen);
        Candidate start = std::move(*candidate);
        candidates_.erase(candidate);
        begin_run(std::move(start));
    }
}

// Of those that are neither near nor far the one whose window takes least for the length of the run before it. Where
// there is none the first.
std::optional<std::size_t> StartChooser::best() const {
    const std::uint64_t range_end = run_.plain + spread(distances_.far);
    if (candidates_.empty() || position_ <= range_end) return std::nullopt;
    const auto beyond =
        std::ranges::find_if(candidates_, [&](const Candidate& candidate) { return candidate.plain > range_end; });
    const auto end = std::max(beyond, candidates_.begin() + 1);
    if (std::any_of(candidates_.begin(), end, [](const Candidate& candidate) { return candidate.marks.has_value(); }))
        return std::nullopt;
    const auto cost = [&](const Candidate& candidate) {
        return static_cast<double>(candidate.window.cost() + kSmallCost) /
               static_cast<double>(candidate.plain - run_.plain);
    };
    return static_cast<std::size_t>(
        std::min_element(candidates_.begin(), end,
                         [&](const Candidate& left, const Candidate& right) { return cost(left) < cost(right); }) -
        candidates_.begin());
}

// If there is room for its window.
void StartChooser::begin_run(Candidate candidate) {
    const auto packed = pack_window(candidate.window);
    if (packed.has_error()) return;
    window_expected_ = packed.value().size();
    if (long_window() && window_expected_ > room_for_windows(candidate.packed)) return;
    const auto kept = store_.add(packed.value());
    if (kept.has_error()) return;
    windows_bytes_ += window_expected_;
    run_ = {.from = candidate.plain, .plain = candidate.plain, .packed = candidate.packed, .window = kept.value()};
    kind_ = candidate.huffman_table ? RunKind::lasting : RunKind::without_table;
    if (kind_ == RunKind::lasting) lasting_ = run_;
    found_.push_back(run_);
    const std::uint64_t next = run_.plain + spread(distances_.near);
    std::erase_if(candidates_, [&](const Candidate& other) { return other.plain < next; });
    candidate_from_ = std::max(candidate_from_, next);
}

// What consists of raw and RLE blocks needs nothing of what was before. Not wherever it could be: where such blocks and
// others alternate, each change would be a segment.
void StartChooser::begin_free_run(const FrameBlock& block) {
    if (!block.begins_piece || !candidates_.empty() || block.plain < free_from_ ||
        block.plain - run_.plain < spread(distances_.near))
        return;
    kind_ = RunKind::free;
    free_from_ = block.plain + spread(distances_.near);
    run_ = {.from = block.plain, .plain = block.plain, .packed = block.packed};
    found_.push_back(run_);
}

// The piece with the block that comes now can't be decoded from the run's start, nor what is behind it.
void StartChooser::leave_run() {
    kind_ = RunKind::lasting;
    run_ = lasting_;
    run_.from = piece_;
    found_.push_back(run_);
    candidate_from_ = piece_;
}

StartFinder::~StartFinder() {
    {
        const std::lock_guard lock(mutex_);
        stopping_ = true;
    }
    changed_.notify_all();
    if (thread_.joinable()) thread_.join();
}

void StartFinder::begin_frame(const FrameBegin& frame) {
    next_ = {.begin = frame};
    handed_over_ = false;
    const std::lock_guard lock(mutex_);
    found_.beyond_window = false;
}

void StartFinder::add(const FrameBlock& block) {
    next_.blocks.push_back(block);
    if (block.plain + block.plain_length - next_.blocks.front().plain >= distances_.batch ||
        next_.blocks.size() >= kBatchBlocks)
        hand_over();
}

void StartFinder::end_frame() {
    if (handed_over_) {
        next_.end = true;
        hand_over();
        std::unique_lock lock(mutex_);
        changed_.wait(lock, [this] { return waiting_.empty() && !working_; });
    }
    next_ = {};
}

void StartFinder::wait_until(std::uint64_t position) {
    if (!next_.blocks.empty() && next_.blocks.front().plain < position) hand_over();
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return found_.position >= position || (waiting_.empty() && !working_); });
}

Result<StartsFound> StartFinder::take() {
    const std::lock_guard lock(mutex_);
    if (failed_ != nullptr) return fail(ErrorKind::io, "{}", failed_);
    return StartsFound{std::exchange(found_.runs, {}), found_.decided, found_.position, found_.beyond_window};
}

bool StartFinder::beyond_window() {
    const std::lock_guard lock(mutex_);
    return found_.beyond_window;
}

// In a child of fork() the thread is not there, and what it was changing may be half changed: that is left as it is.
void StartFinder::forget_thread(void* finder) noexcept {
    auto& self = *static_cast<StartFinder*>(finder);
    if (!self.thread_.joinable()) return;
    std::construct_at(&self.changed_); // the one that the thread waits on can't even be destroyed
    std::construct_at(&self.thread_);
    (void)self.chooser_.release();
    self.waiting_.clear();
    self.working_ = false;
    self.failed_ = "the process was forked during the pass";
}

bool StartFinder::has_failed() {
    const std::lock_guard lock(mutex_);
    return failed_ != nullptr;
}

void StartFinder::hand_over() {
    handed_over_ = true;
    Batch batch = std::exchange(next_, {});
    if (has_failed()) return;
    if (alone_) return look_at(batch);
    if (!thread_.joinable()) {
        try {
            thread_ = std::thread([this] { run_thread(); });
        } catch (const std::system_error&) {
            look_at(batch);
            return;
        }
    }
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return waiting_.size() < kBatchesWaiting; });
    waiting_.push_back(std::move(batch));
    lock.unlock();
    changed_.notify_all();
}

void StartFinder::run_thread() {
    std::unique_lock lock(mutex_);
    for (;;) {
        changed_.wait(lock, [this] { return stopping_ || !waiting_.empty(); });
        if (stopping_) return;
        const Batch batch = std::move(waiting_.front());
        waiting_.pop_front();
        working_ = true;
        lock.unlock();
        look_at(batch);
        lock.lock();
        working_ = false;
        changed_.notify_all();
    }
}

void StartFinder::look_at(const Batch& batch) {
    try {
        if (batch.begin) chooser_->begin_frame(*batch.begin);
        for (const FrameBlock& block : batch.blocks) chooser_->look_at(block);
        if (batch.end) chooser_->end_frame();
        const StartsFound found = chooser_->take();
        const std::lock_guard lock(mutex_);
        found_.runs.insert(found_.runs.end(), found.runs.begin(), found.runs.end());
        found_.decided = found.decided;
        found_.position = found.position;
        found_.beyond_window = found.beyond_window;
    } catch (const std::bad_alloc&) {
        const std::lock_guard lock(mutex_);
        failed_ = "no memory to look for places to start at";
    }
}

} // namespace vdisk
