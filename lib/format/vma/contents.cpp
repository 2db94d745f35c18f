// SPDX-License-Identifier: Apache-2.0
#include "format/vma/contents.hpp"

#include <algorithm>

namespace vdisk::vma {
namespace {

using boost::endian::little_uint64_buf_t;

// An index: this, the findings as JSON, shifts, places and ranges, and for each device a RawMap and the parts that it
// counts.
struct RawContents {
    Md5 header;
    StreamDigest stream;
    little_uint64_buf_t extents;
    little_uint64_buf_t size;
    little_uint64_buf_t devices;
    little_uint64_buf_t findings; // bytes
    little_uint64_buf_t shifts;
    little_uint64_buf_t extents_with_data;
    little_uint64_buf_t misplaced;
    little_uint64_buf_t not_shown;
};

// Bytes of findings, their number being what it is.
constexpr std::uint64_t kMostFindings = 16U << 20;

struct RawMap {
    little_uint64_buf_t id;
    little_uint64_buf_t clusters;
    little_uint64_buf_t runs;
    little_uint64_buf_t duplicates;
    little_uint64_buf_t lost;
    little_uint64_buf_t partial;
    little_uint64_buf_t zeros;
};

// The next bytes of an index: every count is compared with what is left of it before it is allocated.
class Cursor {
public:
    explicit Cursor(const ByteSource& source) : source_(source) {}

    template<class Struct> bool read(Struct& value) { return fill(std::as_writable_bytes(std::span(&value, 1))); }
    template<class Array> bool read_array(Array& array, std::uint64_t count) {
        if (count > (source_.size() - at_) / sizeof(array[0])) return false;
        array.resize(static_cast<std::size_t>(count));
        return fill(std::as_writable_bytes(std::span(array)));
    }
    bool at_end() const { return at_ == source_.size(); }

private:
    bool fill(std::span<std::byte> out) {
        if (read_exact(source_, at_, out).has_error()) return false;
        at_ += out.size();
        return true;
    }
    const ByteSource& source_;
    std::uint64_t at_ = 0;
};

// The device that comes next: the header's in their order, then others.
std::optional<Device> device_of(const RawMap& raw, const Header& header, const std::vector<Device>& before) {
    if (before.size() < header.devices.size()) {
        const Device& device = header.devices[before.size()];
        const bool same = raw.id.value() == device.id && raw.clusters.value() == device.clusters();
        return same ? std::optional(device) : std::nullopt;
    }
    const bool sound = raw.id.value() >= 1 && raw.id.value() <= 255 && raw.clusters.value() >= 1 &&
                       raw.clusters.value() <= kMaxDeviceSize / kClusterBytes &&
                       std::ranges::find(before, raw.id.value(), &Device::id) == before.end();
    if (!sound) return std::nullopt;
    Device device = header.unlisted(static_cast<std::uint8_t>(raw.id.value()));
    device.size = raw.clusters.value() * kClusterBytes;
    return device;
}

bool read_map(Cursor& cursor, const Header& header, Contents& contents) {
    RawMap raw;
    if (!cursor.read(raw)) return false;
    auto device = device_of(raw, header, contents.devices);
    ClusterMap::Parts parts;
    if (!device || !cursor.read_array(parts.runs, raw.runs.value()) ||
        !cursor.read_array(parts.duplicates, raw.duplicates.value()) ||
        !cursor.read_array(parts.lost, raw.lost.value()) || !cursor.read_array(parts.partial, raw.partial.value()) ||
        !cursor.read_array(parts.zeros, raw.zeros.value()))
        return false;
    auto map = ClusterMap::from_parts(std::move(parts), device->clusters());
    if (map.has_error()) return false;
    contents.devices.push_back(std::move(*device));
    contents.maps.push_back(std::move(map).value());
    return true;
}

bool are_sound(const std::vector<Shift>& shifts) {
    std::uint64_t next = 0;
    for (const Shift& shift : shifts) {
        if (shift.units < next || shift.units > Run::kMostUnits || shift.bytes >= kAlignment) return false;
        next = shift.units + 1;
    }
    return true;
}

bool are_sound(const std::vector<ArchiveRange>& ranges, std::uint64_t size) {
    std::uint64_t next = 0;
    for (const ArchiveRange& range : ranges) {
        if (range.offset < next || range.length == 0 || !fits(range.offset, range.length, size)) return false;
        next = range.end();
    }
    return true;
}

template<class Struct> std::span<const std::byte> bytes_of(const Struct& value) {
    return std::as_bytes(std::span(&value, 1));
}

Result<void> write_map(IndexWriter& writer, const Device& device, const ClusterMap& map) {
    const ClusterMap::Parts& parts = map.parts();
    const RawMap raw{.id = little_uint64_buf_t(device.id),
                     .clusters = little_uint64_buf_t(device.clusters()),
                     .runs = little_uint64_buf_t(parts.runs.size()),
                     .duplicates = little_uint64_buf_t(parts.duplicates.size()),
                     .lost = little_uint64_buf_t(parts.lost.size()),
                     .partial = little_uint64_buf_t(parts.partial.size()),
                     .zeros = little_uint64_buf_t(parts.zeros.size())};
    VDISK_CHECK(writer.append(bytes_of(raw)));
    VDISK_CHECK(writer.append(std::as_bytes(std::span(parts.runs))));
    VDISK_CHECK(writer.append(std::as_bytes(std::span(parts.duplicates))));
    VDISK_CHECK(writer.append(std::as_bytes(std::span(parts.lost))));
    VDISK_CHECK(writer.append(std::as_bytes(std::span(parts.partial))));
    return writer.append(std::as_bytes(std::span(parts.zeros)));
}

} // namespace

std::string_view to_string(Oddity oddity) noexcept {
    switch (oddity) {
    case Oddity::damaged_extent: return "damaged-extent";
    case Oddity::skipped_bytes: return "skipped-bytes";
    case Oddity::misplaced_data: return "misplaced-data";
    case Oddity::truncated: return "truncated";
    case Oddity::trailing_bytes: return "trailing-bytes";
    case Oddity::unreadable_data: return "unreadable-data";
    case Oddity::reserved_field: return "reserved-field";
    case Oddity::unknown_device: return "unknown-device";
    case Oddity::cluster_past_end: return "cluster-past-end";
    case Oddity::block_past_end: return "block-past-end";
    case Oddity::memory_order: return "memory-order";
    case Oddity::memory_past_end: return "memory-past-end";
    }
    return "damaged-extent";
}

Severity severity_of(Oddity oddity) noexcept {
    switch (oddity) {
    case Oddity::damaged_extent:
    case Oddity::skipped_bytes:
    case Oddity::misplaced_data:
    case Oddity::truncated:
    case Oddity::unreadable_data: return Severity::error;
    case Oddity::trailing_bytes:
    case Oddity::reserved_field:
    case Oddity::unknown_device:
    case Oddity::cluster_past_end:
    case Oddity::block_past_end:
    case Oddity::memory_order: return Severity::warning;
    case Oddity::memory_past_end: return Severity::note;
    }
    return Severity::error;
}

void Findings::report_to(AuditReport& report) const {
    std::array<std::uint64_t, kOddities> told{};
    for (const Kept& kept : kept_) {
        report.add(severity_of(kept.oddity), to_string(kept.oddity), {.host = HostOffset{kept.offset}},
                   "at offset {}: {}", kept.offset, kept.what);
        ++told[static_cast<std::size_t>(kept.oddity)];
    }
    for (std::size_t i = 0; i < kOddities; ++i)
        report.count_more(severity_of(static_cast<Oddity>(i)), to_string(static_cast<Oddity>(i)), counts_[i] - told[i]);
}

std::string Findings::to_json() const {
    Facts kept = Facts::array();
    for (const Kept& each : kept_)
        kept.push_back(Facts::List{static_cast<unsigned>(each.oddity), each.offset, each.what});
    Facts counts = Facts::array();
    for (const std::uint64_t count : counts_) counts.push_back(count);
    return Facts{{"counts", counts}, {"kept", kept}}.dump();
}

std::optional<Findings> Findings::from_json(std::string_view text) {
    const std::optional<Facts> json = Facts::parse(text);
    if (!json || !json->contains("counts") || !json->contains("kept")) return std::nullopt;
    Findings findings;
    const std::span<const Facts> counts = (*json)["counts"].elements();
    if (counts.size() != kOddities) return std::nullopt;
    for (std::size_t i = 0; i < kOddities; ++i) {
        if (counts[i].number() == nullptr) return std::nullopt;
        findings.counts_[i] = *counts[i].number();
    }
    for (const Facts& each : (*json)["kept"].elements()) {
        const std::span<const Facts> kept = each.elements();
        if (kept.size() != 3) return std::nullopt;
        const auto* oddity = kept[0].number();
        const auto* offset = kept[1].number();
        const auto* what = kept[2].text();
        if (oddity == nullptr || *oddity >= kOddities || offset == nullptr || what == nullptr) return std::nullopt;
        findings.kept_.push_back({static_cast<Oddity>(*oddity), *offset, *what});
    }
    return findings;
}

std::uint64_t Contents::shift_at(std::uint64_t units) const noexcept {
    const auto next =
        std::ranges::upper_bound(shifts, units, {}, [](const Shift& shift) { return shift.units.value(); });
    return next == shifts.begin() ? 0 : std::prev(next)->bytes.value();
}

bool Contents::can_be_checked() const noexcept {
    return std::ranges::none_of(maps, [](const ClusterMap& map) {
        return (map.zero_clusters() > 0 && map.parts().zeros.empty()) ||
               std::ranges::any_of(map.parts().duplicates, [](const Run& copy) { return copy.mask() == 0; });
    });
}

std::optional<Contents> load_contents(const IndexCache& cache, const IndexKey& key, const Archived& archived,
                                      const Limits& limits) {
    const Header& header = archived.header;
    const SourcePtr index = cache.open(key);
    if (!index || index->size() > limits.cluster_map_bytes + kMostFindings) return std::nullopt;
    Cursor cursor(*index);
    RawContents raw;
    std::string findings;
    if (!cursor.read(raw) || raw.header != header.md5 || raw.stream != archived.stream ||
        raw.devices.value() < header.devices.size())
        return std::nullopt;
    if (raw.findings.value() > kMostFindings || !cursor.read_array(findings, raw.findings.value())) return std::nullopt;
    auto parsed = Findings::from_json(findings);
    if (!parsed) return std::nullopt;
    Contents contents{.findings = std::move(*parsed), .extents = raw.extents.value(), .size = raw.size.value()};
    if (!cursor.read_array(contents.shifts, raw.shifts.value()) || !are_sound(contents.shifts)) return std::nullopt;
    if (!cursor.read_array(contents.extents_with_data, raw.extents_with_data.value()) ||
        !std::ranges::is_sorted(contents.extents_with_data, {}, [](const Count& at) { return at.value(); }))
        return std::nullopt;
    if (!cursor.read_array(contents.misplaced, raw.misplaced.value()) || !are_sound(contents.misplaced, contents.size))
        return std::nullopt;
    if (!cursor.read_array(contents.not_shown, raw.not_shown.value()) || !are_sound(contents.not_shown, contents.size))
        return std::nullopt;
    for (std::uint64_t i = 0; i < raw.devices.value(); ++i)
        if (!read_map(cursor, header, contents)) return std::nullopt;
    if (!cursor.at_end()) return std::nullopt;
    return contents;
}

Result<void> store_contents(const IndexCache& cache, const IndexKey& key, const Archived& archived,
                            const Contents& contents) {
    const std::string findings = contents.findings.to_json();
    const RawContents raw{.header = archived.header.md5,
                          .stream = archived.stream,
                          .extents = little_uint64_buf_t(contents.extents),
                          .size = little_uint64_buf_t(contents.size),
                          .devices = little_uint64_buf_t(contents.maps.size()),
                          .findings = little_uint64_buf_t(findings.size()),
                          .shifts = little_uint64_buf_t(contents.shifts.size()),
                          .extents_with_data = little_uint64_buf_t(contents.extents_with_data.size()),
                          .misplaced = little_uint64_buf_t(contents.misplaced.size()),
                          .not_shown = little_uint64_buf_t(contents.not_shown.size())};
    VDISK_TRY(writer, cache.create(key));
    VDISK_CHECK(writer.append(bytes_of(raw)));
    VDISK_CHECK(writer.append(std::as_bytes(std::span(findings))));
    VDISK_CHECK(writer.append(std::as_bytes(std::span(contents.shifts))));
    VDISK_CHECK(writer.append(std::as_bytes(std::span(contents.extents_with_data))));
    VDISK_CHECK(writer.append(std::as_bytes(std::span(contents.misplaced))));
    VDISK_CHECK(writer.append(std::as_bytes(std::span(contents.not_shown))));
    for (std::size_t i = 0; i < contents.maps.size(); ++i)
        VDISK_CHECK(write_map(writer, contents.devices[i], contents.maps[i]));
    return writer.commit();
}

} // namespace vdisk::vma
