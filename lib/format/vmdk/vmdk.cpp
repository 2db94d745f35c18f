// SPDX-License-Identifier: Apache-2.0
#include "format/vmdk/vmdk.hpp"

#include "base/text.hpp"
#include "format/vmdk/audit.hpp"
#include "format/vmdk/extents.hpp"
#include "format/vmdk/layout.hpp"
#include "format/vmdk/parent.hpp"

#include <array>

namespace vdisk {
namespace vmdk {
namespace {

constexpr std::size_t kMostListed = 64; // extents that facts list

class VmdkFile final : public DiskFile {
public:
    VmdkFile(Parsed parsed, SourcePtr source, OpenContext context)
        : parsed_(std::move(parsed)), source_(std::move(source)),
          context_(std::move(context)), disks_{Disk{.size = parsed_.disk_size()}} {}

    const Format& format() const noexcept override { return kVmdkFormat; }
    const std::vector<Disk>& disks() const noexcept override { return disks_; }
    std::vector<std::string_view> keys() const override;
    Result<Layer> layer(std::size_t index) const override;
    std::vector<ParentLink> links() const override;
    Facts facts() const override;
    Result<AuditReport> audit(const AuditRequest& request) const override;

private:
    bool parent_given() const noexcept { return context_.selector.parent || context_.selector.backing; }
    Result<Pieces> pieces() const;
    Result<void> refuse_lone_extent() const;
    void make_orphan(Layer& layer) const;
    void add_sparse_facts(Facts& facts) const;
    void add_descriptor_facts(Facts& facts) const;

    Parsed parsed_;
    SourcePtr source_;
    OpenContext context_;
    std::vector<Disk> disks_;
};

std::vector<std::string_view> VmdkFile::keys() const {
    if (parsed_.has_parent() || parsed_.is_orphan()) return {"parent", "backing", "root"};
    if (!parsed_.sparse) return {"root"};
    return {};
}

Result<Pieces> VmdkFile::pieces() const {
    if (!parsed_.sparse) {
        auto opened = Pieces::open(*parsed_.descriptor, context_);
        if (opened.has_error()) return std::move(opened).error().in(source_->name());
        return opened;
    }
    Pieces pieces;
    pieces.list.push_back({.file = source_, .sparse = parsed_.sparse});
    return pieces;
}

// An extent is a part of a disk, whose descriptor knows the others and the parent. Who names a parent wants it so.
Result<void> VmdkFile::refuse_lone_extent() const {
    if (parsed_.descriptor || parent_given()) return ok();
    const std::string descriptor = descriptor_of(*source_, *context_.references, context_.limits);
    if (descriptor.empty()) return ok();
    return fail(ErrorKind::usage,
                "{}: is one extent of the disk that {} describes: open that, or read what the extent has by "
                "'#parent={}'",
                source_->name(), descriptor, kNoParent);
}

Result<Layer> VmdkFile::layer(std::size_t /*index*/) const {
    VDISK_CHECK(refuse_lone_extent());
    VDISK_TRY(found, pieces());
    VDISK_TRY(layer, join(found, context_));
    layer.remarks.insert(layer.remarks.begin(), parsed_.remarks.begin(), parsed_.remarks.end());
    if (!parsed_.sparse) {
        Facts files = Facts::array();
        for (const Piece& piece : found.list)
            if (piece.file && files.size() < kMostListed) files.push_back(std::string(piece.file->name()));
        layer.files["extent files"] = std::move(files);
    }
    if (parsed_.has_parent() || (parsed_.is_orphan() && parent_given()))
        layer.parent = parent_link(parsed_.descriptor.value_or(Descriptor{}), context_);
    else if (parsed_.is_orphan()) make_orphan(layer);
    return std::move(layer);
}

void VmdkFile::make_orphan(Layer& layer) const {
    const std::string_view why = parsed_.descriptor ? "its descriptor has no parentCID" : "it has no descriptor";
    layer.remarks.push_back(Remark::doubt(
        fmt::format("{}, so nothing tells whether it has a parent: what it does not have itself is an error", why)));
    Error error =
        fail(ErrorKind::usage, "{}: is not there, and nothing tells whether a parent has it", source_->name());
    layer.layout =
        std::make_shared<const OrphanLayout>(std::move(layer.layout), std::make_shared<const Error>(std::move(error)));
}

std::vector<ParentLink> VmdkFile::links() const {
    std::vector<ParentLink> links;
    if (parsed_.has_parent()) links.push_back(parent_link(*parsed_.descriptor, context_));
    if (parsed_.sparse) return links;
    for (const ExtentLine& line : parsed_.descriptor->extents)
        if (line.type != ExtentLine::Type::zero)
            links.push_back({.described = fmt::format("extent '{}'", shown_name(line.name)),
                             .format = "raw",
                             .key = "",
                             .locate = [line, context = context_](const References& /*gate*/) {
                                 return open_extent(line, context);
                             }});
    return links;
}

Facts VmdkFile::facts() const {
    Facts facts = Facts::object();
    if (parsed_.descriptor) add_descriptor_facts(facts);
    if (parsed_.sparse) add_sparse_facts(facts);
    if (const auto doubts = doubts_of(parsed_.remarks); !doubts.empty()) facts["damage"] = doubts;
    return facts;
}

void VmdkFile::add_descriptor_facts(Facts& facts) const {
    const Descriptor& descriptor = *parsed_.descriptor;
    facts["type"] = descriptor.create_type;
    if (descriptor.cid) facts[kFactCid] = cid_text(*descriptor.cid);
    if (descriptor.parent_cid.value_or(kNoParentCid) != kNoParentCid)
        facts["parent CID"] = cid_text(*descriptor.parent_cid);
    if (!descriptor.parent_hint.empty()) facts["parent name"] = printable(descriptor.parent_hint);
    for (const auto& [key, uuid] :
         {std::pair(kFactUuid, descriptor.image), std::pair(kFactModification, descriptor.modification),
          std::pair("parent UUID", descriptor.parent),
          std::pair("parent modification UUID", descriptor.parent_modification)})
        if (!uuid.is_null()) facts[key] = to_string(uuid);
    if (!descriptor.change_tracking.empty()) facts["change tracking file"] = printable(descriptor.change_tracking);
    for (const auto& [key, text] : descriptor.database) facts[key] = text;
    facts["extents"] = descriptor.extents.size();
    Facts lines = Facts::array();
    for (const ExtentLine& line : descriptor.extents)
        if (lines.size() < kMostListed) lines.push_back(line.text);
    facts["extent lines"] = std::move(lines);
}

void VmdkFile::add_sparse_facts(Facts& facts) const {
    const Sparse& sparse = *parsed_.sparse;
    facts["sparse extent"] = to_string(sparse.kind);
    facts["version"] = sparse.version;
    facts["grain size"] = sparse.grain_size;
    facts["grains"] = sparse.grains();
    facts["entries of a grain table"] = sparse.table_entries;
    if (sparse.directory) facts["grain directory offset"] = *sparse.directory;
    if (sparse.redundant) facts["redundant grain directory offset"] = *sparse.redundant;
    if (sparse.compressed) facts["compression"] = "zlib";
    if (sparse.zeroed_grains) facts["zeroed grains"] = true;
    if (sparse.unclean) facts["not closed"] = true;
}

Result<AuditReport> VmdkFile::audit(const AuditRequest& request) const {
    AuditReport report(context_.limits);
    report.facts = facts();
    report.add(parsed_.remarks, "header", "header-note");
    VDISK_TRY(found, pieces());
    report.add(found.remarks, "extent", "extent-note");
    VDISK_CHECK(audit_pieces(found, context_, request, report));
    return report;
}

Match probe(std::span<const std::byte> head, const ByteSource& /*source*/) {
    return begins_sparse(head) || begins_descriptor(head) ? Match::sure : Match::no;
}

Result<std::shared_ptr<const DiskFile>> open(SourcePtr source, const OpenContext& context) {
    VDISK_TRY(parsed, Parsed::parse(*source, context.limits));
    return std::shared_ptr<const DiskFile>(std::make_shared<VmdkFile>(std::move(parsed), std::move(source), context));
}

} // namespace
} // namespace vmdk

const Format kVmdkFormat{.name = "vmdk",
                         .description = "VMware virtual disk (VMDK) of Workstation, ESXi, VirtualBox and others",
                         .probe = vmdk::probe,
                         .open = vmdk::open,
                         .described_by = vmdk::descriptor_of};

} // namespace vdisk
