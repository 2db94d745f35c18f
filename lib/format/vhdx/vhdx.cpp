// SPDX-License-Identifier: Apache-2.0
#include "format/vhdx/vhdx.hpp"

#include "base/text.hpp"
#include "format/vhdx/audit.hpp"
#include "format/vhdx/layout.hpp"
#include "format/vhdx/log.hpp"
#include "format/vhdx/parent.hpp"

#include <array>

namespace vdisk {
namespace vhdx {
namespace {

// All that is read before a disk is: the file with its log replayed, and what that says.
struct Parsed {
    Header header;
    Replayed file;
    BlockTable table;
    std::vector<Remark> remarks; ///< of all parts
};

Result<Parsed> parse(SourcePtr source, const Limits& limits) {
    VDISK_TRY(header, Header::parse(*source));
    VDISK_TRY(file, replay_log(std::move(source), header, limits));
    VDISK_TRY(regions, Regions::parse(*file.source, header));
    VDISK_TRY(metadata, Metadata::parse(*file.source, regions.metadata, limits));
    std::vector<Remark> remarks = std::move(file.remarks);
    remarks.insert(remarks.end(), regions.remarks.begin(), regions.remarks.end());
    remarks.insert(remarks.end(), metadata.remarks.begin(), metadata.remarks.end());
    VDISK_TRY(table, BlockTable::make(*file.source, regions, std::move(metadata)));
    return Parsed{std::move(header), std::move(file), std::move(table), std::move(remarks)};
}

class VhdxFile final : public DiskFile {
public:
    VhdxFile(Parsed parsed, OpenContext context)
        : parsed_(std::move(parsed)),
          context_(std::move(context)), disks_{Disk{.size = metadata().disk_size,
                                                    .sector_size = metadata().sector_size}} {}

    const Format& format() const noexcept override { return kVhdxFormat; }
    const std::vector<Disk>& disks() const noexcept override { return disks_; }
    std::vector<std::string_view> keys() const override {
        if (metadata().has_parent) return {"parent", "backing"};
        return {};
    }
    Result<Layer> layer(std::size_t index) const override;
    std::vector<ParentLink> links() const override {
        if (!metadata().has_parent) return {};
        return {parent_link(metadata(), context_.limits)};
    }
    Facts facts() const override;
    Result<AuditReport> audit(const AuditRequest& request) const override;

private:
    const Metadata& metadata() const noexcept { return parsed_.table.metadata; }
    std::string_view type() const noexcept {
        if (metadata().has_parent) return "differencing";
        return metadata().leave_allocated ? "fixed" : "dynamic";
    }

    Parsed parsed_;
    OpenContext context_;
    std::vector<Disk> disks_;
};

Result<Layer> VhdxFile::layer(std::size_t /*index*/) const {
    const SourcePtr& file = parsed_.file.source;
    VDISK_TRY(found, survey(parsed_.table, *file, context_.limits));
    Layer layer(std::make_shared<const BlockLayout>(parsed_.table, std::move(found.contested), file, context_.caches),
                {file});
    layer.remarks = parsed_.remarks;
    layer.remarks.insert(layer.remarks.end(), found.remarks.begin(), found.remarks.end());
    if (metadata().has_parent) layer.parent = parent_link(metadata(), context_.limits);
    return layer;
}

Facts VhdxFile::facts() const {
    const Header& header = parsed_.header;
    Facts facts = Facts::object();
    if (!header.creator.empty()) facts["creator"] = printable(header.creator);
    facts["type"] = type();
    facts["block size"] = metadata().block_size;
    facts["blocks"] = metadata().blocks();
    facts["logical sector size"] = metadata().sector_size;
    if (metadata().physical_sector_size != 0) facts["physical sector size"] = metadata().physical_sector_size;
    facts["block table offset"] = parsed_.table.region.offset;
    facts["header offset"] = header.offset;
    facts["sequence number"] = header.sequence;
    if (!metadata().disk_id.is_null()) facts["disk ID"] = to_string(metadata().disk_id);
    facts["file write GUID"] = to_string(header.file_write);
    facts[kFactDataWrite] = to_string(header.data_write);
    if (!header.log.is_null()) facts["log GUID"] = to_string(header.log);
    if (parsed_.file.entries > 0) facts["log entries replayed"] = parsed_.file.entries;
    std::vector<std::string> locator;
    for (const auto& [key, value] : metadata().locator)
        locator.push_back(fmt::format("{}: {}", printable(key), printable(value)));
    if (!locator.empty()) facts["parent locator"] = locator;
    if (const auto doubts = doubts_of(parsed_.remarks); !doubts.empty()) facts["damage"] = doubts;
    return facts;
}

Result<AuditReport> VhdxFile::audit(const AuditRequest& request) const {
    AuditReport report(context_.limits);
    report.facts = facts();
    report.add(parsed_.remarks, "header", "header-copy");
    VDISK_CHECK(audit_table(parsed_.table, *parsed_.file.source, context_.limits, request, report));
    return report;
}

constexpr std::array kSignatures{Signature{.magic = kFileSignature, .least_size = 65536}};

Result<std::shared_ptr<const DiskFile>> open(SourcePtr source, const OpenContext& context) {
    VDISK_TRY(parsed, parse(std::move(source), context.limits));
    return std::shared_ptr<const DiskFile>(std::make_shared<VhdxFile>(std::move(parsed), context));
}

} // namespace
} // namespace vhdx

const Format kVhdxFormat{.name = "vhdx",
                         .description = "Virtual hard disk, version 2 (VHDX, AVHDX), of Hyper-V",
                         .probe = nullptr,
                         .open = vhdx::open,
                         .signatures = vhdx::kSignatures};

} // namespace vdisk
