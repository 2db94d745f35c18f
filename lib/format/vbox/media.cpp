// SPDX-License-Identifier: Apache-2.0
#include "format/vbox/media.hpp"

#include "base/parse.hpp"
#include "base/system/path.hpp"
#include "base/text.hpp"
#include "format/vdi/header.hpp"
#include "format/vhd/header.hpp"
#include "format/vmdk/parsed.hpp"

#include <algorithm>
#include <array>
#include <optional>

namespace fs = std::filesystem;

namespace vdisk::vbox {
namespace {

// Our name for VirtualBox's name of a format; empty for one that is not read here, and for QEMU's, of which it has one
// name for all versions.
std::string format_of(const Medium& medium) {
    constexpr std::array<std::string_view, 6> kSame{"vdi", "vhd", "vmdk", "qed", "parallels", "raw"};
    const std::string name = lower(medium.format);
    if (name.empty()) return "vdi";
    return std::ranges::find(kSame, name) != kSame.end() ? name : "";
}

// The identifier in a file's own header; nothing for a format, or a VMDK of another program, that has none.
Result<std::optional<Uuid>> identifier_of(const FileSource& file, std::string_view format) {
    if (format == "vdi") {
        VDISK_TRY(header, vdi::Header::parse(file));
        return std::optional(header.uuid_create);
    }
    if (format == "vhd") {
        VDISK_TRY(footers, vhd::Footers::find(file));
        return std::optional(Uuid::from_mixed(footers.believed.raw.unique_id));
    }
    if (format == "vmdk") {
        VDISK_TRY(parsed, vmdk::Parsed::parse(file, Limits{}));
        if (parsed.descriptor && !parsed.descriptor->image.is_null()) return std::optional(parsed.descriptor->image);
    }
    return std::optional<Uuid>();
}

// Why a file that is there is not the medium; empty if it is.
std::string objection(const FileSource& file, const Medium& medium, std::string_view format) {
    const auto identifier = identifier_of(file, format);
    if (identifier.has_error()) return identifier.error().what;
    if (!identifier.value() || *identifier.value() == medium.uuid) return "";
    return fmt::format("{} has the UUID {}", file.name(), to_string(*identifier.value()));
}

// Why the medium can't be read, whatever file it is.
std::string problem_of(const Machine& machine, const Medium& medium) {
    const std::string named = fmt::format("{}: medium {}", printable(utf8(machine.file)), to_string(medium.uuid));
    if (medium.encrypted && format_of(medium) != "vdi")
        return fmt::format("{} is encrypted and has format '{}', which is not supported", named,
                           printable(medium.format));
    if (format_of(medium).empty() && lower(medium.format) != "qcow")
        return fmt::format("{} has format '{}', which is not supported", named, printable(medium.format));
    return "";
}

} // namespace

Drive drive_of(const Machine& machine, const Medium& medium) {
    const std::string format = format_of(medium);
    const fs::path snapshots = machine.snapshot_folder.empty() ? "Snapshots" : machine.snapshot_folder;
    Drive drive{.file = medium.location.empty() ? to_string(medium.uuid) : medium.location,
                .identifier = to_string(medium.uuid)};
    if (!medium.location.empty()) drive.where = host_path(medium.location);
    drive.search.folders = {machine.folder, machine.folder / snapshots};
    drive.search.objection = [medium, format](const FileSource& file) { return objection(file, medium, format); };
    drive.format = format;
    drive.problem = problem_of(machine, medium);
    drive.registry = machine.file;
    return drive;
}

Result<FoundFile> open_medium(const Machine& machine, const Medium& medium, const References& gate) {
    const Drive drive = drive_of(machine, medium);
    if (!drive.problem.empty()) return fail(ErrorKind::unsupported, "{}", drive.problem);
    const std::string named = fmt::format("{}: medium {} at '{}'", printable(utf8(machine.file)),
                                          to_string(medium.uuid), printable(medium.location));
    if (drive.where.paths.empty()) return fail(ErrorKind::io, "{} not found", named);
    auto found = gate.find(drive.where, drive.search);
    if (found.has_error()) return std::move(found).error().in(named);
    FoundFile& file = found.value();
    file.how = fmt::format("by {}{}{}", printable(utf8(machine.file)), file.how.empty() ? "" : ", ", file.how);
    file.format = drive.format;
    file.registry = machine.file;
    return found;
}

} // namespace vdisk::vbox
