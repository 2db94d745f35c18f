// SPDX-License-Identifier: Apache-2.0
/// Places in a zstd frame where decoding can start, by what its blocks copy.
#pragma once

#include "base/fork_guard.hpp"
#include "io/stream/sparse_window.hpp"
#include "io/stream/zstd_sequences.hpp"

#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <thread>

namespace vdisk {

/// Plain bytes from one thing to the next, in parts of what a read may have to decode.
struct StartDistances {
    explicit StartDistances(std::uint64_t read_most);

    std::uint64_t most;
    std::uint64_t near; ///< from one start to the next, at least
    std::uint64_t
        far; ///< at most, where there is any: a read may have to decode all before it and the first segment behind it
    std::uint64_t first_segment; ///< a run's: short for reads that go over from the run before
    std::uint64_t segment;
    std::uint64_t batch; ///< blocks are looked at so many at a time
    std::uint64_t ahead; ///< how far the pass may be ahead of the look
    std::uint64_t keep;  ///< copied bytes are kept so many bytes at a time: these are there behind what matches reach
};

/// A block of a frame.
struct FrameBlock {
    std::uint64_t plain = 0;
    std::uint64_t packed = 0; ///< where its header is
    std::uint32_t plain_length = 0;
    std::uint32_t packed_length = 0; ///< with its header
    bool compressed = false;
    bool begins_piece = false; ///< a run can begin here
};

/// Where a frame's first block is, and how far its matches can reach.
struct FrameBegin {
    std::uint64_t plain = 0;
    std::uint64_t packed = 0;
    std::uint64_t window = 0;
};

/// From `from` on the plain bytes are decoded from this start.
struct RunBegin {
    std::uint64_t from = 0;
    std::uint64_t plain = 0;
    std::uint64_t packed = 0;
    WindowRange window{};
};

/// What has been looked at.
struct StartsFound {
    std::vector<RunBegin> runs; ///< new ones, in order
    std::uint64_t decided = 0;  ///< none comes any more that begins before
    std::uint64_t position =
        0; ///< plain bytes before it are not looked at any more, but for those that matches behind it reach
    bool beyond_window = false; ///< a block of the frame copies from beyond its window
};

/// What is looked at: the compressed file, and the plain bytes before the end of each block that is passed.
struct FrameBytes {
    const ByteSource& packed;
    const PlainRing& plain;
};

/// Chooses starts, so that little of the bytes before them is used. Each is exact: all that blocks behind it copy from
/// before it is in its window. One thread's.
class StartChooser {
public:
    StartChooser(const FrameBytes& bytes, WindowStore& store, const StartDistances& distances)
        : ring_(bytes.plain), input_(bytes.packed), store_(store), distances_(distances) {}

    void begin_frame(const FrameBegin& frame);
    /// The next block.
    void look_at(const FrameBlock& block);
    /// No more blocks come.
    void end_frame();
    /// What is known since the last call.
    [[nodiscard]] StartsFound take();

private:
    // A block with which decoding could start, and what of the bytes before it those behind it copied.
    struct Candidate {
        std::uint64_t plain;
        std::uint64_t packed;
        std::optional<WindowMarks> marks; ///< nothing once no copy can reach it any more
        bool huffman_table;               ///< a block from here on has brought one
        SparseWindow window{};
    };

    // How far decoding from a start leads.
    enum class RunKind : std::uint8_t {
        lasting,       ///< to the end of the frame
        without_table, ///< to a block with the Huffman table of an earlier one
        free,          ///< to a compressed block
    };

    bool follow(const FrameBlock& block);
    void look_at_tables(const ZstdBlockSequences& block);
    void consider(const FrameBlock& block, const ZstdBlockSequences& read, const RepeatOffsets& repeats);
    bool look_at_copies(const FrameBlock& block, std::span<const ZstdSequence> sequences);
    void mark(std::uint64_t from, std::uint64_t to) noexcept;
    void keep_copies(bool all);
    void keep_within_memory();
    void lose_track();

    void choose();
    [[nodiscard]] std::optional<std::size_t> best() const;
    void begin_run(Candidate candidate);
    void begin_free_run(const FrameBlock& block);
    void leave_run();

    [[nodiscard]] std::uint64_t reach_of(std::uint64_t plain) const noexcept {
        return std::min(frame_.window, plain - frame_.plain);
    }
    [[nodiscard]] std::uint64_t room_for_windows(std::uint64_t packed) const noexcept;
    // Far into a disk starts are farther apart, so that the index of a large one stays small.
    [[nodiscard]] std::uint64_t spread(std::uint64_t distance) const noexcept {
        constexpr unsigned kTebibyteLog = 40;
        return distance * (1 + (position_ >> kTebibyteLog));
    }
    [[nodiscard]] bool long_window() const noexcept { return frame_.window > distances_.most / 4; }

    const PlainRing& ring_;
    PackedInput input_;
    WindowStore& store_;
    StartDistances distances_;
    ZstdSequenceReader sequences_;

    FrameBegin frame_{};
    bool on_track_ = false;             ///< the frame's blocks could be followed
    bool beyond_window_ = false;        ///< and one copies from beyond the window
    std::uint64_t free_from_ = 0;       ///< where the next free run may begin
    std::uint64_t position_ = 0;        ///< behind the last block
    std::uint64_t piece_ = 0;           ///< where the last piece began
    std::uint64_t kept_at_ = 0;         ///< where keep_copies() was last
    std::deque<Candidate> candidates_;  ///< in order
    std::uint64_t candidate_from_ = 0;  ///< where the next may be
    std::uint64_t windows_bytes_ = 0;   ///< kept for the frame
    std::uint64_t window_expected_ = 0; ///< bytes of the next window
    RunBegin run_{};                    ///< the latest
    RunKind kind_ = RunKind::lasting;   ///< of it
    RunBegin lasting_{};                ///< the latest that lasts
    std::vector<RunBegin> found_;
};

/// Makes a StartChooser look in a second thread, or in the caller's where none can be had or Limits::threads allows but
/// one. A frame of less than a batch it never sees. One thread's. In a child that was forked while the second thread
/// was there, take() fails from then on.
class StartFinder {
public:
    StartFinder(const FrameBytes& bytes, WindowStore& store, const StartDistances& distances, const Limits& limits)
        : distances_(distances), chooser_(std::make_unique<StartChooser>(bytes, store, distances)),
          alone_(limits.threads == 1) {}
    /// Leaves what was not looked at yet.
    ~StartFinder();
    StartFinder(const StartFinder&) = delete;
    StartFinder& operator=(const StartFinder&) = delete;

    void begin_frame(const FrameBegin& frame);
    void add(const FrameBlock& block);
    /// Waits until all of the frame is looked at.
    void end_frame();
    /// Waits until what lies before a plain offset is.
    void wait_until(std::uint64_t position);
    /// What is known since the last call. `io` if there was no memory, or the thread is that of a parent process.
    [[nodiscard]] Result<StartsFound> take();
    /// Whether a block of the frame copies from beyond its window; known after end_frame().
    [[nodiscard]] bool beyond_window();

private:
    struct Batch {
        std::optional<FrameBegin> begin;
        std::vector<FrameBlock> blocks;
        bool end = false;
    };

    static void forget_thread(void* finder) noexcept;
    bool has_failed();
    void hand_over();
    void run_thread();
    void look_at(const Batch& batch);

    StartDistances distances_;
    std::unique_ptr<StartChooser> chooser_; ///< the thread's, or the caller's
    const bool alone_;                      ///< there is to be no thread
    Batch next_;
    bool handed_over_ = false; ///< of this frame
    std::mutex mutex_;
    std::condition_variable changed_;
    std::deque<Batch> waiting_;
    bool working_ = false;
    bool stopping_ = false;
    const char* failed_ = nullptr; ///< why, if it has
    StartsFound found_{};
    std::thread thread_;
    ForkGuard fork_{&mutex_, forget_thread, this};
};

} // namespace vdisk
