// SPDX-License-Identifier: Apache-2.0
#include "vdisk/report_sections.hpp"

#include "base/system/path.hpp"
#include "base/system/program.hpp"
#include "base/system/text.hpp"
#include "base/text.hpp"
#include "common/tool.hpp"
#include "open/report.hpp"
#include "vdisk/commands.hpp"
#include "vdisk/map_picture.hpp"
#include "vdisk/page.hpp"

#include "config.h"

#include <algorithm>
#include <ctime>
#include <filesystem>
#include <openssl/crypto.h>
#include <zlib.h>
#include <zstd.h>

namespace vdisk::tools {
namespace {

constexpr std::size_t kDeepest = 64;          // that a tree is nested: beyond, snapshots stand side by side
constexpr std::size_t kShownText = 64U << 10; // of one configuration
constexpr std::size_t kShownRanges = 200;     // of what nothing refers to
constexpr std::size_t kFileColumns = 256;
constexpr std::size_t kNameInPicture = 72;

std::string base_name(const std::string& path) {
    std::string name = utf8(std::filesystem::path(path).filename());
    return name.empty() ? path : name;
}

// Disks of a file and which of them was made upon which.
class DiskTree {
public:
    // A file's order has parents before their children, so that a name that was given twice means the nearest one
    // before, and no disk is its own ancestor.
    explicit DiskTree(const std::vector<Disk>& disks) : disks_(disks), children_(disks.size()) {
        Snapshots before;
        for (std::size_t i = 0; i < disks_.size(); ++i) {
            const auto parent = parent_of(disks_[i], before);
            (parent ? children_[*parent] : roots_).push_back(i);
            if (disks_[i].kind == Disk::Kind::snapshot) add(disks_[i], i, before);
        }
    }

    std::string html() const { return list(roots_, 0); }

private:
    using Snapshots = std::map<std::pair<std::optional<std::string>, std::string>, std::size_t>; // by drive and word

    static std::optional<std::string> drive_of(const Disk& disk) {
        const auto* const drive = disk.facts["drive"].text();
        return drive == nullptr ? std::nullopt : std::optional(*drive);
    }

    static std::optional<std::size_t> parent_of(const Disk& disk, const Snapshots& before) {
        const auto* const after = disk.facts["after"].text();
        const auto found = after == nullptr ? before.end() : before.find({drive_of(disk), *after});
        return found == before.end() ? std::nullopt : std::optional(found->second);
    }

    // By its name, its id, and the checkpoint's name in DRIVE@CHECKPOINT.
    static void add(const Disk& disk, std::size_t index, Snapshots& before) {
        const auto drive = drive_of(disk);
        const std::string name = printable(disk.name);
        before[{drive, name}] = before[{drive, printable(disk.id)}] = index;
        if (!drive || !name.starts_with(*drive + '@')) return;
        const std::string checkpoint = name.substr(drive->size() + 1);
        before[{drive, checkpoint}] = index;
    }

    std::string list(const std::vector<std::size_t>& indices, std::size_t depth) const {
        if (indices.empty()) return "";
        std::string items;
        for (const std::size_t index : indices) {
            const bool deeper = depth < kDeepest;
            items += "<li>" + item(disks_[index]) + (deeper ? list(children_[index], depth + 1) : "") + "</li>\n";
            if (!deeper) items += flat(children_[index]);
        }
        return "<ul class=\"tree\">\n" + items + "</ul>\n";
    }

    std::string flat(std::vector<std::size_t> waiting) const {
        std::string items;
        while (!waiting.empty()) {
            const std::size_t index = waiting.back();
            waiting.pop_back();
            items += "<li>" + item(disks_[index]) + "</li>\n";
            waiting.insert(waiting.end(), children_[index].begin(), children_[index].end());
        }
        return items;
    }

    static std::string item(const Disk& disk) {
        std::string text(to_string(disk.kind));
        if (!disk.name.empty()) text += fmt::format(" <strong>{}</strong>", escaped(disk.name));
        for (const char* const key : {"date", "time", "created"})
            if (const auto* const time = disk.facts[key].text())
                text += fmt::format(", <time>{}</time>", escaped(*time));
        text += ", " + escaped(human_size(disk.size));
        return fmt::format("{}\n<details><summary>All that is known of it</summary>\n{}</details>\n", text,
                           html_of(describe(disk)));
    }

    const std::vector<Disk>& disks_;
    std::vector<std::size_t> roots_;
    std::vector<std::vector<std::size_t>> children_;
};

std::string configuration(const Configuration& config) {
    const std::string_view data = config.data;
    std::string text = fmt::format("<h3>{}</h3>\n", escaped(config.name));
    if (!config.problem.empty()) text += fmt::format("<p>Damaged: {}</p>\n", escaped(config.problem));
    text += "<pre>" + escaped(data.substr(0, kShownText)) + "</pre>\n";
    if (data.size() > kShownText)
        text += fmt::format("<p>{} of {} bytes; <code>vdisk config</code> prints all.</p>\n", kShownText, data.size());
    return text;
}

std::string leaked_ranges(const OpenedFile& file, const AuditReport& report) {
    if (report.leaked().empty()) return "";
    const std::uint64_t size = file.source->size();
    Cells cells(size, kFileColumns);
    HtmlTable table{.caption = "Bytes of the file that nothing refers to, which <code>vdisk leaked</code> writes out",
                    .heads = {"Offset in the file", "Length"}};
    std::uint64_t at = 0;
    for (const HostRange& range : report.leaked()) {
        const std::uint64_t start = std::clamp(range.offset.value, at, size);
        const std::uint64_t end = std::clamp(range.offset.value + range.length, start, size);
        cells.add(at, start - at, Shade::used);
        cells.add(start, end - start, Shade::leaked);
        at = end;
        if (table.rows.size() < kShownRanges)
            table.rows.push_back({fmt::format("{}", range.offset.value), fmt::format("{}", range.length)});
    }
    cells.add(at, size - at, Shade::used);
    std::string text =
        "<h3>What is leaked</h3>\n<p>The file from its first byte to its last: " + swatch(Shade::leaked) +
        "nothing refers to it.</p>\n" + cells.strip(0, cells.count(), "The file") +
        "<details>\n<summary>The ranges</summary>\n" + table.html();
    if (report.leaked().size() > kShownRanges)
        text += fmt::format("<p>{} more.</p>\n", report.leaked().size() - kShownRanges);
    return text + "</details>\n";
}

std::string remarks_of(const ChainLink& link) {
    std::string text = escaped(link.how);
    for (const auto* const list : {&link.remarks, &link.damage})
        for (const Remark& remark : *list) text += (text.empty() ? "" : "; ") + escaped(remark.text);
    return text.empty() ? "-" : text;
}

// Boxes, the disk's own file above, and an arrow to each parent.
std::string chain_svg(const std::vector<ChainLink>& chain) {
    constexpr std::size_t kBox = 56;
    constexpr std::size_t kStep = 84;
    std::string boxes;
    for (std::size_t i = 0; i < chain.size(); ++i) {
        const ChainLink& link = chain[i];
        const std::size_t y = i * kStep + 2;
        boxes += fmt::format(
            "<rect class=\"box\" x=\"2\" y=\"{}\" width=\"636\" height=\"{}\" rx=\"6\"/><text x=\"16\" y=\"{}\">{}: "
            "{}</text><text x=\"16\" y=\"{}\">{}, {}</text>",
            y, kBox, y + 23, i, escaped(shortened(printable(base_name(link.path)), kNameInPicture)), y + 45,
            escaped(link.format->name), escaped(human_size(link.size)));
        if (i + 1 < chain.size())
            boxes += fmt::format("<path class=\"arrow\" d=\"M320 {}v26m-7 -8l7 8l7 -8\"/>", y + kBox);
    }
    const std::string label = chain.size() == 1
                                  ? "The disk is read from one file"
                                  : fmt::format("A chain of {} files, the disk's own above", chain.size());
    return fmt::format("<svg class=\"chain\" role=\"img\" aria-label=\"{0}; the table below lists them\" "
                       "viewBox=\"0 0 640 {1}\" width=\"640\" height=\"{1}\"><title>{0}</title>{2}</svg>\n",
                       escaped(label), (chain.size() - 1) * kStep + kBox + 4, boxes);
}

// The environment's words decide which files are opened, and so what is read.
Facts environment() {
    Facts facts = Facts::object();
    for (const std::string& variable : system::variables("VDISK_")) {
        const std::size_t equals = std::min(variable.find('='), variable.size() - 1);
        facts[printable(variable.substr(0, equals))] = printable(variable.substr(equals + 1));
    }
    return facts;
}

constexpr std::string_view kReportStyle = R"css(nav ul { columns: 2; }
dl { display: grid; grid-template-columns: fit-content(16em) 1fr; gap: 0.2em 1em; margin: 0.3em 0; }
dt { font-weight: bold; overflow-wrap: anywhere; } dd { margin: 0; overflow-wrap: anywhere; } dd ul { margin: 0; padding-left: 1em; }
pre { border: 1px solid gray; padding: 0.6em; white-space: pre-wrap; overflow-wrap: anywhere; }
code, .digest { font-family: monospace; overflow-wrap: anywhere; }
.tree { border-left: 2px solid gray; } .tree details { font-size: 90%; }
.problems { border: 2px solid; padding: 0 1em; }
.chain { max-width: 100%; height: auto; font-size: 16px; }
.chain .box { fill: none; stroke: currentColor; stroke-width: 2; } .chain text { fill: currentColor; }
.chain .arrow { fill: none; stroke: currentColor; stroke-width: 2; }
summary { cursor: pointer; }
@media print {
  body { margin: 0; max-width: none; font-size: 10pt; } nav { display: none; }
  section, tr, svg { break-inside: avoid; } section.long { break-inside: auto; } h2, h3, h4 { break-after: avoid; }
  .strip, .swatch { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
}
)css";

} // namespace

std::string image_facts(Facts facts) {
    for (const char* const key : {"disks", "chain", "selected"}) facts.erase(key);
    return html_of(facts);
}

std::string disk_tree(const OpenedFile& file) {
    const auto& disks = file.disks->disks();
    return disks.empty() ? "<p>There are none.</p>\n" : DiskTree(disks).html();
}

std::string configurations(const OpenedFile& file) {
    const auto found = file.disks->configurations();
    if (found.has_error())
        return found.error().kind == ErrorKind::unsupported
                   ? ""
                   : fmt::format("<p>Can&#39;t be read: {}</p>\n", escaped(found.error().what));
    std::string text;
    for (const Configuration& each : found.value()) text += configuration(each);
    return text;
}

std::string audit_findings(const OpenedFile& file, const AuditReport& report) {
    HtmlTable counts{.caption = "Findings by kind", .heads = {"Kind", "Weight", "Number"}};
    for (const auto& [kind, count] : report.counts())
        counts.rows.push_back({escaped(kind), std::string(to_string(count.severity)), fmt::format("{}", count.number)});
    HtmlTable table{.caption = "Findings, and the ranges of the disks that they touch",
                    .heads = {"Kind", "Weight", "What", "Ranges of the disk", "Offset in the file"}};
    for (const Finding& finding : report.findings()) {
        const std::string ranges = escaped(disk_ranges(finding));
        table.rows.push_back({escaped(finding.kind), std::string(to_string(finding.severity)), escaped(finding.text),
                              ranges.empty() ? "-" : ranges,
                              finding.place.host ? fmt::format("{}", finding.place.host->value) : "-"});
    }
    std::string text = html_of(report.facts);
    if (table.rows.empty()) text += "<p>Nothing was found.</p>\n";
    else text += counts.html() + table.html();
    return text + leaked_ranges(file, report);
}

std::string chain_picture(const OpenedDisk& disk) {
    HtmlTable table{.caption = "Files that the disk is read from, its own first",
                    .heads = {"Layer", "File", "Format", "Size of the disk", "Remarks"}};
    for (std::size_t i = 0; i < disk.chain.size(); ++i) {
        const ChainLink& link = disk.chain[i];
        table.rows.push_back(
            {fmt::format("{}", i), escaped(link.path) + (link.files.empty() ? "" : html_of(link.files)),
             escaped(link.format->name), escaped(value_text("size", Facts(link.size))), remarks_of(link)});
    }
    return chain_svg(disk.chain) + table.html();
}

std::vector<std::string> layer_names(const OpenedDisk& disk) {
    std::vector<std::string> names;
    for (const ChainLink& link : disk.chain) names.push_back(base_name(link.path));
    return names;
}

std::string hash_table(const std::map<std::string, ReportedHash>& hashes) {
    HtmlTable table{.caption = "Hashes of the disk&#39;s bytes",
                    .heads = {"Algorithm", "Given", "Taken now", "Compared"}};
    const auto shown = [](const std::string& digest) {
        return digest.empty() ? "-" : "<span class=\"digest\">" + escaped(digest) + "</span>";
    };
    for (const auto& [algorithm, hash] : hashes)
        table.rows.push_back({escaped(algorithm), shown(hash.given), shown(hash.taken),
                              hash.given.empty() || hash.taken.empty() ? "-"
                              : hash.differs()                         ? "DIFFERENT"
                                                                       : "the same"});
    return table.html();
}

std::string how_it_was_made(std::int64_t started, std::int64_t ended, const std::string& sleuth_kit) {
    Facts facts{{"program", PACKAGE_STRING}, {"command", typed_command()}};
    facts["begun"] = utc_time(started);
    facts["ended"] = utc_time(ended);
    facts["local time and zone"] = printable(system::local_time(started));
    facts["times on this page"] = "UTC, but for what a file or another program says otherwise";
    facts["system"] = printable(system::name_and_version());
    facts["libraries"] =
        Facts{{"OpenSSL", OpenSSL_version(OPENSSL_VERSION)}, {"zlib", zlibVersion()}, {"zstd", ZSTD_versionString()}};
    facts["The Sleuth Kit"] = sleuth_kit.empty() ? "not asked" : printable(sleuth_kit);
    facts["environment"] = environment();
    std::error_code error;
    facts["folder"] = printable(utf8(std::filesystem::current_path(error)));
    return html_of(facts);
}

std::string report_page(const std::string& image, const std::vector<Section>& sections,
                        const std::vector<std::string>& problems) {
    const std::string title = "Report on " + image;
    std::string links, parts, first;
    for (const Section& section : sections) {
        links += fmt::format("<li><a href=\"#{}\">{}</a></li>\n", section.id, escaped(section.title));
        parts +=
            fmt::format("<section id=\"{0}\" class=\"long\" aria-labelledby=\"{0}-title\">\n<h2 id=\"{0}-title\">{1}"
                        "</h2>\n{2}</section>\n",
                        section.id, escaped(section.title), section.body);
    }
    for (const std::string& problem : problems) first += fmt::format("<li>{}</li>\n", escaped(problem));
    const std::string box =
        first.empty()
            ? "<p>Nothing was found that speaks against what is read.</p>\n"
            : "<div class=\"problems\" role=\"note\" aria-label=\"What to know first\">\n<p><strong>What to know "
              "first</strong></p>\n<ul>\n" +
                  first + "</ul>\n</div>\n";
    return whole_page("vdisk report", title, std::string(strip_style()) + std::string(kReportStyle),
                      fmt::format("{}<header>\n<h1>{}</h1>\n{}</header>\n<nav aria-label=\"Contents\">\n<ul>\n{}</ul>\n"
                                  "</nav>\n<main>\n{}</main>\n",
                                  patterns(), escaped(title), box, links, parts));
}

} // namespace vdisk::tools
