// SPDX-License-Identifier: Apache-2.0
#include "vdisk/reference_files.hpp"

#include "base/text.hpp"
#include "common/output.hpp"
#include "open/reference/reference.hpp"

#include <algorithm>
#include <array>
#include <cctype>
#include <cstdlib>

namespace fs = std::filesystem;

namespace vdisk::tools {
namespace {

constexpr std::size_t kLongestPart = 100; // of a file name, which may have 255 bytes

Result<fs::path> real_path(const fs::path& path) {
    std::error_code error;
    fs::path real = fs::canonical(path, error);
    if (error) return fail(ErrorKind::io, "{}: {}", printable(path.native()), error.message());
    return real;
}

// The file as it is called in the folder where it really lies: a link to it stays one.
Result<std::string> path_at(const ReferencePlace& place, const fs::path& path) {
    std::error_code error;
    const fs::path given = fs::absolute(path, error);
    VDISK_TRY(folder, real_path(given.parent_path()));
    const fs::path real = folder / given.filename();
    if (place.absolute_paths) return real.native();
    const std::string relative = real.lexically_relative(place.folder).native();
    // A colon before any slash would be taken for a protocol's.
    return relative.substr(0, relative.find('/')).find(':') == std::string::npos ? relative : "./" + relative;
}

std::string safe_part(std::string_view text) {
    const auto taken = [](unsigned char c) {
        return c < 0x80 && (std::isalnum(c) != 0 || c == '_' || c == '.' || c == '-');
    };
    std::string part(text.substr(0, kLongestPart));
    std::ranges::replace_if(
        part, [&](unsigned char c) { return !taken(c); }, '_');
    if (part.starts_with('-') || part.starts_with('.')) part.front() = '_';
    return part;
}

std::string without_suffixes(const fs::path& path) {
    constexpr std::array kCompressed{".zst", ".gz", ".lzo"};
    fs::path name = path.filename();
    if (std::ranges::find(kCompressed, name.extension().native()) != kCompressed.end()) name = name.stem();
    return name.stem().native();
}

// Nothing but a reference file may be overwritten: what was typed could be an image.
Result<void> check_replaceable(const fs::path& path) {
    VDISK_TRY(file, FileSource::open(path, FileKinds::regular_only));
    std::string head(kReferenceMagic.size(), '\0');
    VDISK_TRY(got, file->read_at(0, std::as_writable_bytes(std::span(head))));
    if (head.substr(0, got) == kReferenceMagic) return ok();
    return fail(ErrorKind::usage, "{}: is there and is no reference file, so it is not overwritten", file->name());
}

} // namespace

Result<ReferencePlace> reference_place(const std::string& folder, bool absolute_paths) {
    VDISK_TRY(real, real_path(folder.empty() ? "." : folder));
    return ReferencePlace{.folder = std::move(real), .absolute_paths = absolute_paths};
}

Result<Selector> reference_to(const OpenedFile& file, const Disk& disk, const ReferencePlace& place) {
    Selector selector = file.context.selector;
    selector.word.reset();
    selector.device.reset();
    selector.snapshot.reset();
    if (disk.kind != Disk::Kind::active)
        (disk.kind == Disk::Kind::snapshot ? selector.snapshot : selector.device) = selecting_name(*file.disks, disk);
    const char* const common_key = std::getenv("VDISK_KEY_FILE");
    if (!selector.key_file && common_key != nullptr && file.disks->facts().contains("encryption"))
        selector.key_file = common_key;

    const auto change = [&](const std::string& path) { return path_at(place, path); };
    VDISK_CHECK(change_paths(selector, parse_selector, change, file.context.limits.chain_depth));
    VDISK_TRY(image, path_at(place, selector.path));
    selector.path = std::move(image);
    return selector;
}

std::string reference_name(const OpenedFile& file, const Disk& disk) {
    const std::string stem = safe_part(without_suffixes(file.context.selector.path));
    if (disk.kind == Disk::Kind::active) return stem + ".vdisk";
    return fmt::format("{}.{}.vdisk", stem, safe_part(selecting_name(*file.disks, disk)));
}

Result<void> write_reference(const fs::path& path, std::string_view text, bool overwrite) {
    std::error_code error;
    if (overwrite && fs::exists(path, error)) VDISK_CHECK(check_replaceable(path));
    VDISK_TRY(output, Output::open(path.native(), overwrite));
    auto written = output->write(std::as_bytes(std::span(text)));
    if (written.has_value()) written = output->finish(text.size());
    if (written.has_error()) return std::move(written).error().in(printable(path.native()));
    return ok();
}

} // namespace vdisk::tools
