// SPDX-License-Identifier: Apache-2.0
#include "format/qcow/qcow.hpp"

#include "base/text.hpp"
#include "disk/passphrase.hpp"
#include "format/qcow/header.hpp"

#include <array>

namespace vdisk {
namespace qcow {
namespace {

class QcowFile final : public ClusterFile {
public:
    QcowFile(Header header, SourcePtr source, OpenContext context)
        : ClusterFile(header.image(), std::move(source), std::move(context)), header_(std::move(header)) {}

    const Format& format() const noexcept override { return kQcowFormat; }
    std::vector<std::string_view> keys() const override;
    Result<Layer> layer(std::size_t index) const override;
    Facts facts() const override;

private:
    Header header_;
};

std::vector<std::string_view> QcowFile::keys() const {
    std::vector<std::string_view> keys = ClusterFile::keys();
    if (header_.encrypted) keys.push_back("key-file");
    return keys;
}

Result<Layer> QcowFile::layer(std::size_t index) const {
    VDISK_TRY(layer, ClusterFile::layer(index));
    if (!header_.encrypted) return std::move(layer);
    auto passphrase = read_passphrase(context());
    if (passphrase.has_error()) return std::move(passphrase).error().in(source()->name());
    VDISK_TRY(encryption, open_qcow_aes(std::move(passphrase.value().bytes)));
    layer.encryption = std::move(encryption);
    return std::move(layer);
}

Facts QcowFile::facts() const {
    Facts facts = Facts::object();
    facts["version"] = 1;
    facts["cluster size"] = header_.cluster_size();
    facts["L2 entries"] = image().tables.table_entries;
    facts["L1 table offset"] = header_.l1_table_offset;
    if (header_.encrypted) facts["encryption"] = describe_qcow_aes();
    if (header_.backing) facts["backing file"] = printable(header_.backing->name);
    if (header_.mtime != 0) facts["modified"] = utc_time(header_.mtime);
    add_damage(facts);
    return facts;
}

constexpr std::array kSignatures{Signature{.magic = kMagic, .least_size = sizeof(RawQcowHeader)}};

Result<std::shared_ptr<const DiskFile>> open(SourcePtr source, const OpenContext& context) {
    VDISK_TRY(header, Header::parse(*source));
    return std::shared_ptr<const DiskFile>(std::make_shared<QcowFile>(std::move(header), std::move(source), context));
}

} // namespace
} // namespace qcow

const Format kQcowFormat{.name = "qcow",
                         .description = "QEMU copy-on-write, version 1 (qcow)",
                         .probe = nullptr,
                         .open = qcow::open,
                         .signatures = qcow::kSignatures};

} // namespace vdisk
