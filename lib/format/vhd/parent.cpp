// SPDX-License-Identifier: Apache-2.0
#include "format/vhd/parent.hpp"

#include "base/text.hpp"
#include "disk/nearby_files.hpp"

#include <algorithm>

namespace vdisk::vhd {
namespace {

constexpr std::int64_t kEpoch = 946684800; // 2000-01-01T00:00:00Z

bool is_vhd(const std::filesystem::path& path) {
    return NearbyFiles::has_extension(path, {".vhd", ".avhd"});
}

void add_name(std::vector<std::string>& names, std::string name) {
    if (!name.empty() && std::ranges::find(names, name) == names.end()) names.push_back(std::move(name));
}

// The relative path goes first: it moves with the folder. What the header has is shown to people.
std::vector<std::string> names_of(const Header& header) {
    std::vector<std::string> names;
    for (const Locator& locator : header.locators)
        if (locator.platform == "W2ru") add_name(names, relative_path(locator.name));
    for (const Locator& locator : header.locators)
        if (locator.platform == "MacX") add_name(names, locator.name);
    for (const Locator& locator : header.locators)
        if (locator.platform == "W2ku")
            add_name(names, locator.name.starts_with('.') ? relative_path(locator.name) : locator.name);
    add_name(names, last_part(header.parent_name));
    return names;
}

std::string objection(const ByteSource& file, const Uuid& wanted) {
    const auto footers = Footers::find(file);
    if (footers.has_error())
        return footers.error().kind == ErrorKind::not_this_format ? "is no VHD" : footers.error().what;
    const Uuid id = Uuid::from_mixed(footers.value().believed.raw.unique_id);
    if (id == wanted) return "";
    return fmt::format("has the unique ID {}, not {}", to_string(id), to_string(wanted));
}

Result<FoundFile> find_parent(const Header& header, const References& references, const Limits& limits) {
    if (header.parent_id.is_null()) return fail(ErrorKind::corrupt, "a differencing disk must name a parent");
    if (header.parent_id == header.unique_id) return fail(ErrorKind::corrupt, "the image names itself as its parent");
    return find_identified({.identifier = kFactId,
                            .names = names_of(header),
                            .format = "vhd",
                            .may_be = is_vhd,
                            .objection = [&](const ByteSource& file) { return objection(file, header.parent_id); }},
                           references, limits);
}

// What does not fit between an image and the file that serves as its parent.
std::vector<Remark> compare(const Header& child, const Facts& parent) {
    const auto text = [&](const char* key) {
        const std::string* const found = parent[key].text();
        return found != nullptr ? *found : std::string();
    };
    if (text(kFactId).empty())
        return {{Remark::Weight::doubt,
                 fmt::format("has no unique ID that tells whether it is the parent {}", to_string(child.parent_id))}};
    if (text(kFactId) != to_string(child.parent_id))
        return {{Remark::Weight::doubt, fmt::format("its unique ID is {}, but the child's parent is {}", text(kFactId),
                                                    to_string(child.parent_id))}};
    // Windows 10 keeps no time of the parent; programs that change a disk's size or tell of it write new ones.
    if (child.parent_time_stamp != 0 && text(kFactTime) != time_of(child.parent_time_stamp))
        return {{Remark::Weight::note, fmt::format("its time stamp is {}, its child has {} for it", text(kFactTime),
                                                   time_of(child.parent_time_stamp))}};
    return {};
}

} // namespace

std::string time_of(std::uint32_t stamp) {
    return utc_time(kEpoch + stamp);
}

ParentLink parent_link(const Header& header, const Limits& limits) {
    ParentLink link;
    link.described = described_parent(to_string(header.parent_id), last_part(header.parent_name));
    link.key = "parent";
    link.locate = [header, limits](const References& references) { return find_parent(header, references, limits); };
    link.remarks = [header](const Facts& parent) { return compare(header, parent); };
    return link;
}

} // namespace vdisk::vhd
