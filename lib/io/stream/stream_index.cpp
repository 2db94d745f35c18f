// SPDX-License-Identifier: Apache-2.0
#include "io/stream/stream_index.hpp"

#include <boost/endian/buffers.hpp>

#include <algorithm>
#include <cstring>

namespace vdisk {
namespace {

using boost::endian::little_uint32_buf_t;
using boost::endian::little_uint64_buf_t;

struct RawStreamIndexHeader {
    little_uint64_buf_t size;
    little_uint32_buf_t segments, doubts, findings, window_log;
};
static_assert(sizeof(RawStreamIndexHeader) == 24 && alignof(RawStreamIndexHeader) == 1);

struct RawSegment {
    std::uint8_t kind, detail, cover, reserved;
    little_uint32_buf_t reason, crc, reserved_word;
    little_uint64_buf_t plain, length, lead, packed, packed_length, window_offset, window_length;
};
static_assert(sizeof(RawSegment) == 72 && alignof(RawSegment) == 1);

// Lines of text, and doubts as two kinds and a line.
struct RawText {
    std::uint8_t kind, doubt, reserved[2];
    little_uint32_buf_t length;
};
static_assert(sizeof(RawText) == 8 && alignof(RawText) == 1);

constexpr std::uint8_t kLastErrorKind = static_cast<std::uint8_t>(ErrorKind::cancelled);

class Writer {
public:
    template<class Struct> void put(const Struct& value) { put_bytes(std::as_bytes(std::span(&value, 1))); }
    void put_bytes(std::span<const std::byte> more) { bytes.insert(bytes.end(), more.begin(), more.end()); }
    void put_text(std::string_view text, ErrorKind kind = ErrorKind::corrupt, Doubt::Kind doubt = {}) {
        RawText raw{};
        raw.kind = static_cast<std::uint8_t>(kind);
        raw.doubt = static_cast<std::uint8_t>(doubt);
        raw.length = static_cast<std::uint32_t>(text.size());
        put(raw);
        put_bytes(std::as_bytes(std::span(text)));
    }
    std::vector<std::byte> bytes;
};

Error damaged(std::string_view what) {
    return fail(ErrorKind::corrupt, "stream index: {}", what);
}

struct Text {
    ErrorKind kind;
    Doubt::Kind doubt;
    std::string line;
};

class IndexReader {
public:
    explicit IndexReader(std::span<const std::byte> bytes) : rest_(bytes) {}

    template<class Struct> Result<Struct> get() {
        Struct value;
        VDISK_TRY(bytes, take(sizeof value));
        std::memcpy(&value, bytes.data(), sizeof value);
        return value;
    }
    Result<std::span<const std::byte>> take(std::size_t count) {
        if (count > rest_.size()) return damaged("ends early");
        const auto taken = rest_.first(count);
        rest_ = rest_.subspan(count);
        return taken;
    }
    Result<Text> get_text() {
        VDISK_TRY(raw, get<RawText>());
        VDISK_TRY(bytes, take(raw.length.value()));
        if (raw.kind > kLastErrorKind || raw.doubt > static_cast<std::uint8_t>(Doubt::Kind::unplaced))
            return damaged("unknown kind of error");
        return Text{static_cast<ErrorKind>(raw.kind), static_cast<Doubt::Kind>(raw.doubt),
                    std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size())};
    }
    std::size_t left() const noexcept { return rest_.size(); }

private:
    std::span<const std::byte> rest_;
};

RawSegment raw_segment(const Segment& segment) {
    RawSegment raw{};
    raw.kind = static_cast<std::uint8_t>(segment.kind);
    raw.cover = static_cast<std::uint8_t>(segment.cover);
    raw.detail = segment.detail;
    raw.reason = segment.reason;
    raw.crc = segment.crc;
    raw.plain = segment.plain;
    raw.length = segment.length;
    raw.lead = segment.lead;
    raw.packed = segment.packed;
    raw.packed_length = segment.packed_length;
    raw.window_offset = segment.window.offset;
    raw.window_length = segment.window.length;
    return raw;
}

Result<Segment> segment_of(const RawSegment& raw) {
    if (raw.kind > static_cast<std::uint8_t>(Segment::Kind::lost) ||
        raw.cover > static_cast<std::uint8_t>(Segment::Cover::nothing))
        return damaged("unknown kind of segment");
    return Segment{.kind = static_cast<Segment::Kind>(raw.kind),
                   .cover = static_cast<Segment::Cover>(raw.cover),
                   .detail = raw.detail,
                   .reason = raw.reason.value(),
                   .crc = raw.crc.value(),
                   .plain = raw.plain.value(),
                   .length = raw.length.value(),
                   .lead = raw.lead.value(),
                   .packed = raw.packed.value(),
                   .packed_length = raw.packed_length.value(),
                   .window = {raw.window_offset.value(), raw.window_length.value()}};
}

Result<void> check_segment(const Segment& segment, std::uint64_t doubts, const IndexBounds& bounds) {
    const bool lost = segment.kind == Segment::Kind::lost;
    if (segment.length == 0) return damaged("an empty segment");
    if (!lost && segment.length > kSegmentMost) return damaged("a segment is longer than any is");
    if (!checked_add(segment.plain, segment.length)) return damaged("a segment is too long");
    if (segment.lead > segment.plain) return damaged("a segment starts before the stream");
    if (!fits(segment.packed, segment.packed_length, bounds.packed_size))
        return damaged("a segment lies behind the file");
    if (!fits(segment.window.offset, segment.window.length, bounds.windows_size)) return damaged("a window is missing");
    if (segment.reason > doubts || (lost && segment.reason == 0)) return damaged("a reason is missing");
    return ok();
}

} // namespace

bool one_start(const Segment& left, const Segment& right) noexcept {
    return left.kind == right.kind && left.kind != Segment::Kind::lost && left.packed == right.packed &&
           left.window.offset == right.window.offset && left.window.length == right.window.length &&
           left.plain - left.lead == right.plain - right.lead;
}

Result<void> check(const StreamIndex& index, const IndexBounds& bounds) {
    const Segment* before = nullptr; // the last one that is not lost
    std::uint64_t plain = 0;
    std::uint64_t packed = 0; // where that ends
    for (const Segment& segment : index.segments) {
        if (segment.plain != plain) return damaged("segments do not lie end to end");
        VDISK_CHECK(check_segment(segment, index.doubts.size(), bounds));
        plain += segment.length;
        if (segment.kind == Segment::Kind::lost) continue;
        const std::uint64_t end = segment.packed + segment.packed_length;
        const bool goes_on = before != nullptr && one_start(*before, segment);
        if (end < packed) return damaged("segments go back in the file");
        if (segment.lead == 0 && segment.packed_length > bounds.stored_most)
            return damaged("a segment is of more compressed bytes than any is");
        if (goes_on && end - packed > bounds.stored_most)
            return damaged("a segment is of more compressed bytes than any is");
        before = &segment;
        packed = end;
    }
    if (plain != index.size) return damaged("sizes do not add up");
    return ok();
}

std::size_t StreamIndex::segment_at(std::uint64_t offset) const noexcept {
    const auto behind = std::ranges::upper_bound(segments, offset, {}, &Segment::plain);
    return static_cast<std::size_t>(behind - segments.begin()) - 1;
}

std::vector<std::byte> encode(const StreamIndex& index) {
    Writer writer;
    RawStreamIndexHeader header{};
    header.size = index.size;
    header.segments = static_cast<std::uint32_t>(index.segments.size());
    header.doubts = static_cast<std::uint32_t>(index.doubts.size());
    header.findings = static_cast<std::uint32_t>(index.findings.size());
    header.window_log = index.window_log;
    writer.put(header);
    for (const Segment& segment : index.segments) writer.put(raw_segment(segment));
    for (const Doubt& doubt : index.doubts) writer.put_text(doubt.why.what, doubt.why.kind, doubt.kind);
    for (const std::string& finding : index.findings) writer.put_text(finding);
    return std::move(writer.bytes);
}

Result<StreamIndex> decode_stream_index(std::span<const std::byte> bytes, const IndexBounds& bounds) {
    IndexReader reader(bytes);
    VDISK_TRY(header, reader.get<RawStreamIndexHeader>());
    StreamIndex index;
    index.size = header.size.value();
    index.window_log = header.window_log.value();
    for (std::uint32_t i = 0; i < header.segments.value(); ++i) {
        VDISK_TRY(raw, reader.get<RawSegment>());
        VDISK_TRY(segment, segment_of(raw));
        index.segments.push_back(segment);
    }
    for (std::uint32_t i = 0; i < header.doubts.value(); ++i) {
        VDISK_TRY(text, reader.get_text());
        index.doubts.push_back({Error{text.kind, std::move(text.line), std::nullopt}, text.doubt});
    }
    for (std::uint32_t i = 0; i < header.findings.value(); ++i) {
        VDISK_TRY(text, reader.get_text());
        index.findings.push_back(std::move(text.line));
    }
    if (reader.left() != 0) return damaged("there is more behind it");
    VDISK_CHECK(check(index, bounds));
    return index;
}

Result<WindowRange> WindowStore::add(std::span<const std::byte> window) {
    const std::lock_guard lock(mutex_);
    const WindowRange range{memory_.size() + file_bytes_, window.size()};
    if (file_bytes_ == 0 && memory_.size() + window.size() <= most_in_memory_)
        memory_.insert(memory_.end(), window.begin(), window.end());
    else VDISK_CHECK(write_file(window));
    return range;
}

Result<void> WindowStore::write_file(std::span<const std::byte> window) {
    if (!file_.is_open()) file_ = system::make_temporary();
    if (!file_.is_open())
        return fail(ErrorKind::io, "no temporary file for decompression windows: {}", system::reason());
    if (!system::write_at(file_.get(), window.data(), window.size(), file_bytes_))
        return fail(ErrorKind::io, "writing decompression windows: {}", system::reason());
    file_bytes_ += window.size();
    return ok();
}

std::uint64_t WindowStore::size() const noexcept {
    const std::lock_guard lock(mutex_);
    return memory_.size() + file_bytes_;
}

Result<std::size_t> WindowStore::read_at(std::uint64_t offset, std::span<std::byte> out) const {
    const std::lock_guard lock(mutex_);
    const std::uint64_t end = memory_.size() + file_bytes_;
    if (offset >= end) return std::size_t{0};
    out = out.first(static_cast<std::size_t>(std::min<std::uint64_t>(out.size(), end - offset)));
    const std::size_t kept =
        offset < memory_.size() ? std::min(out.size(), memory_.size() - static_cast<std::size_t>(offset)) : 0;
    if (kept > 0) std::memcpy(out.data(), memory_.data() + offset, kept);
    if (kept < out.size()) VDISK_CHECK(read_file(offset + kept - memory_.size(), out.subspan(kept)));
    return out.size();
}

Result<void> WindowStore::read_file(std::uint64_t offset, std::span<std::byte> out) const {
    for (std::size_t done = 0; done < out.size();) {
        const std::int64_t got = system::read_at(file_.get(), out.data() + done, out.size() - done, offset + done);
        if (got == 0) return fail(ErrorKind::io, "reading decompression windows: the temporary file ends early");
        if (got < 0) return fail(ErrorKind::io, "reading decompression windows: {}", system::reason());
        done += static_cast<std::size_t>(got);
    }
    return ok();
}

} // namespace vdisk
