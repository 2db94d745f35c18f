// SPDX-License-Identifier: Apache-2.0
#include "io/folder.hpp"

#include "base/text.hpp"

#include <algorithm>
#include <cerrno>
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>

#include <system_error>

namespace vdisk {
namespace {

Error os_error(const std::filesystem::path& path, int code) {
    return fail(ErrorKind::io, "{}: {}", printable(path.native()), std::generic_category().message(code));
}

// A name that leads out of the folder, or nowhere.
bool is_component(std::string_view name) {
    return !name.empty() && name != "." && name != ".." && name.find('/') == std::string_view::npos &&
           name.find('\0') == std::string_view::npos;
}

// The time of access belongs to the evidence; but only a file's owner and root may leave it alone.
Descriptor open_untouched(int folder, const char* name, int flags) {
    Descriptor descriptor(::openat(folder, name, flags | O_NOATIME));
    if (!descriptor.is_open() && errno == EPERM) descriptor = Descriptor(::openat(folder, name, flags));
    return descriptor;
}

constexpr int kFolderFlags = O_PATH | O_DIRECTORY | O_CLOEXEC;
constexpr int kFileFlags = O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NOCTTY | O_NONBLOCK;

Folder::Entry::Kind kind_of_mode(mode_t mode) {
    if (S_ISREG(mode)) return Folder::Entry::Kind::file;
    return S_ISDIR(mode) ? Folder::Entry::Kind::folder : Folder::Entry::Kind::other;
}

} // namespace

Result<FolderPtr> Folder::open(const std::filesystem::path& path) {
    Descriptor descriptor(::open(path.c_str(), kFolderFlags));
    if (!descriptor.is_open()) return os_error(path, errno);
    return FolderPtr(new Folder(std::move(descriptor), path));
}

Result<FolderPtr> Folder::folder(std::string_view name) const {
    const std::filesystem::path path = path_ / name;
    if (!is_component(name)) return os_error(path, EINVAL);
    Descriptor descriptor(::openat(descriptor_.get(), std::string(name).c_str(), kFolderFlags | O_NOFOLLOW));
    if (!descriptor.is_open()) return os_error(path, errno);
    return FolderPtr(new Folder(std::move(descriptor), path));
}

Result<FilePtr> Folder::file(std::string_view name) const {
    const std::filesystem::path path = path_ / name;
    if (!is_component(name)) return os_error(path, EINVAL);
    // Looked at before it is opened: opening a device can do something to it.
    if (const auto kind = kind_of(name); kind && *kind != Entry::Kind::file)
        return fail(ErrorKind::io, "{}: is {}, where a regular file is looked for", printable(path.native()),
                    *kind == Entry::Kind::folder ? "a directory" : "a link, a device or a FIFO");
    Descriptor descriptor = open_untouched(descriptor_.get(), std::string(name).c_str(), kFileFlags);
    if (!descriptor.is_open()) return os_error(path, errno);
    return FileSource::take(std::move(descriptor), path, FileKinds::regular_only);
}

std::optional<Folder::Entry::Kind> Folder::kind_of(std::string_view name) const {
    struct stat status {};
    if (!is_component(name) ||
        ::fstatat(descriptor_.get(), std::string(name).c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0)
        return std::nullopt;
    return kind_of_mode(status.st_mode);
}

Result<std::vector<Folder::Entry>> Folder::entries(std::size_t most) const {
    Descriptor again = open_untouched(descriptor_.get(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (!again.is_open()) return os_error(path_, errno);
    const std::unique_ptr<DIR, int (*)(DIR*)> listing(::fdopendir(again.get()), ::closedir);
    if (!listing) return os_error(path_, errno);
    (void)again.release(); // the listing's now
    std::vector<Entry> entries;
    for (;;) {
        errno = 0;
        const dirent* const entry = ::readdir(listing.get());
        if (entry == nullptr && errno != 0) return os_error(path_, errno);
        if (entry == nullptr) break;
        if (!is_component(entry->d_name)) continue;
        if (entries.size() >= most)
            return fail(ErrorKind::limit_exceeded, "{}: has more than {} entries", printable(path_.native()), most);
        entries.push_back({entry->d_name, kind_of(entry->d_name).value_or(Entry::Kind::other)});
    }
    std::ranges::sort(entries, {}, &Entry::name);
    return entries;
}

} // namespace vdisk
