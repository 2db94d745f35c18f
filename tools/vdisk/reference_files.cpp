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

bool plain(unsigned char c) {
    return c < 0x80 && (std::isalnum(c) != 0 || c == '_' || c == '.' || c == '-');
}

// Letters, digits, '_', '.' and '-' as they are, and of other scripts all that is valid UTF-8 and no control character.
std::string safe_part(std::string_view text, Letters letters) {
    std::string part;
    while (!text.empty() && part.size() < kLongestPart) {
        const std::size_t length = utf8_length(text);
        const std::string_view character = text.substr(0, std::max<std::size_t>(length, 1));
        const bool kept = length > 1 ? letters == Letters::every_script && printable(character) == character
                                     : length == 1 && plain(static_cast<unsigned char>(text[0]));
        part += kept ? character : "_";
        text.remove_prefix(character.size());
    }
    if (part.starts_with('-') || part.starts_with('.')) part.front() = '_';
    return part;
}

std::string without_suffixes(const fs::path& path) {
    constexpr std::array kCompressed{".zst", ".gz", ".lzo"};
    fs::path name = path.filename();
    if (std::ranges::find(kCompressed, name.extension().native()) != kCompressed.end()) name = name.stem();
    return name.stem().native();
}

// The first bytes of a file, at most as many as a reference file may have.
Result<std::string> read_start(const fs::path& path) {
    VDISK_TRY(file, FileSource::open(path, FileKinds::regular_only));
    std::string text(static_cast<std::size_t>(std::min(file->size(), Limits{}.reference_bytes)), '\0');
    VDISK_CHECK(read_exact(*file, 0, std::as_writable_bytes(std::span(text))));
    return text;
}

// Nothing but a reference file may be overwritten: what was typed could be an image.
Result<void> check_replaceable(const fs::path& path) {
    VDISK_TRY(text, read_start(path));
    if (text.starts_with(kReferenceMagic)) return ok();
    return fail(ErrorKind::usage, "{}: is there and is no reference file, so it is not overwritten",
                printable(path.native()));
}

} // namespace

Result<ReferencePlace> reference_place(const std::string& folder, bool absolute_paths) {
    std::error_code error;
    const fs::path given = fs::absolute(folder.empty() ? "." : folder, error);
    fs::path real = fs::weakly_canonical(given, error);
    if (error) return fail(ErrorKind::io, "{}: {}", printable(given.native()), error.message());
    // "folder/" and "folder/." are the folder.
    if (real.filename().empty()) real = real.parent_path();
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

    std::error_code error;
    if (selector.root) selector.root = fs::absolute(*selector.root, error).native();
    const auto change = [&](const std::string& path, bool /*is_folder*/) { return path_at(place, path); };
    VDISK_CHECK(change_paths(selector, parse_selector, change, file.context.limits.chain_depth));
    VDISK_TRY(image, path_at(place, selector.path));
    selector.path = std::move(image);
    return selector;
}

std::string reference_name(const OpenedFile& file, const Disk& disk, NamedAfter part, Letters letters) {
    const fs::path& image = file.context.selector.path;
    const std::string named = part == NamedAfter::stem ? without_suffixes(image) : image.filename().native();
    if (disk.kind == Disk::Kind::active) return safe_part(named, letters) + ".vdisk";
    return fmt::format("{}.{}.vdisk", safe_part(named, letters), safe_part(selecting_name(*file.disks, disk), letters));
}

LeadsTo leads_to(const fs::path& path, const OpenedFile& file, const Selector& selector) {
    const auto text = read_start(path);
    if (text.has_error()) return LeadsTo::none;
    const auto there = parse_reference(text.value(), "");
    if (there.has_error()) return LeadsTo::none;
    const auto image = look_at(path.parent_path() / there.value().path).identity;
    if (image != file.context.file->identity()) return LeadsTo::another_image;
    const bool same = there.value().device == selector.device && there.value().snapshot == selector.snapshot;
    return same ? LeadsTo::this_disk : LeadsTo::another_disk;
}

Result<void> write_reference(const fs::path& path, std::string_view text, bool overwrite) {
    std::error_code error;
    if (overwrite && fs::exists(path, error)) VDISK_CHECK(check_replaceable(path));
    if (path.has_parent_path()) fs::create_directories(path.parent_path(), error); // an error of it is that of opening
    VDISK_TRY(output, Output::open({.path = path.native(), .overwrite = overwrite, .size = text.size()}));
    VDISK_CHECK(output->write(std::as_bytes(std::span(text))));
    return output->finish(text.size());
}

} // namespace vdisk::tools
