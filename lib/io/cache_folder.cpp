// SPDX-License-Identifier: Apache-2.0
#include "io/cache_folder.hpp"

#include "base/text.hpp"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <dirent.h>
#include <fcntl.h>
#include <random>
#include <sys/stat.h>
#include <system_error>

namespace vdisk {
namespace {

namespace fs = std::filesystem;
using Digest = RawIndexHeader::Digest;

constexpr std::string_view kSuffix = ".index";
constexpr std::string_view kUnfinished = "unfinished-";
constexpr std::size_t kRandomLetters = 6;
constexpr std::size_t kKeyLetters = 32;
// A writer that is alive has touched its file within this time: even the largest index is appended to all the while.
constexpr auto kAbandoned = std::chrono::hours(24);
constexpr mode_t kWritableByOthers = S_IWGRP | S_IWOTH;

// The name and the first line are the Cache Directory Tagging Specification's: backups leave such a folder out.
constexpr const char* kMarkName = "CACHEDIR.TAG";
constexpr std::string_view kMark = "Signature: 8a477f597d28d172789f06886806bc55\n"
                                   "# Indexes that tsk-vdisk made, and removes when they become too many.\n";

std::string key_letters(const Digest& key) {
    return hex(std::span(key).first(kKeyLetters / 2));
}

bool is_index_name(std::string_view name) {
    constexpr std::string_view kHex = "0123456789abcdef";
    return name.size() == kKeyLetters + kSuffix.size() && name.ends_with(kSuffix) &&
           name.substr(0, kKeyLetters).find_first_not_of(kHex) == name.npos;
}

constexpr std::string_view kLetters = "abcdefghijklmnopqrstuvwxyz0123456789";

bool is_unfinished_name(std::string_view name) {
    return name.size() == kUnfinished.size() + kRandomLetters && name.starts_with(kUnfinished) &&
           name.substr(kUnfinished.size()).find_first_not_of(kLetters) == name.npos;
}

std::string unfinished_name() {
    std::random_device random;
    std::string name(kUnfinished);
    for (std::size_t i = 0; i < kRandomLetters; ++i) name += kLetters[random() % kLetters.size()];
    return name;
}

// A file without a name any more is one that another writer has replaced since it was opened: as good as it was.
bool is_of_this_user_alone(const struct stat& status) {
    return S_ISREG(status.st_mode) && status.st_uid == ::geteuid() && status.st_nlink <= 1 &&
           (status.st_mode & kWritableByOthers) == 0;
}

std::string first_bytes(int file, std::size_t most) {
    std::string bytes(most, '\0');
    const ssize_t got = ::pread(file, bytes.data(), bytes.size(), 0);
    bytes.resize(got > 0 ? static_cast<std::size_t>(got) : 0);
    return bytes;
}

// An empty file is what a power cut can leave of either: nothing is lost with it.
bool begins_as_ours(int file, std::string_view name) {
    const std::string bytes = first_bytes(file, sizeof(RawIndexHeader));
    if (bytes.empty()) return true;
    RawIndexHeader header;
    if (bytes.size() < sizeof header) return false;
    std::memcpy(&header, bytes.data(), sizeof header);
    if (is_unfinished_name(name)) return header.magic == kUnfinishedMagic;
    return header.magic == kIndexMagic && name.starts_with(key_letters(header.key));
}

std::chrono::nanoseconds since_1970(const timespec& time) {
    return std::chrono::seconds(time.tv_sec) + std::chrono::nanoseconds(time.tv_nsec);
}

} // namespace

std::string CacheFolder::index_name(const Digest& key) {
    return key_letters(key).append(kSuffix);
}

Error CacheFolder::error(std::string_view what) const {
    const int code = errno;
    return fail(ErrorKind::io, "{}: {}: {}", printable(path_.native()), what, std::generic_category().message(code));
}

Result<CacheFolder> CacheFolder::open(const fs::path& path) {
    CacheFolder folder(path, Descriptor(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)));
    struct stat status {};
    if (!folder.folder_.is_open() || ::fstat(folder.folder_.get(), &status) != 0)
        return folder.error("opening the folder");
    folder.identity_ = {status.st_dev, status.st_ino};
    folder.owner_ = status.st_uid;
    folder.mode_ = status.st_mode;
    return Result<CacheFolder>(std::move(folder));
}

Result<CacheFolder> CacheFolder::open_or_make(const fs::path& path) {
    std::error_code ignored;
    if (path.has_parent_path()) fs::create_directories(path.parent_path(), ignored);
    // For this user alone, who may not want others to know what was looked at.
    if (::mkdir(path.c_str(), 0700) != 0 && errno != EEXIST)
        return fail(ErrorKind::io, "{}: making the folder: {}", printable(path.native()),
                    std::generic_category().message(errno));
    auto folder = open(path);
    if (folder.has_value()) folder.value().blank_ = folder.value().is_blank();
    return folder;
}

// Whether nothing is there but what others are writing at this moment, or what they left when they were killed.
bool CacheFolder::is_blank() const {
    return std::ranges::all_of(
        names(), [this](const std::string& name) { return is_unfinished_name(name) && holds_ours(name); });
}

// A mark that could not be written whole marks nothing.
void CacheFolder::mark() const {
    const Descriptor file(
        ::openat(folder_.get(), kMarkName, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
    if (file.is_open()) (void)!::pwrite(file.get(), kMark.data(), kMark.size(), 0);
}

bool CacheFolder::is_ours() const {
    if (owner_ != ::geteuid() || (mode_ & kWritableByOthers) != 0) return false;
    const Descriptor file = open_regular(kMarkName);
    return file.is_open() && first_bytes(file.get(), kMark.size() + 1) == kMark;
}

// A file of this user alone, for reading. Never follows a link, waits for a FIFO or opens a device.
Descriptor CacheFolder::open_regular(const std::string& name) const {
    struct stat status {};
    if (::fstatat(folder_.get(), name.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0 || !is_of_this_user_alone(status))
        return {};
    Descriptor file(::openat(folder_.get(), name.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC));
    if (!file.is_open() || ::fstat(file.get(), &status) != 0 || !is_of_this_user_alone(status)) return {};
    return file;
}

bool CacheFolder::holds_ours(const std::string& name) const {
    const Descriptor file = open_regular(name);
    return file.is_open() && begins_as_ours(file.get(), name);
}

FilePtr CacheFolder::open_index(const Digest& key) const {
    const std::string name = index_name(key);
    Descriptor file = open_regular(name);
    if (!file.is_open() || !begins_as_ours(file.get(), name)) return nullptr;
    ::futimens(file.get(), nullptr); // so that the ones in use are not the oldest
    auto source = FileSource::take(std::move(file), path_ / name, FileKinds::regular_only);
    return source.has_value() ? std::move(source).value() : nullptr;
}

Result<CacheFolder::Unfinished> CacheFolder::make_unfinished() const {
    constexpr int kTries = 100;
    for (int i = 0; i < kTries; ++i) {
        std::string name = unfinished_name();
        Descriptor file(
            ::openat(folder_.get(), name.c_str(), O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
        if (file.is_open()) return Unfinished{std::move(file), std::move(name)};
        if (errno != EEXIST) break;
    }
    return error("making a file");
}

void CacheFolder::remove_unfinished(const std::string& name) const noexcept {
    ::unlinkat(folder_.get(), name.c_str(), 0);
}

Result<void> CacheFolder::finish(const std::string& unfinished, const Digest& key) const {
    if (blank_) mark();
    const std::string name = index_name(key);
    const int folder = folder_.get();
    if (::renameat2(folder, unfinished.c_str(), folder, name.c_str(), RENAME_NOREPLACE) == 0) return ok();
    struct stat status {};
    const bool there = ::fstatat(folder, name.c_str(), &status, AT_SYMLINK_NOFOLLOW) == 0;
    if (there && !holds_ours(name))
        return fail(ErrorKind::io, "{}: is in the way of an index and is none", printable((path_ / name).native()));
    // Not every file system can rename without replacing.
    if (::renameat(folder, unfinished.c_str(), folder, name.c_str()) != 0) return error("renaming a file");
    return ok();
}

// But for "." and "..". Errors are passed over: what can't be listed is not ours to remove.
std::vector<std::string> CacheFolder::names() const {
    std::vector<std::string> found;
    const int again = ::openat(folder_.get(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    const std::unique_ptr<DIR, int (*)(DIR*)> listing(again < 0 ? nullptr : ::fdopendir(again), ::closedir);
    if (!listing) {
        if (again >= 0) ::close(again);
        return {"?"}; // for all we know it is not empty
    }
    while (const dirent* entry = ::readdir(listing.get()))
        if (const std::string_view name(entry->d_name); name != "." && name != "..") found.emplace_back(name);
    return found;
}

std::vector<CacheFolder::Own> CacheFolder::list() const {
    std::vector<Own> found;
    for (const std::string& name : names()) {
        if (!is_index_name(name) && !is_unfinished_name(name)) continue;
        const Descriptor file = open_regular(name);
        struct stat status {};
        if (!file.is_open() || !begins_as_ours(file.get(), name) || ::fstat(file.get(), &status) != 0) continue;
        found.push_back(
            {name, since_1970(status.st_mtim), static_cast<std::uint64_t>(status.st_size), is_index_name(name)});
    }
    return found;
}

std::uint64_t CacheFolder::used() const {
    std::uint64_t bytes = 0;
    for (const Own& own : list()) bytes += own.bytes;
    return bytes;
}

// All errors are passed over: another process may be doing the same.
void CacheFolder::clean(std::uint64_t capacity) const {
    if (!is_ours()) return;
    const auto now = std::chrono::system_clock::now().time_since_epoch();
    std::vector<Own> own = list();
    std::ranges::sort(own, std::greater{}, &Own::used);
    std::uint64_t total = 0;
    for (const Own& each : own) {
        const bool newest = each.finished && total == 0;
        if (each.finished) total += each.bytes;
        const bool goes = each.finished ? !newest && total > capacity : each.used + kAbandoned < now;
        if (goes) ::unlinkat(folder_.get(), each.name.c_str(), 0);
    }
}

} // namespace vdisk
