// SPDX-License-Identifier: Apache-2.0
/// Places in a zstd frame where decoding may be able to start, decided by trying.
#pragma once

#include "io/stream/sparse_window.hpp"
#include "io/stream/zstd_blocks.hpp"

#include <condition_variable>
#include <mutex>
#include <optional>
#include <thread>

namespace vdisk {

/// A stretch of whole blocks of one frame, and how much of what precedes it their matches can reach.
struct BlockStretch {
    std::uint64_t plain = 0;
    std::uint64_t plain_length = 0;
    std::uint64_t packed = 0;
    std::uint64_t packed_length = 0;
    std::size_t window = 0;

    /// The first plain byte that looking at it needs.
    [[nodiscard]] std::uint64_t reach() const noexcept { return plain - window; }
};

/// What all tries of a pass read from. Stretches and their windows must be in the ring while they are looked at.
struct TrialContext {
    const ByteSource& source;
    const PlainRing& ring;
    const WindowPattern& pattern;
};

/// Tries starts. Keeps what it allocates, so one object should make many tries. One thread's.
class StartTrier {
public:
    explicit StartTrier(const TrialContext& context) : context_(context), input_(context.source) {}

    /// Decodes the stretch, finds what it uses from before its start, and decodes it again with only that, packed and unpacked
    /// as a reader will have it: the packed window if the result is the true one, else nothing.
    [[nodiscard]] std::optional<std::vector<std::byte>> window_for(const BlockStretch& stretch);

private:
    // So many starts may fail before it is looked whether short copies were passed over.
    static constexpr unsigned kFailuresUntilShort = 3;

    std::optional<std::vector<std::byte>> proven_window(const BlockStretch& stretch, ShortCopies short_copies);
    Result<WindowUse> find_use(const BlockStretch& stretch, ShortCopies short_copies);
    std::optional<RepeatOffsets> solve_repeats(const BlockStretch& stretch, WindowUse& use);
    std::optional<std::uint32_t> solve(const BlockStretch& stretch, std::span<const RepeatUse> uses);
    bool explains(std::uint64_t offset, const BlockStretch& stretch, const RepeatUse& use) const;
    bool is_true(const BlockStretch& stretch, std::span<const std::byte> packed_window);
    template<class Took> Result<void> decode(const BlockStretch& stretch, const ZstdPrefix& prefix, const RepeatOffsets& offsets, Took&& took);
    Result<void> make_room(std::size_t bytes);

    const TrialContext& context_;
    PackedInput input_;
    ZstdBlockDecoder decoder_;
    std::unique_ptr<std::byte[]> decoded_;
    std::size_t room_ = 0;
    std::vector<std::byte> truth_;
    ShortCopies short_copies_ = ShortCopies::pass_over;
    unsigned failures_ = 0; ///< without a look at short copies
    unsigned failures_until_short_ = kFailuresUntilShort;
};

/// A search for one start among several candidates, the best first.
struct StartSearch {
    std::vector<BlockStretch> candidates;
    bool done = false;                 ///< guarded by StartSearcher; what follows can be read once it is set
    std::optional<std::size_t> found;  ///< the first candidate that is one
    WindowRange window{};              ///< where its window is kept
};
using SearchPtr = std::shared_ptr<StartSearch>;

/// Makes searches in a second thread, or in the caller's where none can be had.
class StartSearcher {
public:
    StartSearcher(const TrialContext& context, WindowStore& store) : context_(context), store_(store), trier_(context_) {}
    /// Ends the search under way after the candidate that is being tried.
    ~StartSearcher();
    StartSearcher(const StartSearcher&) = delete;
    StartSearcher& operator=(const StartSearcher&) = delete;

    /// Call it when the search before is done.
    void start(SearchPtr search);
    [[nodiscard]] bool done(const StartSearch& search);
    void wait(const StartSearch& search);

private:
    void run_thread();
    void run(StartSearch& search);
    bool stopping();

    TrialContext context_;
    WindowStore& store_;
    StartTrier trier_;
    std::mutex mutex_;
    std::condition_variable changed_;
    SearchPtr next_;
    bool stopping_ = false;
    std::thread thread_;
};

} // namespace vdisk
