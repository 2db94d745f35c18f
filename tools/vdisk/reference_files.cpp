// SPDX-License-Identifier: Apache-2.0
#include "vdisk/reference_files.hpp"

#include "base/system/path.hpp"
#include "base/system/program.hpp"
#include "base/text.hpp"
#include "common/inputs.hpp"
#include "common/output.hpp"
#include "disk/passphrase.hpp"
#include "open/reference/reference.hpp"

#include <algorithm>
#include <array>
#include <cstdlib>

namespace fs = std::filesystem;

namespace vdisk::tools {
namespace {

Result<fs::path> real_path(const fs::path& path) {
    std::error_code error;
    fs::path real = fs::canonical(path, error);
    if (error) return fail(ErrorKind::io, "{}: {}", printable(utf8(path)), error.message());
    return real;
}

// The file as it is called in the folder where it really lies: a link to it stays one.
Result<std::string> path_at(const ReferencePlace& place, const fs::path& path) {
    std::error_code error;
    const fs::path given = fs::absolute(path, error);
    VDISK_TRY(folder, real_path(given.parent_path()));
    const fs::path real = folder / given.filename();
    if (place.absolute_paths) return utf8(real);
    const std::string relative = utf8(real.lexically_relative(place.folder));
    // A colon before any slash would be taken for a protocol's.
    return relative.substr(0, relative.find('/')).find(':') == std::string::npos ? relative : "./" + relative;
}

std::string without_suffixes(const fs::path& path) {
    constexpr std::array kCompressed{".zst", ".gz", ".lzo"};
    fs::path name = path.filename();
    if (std::ranges::find(kCompressed, utf8(name.extension())) != kCompressed.end()) name = name.stem();
    return utf8(name.stem());
}

// The first bytes of a file, at most as many as a reference file may have.
Result<std::string> read_start(const fs::path& path) {
    VDISK_TRY(file, FileSource::open(path, FileKinds::regular_only));
    std::string text(static_cast<std::size_t>(std::min<std::uint64_t>(file->size(), Limits{}.reference_bytes)), '\0');
    VDISK_CHECK(read_exact(*file, 0, std::as_writable_bytes(std::span(text))));
    return text;
}

// Nothing but a reference file may be overwritten: what was typed could be an image.
Result<void> check_replaceable(const fs::path& path) {
    VDISK_TRY(text, read_start(path));
    if (text.starts_with(kReferenceMagic)) return ok();
    return fail(ErrorKind::usage, "{}: is there and is no reference file, so it is not overwritten",
                printable(utf8(path)));
}

// What opens an encrypted image and was named for all images goes along with the reference.
void take_common_secrets(const OpenedFile& file, Selector& selector) {
    const std::vector<std::string_view> keys = file.disks->keys();
    const auto takes = [&](std::string_view key) { return std::ranges::find(keys, key) != keys.end(); };
    // Backups with a key's passphrase say only disk by disk whether they are encrypted.
    if (!file.disks->facts().contains("encryption") && !takes("passphrase-file")) return;
    const auto take = [&](const SecretFile& secret, std::string_view key) {
        const auto common = system::environment(secret.variable);
        if (takes(key) && !(selector.*secret.key) && common && !common->empty()) selector.*secret.key = *common;
    };
    take(kKeyFile, "key-file");
    take(kPassphraseFile, "passphrase-file");
}

} // namespace

Result<ReferencePlace> reference_place(const std::string& folder, bool absolute_paths) {
    std::error_code error;
    const fs::path given = fs::absolute(folder.empty() ? "." : folder, error);
    fs::path real = fs::weakly_canonical(given, error);
    if (error) return fail(ErrorKind::io, "{}: {}", printable(utf8(given)), error.message());
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
    // What only a name told has to be said where the name is not a person's.
    if (file.taken_as_raw && !selector.format) selector.format = file.context.stream ? "rawz" : "raw";
    take_common_secrets(file, selector);

    std::error_code error;
    if (selector.root) selector.root = utf8(fs::absolute(*selector.root, error));
    const auto change = [&](const std::string& path, bool /*is_folder*/) { return path_at(place, path); };
    VDISK_CHECK(change_paths(selector, parse_selector, change, file.context.limits.chain_depth));
    VDISK_TRY(image, path_at(place, selector.path));
    selector.path = std::move(image);
    return selector;
}

std::string reference_name(const OpenedFile& file, const Disk& disk, NamedAfter part, Letters letters) {
    const fs::path& image = file.context.selector.path;
    const std::string named = part == NamedAfter::stem ? without_suffixes(image) : utf8(image.filename());
    if (disk.kind == Disk::Kind::active) return safe_name(named, letters) + ".vdisk";
    return fmt::format("{}.{}.vdisk", safe_name(named, letters), safe_name(selecting_name(*file.disks, disk), letters));
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
    VDISK_CHECK(check_no_input(path));                                             // before a folder is made
    if (path.has_parent_path()) fs::create_directories(path.parent_path(), error); // an error of it is that of opening
    VDISK_TRY(output, Output::open({.path = utf8(path), .overwrite = overwrite, .size = text.size()}));
    VDISK_CHECK(output->write(std::as_bytes(std::span(text))));
    return output->finish(text.size());
}

} // namespace vdisk::tools
