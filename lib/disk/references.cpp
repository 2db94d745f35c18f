// SPDX-License-Identifier: Apache-2.0
#include "disk/references.hpp"

#include "base/system/path.hpp"
#include "base/system/program.hpp"
#include "base/text.hpp"
#include "io/file_parts.hpp"

#include <algorithm>
#include <cstdlib>
#include <optional>
#include <system_error>
#include <vector>

namespace fs = std::filesystem;

namespace vdisk {
namespace {

// Folders above the image in which a copied tree is looked for, and parts of a name that are taken of it.
constexpr std::size_t kMostFolders = 32;
constexpr std::size_t kMostNamedParts = 32;
constexpr std::size_t kMostLinks = 40; // in one path, as the kernel has it

constexpr const char* kBeside = "by its name beside the image";

// `name` below `root` as a process would see it whose root that is: a link to an absolute path stays below it. The
// result has no links. Nothing where it is not there.
std::optional<fs::path> resolve_below(const fs::path& root, const fs::path& name) {
    fs::path done;
    std::vector<fs::path> ahead(name.begin(), name.end());
    std::ranges::reverse(ahead);
    for (std::size_t links = 0; !ahead.empty();) {
        const fs::path part = std::move(ahead.back());
        ahead.pop_back();
        if (part.empty() || part == "." || part.has_root_path()) continue;
        if (part == "..") {
            done = done.parent_path();
            continue;
        }
        std::error_code error;
        if (!fs::is_symlink(fs::symlink_status(root / done / part, error))) {
            done /= part;
            continue;
        }
        const fs::path target = fs::read_symlink(root / done / part, error);
        if (error || ++links > kMostLinks) return std::nullopt;
        if (target.is_absolute()) done.clear();
        std::vector<fs::path> parts(target.begin(), target.end());
        ahead.insert(ahead.end(), parts.rbegin(), parts.rend());
    }
    std::error_code error;
    if (!fs::exists(root / done, error)) return std::nullopt;
    return root / done;
}

// `path` as a process would name it whose root is `root`; nothing where it does not lie below that.
std::optional<fs::path> path_below(const fs::path& root, const fs::path& path) {
    std::error_code error;
    const fs::path below = fs::absolute(path, error).lexically_relative(root);
    if (root.empty() || error || below.empty() || *below.begin() == "..") return std::nullopt;
    return "/" / below;
}

// The last parts of a path, the longest first, down to two: a folder and a name.
std::vector<fs::path> endings(const fs::path& name) {
    std::vector<fs::path> parts;
    for (const fs::path& part : name.relative_path())
        if (part == "..") parts.clear(); // what is before it is not what it is below
        else if (!part.empty() && part != ".") parts.push_back(part);
    std::vector<fs::path> found;
    for (std::size_t first = parts.size() > kMostNamedParts ? parts.size() - kMostNamedParts : 0;
         first + 1 < parts.size(); ++first) {
        fs::path ending;
        for (std::size_t i = first; i < parts.size(); ++i) ending /= parts[i];
        found.push_back(std::move(ending));
    }
    return found;
}

bool same_file(const fs::path& left, const fs::path& right) {
    std::error_code error;
    return fs::equivalent(left, right, error) && !error;
}

Result<void> check_name(std::string_view name, const Limits& limits) {
    if (name.empty()) return fail(ErrorKind::corrupt, "the name is empty");
    if (name.size() > limits.name_bytes)
        return fail(ErrorKind::limit_exceeded, "the name has {} bytes, the limit is {}", name.size(),
                    limits.name_bytes);
    if (name.find('\0') != std::string_view::npos) return fail(ErrorKind::corrupt, "the name has a NUL byte in it");
    return ok();
}

// The path of this machine that the name's path number `i` is; empty if it is none.
fs::path own_path(const BackingName& name, std::size_t i) {
    if (system::kHasDrives) return i < name.here.size() ? fs::path(name.here[i]) : fs::path();
    const fs::path path(name.paths[i]);
    return path.is_absolute() && !name.windows ? path : fs::path();
}

Error denied(std::string_view name) {
    return fail(ErrorKind::usage, "'{}' is not opened: VDISK_REFERENCES=deny, or its image lies inside something else",
                printable(name));
}

Remark also_fits(std::string_view name, std::string_view path) {
    return Remark::note(fmt::format("the name '{}' also fits {}, which was not taken", printable(name), path));
}

// Whether `path` is `name`, which is absolute, as it is written.
bool is_named(const fs::path& path, const fs::path& name) {
    std::error_code error;
    return path == name || fs::absolute(path, error).lexically_normal() == name;
}

} // namespace

Result<ReferencePolicy> reference_policy_from_environment() {
    const char* const value = std::getenv("VDISK_REFERENCES");
    if (value == nullptr || *value == '\0') return ReferencePolicy::any;
    const std::string_view word(value);
    if (word == "any") return ReferencePolicy::any;
    if (word == "same-dir") return ReferencePolicy::same_dir;
    if (word == "deny") return ReferencePolicy::deny;
    return fail(ErrorKind::usage, "VDISK_REFERENCES is '{}': one of deny, same-dir, any is wanted", printable(word));
}

Result<std::shared_ptr<const EvidenceRoot>> evidence_root(const fs::path& folder, std::string_view what) {
    std::error_code error;
    if (!fs::is_directory(folder, error))
        return fail(ErrorKind::usage, "{} is '{}', which is no folder", what, printable(utf8(folder)));
    auto root = std::make_shared<EvidenceRoot>();
    root->folder = fs::absolute(folder, error);
    return std::shared_ptr<const EvidenceRoot>(std::move(root));
}

Result<std::shared_ptr<const EvidenceRoot>> evidence_root_from_environment() {
    const std::string value = system::environment("VDISK_ROOT").value_or("");
    if (value.empty()) return std::shared_ptr<const EvidenceRoot>();
    return evidence_root(value, "VDISK_ROOT");
}

References::References(fs::path image, ReferencePolicy policy, const Limits& limits, FileKinds given,
                       InputFilesPtr inputs, RootPtr root, JoinParts join)
    : policy_(policy), limits_(limits), given_(given), inputs_(std::move(inputs)), root_(std::move(root)), join_(join) {
    const fs::path parent = image.parent_path();
    folders_.push_back(parent.empty() ? fs::path(".") : parent);
    std::error_code error;
    const fs::path real = fs::canonical(image, error).parent_path();
    const fs::path named = fs::canonical(folders_.front(), error);
    if (!real.empty() && real != named) folders_.push_back(real);
    on_device_ = fs::is_block_file(image, error);
    image_ = std::move(image);
}

bool References::lies_beside(const fs::path& path) const {
    std::error_code error;
    const fs::path folder = fs::canonical(path, error).parent_path();
    return std::ranges::any_of(folders_, [&](const fs::path& own) { return fs::canonical(own, error) == folder; });
}

bool References::allows(const fs::path& path) const {
    if (policy_ == ReferencePolicy::any) return true;
    return policy_ == ReferencePolicy::same_dir && lies_beside(path);
}

Result<FilePtr> References::open_file(const fs::path& path, FileKinds kinds) const {
    if (inputs_) inputs_->add(path);
    VDISK_TRY(file, FileSource::open(path, kinds));
    if (inputs_) inputs_->add(file);
    return file;
}

// A volume beside the image's own in its group's folder; never in /dev itself, where all of this machine's disks are.
FileKinds References::kinds_in(const fs::path& folder) const {
    std::error_code error;
    const bool volumes = on_device_ && folder == folders_.front() && fs::canonical(folder, error) != "/dev";
    return volumes ? FileKinds::regular_or_block_device : FileKinds::regular_only;
}

// Where a copy of the tree that `name` lies in has it, then beside the image. Never the image itself, which may have
// its parent's name in another folder; nor `own`, this machine's file, which is no copy though a search comes to it.
void References::add_evidence(const fs::path& name, const fs::path& own, const Folders& folders,
                              std::vector<Candidate>& list) const {
    const std::vector<fs::path> parts = endings(name);
    for (const fs::path& ending : parts)
        for (const fs::path& folder : folders) {
            std::error_code error;
            fs::path above = fs::absolute(folder, error).lexically_normal();
            for (std::size_t i = 0; i < kMostFolders && above.has_relative_path(); ++i, above = above.parent_path())
                if (fs::exists(above / ending, error) && !same_file(above / ending, image_) &&
                    !same_file(above / ending, own))
                    list.push_back({above / ending, "where the image's tree has it", FileKinds::regular_only, true});
        }
    for (const fs::path& folder : folders)
        if (!same_file(folder / name.filename(), image_))
            list.push_back({folder / name.filename(), kBeside, kinds_in(folder), true});
}

std::vector<References::Candidate> References::candidates(const BackingName& name, const Folders& folders) const {
    std::vector<Candidate> list;
    for (std::size_t i = 0; i < name.paths.size(); ++i) {
        const fs::path path(name.paths[i]);
        const fs::path own = own_path(name, i);
        const bool absolute = path.has_root_directory();
        if (!absolute && !path.has_root_name())
            for (const fs::path& folder : folders) {
                const bool beside = !path.has_parent_path();
                list.push_back({folder / path, "", beside ? kinds_in(folder) : FileKinds::regular_only});
            }
        if (absolute && root_ && !root_->folder.empty()) {
            root_->used = true;
            if (const auto below = resolve_below(root_->folder, path))
                list.push_back({*below, "below the evidence's root", FileKinds::regular_only});
        }
        add_evidence(path, own, folders, list);
        if (!own.empty()) list.push_back({own, "", FileKinds::regular_only});
    }
    // This machine's own file is that, wherever the search came to it.
    for (Candidate& each : list)
        for (std::size_t i = 0; i < name.paths.size(); ++i)
            if (const fs::path own = own_path(name, i); !own.empty() && is_named(each.path, own)) {
                each.how.clear();
                each.guessed = false;
            }
    return list;
}

Result<FoundFile> References::open(std::string_view name) const {
    return open_named(name, false);
}

Result<FoundFile> References::open_file_or_folder(std::string_view name) const {
    return open_named(name, true);
}

References::Folders References::folders_of(const NameSearch& search) const {
    Folders folders = search.folders;
    folders.insert(folders.end(), folders_.begin(), folders_.end());
    return folders;
}

Result<FoundFile> References::find(const BackingName& name, const NameSearch& search) const {
    for (const std::string& path : name.paths) VDISK_CHECK(check_name(path, limits_));
    if (denies_unseen()) return denied(name.paths.front());
    return find(candidates(name, folders_of(search)), name, search);
}

std::vector<fs::path> References::places(const BackingName& name, const NameSearch& search) const {
    std::vector<fs::path> found;
    for (Candidate& place : candidates(name, folders_of(search))) {
        std::error_code error;
        const auto is_it = [&](const fs::path& other) { return same_file(other, place.path); };
        if (fs::exists(place.path, error) && std::ranges::none_of(found, is_it)) found.push_back(std::move(place.path));
    }
    return found;
}

Result<FoundFile> References::find(std::vector<Candidate> list, const BackingName& name,
                                   const NameSearch& search) const {
    for (Candidate& place : list) {
        if (inputs_) inputs_->add(place.path);
        const fs::path named = std::exchange(place.path, as_it_lies(place.path));
        place.in_parts = place.path != named;
    }
    if (policy_ == ReferencePolicy::deny) return denied(name.paths.front());
    VDISK_TRY(found, open_first(list, name.paths.front(), search));
    found.format = name.format;
    found.window = name.window;
    return std::move(found);
}

Result<FoundFile> References::open_named(std::string_view name, bool or_folder) const {
    VDISK_CHECK(check_name(name, limits_));
    VDISK_TRY(parsed, parse_backing_name(name));
    if (denies_unseen()) return denied(parsed.paths.front());
    std::vector<Candidate> places = candidates(parsed, folders_);
    for (Candidate& place : places)
        if (or_folder && place.kinds == FileKinds::regular_only) place.kinds = FileKinds::regular_or_folder;
    return find(std::move(places), parsed, {});
}

// The first that is there and may be opened; others that are there are remarks, or an error where the name says neither
// place.
Result<FoundFile> References::open_first(const std::vector<Candidate>& list, std::string_view name,
                                         const NameSearch& search) const {
    std::optional<FoundFile> taken;
    bool guessed = false;
    std::optional<Error> refused;
    std::string tried;
    const auto in_vain = [&](const std::string& what) {
        if (tried.find(what) == std::string::npos) tried += fmt::format("{}{}", tried.empty() ? "" : ", ", what);
    };
    for (const Candidate& candidate : list) {
        std::error_code error;
        const std::string shown = printable(utf8(candidate.path));
        if (!fs::exists(candidate.path, error)) {
            in_vain(shown);
            continue;
        }
        if (taken && same_file(taken->file->path(), candidate.path)) continue;
        if (!allows(candidate.path)) {
            if (!refused)
                refused = fail(ErrorKind::usage, "'{}' is not opened: VDISK_REFERENCES=same-dir and it lies elsewhere",
                               shown);
            continue;
        }
        if (taken && !search.objection && !(guessed && candidate.guessed)) {
            taken->remarks.push_back(also_fits(name, shown));
            break;
        }
        auto file = open_file(candidate.path, candidate.kinds);
        if (file.has_error()) {
            if (!refused) refused = std::move(file).error();
            continue;
        }
        if (const std::string why = search.objection ? search.objection(*file.value()) : ""; !why.empty()) {
            in_vain(why);
            continue;
        }
        if (!taken) {
            taken = FoundFile{.file = std::move(file).value(), .how = candidate.how, .may_be_part = candidate.in_parts};
            guessed = candidate.guessed;
            continue;
        }
        if (guessed && candidate.guessed && search.several == NameSearch::Several::refused)
            return fail(ErrorKind::io, "'{}' could be {} or {}: both are there, and only one can be meant",
                        printable(name), taken->file->name(), shown);
        taken->remarks.push_back(also_fits(name, shown));
        break;
    }
    if (taken) return std::move(*taken);
    if (refused) return std::move(*refused);
    return fail(ErrorKind::io, "not found; looked for {}", tried);
}

std::shared_ptr<const References> References::beside(const fs::path& file) const {
    return std::make_shared<const References>(file, policy_, limits_, FileKinds::regular_only, inputs_, root_, join_);
}

Result<FilePtr> References::open_exact(const fs::path& path) const {
    if (policy_ == ReferencePolicy::deny) return denied(utf8(path));
    if (!allows(path))
        return fail(ErrorKind::usage, "'{}' is not opened: VDISK_REFERENCES=same-dir and it lies elsewhere",
                    printable(utf8(path)));
    return open_file(path, FileKinds::regular_only);
}

Result<FilePtr> References::open_part(const fs::path& path) const {
    if (inputs_) inputs_->add(path);
    fs::path place = path;
    if (const auto inside = root_ ? path_below(root_->folder, path) : std::nullopt)
        if (auto resolved = resolve_below(root_->folder, *inside)) place = std::move(*resolved);
    if (policy_ != ReferencePolicy::any && !lies_beside(place))
        return fail(ErrorKind::usage, "'{}' is not opened: it is a link, and VDISK_REFERENCES lets none lead elsewhere",
                    printable(utf8(path)));
    return open_file(place, FileKinds::regular_only);
}

Result<FolderPtr> References::open_folder(const fs::path& path) const {
    if (inputs_) inputs_->add_folder(path);
    return Folder::open(path);
}

Result<FoundFile> References::joined(FoundFile found) const {
    if (join_ == nullptr || !found.may_be_part) return found;
    VDISK_TRY(whole, join_(found.file, *this, std::nullopt));
    found.file = std::move(whole.file);
    std::ranges::move(whole.remarks, std::back_inserter(found.remarks));
    return found;
}

Result<FoundFile> References::open_given(const fs::path& path) const {
    VDISK_TRY(file, open_file(path, given_));
    return FoundFile{.file = std::move(file), .how = "as given", .may_be_part = true};
}

} // namespace vdisk
