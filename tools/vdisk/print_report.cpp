// SPDX-License-Identifier: Apache-2.0
#include "vdisk/commands.hpp"

#include "open/report.hpp"

namespace vdisk::tools {
namespace {

void print_text(const OpenedFile& file, const AuditReport& report) {
    fmt::print("file: {}\nformat: {}\n{}", file.source->name(), file.disks->format().name, to_text(report.facts));
    for (const Finding& finding : report.findings())
        fmt::print("{}: {}: {}\n", to_string(finding.severity), finding.kind, finding.text);
    for (const auto& [kind, count] : report.counts()) fmt::print("{}: {} found\n", kind, count.number);
    if (!report.leaked().empty())
        fmt::print("leaked: {} bytes in {} ranges, which 'vdisk leaked' writes out\n", report.leaked_bytes(),
                   report.leaked().size());
    if (report.counts().empty()) fmt::print("nothing found\n");
}

void print_json(const OpenedFile& file, const AuditReport& report) {
    Facts facts = Facts::object();
    facts["file"] = file.source->name();
    facts["format"] = file.disks->format().name;
    facts.update(describe(report));
    fmt::print("{}\n", facts.dump(2));
}

} // namespace

int print_report(const OpenedFile& file, const AuditReport& report, bool json) {
    if (json) print_json(file, report);
    else print_text(file, report);
    return report.number_of(Severity::warning) > 0 ? kPartial : kDone;
}

} // namespace vdisk::tools
