// SPDX-License-Identifier: Apache-2.0
#include "vdisk/evidence_folder.hpp"

#include "base/system/path.hpp"
#include "base/text.hpp"
#include "disk/nearby_files.hpp"
#include "io/file_parts.hpp"
#include "open/open.hpp"
#include "open/reference/reference.hpp"

#include <algorithm>

namespace fs = std::filesystem;

namespace vdisk::tools {
namespace {

// "disk.raw", also in a compressed file and as the first of the parts of a file that was cut: nothing but the name
// tells that these are disks. What lies in the other parts is read with the first.
bool is_called_raw(fs::path path) {
    if (const auto parts = numbered_files(path); parts && parts->own == 0) path = path.stem();
    if (NearbyFiles::has_extension(path, {".gz", ".zst", ".lzo"})) path = path.stem();
    return NearbyFiles::has_extension(path, {".raw", ".dd", ".img"});
}

std::vector<fs::path> sorted_entries(const fs::path& folder, FoundImages& found) {
    std::error_code error;
    std::vector<fs::path> entries;
    for (fs::directory_iterator at(folder, error), end; !error && at != end; at.increment(error))
        entries.push_back(at->path());
    if (error) found.unread.push_back(fail(ErrorKind::io, "{}: {}", printable(utf8(folder)), error.message()));
    std::ranges::sort(entries);
    return entries;
}

void look_at_file(const fs::path& path, FoundImages& found) {
    const auto format = identify_file(utf8(path));
    if (format.has_error()) {
        found.unread.push_back(format.error());
        return;
    }
    const bool is_image = format.value() != nullptr ? format.value() != &kReferenceFormat : is_called_raw(path);
    if (is_image) found.paths.push_back(utf8(path));
    else ++found.others;
}

} // namespace

bool is_plain_folder(const std::string& path) {
    std::error_code error;
    if (!fs::is_directory(path, error)) return false;
    const auto format = identify_file(path);
    return format.has_error() || format.value() == nullptr;
}

// Without recursion: folders may be as deep as a path can be long.
FoundImages find_images(const std::string& folder) {
    FoundImages found;
    std::vector<fs::path> left{folder};
    while (!left.empty()) {
        const fs::path path = std::move(left.back());
        left.pop_back();
        std::error_code error;
        if (path == folder || (!fs::is_symlink(path, error) && is_plain_folder(utf8(path)))) {
            std::vector<fs::path> entries = sorted_entries(path, found);
            left.insert(left.end(), entries.rbegin(), entries.rend());
        } else if (fs::is_regular_file(path, error) || (fs::is_directory(path, error) && !fs::is_symlink(path, error)))
            look_at_file(path, found);
    }
    return found;
}

} // namespace vdisk::tools
