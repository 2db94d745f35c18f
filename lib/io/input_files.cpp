// SPDX-License-Identifier: Apache-2.0
#include "io/input_files.hpp"

#include "base/system/path.hpp"
#include "base/text.hpp"

#include <utility>

namespace fs = std::filesystem;

namespace vdisk {

InputFile look_at(const fs::path& path) {
    InputFile file{.name = printable(utf8(path))};
    if (const auto status = system::status_of(path)) {
        file.block_device = status->is_block_device();
        file.identity = status->identity;
        return file;
    }
    const fs::path folder = path.has_parent_path() ? path.parent_path() : fs::path(".");
    const auto above = system::status_of(folder);
    if (!above) return file;
    file.folder = above->identity;
    file.last = utf8(path.filename());
    return file;
}

void InputFiles::add(const fs::path& path) {
    InputFile file = look_at(path);
    const std::lock_guard lock(mutex_);
    files_.insert(std::move(file));
}

void InputFiles::add_folder(const fs::path& path) {
    InputFile folder = look_at(path);
    if (!folder.identity) return;
    const std::lock_guard lock(mutex_);
    folders_.insert(std::move(folder));
}

std::vector<InputFile> InputFiles::folders() const {
    const std::lock_guard lock(mutex_);
    return {folders_.begin(), folders_.end()};
}

void InputFiles::add(const FilePtr& file) {
    for (const FilePart& part : file->parts()) {
        if (part.file) add(part.file);
        else add(part.path);
    }
    if (!file->parts().empty()) return;
    add(file->path());
    if (file->is_folder()) return add_folder(file->path());
    const std::lock_guard lock(mutex_);
    std::erase_if(open_, [](const auto& known) { return known.expired(); });
    open_.push_back(file);
}

std::vector<InputFile> InputFiles::all() const {
    const std::lock_guard lock(mutex_);
    return {files_.begin(), files_.end()};
}

std::vector<FilePtr> InputFiles::open() const {
    const std::lock_guard lock(mutex_);
    std::vector<FilePtr> files;
    for (const auto& known : open_)
        if (FilePtr file = known.lock()) files.push_back(std::move(file));
    return files;
}

} // namespace vdisk
