// SPDX-License-Identifier: Apache-2.0
#include "format/vma/vma.hpp"

#include "base/text.hpp"
#include "format/vma/backup_files.hpp"
#include "format/vma/layout.hpp"
#include "format/vma/scan.hpp"

#include <algorithm>
#include <cstring>

namespace vdisk {
namespace vma {
namespace {

using ArchivePtr = std::shared_ptr<const Archive>;

// An archive of fewer extents (some 1 GiB of data) is gone over in no time.
constexpr std::uint64_t kExtentsWorthKeeping = 256;

// Firmware variables, TPM state, RAM: devices that nobody means who does not name them.
bool is_side_device(std::string_view name) {
    for (const std::string_view part : {"efidisk", "tpmstate", "vmstate"})
        if (name.find(part) != std::string_view::npos) return true;
    return false;
}

Disk disk_of(const Device& device, const ClusterMap& map) {
    Disk disk{.kind = device.is_memory() ? Disk::Kind::memory : Disk::Kind::device,
              .name = device.name,
              .id = fmt::format("{}", device.id),
              .size = device.size,
              .chosen_by_default = device.listed && !is_side_device(device.name)};
    if (!device.listed) disk.facts["size found by"] = "the last cluster in the archive: the device table has none";
    disk.facts["stored bytes"] = map.stored_blocks() * kBlockBytes;
    disk.facts["clusters"] = device.clusters();
    disk.facts["zero clusters"] = map.zero_clusters();
    disk.facts["lost clusters"] = map.lost_clusters();
    if (map.duplicate_clusters() != 0) disk.facts["clusters stored more than once"] = map.duplicate_clusters();
    return disk;
}

// What is wrong with an archive: of each kind the first; an audit tells them all.
std::vector<std::string> problems(const Archive& archive) {
    std::vector<std::string> lines = archive.header.remarks;
    for (std::size_t i = 0; i < archive.contents.devices.size(); ++i) {
        const ClusterMap& map = archive.contents.maps[i];
        const std::string name = shown_name(archive.contents.devices[i].name);
        if (map.lost_clusters() != 0)
            lines.push_back(fmt::format("device '{}': {} of {} clusters are lost: the archive is incomplete", name,
                                        map.lost_clusters(), archive.contents.devices[i].clusters()));
        if (map.duplicate_clusters() != 0)
            lines.push_back(
                fmt::format("device '{}': {} clusters are stored more than once", name, map.duplicate_clusters()));
    }
    std::array<bool, kOddities> told{};
    for (const Findings::Kept& finding : archive.contents.findings.kept()) {
        bool& known = told[static_cast<std::size_t>(finding.oddity)];
        if (std::exchange(known, true) || severity_of(finding.oddity) == Severity::note) continue;
        const std::uint64_t more = archive.contents.findings.count(finding.oddity) - 1;
        lines.push_back(fmt::format("at offset {}: {}{}", finding.offset, finding.what,
                                    more == 0 ? "" : fmt::format(" (and {} more such)", more)));
    }
    return lines;
}

// Bytes of a device.
struct GuestRange {
    std::uint64_t start;
    std::uint64_t end;
};

void report_lost_range(AuditReport& report, const Device& device, const GuestRange& range) {
    const std::string name = shown_name(device.name);
    const std::uint64_t length = range.end - range.start;
    report.add(Severity::error, "lost", {.disk = name, .guest = GuestOffset{range.start}, .length = length},
               "device '{}': bytes {} to {} ({} clusters) are lost", name, range.start, range.end - 1,
               div_ceil(length, kClusterBytes));
}

// One finding for each range of the device that is lost; of its lost clusters some may be known in part.
Result<void> report_lost(AuditReport& report, const ArchivePtr& archive, std::size_t index) {
    const Device& device = archive->contents.devices[index];
    const DeviceLayout layout(archive, index);
    for (const Range& range : archive->contents.maps[index].parts().lost) {
        const std::uint64_t end = std::min((std::uint64_t{range.last} + 1) * kClusterBytes, device.size);
        std::optional<GuestRange> lost;
        std::uint64_t at = std::uint64_t{range.first} * kClusterBytes;
        while (at < end) {
            VDISK_TRY(mapping, layout.map(GuestOffset{at}, end - at));
            const Extent& extent = *mapping.own();
            const std::uint64_t next = at + std::min(extent.length, end - at);
            if (extent.kind == Extent::Kind::unreadable) {
                lost = GuestRange{lost ? lost->start : at, next};
            } else if (lost) {
                report_lost_range(report, device, *lost);
                lost.reset();
            }
            at = next;
        }
        if (lost) report_lost_range(report, device, *lost);
    }
    return ok();
}

// One finding for each cluster that is stored more than once: an error if the copies differ or can't be compared.
void report_duplicates(AuditReport& report, const ArchivePtr& archive, std::size_t index) {
    const Device& device = archive->contents.devices[index];
    const std::string name = shown_name(device.name);
    const DeviceLayout layout(archive, index);
    std::optional<std::uint32_t> before;
    for (const Run& copy : archive->contents.maps[index].parts().duplicates) {
        if (before == copy.first()) continue;
        before = copy.first();
        const std::uint64_t start = std::uint64_t{copy.first()} * kClusterBytes;
        const std::uint64_t length = std::min<std::uint64_t>(kClusterBytes, device.size - start);
        const Place place{.disk = name, .guest = GuestOffset{start}, .length = length};
        const auto mapping = layout.map(GuestOffset{start}, length);
        const bool agree = mapping.has_value() && mapping.value().own()->kind != Extent::Kind::unreadable;
        if (agree)
            report.add(Severity::warning, "duplicate", place,
                       "device '{}': bytes {} to {} are stored more than once, always the same", name, start,
                       start + length - 1);
        else
            report.add(Severity::error, "conflict", place, "device '{}': bytes {} to {}: {}", name, start,
                       start + length - 1,
                       mapping.has_error() ? mapping.error().what : mapping.value().own()->why->what);
    }
}

Result<AuditReport> report_of(const ArchivePtr& archive, const Limits& limits) {
    AuditReport report(limits);
    report.facts["uuid"] = uuid_text(archive->header.uuid);
    report.facts["extents"] = archive->contents.extents;
    report.facts["devices"] = archive->contents.devices.size();
    for (const std::string& remark : archive->header.remarks)
        report.add(Severity::warning, "damaged-entry", {}, "{}", remark);
    archive->contents.findings.report_to(report);
    for (std::size_t i = 0; i < archive->contents.devices.size(); ++i) {
        VDISK_CHECK(report_lost(report, archive, i));
        report_duplicates(report, archive, i);
    }
    for (const ArchiveRange& range : archive->contents.not_shown)
        VDISK_CHECK(report.leak(HostOffset{range.offset}, range.length));
    return report;
}

// Where a stream's checksums don't hold and it is read all the same, so is what an extent's header says of its data.
bool reads_misplaced(const OpenContext& context, bool in_pass) {
    return !in_pass && context.stream && context.unverified == Unverified::read && !context.stream->findings().empty();
}

// Ranges of a disk that one remark names.
constexpr std::size_t kRangesTold = 16;

// The clusters of a device whose data are read though they can't be placed.
std::vector<GuestRange> misplaced_ranges(const Archive& archive, std::size_t index) {
    std::vector<GuestRange> ranges;
    const auto& misplaced = archive.contents.misplaced;
    for (const Run& run : archive.contents.maps[index].parts().runs) {
        const std::uint64_t place = archive.offset_of(run.units());
        const auto behind =
            std::ranges::upper_bound(misplaced, place, {}, [](const ArchiveRange& r) { return r.end(); });
        if (behind == misplaced.end() || place < behind->offset) continue;
        const std::uint64_t start = std::uint64_t{run.first()} * kClusterBytes;
        const std::uint64_t end =
            std::min((std::uint64_t{run.last()} + 1) * kClusterBytes, archive.contents.devices[index].size);
        if (!ranges.empty() && ranges.back().end == start) ranges.back().end = end;
        else ranges.push_back({start, end});
    }
    return ranges;
}

// What every reader of the device has to know.
std::vector<Remark> doubts(const Archive& archive, std::size_t index) {
    if (archive.contents.misplaced.empty()) return {};
    const std::vector<GuestRange> ranges = misplaced_ranges(archive, index);
    std::vector<Remark> remarks;
    for (const GuestRange& range : std::span(ranges).first(std::min(ranges.size(), kRangesTold)))
        remarks.push_back(
            Remark::doubt(fmt::format("device '{}': bytes {} to {} are read from an extent whose data can't be placed: "
                                      "some of them are others (VDISK_UNVERIFIED=read)",
                                      shown_name(archive.contents.devices[index].name), range.start, range.end - 1)));
    if (ranges.size() > kRangesTold)
        remarks.push_back(
            Remark::doubt(fmt::format("device '{}': so are {} more ranges",
                                      shown_name(archive.contents.devices[index].name), ranges.size() - kRangesTold)));
    return remarks;
}

class VmaFile final : public DiskFile {
public:
    VmaFile(ArchivePtr archive, OpenContext context) : archive_(std::move(archive)), context_(std::move(context)) {
        for (std::size_t i = 0; i < archive_->contents.devices.size(); ++i)
            disks_.push_back(disk_of(archive_->contents.devices[i], archive_->contents.maps[i]));
    }

    const Format& format() const noexcept override { return kVmaFormat; }
    const std::vector<Disk>& disks() const noexcept override { return disks_; }
    Result<Layer> layer(std::size_t index) const override {
        Layer layer(std::make_shared<const DeviceLayout>(archive_, index), {archive_->source});
        layer.remarks = doubts(*archive_, index);
        return layer;
    }
    Facts facts() const override;
    Result<std::vector<Configuration>> configurations() const override { return archive_->header.configurations; }
    Result<AuditReport> audit(const AuditRequest& /*request*/) const override {
        return report_of(archive_, context_.limits);
    }
    Result<AuditReport> verify(const Progress& progress) const override;

private:
    ArchivePtr archive_;
    OpenContext context_;
    std::vector<Disk> disks_;
};

Facts VmaFile::facts() const {
    Facts facts = Facts::object();
    facts["uuid"] = uuid_text(archive_->header.uuid);
    facts["created"] = utc_time(archive_->header.created);
    facts["extents"] = archive_->contents.extents;
    facts["configurations"] = Facts::array();
    for (const Configuration& config : archive_->header.configurations)
        facts["configurations"].push_back(Facts{{"name", printable(config.name)}, {"size", config.data.size()}});
    add_backup_files(context_, facts);
    for (const std::string& line : problems(*archive_)) facts["problems"].push_back(line);
    return facts;
}

// The whole pass once more, whatever the index cache knows, in which everything is read.
Result<AuditReport> VmaFile::verify(const Progress& progress) const {
    SourcePtr source = archive_->source;
    std::shared_ptr<StreamSource> stream;
    if (context_.stream) {
        VDISK_TRY(fresh,
                  StreamSource::open(context_.file, context_.stream->compression(), IndexCache(), context_.limits));
        stream = fresh;
        source = stream;
    }
    auto archive = std::make_shared<Archive>();
    const ForwardScan pass = [&](ForwardReader& reader) -> Result<void> {
        VDISK_TRY(header, Header::read(reader, source->name(), context_.limits));
        const bool in_pass = reader.source() == nullptr;
        VDISK_TRY(contents, scan(reader, source->name(), header,
                                 {.limits = context_.limits,
                                  .progress = in_pass ? Progress() : progress,
                                  .read_data = true,
                                  .read_misplaced = reads_misplaced(context_, in_pass)}));
        archive->header = std::move(header);
        archive->contents = std::move(contents);
        return ok();
    };
    VDISK_CHECK(scan_forward(*source, stream.get(), pass, progress));
    if (archive->contents.unfinished) VDISK_CHECK(scan_forward(*source, stream.get(), pass, progress));
    archive->source = stream ? by_content(stream) : source;
    VDISK_TRY(report, report_of(archive, context_.limits));
    if (stream)
        for (const std::string& finding : stream->findings())
            report.add(Severity::error, "damaged-stream", {}, "{}", finding);
    return std::move(report);
}

// The key under which a pass over the file is remembered; nothing if it can't be.
std::optional<IndexKey> cache_key(const OpenContext& context, bool misplaced) {
    if (!context.index_cache.enabled() || !context.file) return std::nullopt;
    auto key = IndexKey::of(*context.file, misplaced ? kMisplacedContentsKind : kContentsKind);
    if (key.has_error()) return std::nullopt;
    return std::move(key).value();
}

// Whose contents the index cache keeps. The stream, if there is one, must be indexed.
Archived archived(const OpenContext& context, const Archive& archive) {
    return {.header = archive.header, .stream = context.stream ? context.stream->digest() : StreamDigest{}};
}

// What the index cache knows of the archive. A stream vouches for its bytes by itself; a file's are checked against
// what is kept.
bool load(Archive& archive, const OpenContext& context, const IndexKey& key) {
    auto kept = load_contents(context.index_cache, key, archived(context, archive), context.limits);
    if (!kept || (!context.stream && !kept->can_be_checked())) return false;
    archive.contents = std::move(*kept);
    if (!context.stream)
        archive.check = std::make_unique<const MapCheck>(*archive.source, archive.header, archive.contents);
    return true;
}

// Keeps for the next opening what a pass found.
void keep(const Archive& archive, const OpenContext& context, bool misplaced) {
    const Contents& contents = archive.contents;
    const bool worth_it = context.stream || (contents.extents >= kExtentsWorthKeeping && contents.can_be_checked());
    if (contents.passing_errors || contents.unfinished || !worth_it) return;
    if (const std::optional<IndexKey> key = cache_key(context, misplaced))
        (void)store_contents(context.index_cache, *key, archived(context, archive), contents);
}

struct Pass {
    bool misplaced = false; ///< with ScanOptions::read_misplaced
    bool kept = false;      ///< what was found came from the index cache
};

Result<Pass> go_over(ForwardReader& reader, const OpenContext& context, Archive& archive) {
    const std::string_view name = archive.source->name();
    VDISK_TRY(header, Header::read(reader, name, context.limits));
    archive.header = std::move(header);
    const bool in_pass = reader.source() == nullptr;
    const bool misplaced = reads_misplaced(context, in_pass);
    if (const auto key = in_pass ? std::nullopt : cache_key(context, misplaced); key && load(archive, context, *key))
        return Pass{misplaced, true};
    VDISK_TRY(contents, scan(reader, name, archive.header,
                             {.limits = context.limits,
                              .progress = in_pass ? Progress() : context.progress,
                              .read_misplaced = misplaced}));
    archive.contents = std::move(contents);
    return Pass{misplaced, false};
}

constexpr std::array kSignatures{Signature{.magic = std::string_view(kMagic.data(), kMagic.size())}};

Result<std::shared_ptr<const DiskFile>> open(SourcePtr source, const OpenContext& context) {
    auto archive = std::make_shared<Archive>();
    // Extents are found by what they are, so their data need no place in the stream.
    archive->source = context.stream ? by_content(context.stream) : source;
    Pass made;
    const ForwardScan pass = [&](ForwardReader& reader) -> Result<void> {
        VDISK_TRY(gone_over, go_over(reader, context, *archive));
        made = gone_over;
        return ok();
    };
    VDISK_CHECK(scan_forward(*source, context.stream.get(), pass, context.progress));
    if (archive->contents.unfinished) VDISK_CHECK(scan_forward(*source, context.stream.get(), pass, context.progress));
    if (!made.kept) keep(*archive, context, made.misplaced);
    return std::shared_ptr<const DiskFile>(std::make_shared<VmaFile>(std::move(archive), context));
}

} // namespace
} // namespace vma

const Format kVmaFormat{.name = "vma",
                        .description = "Proxmox backup (vma)",
                        .probe = nullptr,
                        .open = vma::open,
                        .scans_forward = true,
                        .signatures = vma::kSignatures};

} // namespace vdisk
