// SPDX-License-Identifier: Apache-2.0
#include "io/stream/stream_index.hpp"

#include <boost/endian/buffers.hpp>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <unistd.h>

#include <filesystem>
#include <system_error>

namespace vdisk {
namespace {

using boost::endian::little_uint32_buf_t;
using boost::endian::little_uint64_buf_t;

struct RawHeader {
    little_uint64_buf_t size;
    little_uint32_buf_t segments, reasons, findings, window_log;
};
static_assert(sizeof(RawHeader) == 24 && alignof(RawHeader) == 1);

struct RawSegment {
    std::uint8_t kind, detail, reserved[2];
    little_uint32_buf_t reason, crc, reserved_word;
    little_uint64_buf_t plain, length, lead, packed, packed_length, window_offset, window_length;
};
static_assert(sizeof(RawSegment) == 72 && alignof(RawSegment) == 1);

// Lines of text, and errors as a kind and a line.
struct RawText {
    std::uint8_t kind, reserved[3];
    little_uint32_buf_t length;
};
static_assert(sizeof(RawText) == 8 && alignof(RawText) == 1);

constexpr std::uint8_t kLastErrorKind = static_cast<std::uint8_t>(ErrorKind::cancelled);

class Writer {
public:
    template<class Struct> void put(const Struct& value) { put_bytes(std::as_bytes(std::span(&value, 1))); }
    void put_bytes(std::span<const std::byte> more) { bytes.insert(bytes.end(), more.begin(), more.end()); }
    void put_text(std::string_view text, ErrorKind kind = ErrorKind::corrupt) {
        RawText raw{};
        raw.kind = static_cast<std::uint8_t>(kind);
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
    std::string line;
};

class Reader {
public:
    explicit Reader(std::span<const std::byte> bytes) : rest_(bytes) {}

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
        if (raw.kind > kLastErrorKind) return damaged("unknown kind of error");
        return Text{static_cast<ErrorKind>(raw.kind),
                    std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size())};
    }
    std::size_t left() const noexcept { return rest_.size(); }

private:
    std::span<const std::byte> rest_;
};

RawSegment raw_segment(const Segment& segment) {
    RawSegment raw{};
    raw.kind = static_cast<std::uint8_t>(segment.kind);
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

Segment segment_of(const RawSegment& raw) {
    return {.kind = static_cast<Segment::Kind>(raw.kind),
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

struct Bounds {
    std::uint64_t packed_size;
    std::uint64_t windows_size;
    std::uint32_t reasons;
};

Result<void> check(const RawSegment& raw, std::uint64_t expected_start, const Bounds& bounds) {
    const bool lost = raw.kind == static_cast<std::uint8_t>(Segment::Kind::lost);
    if (raw.kind > static_cast<std::uint8_t>(Segment::Kind::lost)) return damaged("unknown kind of segment");
    if (raw.plain.value() != expected_start || raw.length.value() == 0)
        return damaged("segments do not lie end to end");
    if (!lost && raw.length.value() > kSegmentMost) return damaged("a segment is longer than any is");
    if (!checked_add(raw.plain.value(), raw.length.value())) return damaged("a segment is too long");
    if (raw.lead.value() > raw.plain.value()) return damaged("a segment starts before the stream");
    if (!fits(raw.packed.value(), raw.packed_length.value(), bounds.packed_size))
        return damaged("a segment lies behind the file");
    if (!fits(raw.window_offset.value(), raw.window_length.value(), bounds.windows_size))
        return damaged("a window is missing");
    if (raw.reason.value() > bounds.reasons || (lost && raw.reason.value() == 0)) return damaged("a reason is missing");
    return ok();
}

} // namespace

std::size_t StreamIndex::segment_at(std::uint64_t offset) const noexcept {
    const auto behind = std::ranges::upper_bound(segments, offset, {}, &Segment::plain);
    return static_cast<std::size_t>(behind - segments.begin()) - 1;
}

std::vector<std::byte> encode(const StreamIndex& index) {
    Writer writer;
    RawHeader header{};
    header.size = index.size;
    header.segments = static_cast<std::uint32_t>(index.segments.size());
    header.reasons = static_cast<std::uint32_t>(index.reasons.size());
    header.findings = static_cast<std::uint32_t>(index.findings.size());
    header.window_log = index.window_log;
    writer.put(header);
    for (const Segment& segment : index.segments) writer.put(raw_segment(segment));
    for (const Error& reason : index.reasons) writer.put_text(reason.what, reason.kind);
    for (const std::string& finding : index.findings) writer.put_text(finding);
    return std::move(writer.bytes);
}

Result<StreamIndex> decode_stream_index(std::span<const std::byte> bytes, std::uint64_t packed_size,
                                        std::uint64_t windows_size) {
    Reader reader(bytes);
    VDISK_TRY(header, reader.get<RawHeader>());
    StreamIndex index;
    index.window_log = header.window_log.value();
    const Bounds bounds{packed_size, windows_size, header.reasons.value()};
    for (std::uint32_t i = 0; i < header.segments.value(); ++i) {
        VDISK_TRY(raw, reader.get<RawSegment>());
        VDISK_CHECK(check(raw, index.size, bounds));
        index.segments.push_back(segment_of(raw));
        index.size += raw.length.value();
    }
    for (std::uint32_t i = 0; i < header.reasons.value(); ++i) {
        VDISK_TRY(text, reader.get_text());
        index.reasons.push_back(Error{text.kind, std::move(text.line), std::nullopt});
    }
    for (std::uint32_t i = 0; i < header.findings.value(); ++i) {
        VDISK_TRY(text, reader.get_text());
        index.findings.push_back(std::move(text.line));
    }
    if (index.size != header.size.value() || reader.left() != 0) return damaged("sizes do not add up");
    return index;
}

WindowStore::~WindowStore() {
    if (descriptor_ >= 0) ::close(descriptor_);
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
    std::error_code error;
    const std::filesystem::path folder = std::filesystem::temp_directory_path(error);
    if (descriptor_ < 0 && !error) descriptor_ = ::open(folder.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (descriptor_ < 0)
        return fail(ErrorKind::io, "no temporary file for decompression windows: {}", std::strerror(errno));
    for (std::size_t done = 0; done < window.size();) {
        const ssize_t put =
            ::pwrite(descriptor_, window.data() + done, window.size() - done, static_cast<off_t>(file_bytes_ + done));
        if (put < 0 && errno == EINTR) continue;
        if (put < 0) return fail(ErrorKind::io, "writing decompression windows: {}", std::strerror(errno));
        done += static_cast<std::size_t>(put);
    }
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
        const ssize_t got =
            ::pread(descriptor_, out.data() + done, out.size() - done, static_cast<off_t>(offset + done));
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) return fail(ErrorKind::io, "reading decompression windows: {}", std::strerror(errno));
        done += static_cast<std::size_t>(got);
    }
    return ok();
}

} // namespace vdisk
