// SPDX-License-Identifier: Apache-2.0
#include "format/parallels/bundle.hpp"

#include "base/system/path.hpp"
#include "base/text.hpp"
#include "disk/nearby_files.hpp"
#include "format/parallels/header.hpp"
#include "image/joined_layout.hpp"
#include "image/uniform_layout.hpp"

#include <algorithm>

namespace vdisk::parallels {
namespace {

// Images of one piece, each above the next.
class StackedLayout final : public Layout {
public:
    struct Level {
        std::shared_ptr<const Layout> layout;
        std::uint32_t source; ///< the layer's source that the layout counts as its first
    };

    StackedLayout(std::uint64_t size, std::vector<Level> levels) : size_(size), levels_(std::move(levels)) {}
    [[nodiscard]] std::uint64_t disk_size() const noexcept override { return size_; }
    [[nodiscard]] Result<Mapping> map(GuestOffset at, std::uint64_t wanted) const override {
        wanted = std::min(wanted, size_ - at.value);
        for (const Level& level : levels_) {
            VDISK_TRY(found, level.layout->map(at, wanted));
            const Mapping mapping = found.cut_to(wanted);
            if (mapping.own() == nullptr) {
                wanted = mapping.length();
                continue;
            }
            Extent extent = *mapping.own();
            extent.source += level.source;
            return Mapping(std::move(extent));
        }
        return Mapping::ask_parent(wanted);
    }

private:
    std::uint64_t size_;
    std::vector<Level> levels_;
};

Result<FoundFile> open_image(const ImageFile& image, const References& gate) {
    auto found = gate.open(image.name);
    if (found.has_value()) found = gate.joined(std::move(found).value());
    if (found.has_error()) return std::move(found).error().in(fmt::format("image '{}'", printable(image.name)));
    return found;
}

// One image as a layer of `bytes`.
Result<Layer> open_level(const ImageFile& image, const FilePtr& file, std::uint64_t bytes, const OpenContext& context) {
    if (image.plain) return Layer(std::make_shared<const UniformLayout>(Extent::stored(bytes, HostOffset{0})), {file});
    VDISK_TRY(header, Header::parse(*file));
    if (header.disk_size != bytes)
        return fail(ErrorKind::corrupt, "{}: maps {} bytes, but its descriptor says {}", file->name(), header.disk_size,
                    bytes);
    const ClusterImage clusters = header.image();
    VDISK_TRY(look, ClusterLook::at(clusters, *file, context.limits));
    return open_clusters(clusters, look, file, context);
}

class Assembly {
public:
    explicit Assembly(const OpenContext& context) : context_(context) {}

    Result<void> add(const Storage& storage, const std::vector<Uuid>& chain) {
        const std::uint64_t bytes = (storage.end - storage.start) * kSector;
        std::vector<StackedLayout::Level> levels;
        for (const Uuid& shot : chain) {
            const ImageFile* const image = storage.find(shot);
            if (image == nullptr)
                return fail(ErrorKind::corrupt, "the Storage from sector {} on has no image of Shot {}", storage.start,
                            braced(shot));
            VDISK_TRY(found, open_image(*image, *context_.references));
            VDISK_TRY(level, open_level(*image, found.file, bytes, context_));
            levels.push_back({level.layout, static_cast<std::uint32_t>(layer_.sources.size())});
            tell(found, level);
        }
        pieces_.push_back({.length = bytes, .layout = std::make_shared<const StackedLayout>(bytes, std::move(levels))});
        return ok();
    }

    Layer take() && {
        layer_.files["images used"] = files_;
        layer_.layout = std::make_shared<const JoinedLayout>(std::move(pieces_));
        return std::move(layer_);
    }

private:
    void tell(const FoundFile& found, const Layer& level) {
        const std::string_view name = found.file->name();
        layer_.sources.insert(layer_.sources.end(), level.sources.begin(), level.sources.end());
        files_.push_back(found.how.empty() ? std::string(name) : fmt::format("{}, found {}", name, found.how));
        std::vector<Remark> remarks = found.remarks;
        remarks.insert(remarks.end(), level.remarks.begin(), level.remarks.end());
        for (const Remark& remark : remarks)
            layer_.remarks.push_back({remark.weight, fmt::format("{} {}", name, remark.text)});
    }

    const OpenContext& context_;
    Layer layer_;
    std::vector<std::string> files_;
    std::vector<JoinedLayout::Piece> pieces_;
};

Result<FilePtr> descriptor_beside(const OpenContext& context) {
    for (const auto& folder : context.references->folders())
        if (auto file = context.references->open_exact(folder / kDescriptorName); file.has_value()) return file;
    return fail(ErrorKind::io, "not found");
}

Membership membership(const Descriptor& descriptor, std::size_t piece, const ImageFile& image) {
    const Shot* const shot = descriptor.find(image.shot);
    Membership member;
    member.remarks.push_back(Remark::note(fmt::format(
        "is piece {} of {} of the disk of the {} beside it, as Shot {}{}", piece + 1, descriptor.storages.size(),
        kDescriptorName, braced(image.shot), image.shot == descriptor.top ? ", the current one" : "")));
    if (shot == nullptr || shot->parent.is_null()) return member;
    const ImageFile* const below = descriptor.storages[piece].find(shot->parent);
    // Where there is none, the search for the parent tells it.
    member.parent = link_to(below != nullptr ? *below : ImageFile{.shot = shot->parent});
    return member;
}

} // namespace

ParentLink link_to(const ImageFile& image) {
    ParentLink link;
    link.described = fmt::format("Shot {} ('{}')", braced(image.shot), printable(image.name));
    link.format = image.plain ? "raw" : "parallels";
    link.key = "parent";
    link.locate = [name = image.name](const References& references) { return references.open(name); };
    return link;
}

Result<Layer> open_shot(const Descriptor& descriptor, const Uuid& shot, const ByteSource& source,
                        const OpenContext& context) {
    const auto open = [&]() -> Result<Layer> {
        VDISK_TRY(chain, descriptor.chain(shot));
        if (chain.size() > context.limits.chain_depth)
            return fail(ErrorKind::limit_exceeded, "the chain has more than {} layers", context.limits.chain_depth);
        Assembly assembly(context);
        for (const Storage& storage : descriptor.storages) VDISK_CHECK(assembly.add(storage, chain));
        return std::move(assembly).take();
    };
    auto layer = open();
    if (layer.has_error()) return std::move(layer).error().in(source.name());
    return layer;
}

Result<std::optional<Membership>> find_membership(const OpenContext& context) {
    if (!context.file) return std::optional<Membership>();
    const auto file = descriptor_beside(context);
    if (file.has_error()) return std::optional<Membership>();
    VDISK_TRY(descriptor, Descriptor::parse(*file.value(), context.limits));
    const std::string own = utf8(context.file->path().filename());
    for (std::size_t piece = 0; piece < descriptor.storages.size(); ++piece)
        for (const ImageFile& image : descriptor.storages[piece].images)
            if (last_part(image.name) == own) {
                if (auto chain = descriptor.chain(image.shot); chain.has_error()) return std::move(chain).error();
                return std::optional(membership(descriptor, piece, image));
            }
    return std::optional<Membership>();
}

Result<void> audit_images(const Descriptor& descriptor, const OpenContext& context, const AuditRequest& request,
                          AuditReport& report) {
    for (const Storage& storage : descriptor.storages)
        for (const ImageFile& image : storage.images) {
            const auto found = open_image(image, *context.references);
            if (found.has_error()) {
                report.add(Severity::error, "image-missing", {}, "{}", found.error().what);
                continue;
            }
            if (image.plain) continue;
            const FileSource& file = *found.value().file;
            const auto header = Header::parse(file);
            if (header.has_error()) {
                report.add(Severity::error, "image-damage", {}, "{}", header.error().what);
                continue;
            }
            const ClusterImage clusters = header.value().image();
            VDISK_TRY(look, ClusterLook::at(clusters, file, context.limits));
            AuditReport own(context.limits);
            VDISK_CHECK(audit_clusters(clusters, look, file, context.limits, request, own));
            const std::uint64_t errors = own.number_of(Severity::error);
            const std::uint64_t warnings = own.number_of(Severity::warning) - errors;
            if (errors != 0)
                report.add(Severity::error, "image-damage", {}, "{}: {} errors, of which its own audit tells",
                           file.name(), errors);
            if (warnings != 0)
                report.add(Severity::warning, "image-leaks", {}, "{}: {} warnings, of which its own audit tells",
                           file.name(), warnings);
        }
    return ok();
}

} // namespace vdisk::parallels
