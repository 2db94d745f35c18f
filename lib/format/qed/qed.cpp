// SPDX-License-Identifier: Apache-2.0
#include "format/qed/qed.hpp"

#include "base/text.hpp"
#include "format/qed/header.hpp"

#include <array>

namespace vdisk {
namespace qed {
namespace {

class File final : public DiskFile {
public:
    File(Header header, SourcePtr source, OpenContext context)
        : header_(std::move(header)), image_(header_.image()), source_(std::move(source)),
          context_(std::move(context)), disks_{Disk{.size = header_.image_size}} {}

    const Format& format() const noexcept override { return kQedFormat; }
    const std::vector<Disk>& disks() const noexcept override { return disks_; }
    std::vector<std::string_view> keys() const override {
        if (image_.parent) return {"backing", "parent", "root"};
        return {};
    }
    Result<Layer> layer(std::size_t /*index*/) const override { return open_clusters(image_, source_, context_); }
    std::vector<ParentLink> links() const override {
        return image_.parent ? std::vector{*image_.parent} : std::vector<ParentLink>{};
    }
    Facts facts() const override;
    Result<AuditReport> audit(const AuditRequest& request) const override;

private:
    Header header_;
    ClusterImage image_;
    SourcePtr source_;
    OpenContext context_;
    std::vector<Disk> disks_;
};

Facts File::facts() const {
    Facts facts = Facts::object();
    facts["cluster size"] = header_.cluster_size;
    facts["table size"] = header_.table_size;
    facts["header size"] = header_.header_bytes;
    facts["L1 table offset"] = header_.l1_table_offset;
    facts["features"] = fmt::format("{:#x}", header_.features);
    if (header_.compat_features != 0) facts["compatible features"] = fmt::format("{:#x}", header_.compat_features);
    if (header_.autoclear_features != 0) facts["autoclear features"] = fmt::format("{:#x}", header_.autoclear_features);
    if (header_.has(kNeedCheck)) facts["needs check"] = true;
    if (header_.backing) facts["backing file"] = printable(header_.backing->name);
    if (header_.backing && header_.has(kBackingIsRaw)) facts["backing format"] = "raw";
    if (const auto found = find_contradictions(image_, *source_, context_.limits);
        found.has_value() && !found.value().empty())
        facts["damage"] = found.value();
    return facts;
}

Result<AuditReport> File::audit(const AuditRequest& request) const {
    AuditReport report(context_.limits);
    report.facts = facts();
    report.add(image_.remarks, "header", "need-check");
    VDISK_CHECK(audit_clusters(image_, *source_, context_.limits, request, report));
    return report;
}

constexpr std::array kSignatures{Signature{.magic = kMagic, .least_size = sizeof(RawHeader)}};

Result<std::shared_ptr<const DiskFile>> open(SourcePtr source, const OpenContext& context) {
    VDISK_TRY(header, Header::parse(*source));
    return std::shared_ptr<const DiskFile>(std::make_shared<File>(std::move(header), std::move(source), context));
}

} // namespace
} // namespace qed

const Format kQedFormat{.name = "qed",
                        .description = "QEMU enhanced disk (QED)",
                        .probe = nullptr,
                        .open = qed::open,
                        .signatures = qed::kSignatures};

} // namespace vdisk
