// SPDX-License-Identifier: Apache-2.0
#include "format/qcow/qcow.hpp"

#include "base/text.hpp"
#include "disk/passphrase.hpp"
#include "format/qcow/header.hpp"

#include <array>

namespace vdisk {
namespace qcow {
namespace {

class File final : public DiskFile {
public:
    File(Header header, SourcePtr source, OpenContext context)
        : header_(std::move(header)), image_(header_.image()), source_(std::move(source)),
          context_(std::move(context)), disks_{Disk{.size = header_.size}} {}

    const Format& format() const noexcept override { return kQcowFormat; }
    const std::vector<Disk>& disks() const noexcept override { return disks_; }
    std::vector<std::string_view> keys() const override;
    Result<Layer> layer(std::size_t index) const override;
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

std::vector<std::string_view> File::keys() const {
    std::vector<std::string_view> keys;
    if (header_.encrypted) keys.push_back("key-file");
    if (image_.parent) keys.insert(keys.end(), {"backing", "parent", "root"});
    return keys;
}

Result<Layer> File::layer(std::size_t /*index*/) const {
    VDISK_TRY(layer, open_clusters(image_, source_, context_));
    if (!header_.encrypted) return std::move(layer);
    auto passphrase = read_passphrase(context_);
    if (passphrase.has_error()) return std::move(passphrase).error().in(source_->name());
    VDISK_TRY(encryption, open_qcow_aes(std::move(passphrase.value().bytes)));
    layer.encryption = std::move(encryption);
    return std::move(layer);
}

Facts File::facts() const {
    Facts facts = Facts::object();
    facts["version"] = 1;
    facts["cluster size"] = header_.cluster_size();
    facts["L2 entries"] = image_.tables.table_entries;
    facts["L1 table offset"] = header_.l1_table_offset;
    if (header_.encrypted) facts["encryption"] = describe_qcow_aes();
    if (header_.backing) facts["backing file"] = printable(header_.backing->name);
    if (header_.mtime != 0) facts["modified"] = utc_time(header_.mtime);
    if (const auto found = find_contradictions(image_, *source_, context_.limits);
        found.has_value() && !found.value().empty())
        facts["damage"] = found.value();
    return facts;
}

Result<AuditReport> File::audit(const AuditRequest& request) const {
    AuditReport report(context_.limits);
    report.facts = facts();
    VDISK_CHECK(audit_clusters(image_, *source_, context_.limits, request, report));
    return report;
}

constexpr std::array kSignatures{Signature{.magic = kMagic, .least_size = sizeof(RawHeader)}};

Result<std::shared_ptr<const DiskFile>> open(SourcePtr source, const OpenContext& context) {
    VDISK_TRY(header, Header::parse(*source));
    return std::shared_ptr<const DiskFile>(std::make_shared<File>(std::move(header), std::move(source), context));
}

} // namespace
} // namespace qcow

const Format kQcowFormat{.name = "qcow",
                         .description = "QEMU copy-on-write, version 1 (qcow)",
                         .probe = nullptr,
                         .open = qcow::open,
                         .signatures = qcow::kSignatures};

} // namespace vdisk
