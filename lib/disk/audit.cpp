// SPDX-License-Identifier: Apache-2.0
#include "disk/audit.hpp"

#include "base/text.hpp"

namespace vdisk {
namespace {

Facts describe_finding(const Finding& finding) {
    Facts facts = Facts::object();
    facts["severity"] = to_string(finding.severity);
    facts["kind"] = finding.kind;
    if (finding.place.host) facts["host offset"] = finding.place.host->value;
    if (!finding.place.disk.empty()) facts["disk"] = finding.place.disk;
    if (finding.place.guest) facts["disk offset"] = finding.place.guest->value;
    if (finding.place.length > 0) facts["length"] = finding.place.length;
    for (const DiskRange& range : finding.read_at) {
        Facts row = Facts::object();
        if (!range.disk.empty()) row["disk"] = range.disk;
        row["disk offset"] = range.offset.value;
        row["length"] = range.length;
        facts["read at"].push_back(std::move(row));
    }
    if (finding.read_elsewhere_too) facts["read elsewhere too"] = true;
    facts["text"] = finding.text;
    return facts;
}

} // namespace

std::string_view to_string(Severity severity) noexcept {
    switch (severity) {
    case Severity::note: return "note";
    case Severity::warning: return "warning";
    case Severity::error: return "error";
    }
    return "error";
}

bool AuditReport::count(Severity severity, std::string_view kind) {
    Count& so_far = counts_[kind];
    so_far.severity = severity;
    return ++so_far.number <= limits_.audit_findings;
}

void AuditReport::add(std::span<const Remark> remarks, std::string_view doubt_kind, std::string_view note_kind) {
    for (const Remark& remark : remarks) {
        const bool doubt = remark.weight == Remark::Weight::doubt;
        add(doubt ? Severity::error : Severity::note, doubt ? doubt_kind : note_kind, {}, "{}", remark.text);
    }
}

void AuditReport::add_disk(const AuditReport& part, std::string_view disk, std::optional<std::uint64_t> start) {
    std::map<std::string_view, std::uint64_t> told;
    for (const Finding& finding : part.findings_) {
        ++told[finding.kind];
        if (!count(finding.severity, finding.kind)) continue;
        Finding own = finding;
        own.place.disk = disk;
        if (own.place.host) {
            if (start) own.place.host->value += *start;
            else own.place.host.reset();
        }
        for (DiskRange& range : own.read_at) range.disk = disk;
        own.text = fmt::format("{}: {}", disk, finding.text);
        findings_.push_back(std::move(own));
    }
    for (const auto& [kind, count] : part.counts_) count_more(count.severity, kind, count.number - told[kind]);
}

void AuditReport::count_more(Severity severity, std::string_view kind, std::uint64_t number) {
    if (number == 0) return;
    Count& so_far = counts_[kind];
    so_far.severity = severity;
    so_far.number += number;
}

Result<void> AuditReport::leak(HostOffset offset, std::uint64_t length) {
    if (length == 0) return ok();
    leaked_bytes_ += length;
    if (!leaked_.empty() && leaked_.back().offset.value + leaked_.back().length == offset.value) {
        leaked_.back().length += length;
        return ok();
    }
    if (leaked_.size() >= limits_.audit_ranges)
        return fail_at(offset.value, ErrorKind::limit_exceeded, "more than {} separate ranges that nothing refers to",
                       limits_.audit_ranges);
    leaked_.push_back({offset, length});
    return ok();
}

void AuditReport::locate(std::size_t index, DiskRange range) {
    Finding& finding = findings_[index];
    if (!finding.read_at.empty()) {
        DiskRange& last = finding.read_at.back();
        if (last.disk == range.disk && last.offset.value + last.length == range.offset.value) {
            last.length += range.length;
            return;
        }
    }
    if (finding.read_at.size() >= limits_.finding_ranges) finding.read_elsewhere_too = true;
    else finding.read_at.push_back(std::move(range));
}

std::uint64_t AuditReport::number_of(Severity least) const noexcept {
    std::uint64_t number = 0;
    for (const auto& [kind, count] : counts_)
        if (count.severity >= least) number += count.number;
    return number;
}

Facts describe(const AuditReport& report) {
    Facts facts = report.facts;
    facts["counts"] = Facts::object();
    for (const auto& [kind, count] : report.counts()) facts["counts"][kind] = count.number;
    facts["findings"] = Facts::array();
    for (const Finding& finding : report.findings()) facts["findings"].push_back(describe_finding(finding));
    facts["unreferenced ranges"] = report.leaked().size();
    facts["unreferenced bytes"] = report.leaked_bytes();
    return facts;
}

} // namespace vdisk
