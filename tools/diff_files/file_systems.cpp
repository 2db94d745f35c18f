// SPDX-License-Identifier: Apache-2.0
#include "diff_files/file_systems.hpp"

#include "base/text.hpp"

#include <algorithm>
#include <string_view>

namespace vdisk::diff_files {
namespace {

std::string last_tsk_error() {
    const char* const text = ::tsk_error_get();
    std::string told = text == nullptr ? "libtsk does not say why" : printable(text);
    ::tsk_error_reset();
    return told;
}

FileRecord record_of(const TSK_FS_META& meta) {
    const auto time = [](time_t seconds, std::uint32_t nanoseconds) {
        return FileTime{static_cast<std::int64_t>(seconds), nanoseconds};
    };
    FileRecord record;
    record.inode = meta.addr;
    record.sequence = meta.seq;
    record.type = meta.type;
    record.mode = static_cast<std::uint32_t>(meta.mode);
    record.owner = meta.uid;
    record.group = meta.gid;
    record.size = meta.size;
    record.accessed = time(meta.atime, meta.atime_nano);
    record.modified = time(meta.mtime, meta.mtime_nano);
    record.changed = time(meta.ctime, meta.ctime_nano);
    record.created = time(meta.crtime, meta.crtime_nano);
    return record;
}

std::uint64_t first_block_of(TSK_FS_FILE& file) {
    const TSK_FS_ATTR* const content = ::tsk_fs_file_attr_get(&file);
    ::tsk_error_reset();
    if (content == nullptr || (content->flags & TSK_FS_ATTR_NONRES) == 0 || content->nrd.run == nullptr) return 0;
    return content->nrd.run->addr;
}

// An open partition table.
using Volumes = std::unique_ptr<TSK_VS_INFO, decltype(&::tsk_vs_close)>;

std::vector<TSK_OFF_T> places_on(TskDisk& disk) {
    const Volumes volumes(::tsk_vs_open(disk.info(), 0, TSK_VS_TYPE_DETECT), &::tsk_vs_close);
    ::tsk_error_reset();
    if (!volumes) return {0};
    std::vector<TSK_OFF_T> places;
    for (TSK_PNUM_T i = 0; i < volumes->part_count; ++i) {
        const TSK_VS_PART_INFO* const part = ::tsk_vs_part_get(volumes.get(), i);
        if (part == nullptr || (part->flags & TSK_VS_PART_FLAG_ALLOC) == 0) continue;
        const std::uint64_t start = part->start * volumes->block_size;
        if (start / volumes->block_size == part->start && start < disk.image().size())
            places.push_back(static_cast<TSK_OFF_T>(start));
    }
    std::ranges::sort(places);
    places.erase(std::unique(places.begin(), places.end()), places.end());
    return places;
}

} // namespace

std::string FileRecord::mode_text() const {
    static constexpr std::string_view kBits = "rwxrwxrwx";
    const char letter = type < TSK_FS_META_TYPE_STR_MAX ? *tsk_fs_meta_type_str[type] : '-';
    std::string text{letter, '/', letter};
    for (std::size_t i = 0; i < kBits.size(); ++i) text += (mode >> (kBits.size() - 1 - i) & 1U) != 0 ? kBits[i] : '-';
    return text;
}

FileSystem::FileSystem(TskDisk& disk, TSK_FS_INFO* opened) : disk_(disk), info_(opened) {
    constexpr auto kWalk = static_cast<TSK_FS_DIR_WALK_FLAG_ENUM>(
        TSK_FS_DIR_WALK_FLAG_ALLOC | TSK_FS_DIR_WALK_FLAG_RECURSE | TSK_FS_DIR_WALK_FLAG_NOORPHAN);
    const std::uint64_t failed = disk.failures();
    tools::ProgressBar bar("listing files");
    bar_ = &bar;
    if (::tsk_fs_dir_walk(info_, info_->root_inum, kWalk, &FileSystem::take, this) != 0) problem_ = last_tsk_error();
    else if (disk.failures() != failed) problem_ = "some of its metadata can't be read, so files may be missing";
    bar_ = nullptr;
    ::tsk_error_reset();
}

FileSystem::~FileSystem() {
    ::tsk_fs_close(info_);
}

std::uint64_t FileSystem::end() const noexcept {
    const std::uint64_t blocks = info_->last_block_act + 1;
    const std::uint64_t most = (disk_.image().size() - offset()) / info_->block_size;
    return offset() + std::min(blocks, most) * info_->block_size;
}

std::string FileSystem::type() const {
    const char* const name = ::tsk_fs_type_toname(info_->ftype);
    return name == nullptr ? "unknown" : name;
}

TSK_WALK_RET_ENUM FileSystem::take(TSK_FS_FILE* file, const char* folder, void* self) {
    try {
        const bool has_name = file->name != nullptr && file->name->name != nullptr && *file->name->name != '\0';
        const bool is_there = file->meta != nullptr && (file->meta->flags & TSK_FS_META_FLAG_ALLOC) != 0;
        if (!has_name || !is_there || file->meta->type == TSK_FS_META_TYPE_VIRT ||
            file->meta->type == TSK_FS_META_TYPE_VIRT_DIR || TSK_FS_ISDOT(file->name->name))
            return TSK_WALK_CONT;
        static_cast<FileSystem*>(self)->add(*file, std::string("/") + folder + file->name->name);
        return TSK_WALK_CONT;
    } catch (const std::exception&) {
        static_cast<FileSystem*>(self)->problem_ = "there is no memory for more files";
        return TSK_WALK_STOP;
    }
}

void FileSystem::add(TSK_FS_FILE& file, const std::string& path) {
    FileRecord record = record_of(*file.meta);
    if (TSK_FS_TYPE_ISFAT(info_->ftype)) record.first_block = first_block_of(file);
    files_.emplace(path, record);
    if (bar_ != nullptr) bar_->count(files_.size());
    if (TSK_FS_TYPE_ISNTFS(info_->ftype)) add_streams(file, path, record);
}

void FileSystem::add_streams(TSK_FS_FILE& file, const std::string& path, const FileRecord& record) {
    const int count = ::tsk_fs_file_attr_getsize(&file);
    for (int i = 0; i < count; ++i) {
        const TSK_FS_ATTR* const attribute = ::tsk_fs_file_attr_get_idx(&file, i);
        if (attribute == nullptr || attribute->type != TSK_FS_ATTR_TYPE_NTFS_DATA) continue;
        if (attribute->name == nullptr || *attribute->name == '\0') continue;
        FileRecord stream = record;
        stream.attribute = attribute->type;
        stream.attribute_id = attribute->id;
        stream.size = attribute->size;
        files_.emplace(path + ':' + attribute->name, stream);
    }
    ::tsk_error_reset();
}

std::vector<std::unique_ptr<FileSystem>> find_file_systems(TskDisk& disk) {
    std::vector<std::unique_ptr<FileSystem>> found;
    for (const TSK_OFF_T place : places_on(disk)) {
        TSK_FS_INFO* const opened = ::tsk_fs_open_img(disk.info(), place, TSK_FS_TYPE_DETECT);
        ::tsk_error_reset();
        if (opened != nullptr) found.push_back(std::make_unique<FileSystem>(disk, opened));
    }
    return found;
}

} // namespace vdisk::diff_files
