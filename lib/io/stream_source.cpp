// SPDX-License-Identifier: Apache-2.0
#include "io/stream_source.hpp"

#include "base/digest.hpp"
#include "base/text.hpp"
#include "io/memory_source.hpp"
#include "io/stream/indexed_stream.hpp"

#include <boost/endian/buffers.hpp>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>

namespace vdisk {
namespace {

constexpr std::array<const StreamCodec*, 3> kCodecs{&kZstdCodec, &kGzipCodec, &kLzopCodec}; // as Compression counts
constexpr std::size_t kMagicBytes = 32;
constexpr std::size_t kWindowsInMemory = 8U << 20;
constexpr std::uint64_t kCopied = 1U << 20;
constexpr std::uint64_t kToldBytes = 1U << 20; ///< compressed or plain bytes from one report of progress to the next

const StreamCodec& codec_of(Compression compression) {
    return *kCodecs[static_cast<std::size_t>(compression)];
}

// The end of an index in the cache: windows, then segments, then this.
struct RawTrailer {
    std::array<char, 8> magic;
    boost::endian::little_uint64_buf_t segments_size;
};
static_assert(sizeof(RawTrailer) == 16 && alignof(RawTrailer) == 1);
constexpr std::array<char, 8> kTrailerMagic{'s', 't', 'r', 'e', 'a', 'm', 'i', 'x'};

struct StoredIndex {
    StreamIndex index;
    SourcePtr windows;
};

Result<StoredIndex> read_index(const SourcePtr& stored, std::uint64_t packed_size) {
    if (stored->size() < sizeof(RawTrailer)) return fail(ErrorKind::corrupt, "{}: too short", stored->name());
    const std::uint64_t end = stored->size() - sizeof(RawTrailer);
    VDISK_TRY(trailer, read_struct<RawTrailer>(*stored, end, "end of the stream index"));
    const std::uint64_t length = trailer.segments_size.value();
    if (trailer.magic != kTrailerMagic || length > end)
        return fail(ErrorKind::corrupt, "{}: no stream index", stored->name());
    VDISK_TRY(bytes, read_bytes(*stored, end - length, length, "stream index"));
    VDISK_TRY(index, decode_stream_index(bytes, {.packed_size = packed_size, .windows_size = end - length}));
    return StoredIndex{std::move(index), std::make_shared<SliceSource>(stored, 0, end - length)};
}

Result<void> append_all(IndexWriter& writer, const ByteSource& source) {
    for (std::uint64_t at = 0; at < source.size(); at += kCopied) {
        VDISK_TRY(bytes, read_bytes(source, at, std::min(kCopied, source.size() - at), "decompression windows"));
        VDISK_CHECK(writer.append(bytes));
    }
    return ok();
}

Result<void> store_index(const IndexCache& cache, const IndexKey& key, const StreamIndex& index,
                         const ByteSource& windows) {
    VDISK_TRY(writer, cache.create(key));
    VDISK_CHECK(append_all(writer, windows));
    const std::vector<std::byte> segments = encode(index);
    VDISK_CHECK(writer.append(segments));
    const RawTrailer trailer{kTrailerMagic, boost::endian::little_uint64_buf_t(segments.size())};
    VDISK_CHECK(writer.append(std::as_bytes(std::span(&trailer, 1))));
    return writer.commit();
}

// The bytes of a pass, for who looks at them.
class PassReader final : public ForwardReader {
public:
    PassReader(StreamPass& pass, std::uint64_t total, const Progress& progress)
        : pass_(pass), total_(total), progress_(progress) {}

    Result<std::size_t> read(std::span<std::byte> out) override {
        std::size_t done = 0;
        while (done < out.size()) {
            VDISK_TRY(more, advance());
            if (!more) break;
            if (chunk_.lost > 0) {
                if (done > 0) break;
                return lost_here();
            }
            const std::size_t count = std::min(out.size() - done, chunk_.bytes.size());
            std::memcpy(out.data() + done, chunk_.bytes.data(), count);
            consume(count);
            done += count;
        }
        return done;
    }

    Result<std::uint64_t> skip(std::uint64_t count) override {
        std::uint64_t done = 0;
        while (done < count) {
            VDISK_TRY(more, advance());
            if (!more) break;
            const std::uint64_t step = std::min(count - done, chunk_.lost > 0 ? chunk_.lost : chunk_.bytes.size());
            consume(step);
            done += step;
        }
        return done;
    }

    std::uint64_t position() const noexcept override { return position_; }
    std::optional<std::uint64_t> size() const noexcept override { return std::nullopt; }

    Result<void> drain() {
        VDISK_CHECK(skip(~std::uint64_t{0}));
        return ok();
    }

private:
    // Makes sure that the chunk has something left; false at the end.
    Result<bool> advance() {
        if (failed_) return Error(*failed_);
        if (!chunk_.bytes.empty() || chunk_.lost > 0) return true;
        while (!chunk_.end && chunk_.bytes.empty() && chunk_.lost == 0) {
            auto next = pass_.next();
            if (next.has_value() && !goes_on()) next = fail(ErrorKind::cancelled, "opening was stopped");
            if (next.has_error()) {
                failed_ = next.error();
                return Error(*failed_);
            }
            chunk_ = next.value();
        }
        return !chunk_.end;
    }

    // Asks every megabyte of what comes in or out.
    bool goes_on() {
        const std::uint64_t packed = pass_.packed_position();
        if (!progress_ || (packed - told_packed_ < kToldBytes && position_ - told_plain_ < kToldBytes)) return true;
        told_packed_ = packed;
        told_plain_ = position_;
        return progress_(packed, total_);
    }

    Error lost_here() const {
        Error why = *chunk_.why;
        why.offset = position_;
        return why;
    }

    void consume(std::uint64_t count) {
        position_ += count;
        if (chunk_.lost > 0) chunk_.lost -= count;
        else chunk_.bytes = chunk_.bytes.subspan(static_cast<std::size_t>(count));
    }

    StreamPass& pass_;
    std::uint64_t total_;
    Progress progress_;
    PlainChunk chunk_{};
    std::uint64_t position_ = 0;
    std::uint64_t told_packed_ = 0;
    std::uint64_t told_plain_ = 0;
    std::optional<Error> failed_;
};

} // namespace

std::string_view to_string(Compression compression) noexcept {
    return codec_of(compression).name;
}

Result<std::optional<Compression>> detect_compression(const ByteSource& packed) {
    std::vector<std::byte> head(kMagicBytes);
    VDISK_TRY(got, packed.read_at(0, head));
    head.resize(got);
    for (std::size_t i = 0; i < kCodecs.size(); ++i)
        if (kCodecs[i]->detect(head)) return std::optional(static_cast<Compression>(i));
    return std::optional<Compression>();
}

class StreamSource::Parts {
public:
    struct Options {
        IndexCache cache;
        Limits limits;
        Unverified unverified;
    };

    Parts(FilePtr file, Compression kind, Options chosen)
        : packed_(std::move(file)), compression_(kind), options_(std::move(chosen)) {
        auto key = IndexKey::of(*packed_, codec().index_kind);
        if (key.has_value()) key_ = key.value();
    }

    const StreamCodec& codec() const { return codec_of(compression_); }
    const FileSource& packed() const { return *packed_; }
    Compression compression() const { return compression_; }

    std::shared_ptr<const IndexedStream> stream() const {
        const std::lock_guard lock(mutex_);
        return stream_;
    }

    Result<std::unique_ptr<StreamPass>> make_pass(WindowStore& windows, PassKind kind) const {
        return codec().make_pass(*packed_, windows, options_.limits, kind);
    }

    bool load() {
        const SourcePtr stored = key_ ? options_.cache.open(*key_) : nullptr;
        if (!stored) return false;
        auto found = read_index(stored, packed_->size());
        if (found.has_error()) return false;
        set(std::move(found.value().index), std::move(found.value().windows), true);
        return true;
    }

    Result<void> build(const ForwardScan& scan, const Progress& progress) {
        auto windows = std::make_shared<WindowStore>(kWindowsInMemory);
        VDISK_TRY(pass, make_pass(*windows, PassKind::whole));
        PassReader reader(*pass, packed_->size(), progress);
        if (scan) VDISK_CHECK(scan(reader));
        VDISK_CHECK(reader.drain());
        VDISK_TRY(index, pass->finish());
        // Once it is kept, the windows need not stay in memory.
        if (key_ && store_index(options_.cache, *key_, index, *windows).has_value() && load()) {
            cached_ = false;
            return ok();
        }
        set(std::move(index), std::move(windows), false);
        return ok();
    }

    // A kept index that turns out damaged while it is used is made anew.
    Result<std::size_t> read_at(std::uint64_t offset, std::span<std::byte> out, Unverified unverified) {
        const auto used = stream();
        auto got = used->read_at(offset, out, unverified);
        if (got.has_value() || !used->spoilt()) return got;
        const std::lock_guard rebuilding(rebuild_mutex_);
        if (stream() == used) VDISK_CHECK(build({}, {}));
        return stream()->read_at(offset, out, unverified);
    }

    // The reason lives as long as the index that it is in.
    Readability readability(std::uint64_t offset, std::uint64_t wanted, Unverified unverified) const {
        const auto asked = stream();
        const RefusedRun run = asked->refused_at(offset, wanted, unverified);
        return {run.length, std::shared_ptr<const Error>(asked, run.why)};
    }

    Unverified unverified() const { return options_.unverified; }
    const Limits& limits() const { return options_.limits; }
    bool cached() const { return cached_; }

private:
    // Who rebuilt in the parent is not there in a child.
    static void forget_rebuilding(void* parts) noexcept {
        std::construct_at(&static_cast<Parts*>(parts)->rebuild_mutex_);
    }

    void set(StreamIndex index, SourcePtr windows, bool cached) {
        auto made = std::make_shared<const IndexedStream>(
            IndexedStream::Parts{codec(), packed_, std::move(index), std::move(windows), options_.limits});
        cached_ = cached;
        const std::lock_guard lock(mutex_);
        stream_.swap(made); // the old one ends without the lock
    }

    FilePtr packed_;
    Compression compression_;
    Options options_;
    std::optional<IndexKey> key_;
    mutable std::mutex mutex_; ///< guards stream_
    std::mutex rebuild_mutex_;
    std::shared_ptr<const IndexedStream> stream_;
    std::atomic<bool> cached_{false};
    ForkGuard fork_{&mutex_};
    ForkGuard rebuild_fork_{nullptr, forget_rebuilding, this}; // it is held for as long as a pass takes
};

StreamSource::StreamSource(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}
StreamSource::~StreamSource() = default;

Result<std::shared_ptr<StreamSource>> StreamSource::open(FilePtr packed, Compression compression, IndexCache cache,
                                                         const Limits& limits, Unverified unverified) {
    auto parts =
        std::make_unique<Parts>(std::move(packed), compression, Parts::Options{std::move(cache), limits, unverified});
    if (!parts->load()) {
        const auto unused = std::make_unique<WindowStore>(0);
        VDISK_CHECK(parts->make_pass(*unused, PassKind::look));
    }
    return std::shared_ptr<StreamSource>(new StreamSource(std::move(parts)));
}

Result<std::vector<std::byte>> StreamSource::head(std::size_t count) const {
    // By a new pass even where there is an index: that shows the bytes as index() shows them to its scan, doubtful ones
    // too.
    std::vector<std::byte> bytes;
    const auto unused = std::make_unique<WindowStore>(0);
    VDISK_TRY(pass, parts_->make_pass(*unused, PassKind::look));
    while (bytes.size() < count && pass->packed_position() <= parts_->limits().stream_look_bytes) {
        const auto next = pass->next();
        if (next.has_error() && next.error().kind == ErrorKind::io) return next.error();
        if (next.has_error() || next.value().end || next.value().lost > 0) break;
        const auto some = next.value().bytes.first(std::min(count - bytes.size(), next.value().bytes.size()));
        bytes.insert(bytes.end(), some.begin(), some.end());
    }
    return bytes;
}

bool StreamSource::indexed() const noexcept {
    return parts_->stream() != nullptr;
}
Result<void> StreamSource::index(const ForwardScan& scan, const Progress& progress) {
    return parts_->build(scan, progress);
}
std::uint64_t StreamSource::size() const noexcept {
    return parts_->stream()->index().size;
}
Result<std::size_t> StreamSource::read_at(std::uint64_t offset, std::span<std::byte> out) const {
    return parts_->read_at(offset, out, parts_->unverified());
}
Result<std::size_t> StreamSource::read_doubtful_at(std::uint64_t offset, std::span<std::byte> out) const {
    return parts_->read_at(offset, out, Unverified::read);
}
Readability StreamSource::readability(std::uint64_t offset, std::uint64_t wanted) const {
    return parts_->readability(offset, wanted, parts_->unverified());
}
std::uint64_t StreamSource::worth_preparing() const noexcept {
    return parts_->stream()->worth_preparing();
}
void StreamSource::prepare(std::uint64_t offset, std::uint64_t length) const {
    parts_->stream()->prepare(offset, length);
}
Readability StreamSource::doubtful_readability(std::uint64_t offset, std::uint64_t wanted) const {
    return parts_->readability(offset, wanted, Unverified::read);
}
std::string_view StreamSource::name() const noexcept {
    return parts_->packed().name();
}
Compression StreamSource::compression() const noexcept {
    return parts_->compression();
}
std::vector<std::string> StreamSource::findings() const {
    return parts_->stream()->index().findings;
}

Unverified StreamSource::unverified() const noexcept {
    return parts_->unverified();
}

Vouched StreamSource::vouched() const {
    Vouched vouched;
    const auto stream = parts_->stream();
    const StreamIndex& index = stream->index();
    for (const Segment& segment : index.segments) {
        const bool checked = segment.cover == Segment::Cover::checksum;
        const bool placed = segment.reason == 0 || index.doubts[segment.reason - 1].kind == Doubt::Kind::altered;
        if (segment.kind == Segment::Kind::lost) vouched.lost += segment.length;
        else if (!placed) vouched.unplaced += segment.length;
        else if (segment.reason != 0) vouched.altered += segment.length;
        else (checked ? vouched.sound : vouched.unchecked) += segment.length;
    }
    return vouched;
}

std::vector<std::string> StreamSource::remarks() const {
    const Vouched vouched = this->vouched();
    const Unverified choice = parts_->unverified();
    std::vector<std::string> lines;
    const auto tell = [&](std::uint64_t bytes, std::string_view what, bool read) {
        if (bytes > 0)
            lines.push_back(fmt::format("{} of {} decompressed bytes {}{}", bytes, size(), what,
                                        read ? "" : ": reading them is an error"));
    };
    tell(vouched.unchecked, "are not covered by a checksum", true);
    tell(vouched.altered, "are not covered by a checksum that holds: something in them is altered",
         choice != Unverified::refuse);
    tell(vouched.unplaced, "can't be placed: they may belong to other offsets", choice == Unverified::read);
    tell(vouched.lost, "are lost", false);
    return lines;
}

StreamDigest StreamSource::digest() const {
    Hasher hasher("SHA256");
    hasher.add(encode(parts_->stream()->index()));
    return hasher.finish<sizeof(StreamDigest)>().value_or(StreamDigest{});
}

Origin StreamSource::origin(std::uint64_t offset, std::uint64_t wanted) const {
    return {
        .length = std::min(wanted, size() - offset), .file = &parts_->packed(), .offset = offset, .decompressed = true};
}

std::vector<const FileSource*> StreamSource::files() const {
    return {&parts_->packed()};
}

StreamStatistics StreamSource::statistics() const {
    const auto stream = parts_->stream();
    StreamStatistics statistics{.segments = stream->index().segments.size(),
                                .decoded = stream->decoded(),
                                .ahead = stream->decoded_ahead(),
                                .peak_bytes = stream->peak_bytes(),
                                .cached = parts_->cached()};
    for (const Segment& segment : stream->index().segments)
        if (segment.kind != Segment::Kind::lost)
            statistics.longest_segment = std::max(statistics.longest_segment, segment.lead + segment.length);
    statistics.index_size = stream->windows().size() + encode(stream->index()).size();
    return statistics;
}

namespace {

// A stream with its doubtful bytes.
class DoubtfulSource final : public ByteSource {
public:
    explicit DoubtfulSource(const StreamSource& stream) : stream_(stream) {}
    std::uint64_t size() const noexcept override { return stream_.size(); }
    std::string_view name() const noexcept override { return stream_.name(); }
    Result<std::size_t> read_at(std::uint64_t offset, std::span<std::byte> out) const override {
        return stream_.read_doubtful_at(offset, out);
    }
    Readability readability(std::uint64_t offset, std::uint64_t wanted) const override {
        return stream_.doubtful_readability(offset, wanted);
    }
    std::uint64_t worth_preparing() const noexcept override { return stream_.worth_preparing(); }
    void prepare(std::uint64_t offset, std::uint64_t length) const override { stream_.prepare(offset, length); }

private:
    const StreamSource& stream_;
};

// A stream with its bytes of unknown place.
class ContentSource final : public ByteSource {
public:
    explicit ContentSource(std::shared_ptr<const StreamSource> stream) : stream_(std::move(stream)), all_(*stream_) {}
    std::uint64_t size() const noexcept override { return stream_->size(); }
    std::string_view name() const noexcept override { return stream_->name(); }
    Result<std::size_t> read_at(std::uint64_t offset, std::span<std::byte> out) const override {
        return strict() ? stream_->read_at(offset, out) : all_.read_at(offset, out);
    }
    Readability readability(std::uint64_t offset, std::uint64_t wanted) const override {
        return strict() ? stream_->readability(offset, wanted) : all_.readability(offset, wanted);
    }
    Origin origin(std::uint64_t offset, std::uint64_t wanted) const override { return stream_->origin(offset, wanted); }
    std::uint64_t worth_preparing() const noexcept override { return stream_->worth_preparing(); }
    void prepare(std::uint64_t offset, std::uint64_t length) const override { stream_->prepare(offset, length); }
    std::vector<const FileSource*> files() const override { return stream_->files(); }

private:
    bool strict() const { return stream_->unverified() == Unverified::refuse; }
    std::shared_ptr<const StreamSource> stream_;
    DoubtfulSource all_;
};

Result<void> scan_source(const ByteSource& source, const ForwardScan& scan) {
    SourceReader reader(source);
    return scan(reader);
}

} // namespace

SourcePtr by_content(std::shared_ptr<const StreamSource> stream) {
    return std::make_shared<ContentSource>(std::move(stream));
}

Result<void> scan_forward(const ByteSource& source, StreamSource* stream, const ForwardScan& scan,
                          const Progress& progress) {
    if (stream == nullptr) return scan_source(source, scan);
    return stream->indexed() ? scan_source(DoubtfulSource(*stream), scan) : stream->index(scan, progress);
}

Result<Unverified> unverified_from_environment() {
    const char* const value = std::getenv("VDISK_UNVERIFIED");
    const std::string_view word(value == nullptr ? "" : value);
    if (word.empty() || word == "placed") return Unverified::placed;
    if (word == "refuse") return Unverified::refuse;
    if (word == "read") return Unverified::read;
    return fail(ErrorKind::usage, "VDISK_UNVERIFIED is '{}': one of refuse, placed, read is wanted", printable(word));
}

} // namespace vdisk
