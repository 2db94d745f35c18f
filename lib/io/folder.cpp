// SPDX-License-Identifier: Apache-2.0
#include "io/folder.hpp"

#include "base/system/path.hpp"
#include "base/text.hpp"

#include <algorithm>
#include <cerrno>

namespace vdisk {
namespace {

Error os_error(const std::filesystem::path& path, const std::string& why = system::reason()) {
    return fail(ErrorKind::io, "{}: {}", printable(utf8(path)), why);
}

Folder::Entry::Kind kind_of_status(const system::FileStatus& status) {
    if (status.is_regular()) return Folder::Entry::Kind::file;
    return status.is_folder() ? Folder::Entry::Kind::folder : Folder::Entry::Kind::other;
}

} // namespace

Result<FolderPtr> Folder::open(const std::filesystem::path& path) {
    Descriptor descriptor = system::open_folder(path);
    if (!descriptor.is_open()) return os_error(path);
    return FolderPtr(new Folder(std::move(descriptor), path));
}

Result<FolderPtr> Folder::folder(std::string_view name) const {
    const std::filesystem::path path = path_ / name;
    if (!system::is_component(name)) return os_error(path, system::reason(EINVAL));
    Descriptor descriptor = system::open_folder_in(descriptor_.get(), std::string(name));
    if (!descriptor.is_open()) return os_error(path);
    return FolderPtr(new Folder(std::move(descriptor), path));
}

Result<FilePtr> Folder::file(std::string_view name) const {
    const std::filesystem::path path = path_ / name;
    if (!system::is_component(name)) return os_error(path, system::reason(EINVAL));
    // Looked at before it is opened: opening a device can do something to it.
    if (const auto kind = kind_of(name); kind && *kind != Entry::Kind::file)
        return fail(ErrorKind::io, "{}: is {}, where a regular file is looked for", printable(utf8(path)),
                    *kind == Entry::Kind::folder ? "a directory" : "a link, a device or a FIFO");
    Descriptor descriptor = system::open_in(descriptor_.get(), std::string(name));
    if (!descriptor.is_open()) return os_error(path);
    return FileSource::take(std::move(descriptor), path, FileKinds::regular_only);
}

std::optional<Folder::Entry::Kind> Folder::kind_of(std::string_view name) const {
    const auto status =
        system::is_component(name) ? system::status_in(descriptor_.get(), std::string(name)) : std::nullopt;
    if (!status) return std::nullopt;
    return kind_of_status(*status);
}

Result<std::vector<Folder::Entry>> Folder::entries(std::size_t most) const {
    std::vector<Entry> entries;
    bool too_many = false;
    const bool listed = system::list(descriptor_.get(), [&](std::string_view name) {
        if (!system::is_component(name)) return true;
        too_many = entries.size() >= most;
        if (!too_many) entries.push_back({std::string(name), kind_of(name).value_or(Entry::Kind::other)});
        return !too_many;
    });
    if (!listed) return os_error(path_);
    if (too_many) return fail(ErrorKind::limit_exceeded, "{}: has more than {} entries", printable(utf8(path_)), most);
    std::ranges::sort(entries, {}, &Entry::name);
    return entries;
}

} // namespace vdisk
