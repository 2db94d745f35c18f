// SPDX-License-Identifier: Apache-2.0
#include "common/unfinished_file.hpp"

#include "base/text.hpp"
#include "common/interruption.hpp"

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <fcntl.h>
#include <random>
#include <sys/stat.h>
#include <unistd.h>

namespace fs = std::filesystem;

namespace vdisk::tools {
namespace {

constexpr std::size_t kLongestName = 255;
constexpr mode_t kPermissions = 0777;

Error os_error(const fs::path& path, int code) {
    return fail(ErrorKind::io, "{}: {}", printable(path.native()), std::strerror(code));
}

// "disk.raw.7f3a09c2.partial", also where the name has no room for that.
std::string name_until_whole(const std::string& name) {
    static std::random_device random;
    const std::string end = fmt::format(".{:08x}.partial", random());
    return name.substr(0, kLongestName - end.size()) + end;
}

// No signal ends the program between the making of a file and the note that it is to be removed then.
class SignalsBlocked {
public:
    SignalsBlocked() {
        sigset_t all;
        ::sigfillset(&all);
        ::pthread_sigmask(SIG_SETMASK, &all, &before_);
    }
    ~SignalsBlocked() { ::pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
    SignalsBlocked(const SignalsBlocked&) = delete;
    SignalsBlocked& operator=(const SignalsBlocked&) = delete;

private:
    sigset_t before_{};
};

bool exists(int folder, const std::string& name) {
    struct stat status {};
    return ::fstatat(folder, name.c_str(), &status, AT_SYMLINK_NOFOLLOW) == 0;
}

// Gives `from` the name `to` unless there is one. False with errno set if that is not to be had.
bool rename_to_free_name(int folder, const std::string& from, const std::string& to) {
    if (::renameat2(folder, from.c_str(), folder, to.c_str(), RENAME_NOREPLACE) == 0) return true;
    if (errno != EINVAL && errno != ENOSYS) return false;
    if (::linkat(folder, from.c_str(), folder, to.c_str(), 0) == 0) return ::unlinkat(folder, from.c_str(), 0) == 0;
    if (errno == EEXIST || exists(folder, to)) {
        errno = EEXIST;
        return false;
    }
    return ::renameat(folder, from.c_str(), folder, to.c_str()) == 0; // a file system without links
}

} // namespace

Result<std::unique_ptr<UnfinishedFile>> UnfinishedFile::create(const fs::path& path, bool replacing) {
    const fs::path parent = path.has_parent_path() ? path.parent_path() : fs::path(".");
    Descriptor folder(::open(parent.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
    if (!folder.is_open()) return os_error(path, errno);
    std::unique_ptr<UnfinishedFile> file(new UnfinishedFile(path, std::move(folder)));
    if (replacing) VDISK_CHECK(file->look_at_replaced());
    VDISK_CHECK(file->make());
    return file;
}

UnfinishedFile::~UnfinishedFile() {
    if (!name_.empty()) ::unlinkat(folder_.get(), name_.c_str(), 0);
    note_unfinished(-1, "");
}

// A file that could not be written to is not to be replaced either.
Result<void> UnfinishedFile::look_at_replaced() {
    struct stat status {};
    const std::string name = path_.filename().native();
    if (::fstatat(folder_.get(), name.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0)
        return errno == ENOENT ? Result<void>(ok()) : Result<void>(os_error(path_, errno));
    if (!S_ISREG(status.st_mode)) return fail(ErrorKind::io, "{}: is no regular file", printable(path_.native()));
    if (::faccessat(folder_.get(), name.c_str(), W_OK, AT_EACCESS) != 0) return os_error(path_, errno);
    replaced_ = {status.st_dev, status.st_ino, status.st_mode & kPermissions};
    return ok();
}

Result<void> UnfinishedFile::make() {
    const SignalsBlocked blocked;
    std::string name;
    do {
        name = name_until_whole(path_.filename().native());
        descriptor_ =
            Descriptor(::openat(folder_.get(), name.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0666));
    } while (!descriptor_.is_open() && errno == EEXIST);
    if (!descriptor_.is_open()) return os_error(path_, errno);
    name_ = name;
    note_unfinished(folder_.get(), name_);
    if (replaced_) ::fchmod(descriptor_.get(), replaced_->mode); // some file systems have no permissions
    return ok();
}

Result<void> UnfinishedFile::commit() {
    if (::fsync(descriptor_.get()) != 0 && errno != EINVAL && errno != EROFS) return os_error(path_, errno);
    if (descriptor_.reset() != 0) return os_error(path_, errno);
    VDISK_CHECK(rename());
    name_.clear();
    // The name, too; where that can't be had the file is whole all the same.
    const Descriptor folder(::openat(folder_.get(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (folder.is_open()) ::fsync(folder.get());
    return ok();
}

Result<void> UnfinishedFile::rename() {
    const std::string name = path_.filename().native();
    struct stat status {};
    const bool there = ::fstatat(folder_.get(), name.c_str(), &status, AT_SYMLINK_NOFOLLOW) == 0;
    if (replaced_ && there) {
        if (status.st_dev != replaced_->device || status.st_ino != replaced_->inode)
            return fail(ErrorKind::io, "{}: is another file than when this began, so it stays",
                        printable(path_.native()));
        if (::renameat(folder_.get(), name_.c_str(), folder_.get(), name.c_str()) != 0) return os_error(path_, errno);
        return ok();
    }
    if (!rename_to_free_name(folder_.get(), name_, name)) return os_error(path_, errno);
    return ok();
}

} // namespace vdisk::tools
