// SPDX-License-Identifier: Apache-2.0
#include "format/vhdx/parent.hpp"

#include "base/text.hpp"
#include "disk/nearby_files.hpp"

#include <algorithm>

namespace vdisk::vhdx {
namespace {

constexpr std::string_view kRelativePath = "relative_path";
// In the order in which they are to be tried.
constexpr std::array kPathKeys{kRelativePath, std::string_view("volume_path"), std::string_view("absolute_win32_path")};

bool is_vhdx(const std::filesystem::path& path) {
    return NearbyFiles::has_extension(path, {".vhdx", ".avhdx"});
}

// GUIDs that the parent may have: a merge that was interrupted leaves two. Null stands for none.
std::vector<Uuid> linkages(const Metadata& metadata) {
    std::vector<Uuid> found;
    for (const std::string_view key : {"parent_linkage", "parent_linkage2"}) {
        const auto guid = Uuid::parse(metadata.locator_value(key));
        if (guid && !guid->is_null()) found.push_back(*guid);
    }
    return found;
}

std::string in_words(const std::vector<Uuid>& wanted) {
    std::string text = wanted.empty() ? "an unknown GUID" : to_string(wanted.front());
    if (wanted.size() > 1) text += fmt::format(" or {}", to_string(wanted.back()));
    return text;
}

std::vector<std::string> names_of(const Metadata& metadata) {
    std::vector<std::string> names;
    for (const std::string_view key : kPathKeys) {
        std::string name(metadata.locator_value(key));
        if (key == kRelativePath) name = relative_path(std::move(name));
        if (!name.empty()) names.push_back(std::move(name));
    }
    return names;
}

std::string objection(const ByteSource& file, const std::vector<Uuid>& wanted) {
    const auto header = Header::parse(file);
    if (header.has_error())
        return header.error().kind == ErrorKind::not_this_format ? "is no VHDX" : header.error().what;
    const Uuid& own = header.value().data_write;
    if (std::ranges::find(wanted, own) != wanted.end()) return "";
    return fmt::format("has the {} {}, not {}", kFactDataWrite, to_string(own), in_words(wanted));
}

Result<FoundFile> find_parent(const Metadata& metadata, const References& references, const Limits& limits) {
    const std::vector<Uuid> wanted = linkages(metadata);
    if (wanted.empty())
        return fail(ErrorKind::corrupt, "the parent locator has no parent_linkage: nothing tells which file it is");
    return find_identified({.identifier = kFactDataWrite,
                            .names = names_of(metadata),
                            .format = "vhdx",
                            .may_be = is_vhdx,
                            .objection = [&](const ByteSource& file) { return objection(file, wanted); }},
                           references, limits);
}

// What does not fit between an image and the file that serves as its parent.
std::vector<Remark> compare(const std::vector<Uuid>& wanted, const Facts& parent) {
    const std::string* const stated = parent[kFactDataWrite].text();
    const std::string own = stated != nullptr ? *stated : "";
    if (own.empty())
        return {{Remark::Weight::doubt,
                 fmt::format("has no {} that tells whether it is the parent {}", kFactDataWrite, in_words(wanted))}};
    if (std::ranges::any_of(wanted, [&](const Uuid& each) { return to_string(each) == own; })) return {};
    return {{Remark::Weight::doubt,
             fmt::format("its {} is {}, but the child's parent has {}: it is another file, or was written to after its "
                         "child was made",
                         kFactDataWrite, own, in_words(wanted))}};
}

} // namespace

ParentLink parent_link(const Metadata& metadata, const Limits& limits) {
    std::string name;
    for (const std::string_view key : kPathKeys)
        if (name.empty()) name = last_part(metadata.locator_value(key));
    ParentLink link;
    link.described = described_parent(in_words(linkages(metadata)), name);
    link.key = "parent";
    link.locate = [metadata, limits](const References& references) {
        return find_parent(metadata, references, limits);
    };
    link.remarks = [wanted = linkages(metadata)](const Facts& parent) { return compare(wanted, parent); };
    return link;
}

} // namespace vdisk::vhdx
