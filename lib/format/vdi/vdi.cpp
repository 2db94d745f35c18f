// SPDX-License-Identifier: Apache-2.0
#include "format/vdi/vdi.hpp"

#include "base/text.hpp"
#include "format/vdi/audit.hpp"
#include "format/vdi/consistency.hpp"
#include "format/vdi/layout.hpp"
#include "format/vdi/parent.hpp"

#include <cstddef>
#include <cstring>

namespace vdisk {
namespace vdi {
namespace {

// Names of facts that a child compares with its own header.
constexpr const char* kFactUuid = "UUID";
constexpr const char* kFactModified = "modification UUID";

class File final : public DiskFile {
public:
    File(Header header, SourcePtr source, OpenContext context)
        : header_(std::move(header)), source_(std::move(source)),
          context_(std::move(context)), disks_{Disk{.size = header_.disk_size}} {}

    const Format& format() const noexcept override { return kVdiFormat; }
    const std::vector<Disk>& disks() const noexcept override { return disks_; }
    Result<Layer> layer(std::size_t index) const override;
    std::vector<ParentLink> links() const override {
        auto parent = parent_link();
        return parent ? std::vector{std::move(*parent)} : std::vector<ParentLink>{};
    }
    Facts facts() const override;
    Result<AuditReport> audit(const Progress& progress) const override;

private:
    std::optional<ParentLink> parent_link() const;

    Header header_;
    SourcePtr source_;
    OpenContext context_;
    std::vector<Disk> disks_;
};

Result<Layer> File::layer(std::size_t /*index*/) const {
    VDISK_TRY(found, find_contradictions(header_, *source_, context_.limits));
    if (!found.empty()) return fail(ErrorKind::corrupt, "{}: {}", source_->name(), found.front());
    VDISK_TRY(shared, find_shared_blocks(header_, *source_, context_.limits));
    Layer layer(std::make_shared<const BlockLayout>(header_, std::move(shared), source_, context_.caches), {source_});
    layer.parent = parent_link();
    return layer;
}

// What does not fit between an image and the file that serves as its parent.
std::vector<std::string> compare(const Header& child, const Facts& parent) {
    const auto text = [&](const char* key) {
        return parent.contains(key) ? parent[key].get<std::string>() : std::string();
    };
    if (text(kFactUuid).empty())
        return {fmt::format("has no UUID that tells whether it is the parent {}", to_string(child.uuid_linkage))};
    std::vector<std::string> remarks;
    if (text(kFactUuid) != to_string(child.uuid_linkage))
        remarks.push_back(fmt::format("its UUID is {}, but the child's parent is {}", text(kFactUuid),
                                      to_string(child.uuid_linkage)));
    if (!child.uuid_parent_modify.is_null() && text(kFactModified) != to_string(child.uuid_parent_modify))
        remarks.push_back(
            fmt::format("was modified after its child was made: its modification UUID is {}, the child has {}",
                        text(kFactModified), to_string(child.uuid_parent_modify)));
    return remarks;
}

std::optional<ParentLink> File::parent_link() const {
    if (!header_.has_parent()) return std::nullopt;
    ParentLink link;
    link.described = fmt::format("parent {}", to_string(header_.uuid_linkage));
    link.locate = [header = header_, registry = context_.registry,
                   limits = context_.limits](const References& references) -> Result<FoundFile> {
        if (header.uuid_linkage.is_null())
            return fail(ErrorKind::corrupt, "a {} image must name a parent", to_string(header.type));
        if (header.uuid_linkage == header.uuid_create)
            return fail(ErrorKind::corrupt, "the image names itself as its parent");
        return find_parent({.uuid = header.uuid_linkage, .modify = header.uuid_parent_modify, .registry = registry},
                           references, limits);
    };
    link.remarks = [header = header_](const Facts& parent) { return compare(header, parent); };
    return link;
}

Facts File::facts() const {
    Facts facts = Facts::object();
    facts["version"] = fmt::format("{}.{}", header_.version >> 16, header_.version & 0xFFFF);
    facts["creation text"] =
        printable(std::string_view(header_.creator).substr(0, header_.creator.find_last_not_of('\n') + 1));
    if (!header_.comment.empty()) facts["comment"] = printable(header_.comment);
    facts["type"] = to_string(header_.type);
    facts["flags"] = fmt::format("{:#x}", header_.flags);
    facts["block size"] = header_.block_size;
    if (header_.block_extra > 0) facts["block extra bytes"] = header_.block_extra;
    facts["blocks"] = header_.blocks;
    facts["allocated blocks"] = header_.blocks_allocated;
    facts["block map offset"] = header_.map_offset;
    facts["data offset"] = header_.data_offset;
    facts[kFactUuid] = to_string(header_.uuid_create);
    facts[kFactModified] = to_string(header_.uuid_modify);
    if (!header_.uuid_linkage.is_null()) facts["parent UUID"] = to_string(header_.uuid_linkage);
    if (!header_.uuid_parent_modify.is_null())
        facts["parent's modification UUID"] = to_string(header_.uuid_parent_modify);
    if (const auto found = find_contradictions(header_, *source_, context_.limits);
        found.has_value() && !found.value().empty())
        facts["damage"] = found.value();
    return facts;
}

Result<AuditReport> File::audit(const Progress& progress) const {
    AuditReport report(context_.limits);
    report.facts = facts();
    VDISK_TRY(found, find_contradictions(header_, *source_, context_.limits));
    for (const std::string& what : found) report.add(Severity::error, "header", {}, "{}", what);
    VDISK_CHECK(audit_map(header_, *source_, context_.limits, progress, report));
    return report;
}

Match probe(std::span<const std::byte> head, const ByteSource& /*source*/) {
    little_uint32_buf_t signature;
    if (head.size() < sizeof(RawStart)) return Match::no;
    std::memcpy(&signature, head.data() + offsetof(RawStart, signature), sizeof signature);
    return signature.value() == kSignature ? Match::sure : Match::no;
}

Result<std::shared_ptr<const DiskFile>> open(SourcePtr source, const OpenContext& context) {
    VDISK_TRY(header, Header::parse(*source));
    return std::shared_ptr<const DiskFile>(std::make_shared<File>(std::move(header), std::move(source), context));
}

} // namespace
} // namespace vdi

const Format kVdiFormat{"vdi", "VirtualBox disk image (VDI)", vdi::probe, vdi::open};

} // namespace vdisk
