// SPDX-License-Identifier: Apache-2.0
#include "io/stream/zstd_trial.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <system_error>

namespace vdisk {
namespace {

// A copy's first bytes, by which its source is sought.
constexpr std::size_t kNeedle = 4;
// Repeat offsets are sought up to here.
constexpr std::uint64_t kOffsetMost = 8U << 20;
constexpr std::size_t kOffsetsLookedAt = 20'000; // among zeros every one could be it
// Output is looked through in pieces of this length, which begin a little before the one before ends: copies should not be cut. Behind each the
// pages of a long pattern are given back; and most starts that are none show it in the first, by repeat offsets that can't be found.
constexpr std::size_t kLookedThrough = 1U << 17;
constexpr std::size_t kOverlap = 64;
// Memory that a sparse window may take: with whole pages for scattered bytes it could be as large as the window.
constexpr std::size_t kSparseMost = 32U << 20;

} // namespace

Result<void> StartTrier::make_room(std::size_t bytes) {
    if (bytes <= room_) return ok();
    room_ = 0;
    decoded_.reset(new (std::nothrow) std::byte[bytes]);
    if (!decoded_) return fail(ErrorKind::io, "no memory for a trial of {} bytes", bytes);
    room_ = bytes;
    return ok();
}

// `took` gets how many bytes there are after each block; an error of it ends the decoding.
template<class Took>
Result<void> StartTrier::decode(const BlockStretch& stretch, const ZstdPrefix& prefix, const RepeatOffsets& offsets, Took&& took) {
    VDISK_CHECK(make_room(static_cast<std::size_t>(stretch.plain_length) + kZstdBlockMax));
    VDISK_CHECK(decoder_.begin(prefix, offsets));
    std::uint64_t done = 0;
    for (std::uint64_t at = stretch.packed, end = at + stretch.packed_length; at < end;) {
        VDISK_TRY(header, input_.at(at, kZstdBlockHeader));
        if (header.size() < kZstdBlockHeader) return fail(ErrorKind::io, "the file became shorter");
        VDISK_TRY(framed, input_.at(at, kZstdBlockHeader + parse_zstd_block(header).packed));
        VDISK_TRY(length, ZstdBlockDecoder::length_of(framed));
        VDISK_TRY(got, decoder_.decode(framed.first(length), decoded_.get() + done));
        if (got > stretch.plain_length - done) return fail(ErrorKind::corrupt, "blocks expand to more than they did");
        done += got;
        at += length;
        VDISK_CHECK(took(static_cast<std::size_t>(done)));
    }
    if (done < stretch.plain_length) return fail(ErrorKind::corrupt, "blocks expand to less than they did");
    return ok();
}

Result<WindowUse> StartTrier::find_use(const BlockStretch& stretch, ShortCopies short_copies) {
    VDISK_TRY(marks, WindowMarks::make(stretch.window));
    WindowUse use{std::move(marks)};
    const ZstdPrefix pattern = context_.pattern.prefix(stretch.window);
    // What comes later than the window is long reaches the old window only through what comes before.
    const auto looked_at = static_cast<std::size_t>(std::min<std::uint64_t>(stretch.plain_length, stretch.window));
    std::size_t looked = 0;
    const auto done = decode(stretch, pattern, patterned_offsets(stretch.window), [&](std::size_t decoded) -> Result<void> {
        const std::size_t end = std::min(decoded, looked_at);
        if (end <= looked || (end - looked < kLookedThrough && end < looked_at)) return ok();
        const std::size_t start = looked - std::min(looked, kOverlap);
        truth_.resize(end - start);
        context_.ring.copy(stretch.plain + start, truth_);
        find_used({{decoded_.get() + start, end - start}, truth_, pattern.window, start}, context_.ring, stretch.plain, short_copies, use);
        context_.pattern.forget();
        if (looked == 0 && !solve_repeats(stretch, use)) return fail(ErrorKind::corrupt, "the repeat offsets are not found");
        looked = end;
        return ok();
    });
    VDISK_CHECK(done);
    return Result<WindowUse>(std::move(use));
}

bool StartTrier::explains(std::uint64_t offset, const BlockStretch& stretch, const RepeatUse& use) const {
    if (offset <= use.less || offset - use.less > stretch.window + use.at) return false;
    const std::uint64_t at = stretch.plain + use.at;
    return context_.ring.same(at, at - (offset - use.less), use.length);
}

// The smallest offset by which all of the uses give the true bytes. Nothing if there is none near.
std::optional<std::uint32_t> StartTrier::solve(const BlockStretch& stretch, std::span<const RepeatUse> uses) {
    if (uses.empty()) return 1;
    const RepeatUse& longest = *std::ranges::max_element(uses, {}, &RepeatUse::length);
    std::array<std::byte, kNeedle> needle{};
    context_.ring.copy(stretch.plain + longest.at, needle);
    const std::uint64_t most = std::min<std::uint64_t>(stretch.window, kOffsetMost);
    std::size_t looked_at = 0;
    for (std::uint64_t from = 1; from <= most; from += kLookedThrough) {
        const auto count = static_cast<std::size_t>(std::min<std::uint64_t>(kLookedThrough, most + 1 - from));
        // All that lies from `from` up before the longest use, the nearest last.
        truth_.resize(count + kNeedle - 1);
        context_.ring.copy(stretch.plain + longest.at + longest.less - (from + count - 1), truth_);
        for (std::size_t i = count; i-- > 0;) {
            if (std::memcmp(&truth_[i], needle.data(), kNeedle) != 0) continue;
            if (++looked_at > kOffsetsLookedAt) return std::nullopt;
            const std::uint64_t offset = from + (count - 1 - i);
            if (std::ranges::all_of(uses, [&](const RepeatUse& use) { return explains(offset, stretch, use); })) return static_cast<std::uint32_t>(offset);
        }
    }
    return std::nullopt;
}

std::optional<RepeatOffsets> StartTrier::solve_repeats(const BlockStretch& stretch, WindowUse& use) {
    RepeatOffsets offsets{};
    for (unsigned which = 0; which < offsets.size(); ++which) {
        std::vector<RepeatUse> uses;
        std::ranges::copy_if(use.repeats, std::back_inserter(uses), [&](const RepeatUse& repeat) { return repeat.which == which; });
        const auto offset = solve(stretch, uses);
        if (!offset) return std::nullopt;
        offsets[which] = *offset;
        for (const RepeatUse& repeat : uses) {
            const std::uint64_t from = stretch.window + repeat.at - (*offset - repeat.less);
            const std::uint64_t to = std::min<std::uint64_t>(from + repeat.length, stretch.window);
            if (from < to) use.marks.set(static_cast<std::size_t>(from), static_cast<std::size_t>(to));
        }
    }
    return offsets;
}

bool StartTrier::is_true(const BlockStretch& stretch, std::span<const std::byte> packed_window) {
    const auto state = unpack_window(packed_window); // just as a reader will
    if (state.has_error()) return false;
    std::size_t compared = 0;
    const auto done = decode(stretch, state.value().window.prefix(), state.value().offsets, [&](std::size_t decoded) -> Result<void> {
        const std::span block(decoded_.get() + compared, decoded - compared);
        if (!context_.ring.holds(stretch.plain + compared, block)) return fail(ErrorKind::corrupt, "not the true bytes");
        compared = decoded;
        return ok();
    });
    return done.has_value();
}

std::optional<std::vector<std::byte>> StartTrier::proven_window(const BlockStretch& stretch, ShortCopies short_copies) {
    auto use = find_use(stretch, short_copies);
    if (use.has_error()) return std::nullopt;
    const auto offsets = solve_repeats(stretch, use.value());
    if (!offsets || use.value().marks.page_bytes() > kSparseMost) return std::nullopt;
    auto packed = pack_window(use.value().marks, *offsets, context_.ring, stretch.plain);
    if (packed.has_error() || !is_true(stretch, packed.value())) return std::nullopt;
    return std::move(packed).value();
}

// To seek short copies takes long, so that is done only where it was needed before, and now and then where nothing else helps:
// the less often the less it helped.
std::optional<std::vector<std::byte>> StartTrier::window_for(const BlockStretch& stretch) {
    auto window = proven_window(stretch, short_copies_);
    if (window) return window;
    if (short_copies_ == ShortCopies::seek) {
        short_copies_ = ShortCopies::pass_over;
        return std::nullopt;
    }
    if (++failures_ < failures_until_short_) return std::nullopt;
    failures_ = 0;
    window = proven_window(stretch, ShortCopies::seek);
    if (window) short_copies_ = ShortCopies::seek;
    failures_until_short_ = window ? kFailuresUntilShort : 2 * failures_until_short_;
    return window;
}

StartSearcher::~StartSearcher() {
    {
        const std::lock_guard lock(mutex_);
        stopping_ = true;
    }
    changed_.notify_all();
    if (thread_.joinable()) thread_.join();
}

void StartSearcher::start(SearchPtr search) {
    if (!thread_.joinable()) {
        try {
            thread_ = std::thread([this] { run_thread(); });
        } catch (const std::system_error&) {
            run(*search);
            search->done = true;
            return;
        }
    }
    {
        const std::lock_guard lock(mutex_);
        next_ = std::move(search);
    }
    changed_.notify_all();
}

bool StartSearcher::done(const StartSearch& search) {
    const std::lock_guard lock(mutex_);
    return search.done;
}

void StartSearcher::wait(const StartSearch& search) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return search.done; });
}

bool StartSearcher::stopping() {
    const std::lock_guard lock(mutex_);
    return stopping_;
}

void StartSearcher::run_thread() {
    std::unique_lock lock(mutex_);
    for (;;) {
        changed_.wait(lock, [this] { return stopping_ || next_; });
        if (stopping_) return;
        const SearchPtr search = std::exchange(next_, nullptr);
        lock.unlock();
        run(*search);
        lock.lock();
        search->done = true;
        changed_.notify_all();
    }
}

void StartSearcher::run(StartSearch& search) {
    for (std::size_t i = 0; i < search.candidates.size() && !stopping(); ++i) {
        try {
            const auto window = trier_.window_for(search.candidates[i]);
            if (!window) continue;
            const auto kept = store_.add(*window);
            if (kept.has_error()) return;
            search.found = i;
            search.window = kept.value();
            return;
        } catch (const std::bad_alloc&) {
            return; // one restart point less
        }
    }
}

} // namespace vdisk
