// SPDX-License-Identifier: Apache-2.0
#include "open/report.hpp"

#include "base/text.hpp"
#include "open/parts.hpp"

namespace vdisk {
namespace {

Facts describe_link(const ChainLink& link) {
    Facts facts = Facts::object();
    facts["file"] = link.path;
    facts["format"] = link.format->name;
    facts["virtual size"] = link.size;
    if (!link.how.empty()) facts["found"] = link.how;
    facts.update(link.files);
    for (const Remark& remark : link.remarks) facts["remarks"].push_back(remark.text);
    return facts;
}

Facts describe(const StreamSource& stream) {
    const StreamStatistics statistics = stream.statistics();
    Facts facts = Facts::object();
    facts["method"] = to_string(stream.compression());
    facts["decompressed size"] = stream.size();
    facts["restart points"] = statistics.segments;
    facts["index size"] = statistics.index_size;
    for (const std::string& remark : stream.remarks()) facts["not vouched for"].push_back(remark);
    for (const std::string& finding : stream.findings()) facts["damage"].push_back(printable(finding));
    return facts;
}

bool is_size(std::string_view key) {
    return key.ends_with("size") || key.ends_with("bytes");
}

void append_text(std::string& text, const Facts& facts, std::size_t indent) {
    for (const auto& [key, value] : facts.members()) {
        const std::string head = fmt::format("{:{}}{}:", "", indent, key);
        if (!value.is_nested()) {
            text += fmt::format("{} {}\n", head, value_text(key, value));
        } else if (!value.empty()) {
            text += head + "\n";
            append_text(text, value, indent + 2);
        }
    }
    for (const Facts& element : facts.elements()) {
        std::string nested = fmt::format("{:{}}  ", "", indent);
        if (element.is_nested()) {
            nested.clear();
            append_text(nested, element, indent + 2);
        } else nested += value_text("", element) + "\n";
        nested[indent] = '-'; // "  key: value" becomes "- key: value"
        text += nested;
    }
}

constexpr std::size_t kLongestLine = 512;

// Nothing is known of one that could not be opened.
bool has_size(const Disk& disk) {
    return disk.size != 0 || !disk.facts.contains("unreadable");
}

void add_remark(AuditReport& report, const ChainLink& link, const Remark& remark) {
    if (remark.weight == Remark::Weight::doubt)
        report.add(Severity::warning, "parent-mismatch", {}, "{}: {}", link.path, remark.text);
    else report.add(Severity::note, "chain-note", {}, "{}: {}", link.path, remark.text);
}

void add_chain(AuditReport& report, const OpenedFile& file, const OpenOptions& options) {
    const auto disk = open_disk(file, options);
    if (disk.has_error()) {
        report.add(Severity::error, "parent-missing", {}, "{}", disk.error().what);
        return;
    }
    for (const ChainLink& link : disk.value().chain)
        for (const Remark& remark : link.remarks) add_remark(report, link, remark);
}

AuditReport nothing_to_audit(const DiskFile& disks) {
    AuditReport report{Limits{}};
    report.add(Severity::note, "no-bookkeeping", {},
               "format '{}' has no bookkeeping that could be audited; 'vdisk verify' looks whether all can be read",
               disks.format().name);
    return report;
}

// A file with several disks has no chain of its own, and one without a parent nothing to look at.
bool has_parent(const OpenedFile& file) {
    const auto index = select_disk(*file.disks, file.context.selector);
    if (index.has_error()) return false;
    const auto layer = file.disks->layer(index.value());
    return layer.has_value() && layer.value().parent.has_value();
}

} // namespace

std::string value_text(std::string_view key, const Facts& value) {
    if (const auto* text = value.text()) return *text;
    if (const auto* yes = value.boolean()) return *yes ? "yes" : "no";
    const auto* bytes = is_size(key) ? value.number() : nullptr;
    if (bytes == nullptr) return value.dump();
    return *bytes < 1024 ? fmt::format("{} bytes", *bytes) : fmt::format("{} bytes ({})", *bytes, human_size(*bytes));
}

Facts describe(const Disk& disk) {
    Facts facts = Facts::object();
    facts["kind"] = to_string(disk.kind);
    if (!disk.id.empty()) facts["id"] = printable(disk.id);
    if (!disk.name.empty()) facts["name"] = printable(disk.name);
    if (has_size(disk)) facts["size"] = disk.size;
    facts.update(disk.facts);
    return facts;
}

std::string shown_size(const Disk& disk) {
    if (has_size(disk)) return human_size(disk.size);
    return disk.facts.contains("missing") ? "missing" : "unknown";
}

std::string one_line(const Disk& disk) {
    std::string line(to_string(disk.kind));
    if (!disk.name.empty()) line += fmt::format(" '{}'", shown_name(disk.name));
    if (!disk.id.empty() && disk.id != disk.name) line += fmt::format(", id {}", shown_name(disk.id));
    line += fmt::format(", {}", shown_size(disk));
    for (const auto& [key, value] : disk.facts.members()) {
        if (value.is_nested()) continue;
        const std::string fact = fmt::format(", {} {}", key, value_text(key, value));
        if (line.size() + fact.size() <= kLongestLine) line += fact;
    }
    return line;
}

Facts describe(const OpenedFile& file) {
    Facts facts = Facts::object();
    facts["file"] = file.source->name();
    if (!file.reference.empty()) facts["reference"] = file.reference;
    facts["format"] = file.disks->format().name;
    const std::vector<Disk>& disks = file.disks->disks();
    if (!disks.empty() && (disks.size() == 1 || disks.front().kind == Disk::Kind::active) && has_size(disks.front()))
        facts["virtual size"] = disks.front().size;
    facts["file size"] = file.context.file ? file.context.file->size() : file.source->size();
    if (file.context.file && !file.context.file->parts().empty()) facts["parts"] = describe_parts(*file.context.file);
    if (file.context.stream) facts["compression"] = describe(*file.context.stream);
    facts.update(file.disks->facts());
    facts["disks"] = Facts::array();
    for (const Disk& disk : disks) facts["disks"].push_back(describe(disk));
    return facts;
}

Facts describe(const OpenedDisk& disk) {
    Facts facts = describe(disk.file);
    facts["virtual size"] = disk.image->size();
    if (disk.file.disks->disks().size() > 1) facts["selected"] = describe(disk.file.disks->disks()[disk.index]);
    if (disk.chain.size() == 1) {
        facts.update(disk.chain.front().files);
        for (const Remark& remark : disk.chain.front().remarks) facts["remarks"].push_back(remark.text);
    } else
        for (const ChainLink& link : disk.chain) facts["chain"].push_back(describe_link(link));
    return facts;
}

std::string to_text(const Facts& facts) {
    std::string text;
    append_text(text, facts, 0);
    return text;
}

bool tells_damage(const Facts& facts) {
    for (const Facts& disk : facts["disks"].elements())
        if (disk.contains("unreadable")) return true;
    return facts.contains("problems") || facts.contains("damage") || facts["compression"].contains("damage");
}

std::string to_text(const OpenedFile& file, Facts facts) {
    const auto& disks = file.disks->disks();
    if (disks.size() == 1 && disks.front().kind == Disk::Kind::active) facts.erase("disks");
    return to_text(facts);
}

Result<AuditReport> audit_file(const OpenedFile& file, const OpenOptions& options) {
    auto audited = file.disks->audit({.progress = options.progress});
    if (audited.has_error() && audited.error().kind != ErrorKind::unsupported) return std::move(audited).error();
    AuditReport report = audited.has_value() ? std::move(audited).value() : nothing_to_audit(*file.disks);
    report.add(file.remarks(), "not-vouched-for", "format-note");
    if (has_parent(file)) add_chain(report, file, options);
    return report;
}

} // namespace vdisk
