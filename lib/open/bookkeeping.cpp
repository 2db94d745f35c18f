// SPDX-License-Identifier: Apache-2.0
#include "open/bookkeeping.hpp"

#include "base/text.hpp"

#include <algorithm>

namespace vdisk {
namespace {

constexpr std::size_t kMostRanges = 1000;

// Whether a finding's range is one of `disk`: findings name the disk where a file has several.
bool is_of(const Disk& disk, std::string_view named) {
    if (disk.kind == Disk::Kind::snapshot) return named == fmt::format("snapshot '{}'", shown_name(disk.id));
    return named.empty() || named == shown_name(disk.name);
}

bool counts_references(std::string_view kind) {
    return kind == "refcount-too-low" || kind == "no-refcount";
}

std::vector<DiskRange> ranges_of(const Finding& finding) {
    std::vector<DiskRange> ranges = finding.read_at;
    if (finding.place.guest) ranges.push_back({finding.place.disk, *finding.place.guest, finding.place.length});
    return ranges;
}

void add(Distrust& distrust, const ChainLink& link, const AuditReport& report, std::uint64_t size) {
    const bool dirty = report.counts().contains("dirty");
    for (const Finding& finding : report.findings()) {
        if (finding.severity != Severity::error || (dirty && counts_references(finding.kind))) continue;
        distrust.more = distrust.more || finding.read_elsewhere_too;
        for (const DiskRange& range : ranges_of(finding)) {
            if (!is_of(link.disks->disks()[link.index], range.disk) || range.offset.value >= size) continue;
            if (distrust.ranges.size() >= kMostRanges) {
                distrust.more = true;
                return;
            }
            distrust.ranges.push_back({.file = link.path,
                                       .offset = range.offset.value,
                                       .length = std::min(range.length, size - range.offset.value),
                                       .why = finding.text});
        }
    }
}

} // namespace

Result<Distrust> find_distrusted(const OpenedDisk& disk, const Progress& progress) {
    Distrust distrust;
    for (const ChainLink& link : disk.chain) {
        if (!link.disks) continue;
        const auto report = link.disks->audit({.progress = progress, .leftovers = false});
        if (report.has_value()) add(distrust, link, report.value(), disk.image->size());
        else if (report.error().kind == ErrorKind::cancelled) return report.error();
        else if (report.error().kind != ErrorKind::unsupported)
            distrust.unchecked.push_back(Error(report.error()).in(link.path).what);
    }
    return distrust;
}

} // namespace vdisk
