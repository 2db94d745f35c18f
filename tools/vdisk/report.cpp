// SPDX-License-Identifier: Apache-2.0
#include "vdisk/commands.hpp"

#include "base/parse.hpp"
#include "base/text.hpp"
#include "common/inputs.hpp"
#include "common/output.hpp"
#include "open/report.hpp"
#include "vdisk/copy.hpp"
#include "vdisk/hashes.hpp"
#include "vdisk/map_picture.hpp"
#include "vdisk/page.hpp"
#include "vdisk/partitions.hpp"
#include "vdisk/report_sections.hpp"

#include <algorithm>
#include <ctime>

namespace vdisk::tools {
namespace {

constexpr std::size_t kMostDisks = 64; // that one page tells of in full

using Hashes = std::map<std::string, ReportedHash>;

// "sha256=0123...".
Result<void> take_given(std::string_view text, Hashes& hashes) {
    const std::size_t equals = std::min(text.find('='), text.size());
    const std::string algorithm = lower(text.substr(0, equals));
    if (equals == text.size() || std::ranges::find(kAlgorithms, algorithm) == kAlgorithms.end())
        return fail(ErrorKind::usage,
                    "--given can't be '{}', it is the name of a hash, '=' and the hash in hexadecimal",
                    printable(text));
    const std::string digest = lower(text.substr(equals + 1));
    VDISK_TRY(like, make_hashes(std::vector{algorithm}));
    VDISK_TRY(example, like.front()->finish());
    if (digest.size() != example.size() || digest.find_first_not_of("0123456789abcdef") != std::string::npos)
        return fail(ErrorKind::usage, "--given: '{}' is no {}, which has {} hexadecimal digits", printable(digest),
                    algorithm, example.size());
    hashes[algorithm].given = digest;
    return ok();
}

// Gathers sections, and what a reader has to know before them.
class Report {
public:
    Report(const ImageArgument& image, const OpenedFile& file, const OpenOptions& options)
        : image_(image), file_(file), options_(options) {}

    void add_image() {
        const auto disk = wiped(vdisk::open_disk(file_, options_));
        const Facts facts = disk.has_value() ? describe(disk.value()) : describe(file_);
        if (tells_damage(facts)) problems_.emplace_back("What the file says of itself tells of damage or loss.");
        for (const Remark& remark : file_.remarks())
            if (remark.weight == Remark::Weight::doubt) problems_.push_back(remark.text);
        add("image", "The image", image_facts(facts));
        add("disks", "Disks and snapshots", disk_tree(file_));
        if (std::string texts = configurations(file_); !texts.empty())
            add("configuration", "Configuration", std::move(texts));
    }

    void add_audit() {
        const auto audited = wiped(audit_file(file_, options_));
        if (audited.has_error()) {
            problems_.push_back("The bookkeeping could not be checked: " + audited.error().what);
            return add("audit", "Audit", fmt::format("<p>Not done: {}</p>\n", escaped(audited.error().what)));
        }
        const std::uint64_t errors = audited.value().number_of(Severity::error);
        if (const std::uint64_t bad = audited.value().number_of(Severity::warning); bad > 0)
            problems_.push_back(fmt::format("The audit has {} errors and {} warnings.", errors, bad - errors));
        add("audit", "Audit", audit_findings(file_, audited.value()));
    }

    Result<void> add_disks(const std::vector<std::string>& algorithms, const Hashes& given) {
        VDISK_TRY(chosen, chosen_disks(file_));
        if (chosen.size() > 1 && !given.empty())
            return fail(ErrorKind::usage, "--given is the hash of one disk, and {} has {}: select one",
                        file_.source->name(), chosen.size());
        if (chosen.size() > kMostDisks)
            problems_.push_back(fmt::format("Of {} disks the first {} are told in full.", chosen.size(), kMostDisks));
        chosen.resize(std::min(chosen.size(), kMostDisks));
        for (const std::size_t index : chosen) VDISK_CHECK(add_disk(index, algorithms, given));
        return ok();
    }

    std::string finish(std::int64_t started) {
        add("made", "How this page was made",
            how_it_was_made(started, static_cast<std::int64_t>(std::time(nullptr)), sleuth_kit_version()));
        return report_page(printable(image_.path), sections_, problems_);
    }

    bool has_problems() const { return !problems_.empty(); }
    void add_problem(std::string text) { problems_.push_back(std::move(text)); }

private:
    void add(std::string id, std::string title, std::string body) {
        sections_.push_back({std::move(id), std::move(title), std::move(body)});
    }

    // What a person types to have this disk, whatever was typed; without one where a file's name leaves no way.
    Result<std::string> typed_for(std::size_t index) const {
        Selector selector = file_.context.selector;
        if (!image_.format.empty()) selector.format = image_.format;
        const Disk& disk = file_.disks->disks()[index];
        if (file_.disks->disks().size() > 1 && !selects_disk(selector) && disk.kind != Disk::Kind::active)
            selector.word = selecting_name(*file_.disks, disk);
        return selector_text(selector);
    }

    Result<void> add_disk(std::size_t index, const std::vector<std::string>& algorithms, const Hashes& given) {
        const Disk& disk = file_.disks->disks()[index];
        const std::string name = printable(disk.name.empty() ? std::string(to_string(disk.kind)) : disk.name);
        const std::string id = fmt::format("disk-{}", ++disks_);
        const std::string title = "Disk: " + name;
        const auto opened = wiped(open_disk_at(file_, index, options_));
        if (opened.has_error()) {
            problems_.push_back(fmt::format("{} can't be read: {}", name, opened.error().what));
            add(id, title, fmt::format("<p>Can&#39;t be read: {}</p>\n", escaped(opened.error().what)));
            return ok();
        }
        tell_remarks(opened.value().remarks());
        for (const Remark& remark : opened.value().remarks())
            if (remark.weight == Remark::Weight::doubt) problems_.push_back(remark.text);
        const Image& image = *opened.value().image;
        bool unreadable = false;
        std::string body = "<h3>The files that it is read from</h3>\n" + chain_picture(opened.value()) +
                           "<h3>Map</h3>\n" + map_pictures(image, layer_names(opened.value()), unreadable);
        if (unreadable) problems_.push_back(fmt::format("Ranges of {} can't be read: its map shows them.", name));
        const auto typed = typed_for(index);
        body += "<h3>Partitions and file systems</h3>\n" +
                (typed.has_value() ? partitions_of(typed.value())
                                   : fmt::format("<p>Not looked at: {}</p>\n", escaped(typed.error().what)));
        VDISK_TRY(hashes, hashes_of(opened.value(), name, algorithms, given));
        body += "<h3>Hashes</h3>\n" + hashes;
        add(id, title, std::move(body));
        return ok();
    }

    Result<std::string> hashes_of(const OpenedDisk& disk, const std::string& name,
                                  const std::vector<std::string>& algorithms, Hashes hashes) {
        if (algorithms.empty() && hashes.empty()) return "<p>None was given, and none was taken.</p>\n";
        if (algorithms.empty()) return hash_table(hashes);
        VDISK_TRY(sinks, make_hashes(algorithms));
        VDISK_TRY(lost, copy_disk(*disk.image, 0, sinks_of(sinks), "hashing", OnLoss::stop));
        VDISK_TRY(distrust, distrusted(disk, lost));
        std::string text;
        if (lost.empty()) {
            VDISK_TRY(digests, vdisk::tools::finish(sinks));
            for (const auto& [algorithm, digest] : digests) hashes[algorithm].taken = digest;
        } else {
            problems_.push_back(
                fmt::format("{} ranges of {} could not be read, so it has no hash.", lost.size(), name));
            text += "<p>No hash was taken, as bytes can&#39;t be read:</p>\n" + html_of(describe_lost(lost));
        }
        if (!distrust.ranges.empty()) {
            problems_.push_back(fmt::format("{} ranges of {} may not be the disk's.", distrust.ranges.size(), name));
            text += "<p>What is read here may not be the disk&#39;s:</p>\n" + html_of(describe_distrusted(distrust));
        }
        if (std::ranges::any_of(hashes, [](const auto& each) { return each.second.differs(); }))
            problems_.push_back(fmt::format("A hash of {} is not the one that was given.", name));
        return hash_table(hashes) + text;
    }

    const ImageArgument& image_;
    const OpenedFile& file_;
    const OpenOptions& options_;
    std::vector<Section> sections_;
    std::vector<std::string> problems_;
    std::size_t disks_ = 0;
};

struct WriteReport {
    ImageArgument image;
    std::string output;
    bool overwrite = false;
    std::vector<std::string> algorithms{};
    std::vector<std::string> given{};

    int operator()() const {
        if (output.empty())
            return report(fail(ErrorKind::usage, "report: OUT is missing ('vdisk report --help' tells more)"));
        Hashes hashes;
        for (const std::string& each : given)
            if (auto taken = take_given(each, hashes); taken.has_error()) return report(taken.error());
        const auto options = image.options("opening");
        if (options.has_error()) return report(options.error());
        const auto file = image.open_file(options.value());
        if (file.has_error()) return report(file.error());
        const auto status = write(file.value(), options.value(), hashes);
        ProgressBar::wipe();
        return status.has_error() ? report(status.error()) : status.value();
    }

private:
    Result<int> write(const OpenedFile& file, const OpenOptions& options, const Hashes& hashes) const {
        const auto started = static_cast<std::int64_t>(std::time(nullptr));
        Report page(image, file, options);
        find_inputs(file, options);
        VDISK_TRY(out, Output::open({.path = output, .overwrite = overwrite}));
        warn_of_writers();
        page.add_image();
        page.add_audit();
        VDISK_CHECK(page.add_disks(algorithms, hashes));
        if (warn_of_changes()) page.add_problem("Files were changed while they were read.");
        const std::string html = page.finish(started);
        ProgressBar::wipe();
        VDISK_CHECK(out->write(std::as_bytes(std::span(html))));
        VDISK_CHECK(out->finish(html.size()));
        return page.has_problems() ? kPartial : kDone;
    }
};

} // namespace

Action add_report(CommandLine& line) {
    auto action = std::make_shared<WriteReport>();
    action->image.add_to(line);
    line.option("-o,--output", "OUT", action->output, "the page to write, '-' for standard output; it has to be given");
    line.writes(action->output);
    line.runs_programs();
    add_algorithms(line, "--hash", action->algorithms, "take hashes of the disk's bytes, which reads all of them");
    line.list("--given", "NAME=HASH,...", action->given, "hashes of the disk's bytes that the page is to show");
    line.flag("--force", action->overwrite, "overwrite OUT if it exists");
    return [action] { return (*action)(); };
}

} // namespace vdisk::tools
