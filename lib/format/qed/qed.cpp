// SPDX-License-Identifier: Apache-2.0
#include "format/qed/qed.hpp"

#include "base/text.hpp"
#include "format/qed/header.hpp"

#include <array>

namespace vdisk {
namespace qed {
namespace {

class QedFile final : public ClusterFile {
public:
    QedFile(Header header, SourcePtr source, OpenContext context)
        : ClusterFile(header.image(), std::move(source), std::move(context)), header_(std::move(header)) {}

    const Format& format() const noexcept override { return kQedFormat; }
    Facts facts() const override;

private:
    void tell(AuditReport& report) const override { report.add(image().remarks, "header", "need-check"); }

    Header header_;
};

Facts QedFile::facts() const {
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
    add_damage(facts);
    return facts;
}

constexpr std::array kSignatures{Signature{.magic = kMagic, .least_size = sizeof(RawQedHeader)}};

Result<std::shared_ptr<const DiskFile>> open(SourcePtr source, const OpenContext& context) {
    VDISK_TRY(header, Header::parse(*source));
    return std::shared_ptr<const DiskFile>(std::make_shared<QedFile>(std::move(header), std::move(source), context));
}

} // namespace
} // namespace qed

const Format kQedFormat{.name = "qed",
                        .description = "QEMU enhanced disk (QED)",
                        .probe = nullptr,
                        .open = qed::open,
                        .signatures = qed::kSignatures};

} // namespace vdisk
