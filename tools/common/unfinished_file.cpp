// SPDX-License-Identifier: Apache-2.0
#include "common/unfinished_file.hpp"

#include "base/system/path.hpp"
#include "base/system/program.hpp"
#include "base/text.hpp"
#include "common/interruption.hpp"

#include <random>

namespace fs = std::filesystem;

namespace vdisk::tools {
namespace {

constexpr std::size_t kLongestName = 255;

Error os_error(const fs::path& path) {
    const std::string why = system::reason();
    return fail(ErrorKind::io, "{}: {}", printable(utf8(path)), why);
}

// "disk.raw.7f3a09c2.partial", also where the name has no room for that.
std::string name_until_whole(const std::string& name) {
    static std::random_device random;
    const std::string end = fmt::format(".{:08x}.partial", random());
    return name.substr(0, kLongestName - end.size()) + end;
}

} // namespace

Result<std::unique_ptr<UnfinishedFile>> UnfinishedFile::beside(const fs::path& path, bool replacing) {
    const fs::path parent = path.has_parent_path() ? path.parent_path() : fs::path(".");
    Descriptor folder = system::open_folder(parent);
    if (!folder.is_open()) return os_error(path);
    std::unique_ptr<UnfinishedFile> file(new UnfinishedFile(path, std::move(folder)));
    if (replacing) VDISK_CHECK(file->look_at_replaced());
    return file;
}

Result<std::unique_ptr<UnfinishedFile>> UnfinishedFile::create(const fs::path& path, bool replacing) {
    VDISK_TRY(file, beside(path, replacing));
    VDISK_CHECK(file->make());
    return std::move(file);
}

Result<std::unique_ptr<UnfinishedFile>> UnfinishedFile::keep(const fs::path& path, bool replacing) {
    VDISK_TRY(file, beside(path, replacing));
    file->kept_ = true;
    VDISK_CHECK(file->take_up());
    return std::move(file);
}

fs::path UnfinishedFile::kept_path(const fs::path& path) {
    return fs::path(path) += ".partial";
}

// What lies there is written to, so it must be nobody else's, by no other name.
Result<void> UnfinishedFile::take_up() {
    const fs::path path = kept_path(path_);
    name_ = utf8(path.filename());
    descriptor_ = system::take_up_in(folder_.get(), name_);
    if (!descriptor_.is_open()) return os_error(path);
    const auto status = system::status_of(descriptor_.get());
    if (!status) return os_error(path);
    if (!status->is_regular() || status->links != 1 || !status->of_this_user)
        return fail(ErrorKind::usage, "{}: is no regular file of one name that is yours, so nothing is written to it",
                    printable(utf8(path)));
    if (replaced_) system::set_permissions(descriptor_.get(), replaced_->permissions);
    return ok();
}

UnfinishedFile::~UnfinishedFile() {
    if (kept_) return;
    if (!name_.empty()) system::remove_in(folder_.get(), name_.c_str());
    note_unfinished(-1, "");
}

// A file that could not be written to is not to be replaced either.
Result<void> UnfinishedFile::look_at_replaced() {
    const std::string name = utf8(path_.filename());
    const auto status = system::status_in(folder_.get(), name);
    if (!status) return system::is_missing() ? Result<void>(ok()) : Result<void>(os_error(path_));
    if (!status->is_regular()) return fail(ErrorKind::io, "{}: is no regular file", printable(utf8(path_)));
    if (!system::may_write_in(folder_.get(), name)) return os_error(path_);
    replaced_ = {status->identity, status->permissions};
    return ok();
}

Result<void> UnfinishedFile::make() {
    // Nobody ends the program between the making of a file and the note that it is to be removed then.
    const system::EndingHeld held;
    std::string name;
    do {
        name = name_until_whole(utf8(path_.filename()));
        descriptor_ = system::make_in(folder_.get(), name, false);
    } while (!descriptor_.is_open() && system::is_occupied());
    if (!descriptor_.is_open()) return os_error(path_);
    name_ = name;
    note_unfinished(folder_.get(), name_);
    if (replaced_) system::set_permissions(descriptor_.get(), replaced_->permissions);
    return ok();
}

Result<void> UnfinishedFile::commit() {
    if (!system::flush(descriptor_.get()) && !system::is_no_matter()) return os_error(path_);
    if (descriptor_.reset() != 0) return os_error(path_);
    VDISK_CHECK(rename());
    name_.clear();
    // The name, too; where that can't be had the file is whole all the same.
    system::flush_folder(folder_.get());
    return ok();
}

Result<void> UnfinishedFile::rename() {
    const std::string name = utf8(path_.filename());
    const auto there = replaced_ ? system::status_in(folder_.get(), name) : std::nullopt;
    if (there) {
        if (there->identity != replaced_->identity)
            return fail(ErrorKind::io, "{}: is another file than when this began, so it stays", printable(utf8(path_)));
        if (!system::rename_in(folder_.get(), name_, name)) return os_error(path_);
        return ok();
    }
    if (!system::rename_to_free_name(folder_.get(), name_, name, false)) return os_error(path_);
    return ok();
}

} // namespace vdisk::tools
