// SPDX-License-Identifier: Apache-2.0
#include "format/vmdk/parent.hpp"

#include "base/text.hpp"
#include "disk/nearby_files.hpp"

#include <algorithm>

namespace fs = std::filesystem;

namespace vdisk::vmdk {
namespace {

constexpr std::uint32_t kLongContentId = 0xFFFFFFFE; // of every disk with a longer one

bool is_vmdk(const fs::path& path) {
    return NearbyFiles::has_extension(path, {".vmdk"});
}

std::vector<std::string> names_of(const Descriptor& child) {
    if (child.parent_hint.empty()) return {};
    const bool windows = child.parent_hint.find('\\') != std::string::npos && child.parent_hint.find(':') > 1 &&
                         !child.parent_hint.starts_with("\\");
    return {windows ? relative_path(child.parent_hint) : child.parent_hint};
}

// What a parent does not have of what its child says; empty if all is right.
std::string difference(const Descriptor& child, const Descriptor& parent) {
    const bool by_cid = child.parent_cid.value_or(kNoParentCid) != kNoParentCid;
    if (by_cid && parent.cid != child.parent_cid)
        return fmt::format("has the CID {}, not {}", parent.cid ? cid_text(*parent.cid) : "of nothing",
                           cid_text(*child.parent_cid));
    if (!child.parent.is_null() && parent.image != child.parent)
        return fmt::format("has the UUID {}, not {}", to_string(parent.image), to_string(child.parent));
    if (!by_cid && child.parent.is_null() && !child.parent_modification.is_null() &&
        parent.modification != child.parent_modification)
        return fmt::format("has the modification UUID {}, not {}", to_string(parent.modification),
                           to_string(child.parent_modification));
    return "";
}

// Whether anything but a name tells which file the parent is.
bool is_identified(const Descriptor& child) {
    return child.parent_cid.value_or(kNoParentCid) != kNoParentCid || !child.parent.is_null() ||
           !child.parent_modification.is_null();
}

class ParentSearch {
public:
    ParentSearch(const Descriptor& child, const OpenContext& context) : child_(child), context_(context) {}

    std::string objection(const ByteSource& file) const {
        const auto* const opened = dynamic_cast<const FileSource*>(&file);
        if (opened != nullptr && context_.file && opened->identity() == context_.file->identity())
            return "is the image itself";
        const auto parsed = Parsed::parse(file, context_.limits);
        if (parsed.has_error())
            return parsed.error().kind == ErrorKind::not_this_format ? "is no VMDK" : parsed.error().what;
        if (!parsed.value().descriptor) return "has no descriptor that tells whose parent it is";
        return difference(child_, *parsed.value().descriptor);
    }

    Result<FoundFile> run(const References& gate) const {
        if (!is_identified(child_))
            return fail(ErrorKind::corrupt, "the descriptor has a name for a parent and says that there is none");
        // Nothing but the name tells disks with such a CID apart.
        if (child_.parent_cid == kLongContentId && child_.parent.is_null()) return by_name(gate);
        return find_identified({.identifier = child_.parent.is_null() ? "CID" : "UUID",
                                .names = names_of(child_),
                                .format = "vmdk",
                                .may_be = is_vmdk,
                                .objection = [this](const ByteSource& file) { return objection(file); }},
                               gate, context_.limits);
    }

private:
    Result<FoundFile> by_name(const References& gate) const {
        if (child_.parent_hint.empty())
            return fail(ErrorKind::corrupt, "the descriptor has no name for the parent, and its CID is that of many");
        VDISK_TRY(found, gate.open(names_of(child_).front()));
        if (const std::string why = objection(*found.file); !why.empty())
            return fail(ErrorKind::io, "not found; {} {}", found.file->name(), why);
        found.format = "vmdk";
        return std::move(found);
    }

    const Descriptor& child_;
    const OpenContext& context_;
};

// What does not fit between an image and the file that serves as its parent.
std::vector<Remark> compare(const Descriptor& child, const Facts& parent, std::uint64_t child_size) {
    const auto text = [&](const char* key) {
        const std::string* const found = parent[key].text();
        return found != nullptr ? *found : std::string("none");
    };
    std::vector<Remark> remarks;
    const bool by_cid = child.parent_cid.value_or(kNoParentCid) != kNoParentCid;
    if (by_cid && text(kFactCid) != cid_text(*child.parent_cid))
        remarks.push_back(
            Remark::doubt(fmt::format("its CID is {}, but the child's parent has {}: it was written to since, "
                                      "or is another disk",
                                      text(kFactCid), cid_text(*child.parent_cid))));
    if (!child.parent.is_null() && text(kFactUuid) != to_string(child.parent))
        remarks.push_back(Remark::doubt(
            fmt::format("its UUID is {}, but the child's parent is {}", text(kFactUuid), to_string(child.parent))));
    if (!child.parent_modification.is_null() && text(kFactModification) != to_string(child.parent_modification))
        remarks.push_back(Remark::doubt(
            fmt::format("was modified after its child was made: its modification UUID is {}, the child has {}",
                        text(kFactModification), to_string(child.parent_modification))));
    if (!is_identified(child)) remarks.push_back(Remark::doubt("nothing in its child tells whether it is the parent"));
    if (const auto* size = parent[kFactSize].number(); size != nullptr && *size != child_size)
        remarks.push_back(Remark::note(fmt::format("its disk has {} bytes, its child's {}", *size, child_size)));
    return remarks;
}

std::string described(const Descriptor& child) {
    const std::string identifier = !child.parent.is_null() ? to_string(child.parent)
                                   : child.parent_cid.value_or(kNoParentCid) != kNoParentCid
                                       ? fmt::format("with CID {}", cid_text(*child.parent_cid))
                                       : "without an identifier";
    return described_parent(identifier, last_part(child.parent_hint));
}

} // namespace

std::string cid_text(std::uint32_t cid) {
    return fmt::format("{:08x}", cid);
}

ParentLink parent_link(const Descriptor& descriptor, const OpenContext& context) {
    ParentLink link;
    link.described = described(descriptor);
    link.key = "parent";
    link.locate = [descriptor, context](const References& gate) { return ParentSearch(descriptor, context).run(gate); };
    link.remarks = [descriptor](const Facts& parent) { return compare(descriptor, parent, descriptor.disk_size()); };
    return link;
}

std::string descriptor_of(const ByteSource& file, const References& gate, const Limits& limits) {
    const std::string own = last_part(file.name());
    NearbyFiles nearby(gate, limits);
    for (const fs::path& folder : gate.folders())
        for (const fs::path& path : NearbyFiles::files_in(folder, is_vmdk)) {
            const FilePtr candidate = nearby.open_once(path);
            if (!candidate || candidate->size() > limits.descriptor_bytes) continue;
            const auto parsed = Parsed::parse(*candidate, limits);
            if (parsed.has_error() || parsed.value().sparse) continue;
            const auto& extents = parsed.value().descriptor->extents;
            if (std::ranges::any_of(extents, [&](const ExtentLine& line) { return last_part(line.name) == own; }))
                return std::string(candidate->name());
        }
    return "";
}

} // namespace vdisk::vmdk
