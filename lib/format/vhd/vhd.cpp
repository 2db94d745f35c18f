// SPDX-License-Identifier: Apache-2.0
#include "format/vhd/vhd.hpp"

#include "base/text.hpp"
#include "format/vhd/audit.hpp"
#include "format/vhd/layout.hpp"
#include "format/vhd/parent.hpp"
#include "image/uniform_layout.hpp"
#include "io/memory_source.hpp"

#include <array>

namespace vdisk {
namespace vhd {
namespace {

class VhdFile final : public DiskFile {
public:
    VhdFile(Header header, SourcePtr source, OpenContext context)
        : header_(std::move(header)), source_(std::move(source)),
          context_(std::move(context)), disks_{Disk{.size = header_.disk_size}} {}

    const Format& format() const noexcept override { return kVhdFormat; }
    const std::vector<Disk>& disks() const noexcept override { return disks_; }
    std::vector<std::string_view> keys() const override {
        if (header_.has_parent()) return {"parent", "backing"};
        return {};
    }
    Result<Layer> layer(std::size_t index) const override;
    std::vector<ParentLink> links() const override {
        if (!header_.has_parent()) return {};
        return {parent_link(header_, context_.limits)};
    }
    Facts facts() const override;
    Result<AuditReport> audit(const AuditRequest& request) const override;

private:
    void add_table_facts(Facts& facts) const;

    Header header_;
    SourcePtr source_;
    OpenContext context_;
    std::vector<Disk> disks_;
};

Result<Layer> VhdFile::layer(std::size_t /*index*/) const {
    // The footer at the end is no block's data, wherever a table says that the block lies.
    const SourcePtr data = std::make_shared<const SliceSource>(source_, 0, header_.data_end);
    Layer layer;
    layer.sources = {data};
    layer.remarks = header_.remarks;
    if (header_.type == Type::fixed) {
        layer.layout = std::make_shared<const UniformLayout>(Extent::stored(header_.disk_size, HostOffset{0}));
        return layer;
    }
    VDISK_TRY(found, survey(header_, *source_, context_.limits));
    layer.layout = std::make_shared<const BlockLayout>(header_, std::move(found.contested), source_, context_.caches);
    layer.remarks.insert(layer.remarks.end(), found.remarks.begin(), found.remarks.end());
    if (header_.has_parent()) layer.parent = parent_link(header_, context_.limits);
    return layer;
}

Facts VhdFile::facts() const {
    const RawFooter& raw = header_.footer.raw;
    Facts facts = Facts::object();
    const std::uint32_t version = raw.version.value();
    facts["version"] = fmt::format("{}.{}", version >> 16, version & 0xFFFF);
    facts["type"] = to_string(header_.type);
    const std::string_view creator(raw.creator.data(), raw.creator.size());
    facts["creator"] = printable(creator.substr(0, creator.find_last_not_of(std::string_view("\0 ", 2)) + 1));
    facts["creator version"] = fmt::format("{:#010x}", raw.creator_version.value());
    facts["creator host"] = printable(std::string_view(raw.creator_host.data(), raw.creator_host.size()));
    facts[kFactId] = to_string(header_.unique_id);
    facts[kFactTime] = time_of(raw.time_stamp.value());
    facts["original size"] = raw.original_size.value();
    facts["geometry size"] = header_.chs_size();
    facts["geometry"] = fmt::format("{}/{}/{}", raw.cylinders.value(), raw.heads, raw.sectors);
    if (raw.saved_state != 0) facts["saved state"] = true;
    if (header_.type != Type::fixed) add_table_facts(facts);
    if (const auto doubts = doubts_of(header_.remarks); !doubts.empty()) facts["damage"] = doubts;
    return facts;
}

void VhdFile::add_table_facts(Facts& facts) const {
    facts["block size"] = header_.block_size;
    facts["blocks"] = header_.entries;
    facts["block table offset"] = header_.table_offset;
    if (!header_.has_parent()) return;
    facts["parent unique ID"] = to_string(header_.parent_id);
    if (header_.parent_time_stamp != 0) facts["parent time stamp"] = time_of(header_.parent_time_stamp);
    if (!header_.parent_name.empty()) facts["parent name"] = printable(header_.parent_name);
    std::vector<std::string> locators;
    for (const Locator& locator : header_.locators)
        locators.push_back(fmt::format("{}: {}", locator.platform, printable(locator.name)));
    if (!locators.empty()) facts["parent locators"] = locators;
}

Result<AuditReport> VhdFile::audit(const AuditRequest& request) const {
    AuditReport report(context_.limits);
    report.facts = facts();
    report.add(header_.remarks, "header", "footer");
    if (header_.type == Type::fixed) {
        VDISK_CHECK(audit_fixed(header_, *source_, report));
    } else {
        VDISK_CHECK(audit_table(header_, *source_, context_.limits, request, report));
    }
    return report;
}

constexpr std::array kSignatures{
    Signature{.magic = kFooterCookie, .least_size = sizeof(RawFooter)},
    Signature{.magic = kFooterCookie, .offset = 512, .least_size = sizeof(RawFooter), .from = Signature::From::end},
    Signature{
        .magic = kFooterCookie, .offset = kShortFooter, .least_size = kShortFooter, .from = Signature::From::end}};

Result<std::shared_ptr<const DiskFile>> open(SourcePtr source, const OpenContext& context) {
    VDISK_TRY(header, Header::parse(*source, context.limits));
    return std::shared_ptr<const DiskFile>(std::make_shared<VhdFile>(std::move(header), std::move(source), context));
}

} // namespace
} // namespace vhd

const Format kVhdFormat{.name = "vhd",
                        .description = "Virtual hard disk (VHD) of Virtual PC, Hyper-V and others",
                        .probe = nullptr,
                        .open = vhd::open,
                        .signatures = vhd::kSignatures,
                        .alias = "vpc"};

} // namespace vdisk
