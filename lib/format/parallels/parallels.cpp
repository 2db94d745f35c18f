// SPDX-License-Identifier: Apache-2.0
#include "format/parallels/parallels.hpp"

#include "base/parse.hpp"
#include "base/text.hpp"
#include "format/parallels/bundle.hpp"
#include "format/parallels/header.hpp"

#include <algorithm>

namespace vdisk {
namespace parallels {
namespace {

class ParallelsImage final : public ClusterFile {
public:
    ParallelsImage(Header header, SourcePtr source, OpenContext context)
        : ClusterFile(header.image(), std::move(source), std::move(context)), header_(std::move(header)) {}

    const Format& format() const noexcept override { return kParallelsFormat; }
    std::vector<std::string_view> keys() const override { return {"parent", "backing", "root"}; }
    Result<Layer> layer(std::size_t index) const override;
    std::vector<ParentLink> links() const override;
    Facts facts() const override;

private:
    void tell(AuditReport& report) const override {
        for (const Remark& remark : image().remarks) report.add(Severity::warning, "in-use", {}, "{}", remark.text);
    }

    Header header_;
};

Result<Layer> ParallelsImage::layer(std::size_t index) const {
    VDISK_TRY(layer, ClusterFile::layer(index));
    auto member = find_membership(context());
    if (member.has_error()) return std::move(member).error().in(source()->name());
    if (member.value()) {
        layer.parent = member.value()->parent;
        layer.remarks.insert(layer.remarks.end(), member.value()->remarks.begin(), member.value()->remarks.end());
    }
    const bool given = context().selector.parent || context().selector.backing;
    if (!layer.parent && given)
        layer.parent =
            ParentLink{.described = "the parent that was given", .format = "", .key = "parent", .locate = {}};
    else if (!layer.parent && header_.by_virtualbox)
        layer.remarks.push_back(Remark::note("is of VirtualBox, whose Parallels images do not say whether they have a "
                                             "parent: what it lacks reads as zeros, but for '#parent=FILE'"));
    return std::move(layer);
}

std::vector<ParentLink> ParallelsImage::links() const {
    const auto member = find_membership(context());
    if (member.has_error() || !member.value() || !member.value()->parent) return {};
    return {*member.value()->parent};
}

Facts ParallelsImage::facts() const {
    Facts facts = Facts::object();
    facts["version"] = 2;
    facts["table counts"] = header_.counts_clusters ? "clusters" : "sectors";
    facts["cluster size"] = header_.cluster_size;
    facts["table entries"] = header_.table_entries;
    if (header_.flags != 0) facts["flags"] = fmt::format("{:#x}", header_.flags);
    if (header_.in_use) facts["in use"] = true;
    if (!header_.extension.empty()) facts["format extension"] = true;
    add_damage(facts);
    return facts;
}

// The disk that a descriptor puts together: its current state, and each of its snapshots.
class Bundle final : public DiskFile {
public:
    Bundle(Descriptor descriptor, SourcePtr source, OpenContext context)
        : descriptor_(std::move(descriptor)), source_(std::move(source)), context_(std::move(context)) {
        Disk disk{.size = descriptor_.sectors() * kSector,
                  .sector_size = static_cast<std::uint32_t>(descriptor_.sector_size)};
        disk.facts["GUID"] = braced(descriptor_.top);
        disks_.push_back(disk);
        disk.kind = Disk::Kind::snapshot;
        disk.chosen_by_default = false;
        for (const Shot& shot : descriptor_.shots) {
            disk.name = braced(shot.uuid);
            disk.facts = Facts::object();
            if (!shot.parent.is_null()) disk.facts["after"] = braced(shot.parent);
            disks_.push_back(disk);
        }
    }

    const Format& format() const noexcept override { return kParallelsFormat; }
    const std::vector<Disk>& disks() const noexcept override { return disks_; }
    std::vector<std::string_view> keys() const override { return {"root"}; }
    Result<Layer> layer(std::size_t index) const override {
        const Uuid& shot = index == 0 ? descriptor_.top : descriptor_.shots[index - 1].uuid;
        return open_shot(descriptor_, shot, *source_, context_);
    }
    std::vector<ParentLink> links() const override {
        std::vector<ParentLink> links;
        for (const Storage& storage : descriptor_.storages)
            for (const ImageFile& image : storage.images) links.push_back(link_to(image));
        return links;
    }
    Facts facts() const override {
        Facts facts = Facts::object();
        facts["pieces"] = descriptor_.storages.size();
        facts["snapshots"] = descriptor_.shots.size();
        facts["current snapshot"] = braced(descriptor_.top);
        return facts;
    }
    Result<AuditReport> audit(const AuditRequest& request) const override {
        AuditReport report(context_.limits);
        report.facts = facts();
        VDISK_CHECK(audit_images(descriptor_, context_, request, report));
        return report;
    }

private:
    Descriptor descriptor_;
    SourcePtr source_;
    OpenContext context_;
    std::vector<Disk> disks_;
};

Match probe(std::span<const std::byte> head, const ByteSource& /*source*/) {
    const std::string_view text = as_text(head);
    if (text.starts_with(kMagicSectors) || text.starts_with(kMagicClusters)) return Match::sure;
    return is_xml_with(head, "<Parallels_disk_image") ? Match::sure : Match::no;
}

Result<std::shared_ptr<const DiskFile>> open(SourcePtr source, const OpenContext& context) {
    auto header = Header::parse(*source);
    if (header.has_value())
        return std::shared_ptr<const DiskFile>(
            std::make_shared<ParallelsImage>(std::move(header).value(), std::move(source), context));
    std::vector<std::byte> start(static_cast<std::size_t>(std::min<std::uint64_t>(source->size(), 4096)));
    VDISK_CHECK(read_exact(*source, 0, start));
    if (as_text(start).find('<') == std::string_view::npos || as_text(start).starts_with("Withou"))
        return std::move(header).error();
    VDISK_TRY(descriptor, Descriptor::parse(*source, context.limits));
    return std::shared_ptr<const DiskFile>(std::make_shared<Bundle>(std::move(descriptor), std::move(source), context));
}

} // namespace
} // namespace parallels

const Format kParallelsFormat{.name = "parallels",
                              .description = "Parallels disk (.hds, DiskDescriptor.xml)",
                              .probe = parallels::probe,
                              .open = parallels::open,
                              .file_in_folder = parallels::kDescriptorName};

} // namespace vdisk
