// SPDX-License-Identifier: Apache-2.0
// The first byte says what follows: a compressed stream, which is indexed with all distances so short that small inputs
// have restart points too; or a stream and an index that somebody made of it. The last bytes choose where to read.
#include "format_target.hpp"
#include "io/memory_source.hpp"
#include "io/stream/indexed_stream.hpp"
#include "io/stream_source.hpp"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

namespace {

using namespace vdisk;
using Bytes = std::vector<std::byte>;

constexpr std::size_t kLookedAt = 256U << 10;
constexpr std::uint64_t kPlainMost = 512U << 10; // more takes too long
constexpr std::size_t kMostTaken = 32U << 10;

Limits short_limits(std::uint64_t choice) {
    Limits limits;
    limits.threads = 1;
    limits.stream_decode_bytes = std::size_t{128} << (10 + choice % 3);
    limits.stream_cache_bytes = choice % 2 == 0 ? 1 : 1U << 20;
    limits.stream_window_bytes = 8U << 20;
    return limits;
}

// A file without a name.
FilePtr file_of(std::span<const std::byte> bytes) {
    const int descriptor = ::memfd_create("fuzz", MFD_CLOEXEC);
    fuzz::require(descriptor >= 0 &&
                  ::write(descriptor, bytes.data(), bytes.size()) == static_cast<ssize_t>(bytes.size()));
    auto file = FileSource::open(fmt::format("/proc/self/fd/{}", descriptor), FileKinds::regular_only);
    ::close(descriptor);
    fuzz::require(file.has_value());
    return file.value();
}

// Bytes of which the same is known.
struct Shown {
    enum class What : std::uint8_t { good, lost, unknown };
    std::uint64_t start;
    std::uint64_t end;
    What what;
    friend bool operator==(const Shown&, const Shown&) = default;
};

// What a pass shows: the first bytes, and what is known of each.
struct Seen {
    Bytes bytes;
    std::vector<Shown> shown;
    void add(std::size_t count, Shown::What what) {
        const std::uint64_t start = shown.empty() ? 0 : shown.back().end;
        if (!shown.empty() && shown.back().what == what) shown.back().end += count;
        else shown.push_back({start, start + count, what});
    }
    // Whether any of the bytes from `start` up to `end` is that.
    bool has(Shown::What what, std::uint64_t start, std::uint64_t end) const {
        return std::ranges::any_of(
            shown, [&](const Shown& run) { return run.what == what && run.start < end && start < run.end; });
    }
};

Result<void> look(ForwardReader& reader, Seen& seen) {
    constexpr std::size_t kStep = 512;
    Bytes piece(16384);
    while (reader.position() < kLookedAt) {
        const auto got = reader.read(piece);
        if (got.has_value() && got.value() == 0) return ok();
        if (got.has_value()) {
            seen.bytes.insert(seen.bytes.end(), piece.begin(),
                              piece.begin() + static_cast<std::ptrdiff_t>(got.value()));
            seen.add(got.value(), Shown::What::good);
            continue;
        }
        if (got.error().kind == ErrorKind::io) return got.error();
        VDISK_TRY(lost, reader.skip(kStep));
        if (lost == 0) return ok();
        seen.bytes.resize(seen.bytes.size() + static_cast<std::size_t>(lost));
        seen.add(1, Shown::What::lost);
        seen.add(static_cast<std::size_t>(lost) - 1, Shown::What::unknown);
    }
    VDISK_TRY(skipped, reader.skip(kPlainMost));
    return skipped < kPlainMost ? Result<void>(ok()) : fail(ErrorKind::cancelled, "long enough");
}

std::shared_ptr<StreamSource> indexed(const FilePtr& file, Compression compression, const Limits& limits, Seen& seen) {
    auto stream = StreamSource::open(file, compression, IndexCache(), limits, Unverified::read);
    if (stream.has_error()) return nullptr;
    const auto done = stream.value()->index([&](ForwardReader& reader) { return look(reader, seen); }, {});
    fuzz::require(done.has_value() || done.error().kind != ErrorKind::corrupt); // an index that is not one
    return done.has_value() ? stream.value() : nullptr;
}

// Reads are what the pass has shown, or errors where it has shown none.
void check_against_pass(const StreamSource& stream, const Seen& seen, std::uint64_t offset, std::size_t length) {
    Bytes out(length);
    const auto got = stream.read_at(offset, out);
    if (got.has_error()) {
        fuzz::require(got.error().kind != ErrorKind::corrupt || !stream.findings().empty());
        return;
    }
    fuzz::require(got.value() == std::min<std::uint64_t>(length, stream.size() - offset));
    if (offset >= seen.bytes.size()) return;
    const auto at = static_cast<std::size_t>(offset);
    const std::size_t count = std::min(got.value(), seen.bytes.size() - at);
    if (!seen.has(Shown::What::lost, at, at + count) && !seen.has(Shown::What::unknown, at, at + count))
        fuzz::require(fuzz::same(std::span(out).first(count), std::span(seen.bytes).subspan(at, count)));
    fuzz::require(!seen.has(Shown::What::lost, at, at + count));
}

struct Place {
    std::uint64_t offset;
    std::size_t length;
};

void run_stream(std::span<const std::byte> input) {
    fuzz::Choices choices(input);
    const std::uint64_t choice = choices.next(1);
    std::array<Place, 6> places{};
    for (Place& place : places) place = {choices.next(8), 1 + static_cast<std::size_t>(choices.next(3)) % kMostTaken};
    const FilePtr file = file_of(input); // what the choices have left
    const auto compression = detect_compression(*file);
    if (compression.has_error() || !compression.value()) return;
    Seen seen, again;
    const auto stream = indexed(file, *compression.value(), short_limits(choice), seen);
    if (!stream) return;
    const auto other = indexed(file, *compression.value(), short_limits(choice + 1), again);
    fuzz::require(other && stream->size() == other->size() && stream->findings().size() == other->findings().size());
    fuzz::require(fuzz::same(seen.bytes, again.bytes) && seen.shown == again.shown);
    if (stream->size() == 0) return;
    for (const Place& place : places) {
        check_against_pass(*stream, seen, place.offset % stream->size(), place.length);
        check_against_pass(*other, again, place.offset % stream->size(), place.length);
        check_against_pass(*other, again, place.offset % kLookedAt % stream->size(), place.length);
    }
}

// The compression, the length of the stream and that of the windows; then they, and the index.
void run_index(std::span<const std::byte> input) {
    fuzz::Choices choices(input);
    if (input.size() < 5) return;
    const auto number = [&](std::size_t at) {
        return static_cast<std::size_t>(input[at]) << 8 | static_cast<std::size_t>(input[at + 1]);
    };
    const std::array<const StreamCodec*, 3> codecs{&kZstdCodec, &kGzipCodec, &kLzopCodec};
    const StreamCodec& codec = *codecs[static_cast<std::size_t>(input[0]) % codecs.size()];
    const std::size_t packed = std::min(number(1), input.size() - 5);
    const std::size_t windows = std::min(number(3), input.size() - 5 - packed);
    const auto piece = [&](std::size_t at, std::size_t length) {
        const auto bytes = input.subspan(5 + at, length);
        return std::make_shared<MemorySource>(Bytes(bytes.begin(), bytes.end()), "input");
    };
    auto index = decode_stream_index(input.subspan(5 + packed + windows), {packed, windows});
    if (index.has_error()) return;
    const auto encoded = encode(index.value());
    const auto again = decode_stream_index(encoded, {packed, windows});
    fuzz::require(again.has_value() && encode(again.value()) == encoded);
    const std::uint64_t size = index.value().size;
    const IndexedStream stream(
        {codec, piece(0, packed), std::move(index).value(), piece(packed, windows), short_limits(0)});
    for (int i = 0; i < 4 && size > 0; ++i) {
        Bytes out(1 + static_cast<std::size_t>(choices.next(2)));
        (void)stream.read_at(choices.next(8) % size, out, Unverified::read);
    }
}

} // namespace

void vdisk::fuzz::streams(Input input) {
    if (input.empty()) return;
    const std::uint8_t kind = std::to_integer<std::uint8_t>(input[0]);
    input = input.subspan(1);
    kind % 2 == 0 ? run_stream(input) : run_index(input);
}
