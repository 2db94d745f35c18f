// SPDX-License-Identifier: Apache-2.0
#include "disk/nearby_files.hpp"

#include "base/parse.hpp"
#include "base/system/path.hpp"
#include "base/text.hpp"

#include <algorithm>
#include <system_error>

namespace fs = std::filesystem;

namespace vdisk {
namespace {

bool is_any(const fs::path& /*path*/) {
    return true;
}

class IdentifiedSearch {
public:
    IdentifiedSearch(const IdentifiedParent& parent, const References& gate, const Limits& limits)
        : parent_(parent), gate_(gate), nearby_(gate, limits) {}

    Result<FoundFile> run() {
        for (const std::string& name : parent_.names)
            if (auto found = by_name(name)) return std::move(*found);
        for (const fs::path& folder : nearby_.folders())
            if (auto found = in_folder(folder)) return std::move(*found);
        return nearby_.not_found();
    }

private:
    std::optional<FoundFile> by_name(const std::string& name) {
        auto found = open(name);
        if (found.has_error()) {
            if (found.error().kind == ErrorKind::usage) nearby_.forbidden();
            nearby_.looked_at(fmt::format("'{}': {}", shown_name(name), found.error().what));
            return std::nullopt;
        }
        return taken(std::move(found).value());
    }

    Result<FoundFile> open(const std::string& name) {
        VDISK_TRY(parsed, parse_backing_name(name));
        const auto objection = [this](const FileSource& file) {
            const std::string why = parent_.objection(file);
            return why.empty() ? why : pass_over(file, why);
        };
        // The identifier says more than the place.
        return gate_.find(parsed, {.objection = objection, .several = NameSearch::Several::noted});
    }

    std::optional<FoundFile> in_folder(const fs::path& folder) {
        const bool own = std::ranges::find(gate_.folders(), folder) != gate_.folders().end();
        std::size_t read = 0;
        for (const fs::path& path : NearbyFiles::files_in(folder, own ? is_any : parent_.may_be)) {
            const FilePtr file = nearby_.open_once(path);
            if (!file) continue;
            ++read;
            if (parent_.objection(*file).empty())
                return taken({.file = file, .how = fmt::format("by its {}", parent_.identifier)});
        }
        nearby_.looked_at(fmt::format("{} files in {}", read, printable(utf8(folder))));
        return std::nullopt;
    }

    std::string pass_over(const FileSource& file, const std::string& why) {
        std::string text = fmt::format("{} {}", file.name(), why);
        if (std::ranges::find(passed_over_, text, &Remark::text) == passed_over_.end())
            passed_over_.push_back(Remark::note(text));
        return text;
    }

    FoundFile taken(FoundFile found) {
        found.format = parent_.format;
        for (Remark& remark : passed_over_) {
            remark.text += ", so it was not taken for the parent";
            found.remarks.push_back(std::move(remark));
        }
        return found;
    }

    const IdentifiedParent& parent_;
    const References& gate_;
    NearbyFiles nearby_;
    std::vector<Remark> passed_over_; ///< files of the right name that are not the parent
};

} // namespace

fs::path NearbyFiles::above(const fs::path& folder) {
    if (folder == ".") return "..";
    if (folder.filename() == "..") return folder / "..";
    return folder.has_parent_path() ? folder.parent_path() : fs::path(".");
}

std::vector<fs::path> NearbyFiles::folders() const {
    std::vector<fs::path> folders;
    std::set<fs::path> seen;
    for (const fs::path& folder : gate_.folders())
        for (const fs::path& place : {folder, above(folder), folder / "Snapshots"}) {
            std::error_code error;
            const fs::path real = fs::canonical(place, error);
            if (!error && seen.insert(real).second) folders.push_back(place);
        }
    return folders;
}

std::vector<fs::path> NearbyFiles::files_in(const fs::path& folder,
                                            const std::function<bool(const fs::path&)>& wanted) {
    std::vector<fs::path> files;
    std::error_code error;
    for (fs::directory_iterator entry(folder, error), end; !error && entry != end; entry.increment(error))
        if (wanted(entry->path())) files.push_back(folder == "." ? entry->path().filename() : entry->path());
    std::ranges::sort(files);
    return files;
}

bool NearbyFiles::has_extension(const fs::path& path, std::initializer_list<std::string_view> extensions) {
    return std::ranges::find(extensions, lower(utf8(path.extension()))) != extensions.end();
}

FilePtr NearbyFiles::open_once(const fs::path& path) {
    if (opened_.size() >= limits_.search_files) {
        cut_short_ = true;
        return nullptr;
    }
    auto file = gate_.open_exact(path);
    if (file.has_error()) {
        if (file.error().kind == ErrorKind::usage) forbidden();
        return nullptr;
    }
    return opened_.insert(file.value()->identity()).second ? file.value() : nullptr;
}

void NearbyFiles::looked_at(const std::string& what) {
    looked_ += fmt::format("{}{}", looked_.empty() ? "" : "; ", what);
}

Error NearbyFiles::not_found() const {
    std::string text = fmt::format("not found; looked at: {}", looked_.empty() ? "nothing" : looked_);
    if (forbidden_ > 0) text += fmt::format("; {} files were not opened because of VDISK_REFERENCES", forbidden_);
    if (cut_short_) text += fmt::format("; stopped after {} files", limits_.search_files);
    return fail(forbidden_ > 0 ? ErrorKind::usage : ErrorKind::io, "{}", text);
}

std::string relative_path(std::string windows_path) {
    std::ranges::replace(windows_path, '\\', '/');
    return utf8(fs::path(windows_path).lexically_normal());
}

std::string last_part(std::string_view path) {
    return std::string(path.substr(path.find_last_of("\\/") + 1));
}

std::string described_parent(std::string_view identifier, std::string_view name) {
    return name.empty() ? fmt::format("parent {}", identifier)
                        : fmt::format("parent {} ({})", identifier, shown_name(name));
}

Result<FoundFile> find_identified(const IdentifiedParent& parent, const References& gate, const Limits& limits) {
    return IdentifiedSearch(parent, gate, limits).run();
}

} // namespace vdisk
