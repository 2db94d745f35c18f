// SPDX-License-Identifier: Apache-2.0
#include "disk/references.hpp"

#include "base/text.hpp"

#include <algorithm>
#include <cstdlib>
#include <system_error>

namespace fs = std::filesystem;

namespace vdisk {
namespace {

// What QEMU takes for a protocol: letters before a colon that stands before any slash ("nbd://host", "json:{...}").
std::string_view protocol_of(std::string_view name) {
    const std::size_t colon = name.find(':');
    if (colon == std::string_view::npos || name.find('/') < colon) return {};
    return name.substr(0, colon);
}

struct Candidate {
    fs::path path;
    std::string how;
};

std::vector<Candidate> candidates(const fs::path& name, const std::vector<fs::path>& folders) {
    std::vector<Candidate> list;
    if (name.is_absolute()) {
        list.push_back({name, ""});
        for (const fs::path& folder : folders)
            list.push_back({folder / name.filename(), "by its name beside the image"});
        return list;
    }
    for (const fs::path& folder : folders) list.push_back({folder / name, ""});
    return list;
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

References::References(fs::path image, ReferencePolicy policy, const Limits& limits, FileKinds given,
                       InputFilesPtr inputs)
    : policy_(policy), limits_(limits), given_(given), inputs_(std::move(inputs)) {
    const fs::path parent = image.parent_path();
    folders_.push_back(parent.empty() ? fs::path(".") : parent);
    std::error_code error;
    const fs::path real = fs::canonical(image, error).parent_path();
    const fs::path named = fs::canonical(folders_.front(), error);
    if (!real.empty() && real != named) folders_.push_back(real);
}

bool References::allows(const fs::path& path) const {
    if (policy_ == ReferencePolicy::any) return true;
    if (policy_ == ReferencePolicy::deny) return false;
    std::error_code error;
    const fs::path folder = fs::canonical(path, error).parent_path();
    return std::ranges::any_of(folders_, [&](const fs::path& own) { return fs::canonical(own, error) == folder; });
}

Result<FilePtr> References::open_file(const fs::path& path, FileKinds kinds) const {
    if (inputs_) inputs_->add(path);
    VDISK_TRY(file, FileSource::open(path, kinds));
    if (inputs_) inputs_->add(file);
    return file;
}

Result<FoundFile> References::open(std::string_view name) const {
    if (name.empty()) return fail(ErrorKind::corrupt, "the name is empty");
    if (name.size() > limits_.name_bytes)
        return fail(ErrorKind::limit_exceeded, "the name has {} bytes, the limit is {}", name.size(),
                    limits_.name_bytes);
    if (name.find('\0') != std::string_view::npos) return fail(ErrorKind::corrupt, "the name has a NUL byte in it");
    if (name.starts_with("file:")) name.remove_prefix(std::string_view("file:").size());
    if (const std::string_view protocol = protocol_of(name); !protocol.empty())
        return fail(ErrorKind::unsupported, "'{}' is not opened: protocol '{}:' names no local file", printable(name),
                    printable(protocol));
    std::vector<Candidate> places = candidates(fs::path(name), folders_);
    for (const Candidate& place : places)
        if (inputs_) inputs_->add(place.path);
    if (policy_ == ReferencePolicy::deny)
        return fail(ErrorKind::usage, "'{}' is not opened: VDISK_REFERENCES=deny", printable(name));

    std::string tried;
    for (Candidate& candidate : places) {
        std::error_code error;
        if (!fs::exists(candidate.path, error)) {
            tried += fmt::format("{}{}", tried.empty() ? "" : ", ", printable(candidate.path.native()));
            continue;
        }
        if (!allows(candidate.path))
            return fail(ErrorKind::usage, "'{}' is not opened: VDISK_REFERENCES=same-dir and it lies elsewhere",
                        printable(candidate.path.native()));
        VDISK_TRY(file, open_file(candidate.path, FileKinds::regular_only));
        return FoundFile{std::move(file), std::move(candidate.how)};
    }
    return fail(ErrorKind::io, "not found; looked for {}", tried);
}

Result<FilePtr> References::open_exact(const fs::path& path) const {
    if (policy_ == ReferencePolicy::deny)
        return fail(ErrorKind::usage, "'{}' is not opened: VDISK_REFERENCES=deny", printable(path.native()));
    if (!allows(path))
        return fail(ErrorKind::usage, "'{}' is not opened: VDISK_REFERENCES=same-dir and it lies elsewhere",
                    printable(path.native()));
    return open_file(path, FileKinds::regular_only);
}

Result<FoundFile> References::open_given(const fs::path& path) const {
    VDISK_TRY(file, open_file(path, given_));
    return FoundFile{std::move(file), "as given"};
}

} // namespace vdisk
