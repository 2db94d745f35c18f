// SPDX-License-Identifier: Apache-2.0
#include "vdisk/commands.hpp"

#include "base/system/path.hpp"
#include "base/text.hpp"
#include "common/inputs.hpp"
#include "open/reference/reference.hpp"
#include "open/report.hpp"
#include "vdisk/evidence_folder.hpp"
#include "vdisk/reference_files.hpp"
#include "vdisk/reference_page.hpp"

#include <map>

namespace vdisk::tools {
namespace {

// Counts what went well; the exit status follows from it.
class Tally {
public:
    void add(bool good) { ++(good ? good_ : bad_); }
    int status() const { return bad_ == 0 ? kDone : good_ > 0 ? kPartial : kFailed; }

private:
    std::size_t good_ = 0;
    std::size_t bad_ = 0;
};

// What was written so far.
struct Written {
    std::map<std::string, FileIdentity> names{}; // of the reference files, and the images to which they lead
    Facts rows = Facts::array();
    std::vector<ListedReference> listed{};
    std::vector<std::string> failures{};
    Tally tally{};

    void fail_with(const Error& error) {
        report(error);
        failures.push_back(error.what);
        tally.add(false);
    }
};

struct Ref {
    std::vector<std::string> paths;
    std::string folder;
    bool snapshots = false;
    bool all = false;
    bool absolute = false;
    bool overwrite = false;
    bool check = false;
    bool ascii = false;
    Printing printing{};

    int operator()() const { return check ? check_all() : write_all(); }

private:
    int write_all() const {
        const auto place = reference_place(folder, absolute);
        if (place.has_error()) return report(place.error());
        if (all)
            if (const auto free = check_page(folder, overwrite); free.has_error()) return report(free.error());
        Written written;
        for (const std::string& path : paths) {
            if (all && is_plain_folder(path)) write_for_folder(path, place.value(), written);
            else write_for_image(path, place.value(), written);
        }
        if (all && !written.listed.empty()) list_in_page(written);
        if (printing.json) printing.print_json({{"references", std::move(written.rows)}});
        return written.tally.status();
    }

    // Nothing is written into it, whatever of it is an image.
    void write_for_folder(const std::string& path, const ReferencePlace& place, Written& written) const {
        inputs()->add_folder(path);
        const FoundImages found = find_images(path);
        for (const Error& error : found.unread) written.fail_with(error);
        for (const std::string& image : found.paths) write_for_image(image, place, written);
        if (found.paths.empty()) written.fail_with(fail(ErrorKind::usage, "{}: holds no images", printable(path)));
    }

    void list_in_page(Written& written) const {
        const auto listed = write_page(folder, reference_page(written.listed, written.failures), overwrite);
        if (listed.has_error()) written.fail_with(listed.error());
    }

    void write_for_image(const std::string& path, const ReferencePlace& place, Written& written) const {
        const auto options = ImageArgument{path, ""}.options();
        const auto file = options.has_error() ? Result<OpenedFile>(options.error()) : open_image(path, options.value());
        const auto chosen = file.has_error() ? Result<std::vector<std::size_t>>(file.error()) : choose(file.value());
        if (chosen.has_error()) return written.fail_with(chosen.error());
        for (const std::size_t index : chosen.value()) {
            const auto made = write(file.value(), index, place, options.value(), written);
            if (made.has_error()) written.fail_with(made.error());
            else note(made.value(), file.value(), index, written);
        }
    }

    void note(const std::string& path, const OpenedFile& file, std::size_t index, Written& written) const {
        written.tally.add(true);
        written.listed.push_back({.name = printable(utf8(std::filesystem::path(path).filename())),
                                  .image = std::string(file.source->name()),
                                  .format = std::string(file.disks->format().name),
                                  .disk = one_line(file.disks->disks()[index])});
        if (printing.json) written.rows.push_back(row(path, file, index));
        else fmt::print("{}\n", printable(path));
    }

    static Result<OpenedFile> open_image(const std::string& path, const OpenOptions& options) {
        VDISK_TRY(file, (ImageArgument{path, ""}.open_file(options)));
        if (!file.reference.empty())
            return fail(ErrorKind::usage, "{}: is a reference file itself; name the image", file.reference);
        return std::move(file);
    }

    // The selected disk; without a selector for one, every disk or every snapshot.
    Result<std::vector<std::size_t>> choose(const OpenedFile& file) const {
        if (selects_disk(file.context.selector)) {
            VDISK_TRY(index, select_disk(file));
            return std::vector{index};
        }
        std::vector<std::size_t> chosen;
        const std::vector<Disk>& disks = file.disks->disks();
        for (std::size_t i = 0; i < disks.size(); ++i)
            if (is_wanted(disks[i].kind)) chosen.push_back(i);
        if (chosen.empty())
            return fail(ErrorKind::usage, "{}: holds no {}", file.source->name(), snapshots ? "snapshots" : "disks");
        return chosen;
    }

    bool is_wanted(Disk::Kind kind) const {
        switch (kind) {
        case Disk::Kind::active:
        case Disk::Kind::device: return !snapshots;
        case Disk::Kind::snapshot: return snapshots || all;
        case Disk::Kind::memory: return false;
        }
        return false;
    }

    // Only for a disk that opens: a reference that leads nowhere would be found out too late.
    Result<std::string> write(const OpenedFile& file, std::size_t index, const ReferencePlace& place,
                              const OpenOptions& options, Written& written) const {
        VDISK_TRY(opened, wiped(open_disk_at(file, index, options)));
        tell_remarks(opened.remarks());
        const Disk& disk = file.disks->disks()[index];
        VDISK_TRY(selector, reference_to(file, disk, place));
        auto text = reference_text(selector);
        if (text.has_error()) return std::move(text).error().in(file.source->name());
        const std::filesystem::path path = unused_path(file, disk, selector, written.names);
        VDISK_CHECK(write_reference(path, text.value(), overwrite));
        return utf8(path);
    }

    // Different images can come to the same name, as those that differ in their suffixes, and different disks of one,
    // once odd characters are replaced.
    std::filesystem::path unused_path(const OpenedFile& file, const Disk& disk, const Selector& selector,
                                      std::map<std::string, FileIdentity>& names) const {
        const FileIdentity image = file.context.file->identity();
        const auto taken_by = [&](const std::string& name) {
            const auto written = names.find(name);
            if (written == names.end()) return leads_to(std::filesystem::path(folder) / name, file, selector);
            return written->second == image ? LeadsTo::another_disk : LeadsTo::another_image;
        };
        std::string name = reference_name(file, disk, NamedAfter::stem, letters());
        if (taken_by(name) == LeadsTo::another_image)
            name = reference_name(file, disk, NamedAfter::whole_name, letters());
        std::string unused = name;
        for (int number = 2; taken_by(unused) >= LeadsTo::another_disk; ++number)
            unused = fmt::format("{}-{}.vdisk", name.substr(0, name.rfind('.')), number);
        names.emplace(unused, image);
        return std::filesystem::path(folder) / unused;
    }

    Letters letters() const { return ascii ? Letters::ascii : Letters::every_script; }

    int check_all() const {
        Tally tally;
        Facts rows = Facts::array();
        for (const std::string& path : paths) {
            const auto disk = open_reference(path);
            tally.add(disk.has_value());
            if (printing.json)
                rows.push_back(disk.has_value() ? row(path, disk.value().file, disk.value().index)
                                                : Facts{{"reference", printable(path)}, {"error", disk.error().what}});
            else if (disk.has_value()) print(path, disk.value());
            if (disk.has_error()) report(disk.error());
        }
        if (printing.json) printing.print_json({{"references", std::move(rows)}});
        return tally.status();
    }

    static Result<OpenedDisk> open_reference(const std::string& path) {
        return ImageArgument{path, std::string(kReferenceFormat.name)}.open_disk();
    }

    static const Disk& disk_of(const OpenedDisk& opened) { return opened.file.disks->disks()[opened.index]; }

    static Facts row(const std::string& path, const OpenedFile& file, std::size_t index) {
        Facts facts{
            {"reference", printable(path)}, {"image", file.source->name()}, {"format", file.disks->format().name}};
        facts["disk"] = describe(file.disks->disks()[index]);
        return facts;
    }

    static void print(const std::string& path, const OpenedDisk& opened) {
        fmt::print("{}: {} of {}\n", printable(path), one_line(disk_of(opened)), opened.file.source->name());
    }
};

} // namespace

Action add_ref(CommandLine& line) {
    auto action = std::make_shared<Ref>();
    line.operands("FILE", action->paths,
                  "images, PATH or PATH#SELECTOR; with --all, folders too; with --check, reference files");
    line.flag("--check", action->check, "open what reference files lead to, and tell what that is");
    action->printing.add_to(line);
    line.flag("--snapshots", action->snapshots, "one for every snapshot in the image, not for its disks")
        .excludes("check");
    line.flag("--all", action->all,
              "for every disk and snapshot in each image, and in each that lies in a folder or below it; with a page, "
              "index.html, that lists them")
        .excludes("check")
        .excludes("snapshots");
    line.option("-d,--directory", "FOLDER", action->folder, "where to write them, in place of the current folder")
        .excludes("check");
    line.writes_below(action->folder);
    line.flag("--absolute", action->absolute, "name files by absolute paths, not relative to the reference file")
        .excludes("check");
    line.flag("--ascii", action->ascii,
              "letters that are not ASCII become '_' in their names, for programs that take no others")
        .excludes("check");
    line.flag("--force", action->overwrite, "overwrite reference files that are there").excludes("check");
    return [action] { return (*action)(); };
}

} // namespace vdisk::tools
