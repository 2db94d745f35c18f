// SPDX-License-Identifier: Apache-2.0
#include "vdisk/mount/file_system.hpp"

#include "base/text.hpp"
#include "open/open.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstdarg>
#include <cstring>
#include <sys/stat.h>
#include <unistd.h>

#define FUSE_USE_VERSION 32
#include <fuse.h>
#include <fuse_log.h>

namespace vdisk::tools {
namespace {

constexpr mode_t kFolderMode = S_IFDIR | 0555;
constexpr mode_t kFileMode = S_IFREG | 0444;
constexpr blkcnt_t kBlock = 512;             // of st_blocks
constexpr blksize_t kUsualRead = 1 << 17;    // what programs are told to read at once
constexpr std::size_t kLongestValue = 65536; // of an extended attribute, as Linux has it
constexpr double kForever = 86400;           // seconds: nothing here changes

thread_local std::string last_message; // of libfuse

__attribute__((format(printf, 2, 0))) void keep_message(fuse_log_level level, const char* format, va_list values) {
    if (level > FUSE_LOG_WARNING) return;
    std::array<char, 1024> line{};
    std::vsnprintf(line.data(), line.size(), format, values);
    last_message = line.data();
    while (last_message.ends_with('\n')) last_message.pop_back();
}

Error fuse_error(std::string_view name, std::string_view what) {
    if (last_message.empty()) return fail(ErrorKind::io, "{}: {}", name, what);
    return fail(ErrorKind::io, "{}: {}: {}", name, what, printable(last_message));
}

FileSystem& served() {
    return *static_cast<FileSystem*>(::fuse_get_context()->private_data);
}

// The one door for libfuse: no exception gets out.
template<class Body> int guarded(Body&& body) noexcept {
    try {
        return body();
    } catch (const std::bad_alloc&) {
        return -ENOMEM;
    } catch (const std::exception&) {
        return -EIO;
    }
}

void* start(fuse_conn_info* /*connection*/, fuse_config* config) {
    // Pages that the kernel keeps make one bad sector eight, and what is read is in memory twice: only if it is asked
    // for.
    config->direct_io = config->kernel_cache == 0 ? 1 : 0;
    config->attr_timeout = config->entry_timeout = config->negative_timeout = kForever;
    return ::fuse_get_context()->private_data;
}

int get_attributes(const char* path, struct stat* status, fuse_file_info* /*file*/) {
    return guarded([&] {
        *status = {};
        status->st_uid = ::getuid();
        status->st_gid = ::getgid();
        timespec time = served().files().newest();
        if (const ShownDisk* const disk = served().files().file(path)) {
            status->st_mode = kFileMode;
            status->st_nlink = 1;
            status->st_size = static_cast<off_t>(disk->size);
            status->st_blocks = status->st_size / kBlock + (status->st_size % kBlock != 0 ? 1 : 0);
            status->st_blksize = kUsualRead;
            time = disk->time;
        } else if (served().files().folder(path) != nullptr) {
            status->st_mode = kFolderMode;
            status->st_nlink = 2;
        } else return -ENOENT;
        status->st_atim = status->st_mtim = status->st_ctim = time;
        return 0;
    });
}

int list_folder(const char* path, void* list, fuse_fill_dir_t fill, off_t /*offset*/, fuse_file_info* /*file*/,
                fuse_readdir_flags /*flags*/) {
    return guarded([&] {
        const auto* const names = served().files().folder(path);
        if (names == nullptr) return -ENOENT;
        for (const char* const name : {".", ".."}) fill(list, name, nullptr, 0, {});
        for (const std::string& name : *names)
            if (fill(list, name.c_str(), nullptr, 0, {}) != 0) return -ENOMEM;
        return 0;
    });
}

int open_shown(const char* path, fuse_file_info* file) {
    return guarded([&] {
        const ShownDisk* const disk = served().files().file(path);
        if (disk == nullptr) return -ENOENT;
        file->fh = reinterpret_cast<std::uintptr_t>(disk);
        // Once a read failed, who opens the file again gets each sector by itself, whatever the kernel keeps of it.
        file->direct_io = served().disks().problem(disk->index).empty() ? 0 : 1;
        return served().disks().open(disk->index).has_error() ? -EIO : 0;
    });
}

int read_shown(const char* /*path*/, char* bytes, std::size_t count, off_t offset, fuse_file_info* file) {
    return guarded([&] {
        const auto& disk = *reinterpret_cast<const ShownDisk*>(file->fh);
        const auto start = static_cast<std::uint64_t>(offset);
        if (start >= disk.size) return 0;
        count = static_cast<std::size_t>(std::min<std::uint64_t>(count, disk.size - start));
        const auto got = served().disks().read(disk.index, start, std::as_writable_bytes(std::span(bytes, count)));
        // Fewer would be taken for the file's end.
        return got.has_error() || got.value() != count ? -EIO : static_cast<int>(count);
    });
}

// What a program that reads a file can ask about it.
std::string value_of(const ShownDisk& shown, std::string_view name) {
    OpenDisks& disks = served().disks();
    if (name == "user.vdisk.error") return disks.problem(shown.index);
    if (name == "user.vdisk.remarks") return disks.remarks(shown.index);
    if (name != "user.vdisk.selector") return "";
    const DiskFile& file = *disks.file().disks;
    const Disk& disk = file.disks()[shown.index];
    const std::string path = printable(disks.file().context.selector.path.native());
    return disk.kind == Disk::Kind::active ? path : path + '#' + selecting_word(file, disk);
}

// The convention of getxattr() and listxattr(): without room, how much is needed.
int give(std::string_view value, char* room, std::size_t size) {
    if (size == 0) return static_cast<int>(value.size());
    if (size < value.size()) return -ERANGE;
    std::memcpy(room, value.data(), value.size());
    return static_cast<int>(value.size());
}

int get_extended(const char* path, const char* name, char* room, std::size_t size) {
    return guarded([&] {
        const ShownDisk* const disk = served().files().file(path);
        if (disk == nullptr) return -ENODATA;
        const std::string value = shortened(value_of(*disk, name), kLongestValue);
        return value.empty() ? -ENODATA : give(value, room, size);
    });
}

int list_extended(const char* path, char* room, std::size_t size) {
    return guarded([&] {
        std::string names;
        if (const ShownDisk* const disk = served().files().file(path))
            for (const char* const name : {"user.vdisk.selector", "user.vdisk.error", "user.vdisk.remarks"})
                if (!value_of(*disk, name).empty()) names.append(name).push_back('\0');
        return give(names, room, size);
    });
}

fuse_operations operations() {
    fuse_operations all{};
    all.init = start;
    all.getattr = get_attributes;
    all.readdir = list_folder;
    all.open = open_shown;
    all.read = read_shown;
    all.getxattr = get_extended;
    all.listxattr = list_extended;
    return all;
}

// libfuse takes the signals whose handling is the usual one alone, and leaves those that are ignored.
void restore_usual_handling() {
    for (const int signal : {SIGHUP, SIGINT, SIGTERM}) {
        struct sigaction action {};
        if (::sigaction(signal, nullptr, &action) == 0 && action.sa_handler != SIG_IGN) std::signal(signal, SIG_DFL);
    }
}

// What stands in an option may not end it.
std::string as_option(std::string text) {
    std::ranges::replace_if(
        text, [](char c) { return c == ',' || c == '\\'; }, '_');
    return text;
}

} // namespace

ShownFiles::ShownFiles(std::vector<ShownDisk> disks) : disks_(std::move(disks)) {
    std::vector<std::string>& root = folders_["/"];
    for (const ShownDisk& disk : disks_) {
        const std::string folder = '/' + disk.folder;
        if (!folders_.contains(folder)) root.push_back(disk.folder);
        folders_[folder].push_back(disk.name);
        files_.emplace((disk.folder.empty() ? "/" : folder + '/') + disk.name, &disk);
        if (disk.time.tv_sec > newest_.tv_sec) newest_ = disk.time;
    }
}

const ShownDisk* ShownFiles::file(const std::string& path) const {
    const auto found = files_.find(path);
    return found == files_.end() ? nullptr : found->second;
}

const std::vector<std::string>* ShownFiles::folder(const std::string& path) const {
    const auto found = folders_.find(path);
    return found == folders_.end() ? nullptr : &found->second;
}

Result<std::unique_ptr<FileSystem>> FileSystem::mount(OpenDisks& disks, std::vector<ShownDisk> shown,
                                                      const MountRequest& request) {
    std::unique_ptr<FileSystem> made(new FileSystem(disks, std::move(shown)));
    VDISK_CHECK(made->mount_at(request));
    return made;
}

Result<void> FileSystem::mount_at(const MountRequest& request) {
    const std::string point = printable(request.point.native());
    std::string options = "ro,subtype=vdisk,fsname=" + as_option(printable(request.shown_as));
    for (const std::string& option : request.options) options += ',' + option;
    std::array<char*, 3> words{const_cast<char*>("vdisk"), const_cast<char*>("-o"), options.data()};
    fuse_args arguments = FUSE_ARGS_INIT(static_cast<int>(words.size()), words.data());

    ::fuse_set_log_func(keep_message);
    last_message.clear();
    const fuse_operations all = operations();
    fuse_ = ::fuse_new(&arguments, &all, sizeof all, this);
    ::fuse_opt_free_args(&arguments);
    if (fuse_ == nullptr) return fuse_error(point, "can't be mounted on");
    restore_usual_handling();
    handles_signals_ = ::fuse_set_signal_handlers(::fuse_get_session(fuse_)) == 0;
    if (!handles_signals_) return fuse_error(point, "can't be mounted on");
    mounted_ = ::fuse_mount(fuse_, request.point.c_str()) == 0;
    if (!mounted_) return fuse_error(point, "can't be mounted on");
    return ok();
}

FileSystem::~FileSystem() {
    if (mounted_) ::fuse_unmount(fuse_);
    if (handles_signals_) ::fuse_remove_signal_handlers(::fuse_get_session(fuse_));
    if (fuse_ != nullptr) ::fuse_destroy(fuse_);
}

Result<void> FileSystem::serve() {
    fuse_loop_config threads{};
    threads.max_idle_threads = 10;
    const int result = ::fuse_loop_mt(fuse_, &threads);
    // A signal's number says that it came.
    if (result < 0) return fail(ErrorKind::io, "the file system ended: {}", std::strerror(-result));
    return ok();
}

} // namespace vdisk::tools
