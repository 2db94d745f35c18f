// SPDX-License-Identifier: Apache-2.0
#include "vdisk/commands.hpp"

#include "base/text.hpp"
#include "vdisk/copy.hpp"

#include <algorithm>

namespace vdisk::tools {
namespace {

// What can be checked without checksums: whether each byte of the disks can be read. Where clusters or the whole file
// are compressed, that is whether they decompress.
class ReadingCheck {
public:
    ReadingCheck(const OpenedFile& file, const OpenOptions& options) : file_(file), options_(options) {}

    Result<AuditReport> run() {
        report_.add(Severity::note, "no-checksums", {},
                    "format '{}' has no checksums over its data: what is checked is that they can be read; 'vdisk "
                    "audit' checks the bookkeeping",
                    file_.disks->format().name);
        VDISK_TRY(chosen, chosen_disks(file_));
        for (const std::size_t index : chosen) VDISK_CHECK(read(index));
        return std::move(report_);
    }

private:
    Result<void> read(std::size_t index) {
        const Disk& disk = file_.disks->disks()[index];
        const std::string name = disk.kind == Disk::Kind::active ? "" : shown_name(selecting_name(*file_.disks, disk));
        const auto opened = open_disk_at(file_, index, options_);
        if (opened.has_error()) {
            report_.add(Severity::error, "not-opened", {.disk = name}, "{}", opened.error().what);
            return ok();
        }
        VDISK_TRY(lost, copy_disk(*opened.value().image, 0, {}, "reading"));
        for (const LostRange& range : lost)
            report_.add(Severity::error, "lost",
                        {.disk = name, .guest = GuestOffset{range.offset}, .length = range.length},
                        "disk offset {}, {} bytes can't be read: {}", range.offset, range.length, printable(range.why));
        report_.facts["disks read"] = ++disks_read_;
        return ok();
    }

    const OpenedFile& file_;
    const OpenOptions& options_;
    AuditReport report_{options_.limits};
    std::uint64_t disks_read_ = 0;
};

Result<AuditReport> check(const OpenedFile& file, const OpenOptions& options) {
    auto verified = file.disks->verify(options.progress);
    const bool no_checksums = verified.has_error() && verified.error().kind == ErrorKind::unsupported;
    return no_checksums ? ReadingCheck(file, options).run() : std::move(verified);
}

// What nothing vouches for is a fault, too: bytes of a compressed stream, say.
void add_doubts(AuditReport& report, const OpenedFile& file) {
    for (const Remark& remark : file.remarks())
        if (remark.weight == Remark::Weight::doubt)
            report.add(Severity::error, "not-vouched-for", {}, "{}", remark.text);
}

struct Verify {
    ImageArguments images;
    Printing printing;

    int operator()() {
        printing.several = images.several();
        return images.for_each(!printing.json, [this](const ImageArgument& image) { return verify(image); });
    }

private:
    int verify(const ImageArgument& image) const {
        const auto options = image.options("verifying");
        if (options.has_error()) return report(options.error());
        const auto file = image.open_file(options.value());
        if (file.has_error()) return report(file.error());
        auto verified = wiped(check(file.value(), options.value()));
        if (verified.has_error()) return report(verified.error());
        add_doubts(verified.value(), file.value());
        return print_report(file.value(), verified.value(), printing);
    }
};

} // namespace

Action add_verify(CommandLine& line) {
    auto action = std::make_shared<Verify>();
    action->images.add_to(line);
    action->images.add_threads_to(line);
    action->printing.add_to(line);
    return [action] { return (*action)(); };
}

} // namespace vdisk::tools
