// SPDX-License-Identifier: Apache-2.0
#include "vdisk/commands.hpp"

#include "open/report.hpp"

namespace vdisk::tools {
namespace {

std::string one_range(const std::string& disk, std::uint64_t offset, std::uint64_t length) {
    return fmt::format("{}{}{} bytes at disk offset {}", disk, disk.empty() ? "" : ": ", length, offset);
}

void print_text(const OpenedFile& file, const AuditReport& report) {
    fmt::print("file: {}\nformat: {}\n{}", file.source->name(), file.disks->format().name, to_text(report.facts));
    for (const Finding& finding : report.findings()) {
        const std::string ranges = disk_ranges(finding);
        fmt::print("{}: {}: {}{}\n", to_string(finding.severity), finding.kind, finding.text,
                   ranges.empty() ? ranges : fmt::format(" [{}]", ranges));
    }
    for (const auto& [kind, count] : report.counts()) fmt::print("{}: {} found\n", kind, count.number);
    const std::size_t ranges = report.leaked().size();
    if (ranges > 0)
        fmt::print("unreferenced: {} bytes in {} {}, which 'vdisk leaked' writes out\n", report.leaked_bytes(), ranges,
                   ranges == 1 ? "range" : "ranges");
    if (report.number_of(Severity::warning) == 0) fmt::print("no faults\n");
}

Facts described(const OpenedFile& file, const AuditReport& report) {
    Facts facts = Facts::object();
    facts["file"] = file.source->name();
    facts["format"] = file.disks->format().name;
    facts.update(describe(report));
    return facts;
}

} // namespace

std::string disk_ranges(const Finding& finding) {
    const Place& place = finding.place;
    std::string ranges;
    if (place.host && place.guest && place.length > 0) ranges = one_range(place.disk, place.guest->value, place.length);
    for (const DiskRange& range : finding.read_at)
        ranges += (ranges.empty() ? "" : ", ") + one_range(range.disk, range.offset.value, range.length);
    if (finding.read_elsewhere_too) ranges += " and elsewhere";
    return ranges;
}

int print_report(const OpenedFile& file, const AuditReport& report, const Printing& printing) {
    if (printing.json) printing.print_json(described(file, report));
    else print_text(file, report);
    return report.number_of(Severity::warning) > 0 ? kPartial : kDone;
}

} // namespace vdisk::tools
