// SPDX-License-Identifier: Apache-2.0
#include "io/stream/sparse_window.hpp"

#include "base/limits.hpp"

#include <boost/endian/conversion.hpp>

#include <sys/mman.h>
#include <unistd.h>
#include <zstd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>

namespace vdisk {
namespace {

// Byte k of the pattern: its top two bits are k modulo 4, the others one of four digits to the base of 64 of k / 4, the lowest
// first. So any four bytes in a row tell where in the period they stand.
constexpr unsigned kDigits = 4;
constexpr unsigned kDigitBits = 6;
constexpr std::uint32_t kDigitMask = 63;
constexpr std::uint32_t kGroups = WindowPattern::kPeriod / kDigits;

// Gaps between marked bytes that cost more to tell than to keep.
constexpr std::size_t kSmallGap = 6;
constexpr int kPackLevel = 3;

constexpr std::uint32_t kNumberMask = (1U << kDigits * kDigitBits) - 1;

void fill_period(std::span<std::byte> period) {
    for (std::size_t k = 0; k < period.size(); ++k)
        period[k] = static_cast<std::byte>((k % kDigits) << kDigitBits | (k / kDigits >> k % kDigits * kDigitBits & kDigitMask));
}

std::uint32_t load_four(const std::byte* bytes) noexcept { return boost::endian::load_little_u32(reinterpret_cast<const unsigned char*>(bytes)); }

// Four bytes of output, read as the pattern's.
class FourBytes {
public:
    explicit FourBytes(const std::byte* bytes) : word_(load_four(bytes)) {}

    // Whether the first `count` can stand side by side in the pattern at all. Most of what a short copy was repeated from fails here.
    bool in_phase(unsigned count) const noexcept {
        constexpr std::array<std::uint32_t, kDigits> kPhases{0xC0804000, 0x00C08040, 0x4000C080, 0x804000C0};
        const std::uint32_t looked_at = 0xC0C0C0C0 >> 8 * (kDigits - count);
        return ((word_ ^ kPhases[phase()]) & looked_at) == 0;
    }

    // Where in the period they stand: the first ones are the higher digits of one number, the others the lower ones of the next.
    std::uint32_t place() const noexcept {
        const std::uint32_t digits = (word_ & 0x3F) | (word_ >> 2 & 0xFC0) | (word_ >> 4 & 0x3F000) | (word_ >> 6 & 0xFC0000);
        const unsigned turn = phase() * kDigitBits;
        std::uint32_t number = (digits << turn | digits >> (kDigits * kDigitBits - turn)) & kNumberMask;
        const std::uint32_t low = (std::uint32_t{1} << turn) - 1;
        if (turn > 0) number = (number & low) != 0 ? number - 1 : number + low;
        return number % kGroups * kDigits + phase();
    }

    // The fourth digit replaced by a guess.
    FourBytes with_last(std::uint32_t digit) const noexcept {
        FourBytes guessed = *this;
        guessed.word_ = (word_ & 0x00FFFFFF) | digit << 24;
        return guessed;
    }

private:
    unsigned phase() const noexcept { return word_ >> kDigitBits & 3; }
    std::uint32_t word_;
};

// How many bytes at the start of both are the same, of `most`.
std::size_t same_bytes(const std::byte* left, const std::byte* right, std::size_t most) noexcept {
    std::size_t i = 0;
    for (; i + 8 <= most; i += 8) {
        const std::uint64_t differing = boost::endian::load_little_u64(reinterpret_cast<const unsigned char*>(left + i)) ^
                                        boost::endian::load_little_u64(reinterpret_cast<const unsigned char*>(right + i));
        if (differing != 0) return i + static_cast<std::size_t>(std::countr_zero(differing)) / 8;
    }
    while (i < most && left[i] == right[i]) ++i;
    return i;
}

class Marker {
public:
    Marker(const PatternedOutput& output, const PlainRing& ring, std::uint64_t at, ShortCopies short_copies, WindowUse& use)
        : patterned_(output.patterned.data()), truth_(output.truth.data()), size_(output.truth.size()), pattern_(output.pattern.data()), first_(output.first),
          ring_(ring), window_place_(ring.place(at - use.marks.size())), short_copies_(short_copies), marks_(use.marks), repeats_(use.repeats),
          repeat_places_(places_of_repeats(patterned_offsets(use.marks.size()), use.marks.size() + output.first)) {}

    void run() {
        // Where the pattern repeats, each look at four bytes is one at every period, so that looking at fewer bytes first pays.
        if (short_copies_ == ShortCopies::seek || marks_.size() > WindowPattern::kPeriod) explain_all();
        else explain_those_in_phase();
        // Copies that begin in the last bytes of the window and go on in the output may be too short to be recognised.
        const std::size_t tail = std::min<std::size_t>(marks_.size(), std::size_t{2} * kDigits);
        marks_.set(marks_.size() - tail, marks_.size());
    }

private:
    // Where in the pattern the first byte's copy by a repeat offset is from.
    struct RepeatPlace {
        unsigned which;
        std::uint32_t less;
        std::uint64_t place;
    };
    using RepeatPlaces = std::array<RepeatPlace, 4>;

    static RepeatPlaces places_of_repeats(const RepeatOffsets& offsets, std::uint64_t at) {
        return {{{0, 0, at - offsets[0]}, {0, 1, at - (offsets[0] - 1)}, {1, 0, at - offsets[1]}, {2, 0, at - offsets[2]}}};
    }

    void explain_all() {
        for (std::size_t i = next_difference(0); i < size_; i = next_difference(i)) i = std::max(explain(i), i + 1);
    }

    // Three of four bytes that differ are of copies too short to be recognised, mostly copies of such as were: so what is looked for is four
    // bytes in phase, and whether they differ then.
    void explain_those_in_phase() {
        std::size_t explained = 0;
        for (std::size_t start = next_in_phase(0); start < size_; start = next_in_phase(start)) {
            const std::size_t differing = next_difference_of_four(start, explained);
            const std::size_t end = differing < start + kDigits ? explain_from(start) : 0;
            ++start;
            if (end <= differing) continue;
            explained = end;
            start = std::max(start, end - (kDigits - 1));
        }
    }

    // The first place at or behind i where four bytes can stand side by side in the pattern, eight places at a time; size_ if there is none.
    std::size_t next_in_phase(std::size_t i) const noexcept {
        constexpr std::uint64_t kOnes = 0x0101010101010101;
        const auto phases = [this](std::size_t at) {
            return boost::endian::load_little_u64(reinterpret_cast<const unsigned char*>(&patterned_[at])) >> kDigitBits & 3 * kOnes;
        };
        for (; i + 8 + kDigits <= size_; i += 8) {
            const std::uint64_t second = phases(i + 1);
            const std::uint64_t third = phases(i + 2);
            const std::uint64_t wrong = (((phases(i) + kOnes) ^ second) | ((second + kOnes) ^ third) | ((third + kOnes) ^ phases(i + 3))) & 3 * kOnes;
            const std::uint64_t right = ~(wrong + 0x7F * kOnes) & 0x80 * kOnes;
            if (right != 0) return i + static_cast<std::size_t>(std::countr_zero(right)) / 8;
        }
        for (; i + kDigits <= size_; ++i)
            if (FourBytes(&patterned_[i]).in_phase(kDigits)) return i;
        return size_;
    }

    // The first of the four bytes at i, and not before `from` (< i + 4), that differs; behind them if there is none.
    std::size_t next_difference_of_four(std::size_t i, std::size_t from) const noexcept {
        std::uint32_t differing = load_four(&patterned_[i]) ^ load_four(&truth_[i]);
        if (from > i) differing = differing >> 8 * (from - i) << 8 * (from - i);
        return i + static_cast<std::size_t>(std::countr_zero(differing)) / 8;
    }

    std::size_t next_difference(std::size_t i) const noexcept { return i + same_bytes(&patterned_[i], &truth_[i], size_ - i); }

    // Byte i came from the window. Marks the run that it is part of; returns its end, or i if there is none. The run may start some
    // bytes earlier, where the pattern happens to be the truth.
    std::size_t explain(std::size_t i) {
        const std::size_t first = std::max(tested_, i - std::min<std::size_t>(i, kDigits - 1));
        tested_ = i + 1;
        for (std::size_t start = i + 1; start-- > first;) {
            if (start + kDigits > size_ || !FourBytes(&patterned_[start]).in_phase(kDigits)) continue;
            const std::size_t end = explain_from(start);
            if (end > i) return end;
        }
        return short_copies_ == ShortCopies::seek ? explain_short(i) : i;
    }

    // Marks the run that starts with the bytes at `start`, which are in phase; returns its end, or `start` if it is none.
    std::size_t explain_from(std::size_t start) {
        const std::size_t place = FourBytes(&patterned_[start]).place();
        return std::max(repeat_from(start, place), mark_from(start, place, kDigits));
    }

    std::size_t explain_short(std::size_t i) {
        std::size_t end = i;
        for (std::size_t back = 0; back < kShortest && back <= i && i - back + kDigits <= size_; ++back) {
            const FourBytes bytes(&patterned_[i - back]);
            if (!bytes.in_phase(kShortest)) continue;
            for (std::uint32_t digit = 0; digit <= kDigitMask; ++digit)
                end = std::max(end, mark_from(i - back, bytes.with_last(digit).place(), kShortest));
        }
        return end;
    }

    // How many bytes before i are those before place k.
    std::size_t same_before(std::size_t i, std::size_t k) const noexcept {
        std::size_t before = 0;
        while (before < i && before < k && patterned_[i - before - 1] == pattern_[k - before - 1]) ++before;
        return before;
    }

    // If the bytes at i are a copy by a repeat offset, adds that.
    std::size_t repeat_from(std::size_t i, std::size_t place) {
        for (const RepeatPlace& repeat : repeat_places_) {
            const std::uint64_t k = repeat.place + i;
            if (k % WindowPattern::kPeriod != place || k + kDigits > marks_.size()) continue;
            const std::size_t length = same_bytes(&patterned_[i], &pattern_[k], std::min(size_ - i, marks_.size() - static_cast<std::size_t>(k)));
            const std::size_t before = same_before(i, static_cast<std::size_t>(k));
            repeats_.push_back({repeat.which, repeat.less, first_ + i - before, before + length});
            return i + length;
        }
        return i;
    }

    // If the `least` bytes at i are those at `place`, in any of the periods, marks them and their neighbours that are too.
    std::size_t mark_from(std::size_t i, std::size_t place, std::size_t least) {
        std::size_t end = i;
        for (std::size_t k = place; k + least <= marks_.size(); k += WindowPattern::kPeriod) {
            if (!is_from(i, k, least)) continue;
            const std::size_t same = same_bytes(&patterned_[i], &pattern_[k], std::min(size_ - i, marks_.size() - k));
            marks_.set(k - same_before(i, k), k + same);
            end = std::max(end, i + same);
        }
        return end;
    }

    // The bytes at i spell place k; whether the truth is the same at both places.
    bool is_from(std::size_t i, std::size_t k, std::size_t count) const noexcept {
        std::uint64_t place = window_place_ + k;
        for (std::size_t j = 0; j < count; ++j, ++place)
            if (truth_[i + j] != ring_.at_place(place)) return false;
        return true;
    }

    static constexpr unsigned kShortest = 3; // no match in a zstd block is shorter

    const std::byte* patterned_;
    const std::byte* truth_;
    std::size_t size_; ///< bytes of both
    const std::byte* pattern_;
    std::uint64_t first_;
    const PlainRing& ring_;
    std::uint64_t window_place_;
    ShortCopies short_copies_;
    WindowMarks& marks_;
    std::vector<RepeatUse>& repeats_;
    RepeatPlaces repeat_places_;
    std::size_t tested_ = 0; ///< where no run starts before this that is not marked yet
};

void put_number(std::vector<std::byte>& out, std::uint64_t value) {
    for (; value >= 0x80; value >>= 7) out.push_back(static_cast<std::byte>(value | 0x80));
    out.push_back(static_cast<std::byte>(value));
}

Error bad_window() { return fail(ErrorKind::corrupt, "stream index: a window is damaged"); }

class NumberReader {
public:
    explicit NumberReader(std::span<const std::byte> bytes) : rest_(bytes) {}
    Result<std::size_t> get() {
        std::uint64_t value = 0;
        for (unsigned shift = 0; shift < 63 && !rest_.empty(); shift += 7) {
            const auto byte = std::to_integer<std::uint64_t>(rest_.front());
            rest_ = rest_.subspan(1);
            value |= (byte & 0x7F) << shift;
            if (byte < 0x80) return static_cast<std::size_t>(value);
        }
        return bad_window();
    }
    std::span<const std::byte> rest() const noexcept { return rest_; }

private:
    std::span<const std::byte> rest_;
};

struct MarkedRun {
    std::size_t start;
    std::size_t length;
};

std::vector<MarkedRun> marked_runs(const WindowMarks& marks) {
    std::vector<MarkedRun> runs;
    for (std::size_t at = marks.next(0); at < marks.size();) {
        const std::size_t end = marks.next_gap(at);
        if (!runs.empty() && at - (runs.back().start + runs.back().length) <= kSmallGap) runs.back().length = end - runs.back().start;
        else runs.push_back({at, end - at});
        at = marks.next(end);
    }
    return runs;
}

Result<std::vector<std::byte>> compress(std::span<const std::byte> bytes) {
    std::vector<std::byte> out(ZSTD_compressBound(bytes.size()));
    const std::size_t size = ZSTD_compress(out.data(), out.size(), bytes.data(), bytes.size(), kPackLevel);
    if (ZSTD_isError(size)) return fail(ErrorKind::io, "no memory for a window");
    out.resize(size);
    return out;
}

Result<std::vector<std::byte>> decompress(std::span<const std::byte> packed) {
    const unsigned long long size = ZSTD_getFrameContentSize(packed.data(), packed.size());
    // Numbers and bytes together are at most some twice the window.
    if (size > 4 * std::uint64_t{Limits{}.stream_window_bytes}) return bad_window();
    std::vector<std::byte> bytes(static_cast<std::size_t>(size));
    if (ZSTD_decompress(bytes.data(), bytes.size(), packed.data(), packed.size()) != bytes.size()) return bad_window();
    return bytes;
}

} // namespace

Result<WindowMarks> WindowMarks::make(std::size_t size) {
    VDISK_TRY(bits, SparseBuffer::make(div_ceil(size, 64) * sizeof(std::uint64_t)));
    return Result<WindowMarks>(WindowMarks(std::move(bits), size));
}

std::size_t WindowMarks::page_bytes() const noexcept {
    constexpr std::size_t kPage = 4096;
    std::size_t bytes = 0;
    for (std::size_t at = next(0); at < size_; at = next((at / kPage + 1) * kPage)) bytes += kPage;
    return bytes;
}

void WindowMarks::set(std::size_t from, std::size_t to) noexcept {
    while (from < to) {
        const std::size_t count = std::min(to - from, 64 - from % 64);
        bits_[from / 64] |= (~std::uint64_t{0} >> (64 - count)) << from % 64;
        from += count;
    }
}

std::size_t WindowMarks::next(std::size_t at) const noexcept {
    if (at >= size_) return size_;
    std::size_t word = at / 64;
    std::uint64_t bits = bits_[word] >> at % 64 << at % 64;
    while (bits == 0 && ++word < words_) bits = bits_[word];
    return bits == 0 ? size_ : word * 64 + static_cast<std::size_t>(std::countr_zero(bits));
}

std::size_t WindowMarks::next_gap(std::size_t at) const noexcept {
    if (at >= size_) return size_;
    std::size_t word = at / 64;
    std::uint64_t gaps = ~bits_[word] >> at % 64 << at % 64;
    while (gaps == 0 && ++word < words_) gaps = ~bits_[word];
    return gaps == 0 ? size_ : std::min(size_, word * 64 + static_cast<std::size_t>(std::countr_zero(gaps)));
}

Result<SparseBuffer> SparseBuffer::make(std::size_t size) {
    // Not by calloc(), which may clear recycled memory by writing to all of it.
    void* memory = ::mmap(nullptr, kZstdPrefixRoom + size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) return fail(ErrorKind::io, "no memory for a window of {} bytes", size);
    return SparseBuffer(static_cast<std::byte*>(memory) + kZstdPrefixRoom, size);
}

SparseBuffer::~SparseBuffer() {
    if (data_ != nullptr) ::munmap(data_ - kZstdPrefixRoom, kZstdPrefixRoom + size_);
}

Result<WindowPattern> WindowPattern::make(std::size_t size) {
    const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
    const std::size_t room = (kZstdPrefixRoom + page - 1) / page * page;
    const std::size_t period = std::min(size, kPeriod);
    const int descriptor = ::memfd_create("vdisk-window-pattern", MFD_CLOEXEC);
    if (descriptor < 0 || ::ftruncate(descriptor, static_cast<off_t>(period)) != 0) {
        if (descriptor >= 0) ::close(descriptor);
        return fail(ErrorKind::io, "no memory for a window of {} bytes", size);
    }
    void* whole = ::mmap(nullptr, room + size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    bool good = whole != MAP_FAILED;
    auto* data = static_cast<std::byte*>(whole) + room;
    for (std::size_t at = 0; good && at < size; at += period) {
        const int access = at == 0 ? PROT_READ | PROT_WRITE : PROT_READ;
        good = ::mmap(data + at, std::min(period, size - at), access, MAP_SHARED | MAP_FIXED, descriptor, 0) != MAP_FAILED;
        if (good && at == 0) fill_period({data, period});
    }
    ::close(descriptor);
    if (good) return WindowPattern(data, size, room);
    if (whole != MAP_FAILED) ::munmap(whole, room + size);
    return fail(ErrorKind::io, "no memory for a window of {} bytes", size);
}

WindowPattern::~WindowPattern() {
    if (data_ != nullptr) ::munmap(data_ - room_, room_ + size_);
}

void WindowPattern::forget() const noexcept {
    if (size_ > kPeriod) ::madvise(data_, size_, MADV_DONTNEED); // shared: the bytes stay in the file
}

void PlainRing::copy(std::uint64_t at, std::span<std::byte> out) const noexcept {
    while (!out.empty()) {
        const auto start = static_cast<std::size_t>(at % bytes_.size());
        const std::size_t count = std::min(out.size(), bytes_.size() - start);
        std::memcpy(out.data(), bytes_.data() + start, count);
        out = out.subspan(count);
        at += count;
    }
}

bool PlainRing::holds(std::uint64_t at, std::span<const std::byte> bytes) const noexcept {
    while (!bytes.empty()) {
        const auto start = static_cast<std::size_t>(at % bytes_.size());
        const std::size_t count = std::min(bytes.size(), bytes_.size() - start);
        if (std::memcmp(bytes.data(), bytes_.data() + start, count) != 0) return false;
        bytes = bytes.subspan(count);
        at += count;
    }
    return true;
}

RepeatOffsets patterned_offsets(std::size_t window) noexcept {
    const auto most = static_cast<std::uint32_t>(window);
    return {most, most - 3, most - 5};
}

void find_used(const PatternedOutput& output, const PlainRing& ring, std::uint64_t at, ShortCopies short_copies, WindowUse& use) {
    Marker(output, ring, at, short_copies, use).run();
}

// The size of the window, the offsets and the number of runs; for each run the gap before it and its length; all bytes of all runs.
Result<std::vector<std::byte>> pack_window(const WindowMarks& marks, const RepeatOffsets& offsets, const PlainRing& ring, std::uint64_t at) {
    const std::vector<MarkedRun> runs = marked_runs(marks);
    std::vector<std::byte> plain;
    put_number(plain, marks.size());
    for (const std::uint32_t offset : offsets) put_number(plain, offset);
    put_number(plain, runs.size());
    std::size_t end = 0;
    for (const MarkedRun& run : runs) {
        put_number(plain, run.start - end);
        put_number(plain, run.length);
        end = run.start + run.length;
    }
    for (const MarkedRun& run : runs) {
        plain.resize(plain.size() + run.length);
        ring.copy(at - marks.size() + run.start, std::span(plain).last(run.length));
    }
    return compress(plain);
}

Result<DecoderState> unpack_window(std::span<const std::byte> packed) {
    VDISK_TRY(plain, decompress(packed));
    NumberReader numbers(plain);
    VDISK_TRY(size, numbers.get());
    if (size > Limits{}.stream_window_bytes || size < kZstdWindowLeast) return bad_window();
    RepeatOffsets offsets{};
    for (std::uint32_t& offset : offsets) {
        VDISK_TRY(value, numbers.get());
        if (value == 0 || value > size) return bad_window();
        offset = static_cast<std::uint32_t>(value);
    }
    VDISK_TRY(count, numbers.get());
    if (count > plain.size()) return bad_window();
    std::vector<MarkedRun> runs;
    runs.reserve(count);
    std::size_t end = 0;
    std::size_t total = 0;
    for (std::size_t i = 0; i < count; ++i) {
        VDISK_TRY(gap, numbers.get());
        VDISK_TRY(length, numbers.get());
        if (gap > size - end || length > size - end - gap) return bad_window();
        runs.push_back({end + gap, length});
        end += gap + length;
        total += length;
    }
    if (total != numbers.rest().size()) return bad_window();
    VDISK_TRY(window, SparseBuffer::make(size));
    std::span<const std::byte> bytes = numbers.rest();
    for (const MarkedRun& run : runs) {
        if (run.length > 0) std::memcpy(window.bytes().data() + run.start, bytes.data(), run.length);
        bytes = bytes.subspan(run.length);
    }
    return DecoderState{std::move(window), offsets};
}

} // namespace vdisk
