// SPDX-License-Identifier: Apache-2.0
#include "format/vbox/media.hpp"

#include "base/parse.hpp"
#include "base/text.hpp"
#include "format/vdi/header.hpp"
#include "format/vhd/header.hpp"
#include "format/vmdk/parsed.hpp"

#include <algorithm>
#include <array>
#include <optional>
#include <system_error>

namespace fs = std::filesystem;

namespace vdisk::vbox {
namespace {

// Our name for VirtualBox's name of a format; empty for one that is not read here.
std::string format_of(const Medium& medium) {
    constexpr std::array<std::string_view, 6> kSame{"vdi", "vhd", "vmdk", "qed", "parallels", "raw"};
    const std::string name = lower(medium.format);
    if (name.empty()) return "vdi";
    if (name == "qcow") return "qcow2"; // or its first version
    return std::ranges::find(kSame, name) != kSame.end() ? name : "";
}

// VirtualBox has one name for all versions of QEMU's format, and writes the first one.
std::string format_of(const FileSource& file, std::string format) {
    std::array<std::byte, 8> start{};
    const auto got = file.read_at(0, start);
    const bool is_first = got.has_value() && got.value() == start.size() && start[7] == std::byte{1};
    return format == "qcow2" && is_first ? "qcow" : std::move(format);
}

std::vector<fs::path> candidates(const Machine& machine, const Medium& medium, const References& gate) {
    std::string location = medium.location;
    std::ranges::replace(location, '\\', '/'); // no file name on Windows has one
    const bool has_drive = location.size() > 1 && location[1] == ':';
    const fs::path name = fs::path(location).filename();
    const fs::path snapshots = machine.snapshot_folder.empty() ? "Snapshots" : machine.snapshot_folder;

    std::vector<fs::path> list;
    if (!has_drive) list.push_back(machine.folder / location); // an absolute location replaces the folder
    list.push_back(machine.folder / name);
    list.push_back(machine.folder / snapshots / name);
    for (const fs::path& folder : gate.folders()) list.push_back(folder / name);
    std::vector<fs::path> once;
    for (fs::path& path : list)
        if (std::ranges::find(once, path) == once.end()) once.push_back(std::move(path));
    return once;
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

Result<void> check_readable(const Machine& machine, const Medium& medium) {
    const std::string file = printable(machine.file.native());
    if (medium.encrypted)
        return fail(ErrorKind::unsupported, "{}: medium {} is encrypted, which is not supported", file,
                    to_string(medium.uuid));
    if (format_of(medium).empty())
        return fail(ErrorKind::unsupported, "{}: medium {} has format '{}', which is not supported", file,
                    to_string(medium.uuid), printable(medium.format));
    return ok();
}

} // namespace

Result<FoundFile> open_medium(const Machine& machine, const Medium& medium, const References& gate) {
    VDISK_CHECK(check_readable(machine, medium));
    const std::string format = format_of(medium);
    std::string tried;
    ErrorKind kind = ErrorKind::io;
    for (const fs::path& path : candidates(machine, medium, gate)) {
        std::error_code error;
        std::string why = printable(path.native());
        if (fs::exists(path, error)) {
            const auto file = gate.open_exact(path);
            why = file.has_value() ? objection(*file.value(), medium, format) : file.error().what;
            if (why.empty())
                return FoundFile{.file = file.value(),
                                 .how = fmt::format("by {}", printable(machine.file.native())),
                                 .format = format_of(*file.value(), format),
                                 .registry = machine.file};
            if (file.has_error()) kind = file.error().kind;
        }
        tried += fmt::format("{}{}", tried.empty() ? "" : "; ", why);
    }
    return fail(kind, "{}: medium {} at '{}' not found; looked for {}", printable(machine.file.native()),
                to_string(medium.uuid), printable(medium.location), tried);
}

} // namespace vdisk::vbox
