// SPDX-License-Identifier: Apache-2.0
#include "hvconfig/files_argument.hpp"

#include "base/system/path.hpp"
#include "base/text.hpp"
#include "common/inputs.hpp"
#include "disk/nearby_files.hpp"

#include <fmt/ranges.h>

#include <algorithm>

namespace fs = std::filesystem;

namespace vdisk::tools {
namespace {

bool is_folder(const std::string& path) {
    std::error_code error;
    return fs::is_directory(path, error);
}

// Walks a folder without recursion: folders may be as deep as a path can be long.
class FolderWalk {
public:
    FolderWalk(std::initializer_list<std::string_view> extensions) : extensions_(extensions) {}

    // The files wanted, or an error if there is none or there are too many.
    Result<std::vector<std::string>> run(const std::string& folder) {
        std::vector<fs::path> left{folder};
        while (!left.empty()) {
            const fs::path path = std::move(left.back());
            left.pop_back();
            std::error_code error;
            if (path == folder || fs::symlink_status(path, error).type() == fs::file_type::directory) enter(path, left);
            else if (is_wanted(path)) found_.push_back(utf8(path));
            if (found_.size() > limits_.search_files)
                return fail(ErrorKind::limit_exceeded, "{}: has more than {} files of Hyper-V: name a folder in it",
                            printable(folder), limits_.search_files);
        }
        if (found_.empty() && unread_ == 0)
            return fail(ErrorKind::not_this_format, "{}: has no file that ends in {}", printable(folder),
                        fmt::join(extensions_, ", "));
        return std::move(found_);
    }

    [[nodiscard]] std::size_t unread() const noexcept { return unread_; }

private:
    bool is_wanted(const fs::path& path) const {
        std::error_code error;
        return NearbyFiles::has_extension(path, extensions_) && fs::is_regular_file(path, error);
    }

    void enter(const fs::path& folder, std::vector<fs::path>& left) {
        std::error_code error;
        std::vector<fs::path> entries;
        for (fs::directory_iterator at(folder, error), end; !error && at != end; at.increment(error))
            entries.push_back(at->path());
        if (error) {
            report(fail(ErrorKind::io, "{}: {}", printable(utf8(folder)), error.message()));
            ++unread_;
        }
        std::ranges::sort(entries, std::greater());
        left.insert(left.end(), entries.begin(), entries.end());
    }

    std::initializer_list<std::string_view> extensions_;
    Limits limits_{};
    std::vector<std::string> found_;
    std::size_t unread_ = 0;
};

} // namespace

void FilesArgument::add_to(CommandLine& line) {
    line.operands("FILE", paths, "a .vmcx, .vmrs or .vsv file, or a folder with some");
    add_read_options(line, no_replay, best_effort);
}

bool FilesArgument::several() const {
    return paths.size() > 1 || is_folder(paths.front());
}

int FilesArgument::for_each(std::initializer_list<std::string_view> extensions,
                            const std::function<int(const FileArgument&)>& act) const {
    Statuses statuses;
    for (const std::string& path : paths) {
        std::vector<std::string> files{path};
        if (is_folder(path)) {
            inputs()->add_folder(path);
            FolderWalk walk(extensions);
            auto found = walk.run(path);
            if (found.has_error() || walk.unread() > 0) statuses.add(kFailed);
            files.clear();
            if (found.has_error()) report(found.error());
            else files = std::move(found).value();
        }
        for (const std::string& file : files)
            statuses.add(act({.path = file, .no_replay = no_replay, .best_effort = best_effort}));
    }
    return statuses.all();
}

void Statuses::add(int status) noexcept {
    all_done_ = all_done_ && status == kDone;
    all_failed_ = all_failed_ && status == kFailed;
}

} // namespace vdisk::tools
