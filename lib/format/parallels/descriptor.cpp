// SPDX-License-Identifier: Apache-2.0
#include "format/parallels/descriptor.hpp"

#include "base/parse.hpp"
#include "base/text.hpp"
#include "disk/xml.hpp"

#include <pugixml.hpp>

#include <algorithm>

namespace vdisk::parallels {
namespace {

constexpr std::string_view kDefaultTop = "5fbaabe3-6958-40ff-92a7-860e329aab41";
constexpr std::uint64_t kMaxSectors = std::uint64_t{1} << 53;

std::string_view text_of(const pugi::xml_node& node, const char* name) {
    return trimmed(node.child(name).text().get());
}

Result<std::uint64_t> number_of(const pugi::xml_node& node, const char* name) {
    const std::string_view text = text_of(node, name);
    const auto number = parse_number<std::uint64_t>(text);
    if (!number || *number > kMaxSectors)
        return fail(ErrorKind::corrupt, "{} is '{}', no number up to 2^53", name, printable(shortened(text, 80)));
    return *number;
}

Result<Uuid> uuid_of(const pugi::xml_node& node, const char* name) {
    const std::string_view text = text_of(node, name);
    const bool braces = text.size() > 1 && text.front() == '{' && text.back() == '}';
    const auto uuid = Uuid::parse(braces ? text.substr(1, text.size() - 2) : text);
    if (!uuid) return fail(ErrorKind::corrupt, "{} is '{}', no GUID", name, printable(shortened(text, 80)));
    return *uuid;
}

Result<ImageFile> read_image(const pugi::xml_node& node) {
    VDISK_TRY(shot, uuid_of(node, "GUID"));
    const std::string_view type = text_of(node, "Type");
    if (type != "Plain" && type != "Compressed")
        return fail(ErrorKind::unsupported, "Type of an image is '{}', known are Plain and Compressed",
                    printable(shortened(type, 80)));
    return ImageFile{.shot = shot, .plain = type == "Plain", .name = std::string(text_of(node, "File"))};
}

Result<void> read_storages(const pugi::xml_node& root, Descriptor& descriptor) {
    for (const pugi::xml_node& node : root.child("StorageData").children("Storage")) {
        Storage storage;
        VDISK_TRY(start, number_of(node, "Start"));
        VDISK_TRY(end, number_of(node, "End"));
        storage.start = start;
        storage.end = end;
        const std::uint64_t expected = descriptor.storages.empty() ? 0 : descriptor.storages.back().end;
        if (start != expected || end <= start)
            return fail(ErrorKind::corrupt, "a Storage goes from sector {} to {}, but must begin at {}", start, end,
                        expected);
        for (const pugi::xml_node& image : node.children("Image")) {
            VDISK_TRY(read, read_image(image));
            storage.images.push_back(std::move(read));
        }
        descriptor.storages.push_back(std::move(storage));
    }
    if (descriptor.storages.empty()) return fail(ErrorKind::corrupt, "names no Storage");
    const pugi::xml_node parameters = root.child("Disk_Parameters");
    if (!parameters.child("Disk_size")) return ok();
    VDISK_TRY(size, number_of(parameters, "Disk_size"));
    if (size != descriptor.sectors())
        return fail(ErrorKind::corrupt, "Disk_size is {}, but the last Storage ends at {}", size, descriptor.sectors());
    return ok();
}

Result<void> read_shots(const pugi::xml_node& root, Descriptor& descriptor) {
    const pugi::xml_node snapshots = root.child("Snapshots");
    for (const pugi::xml_node& node : snapshots.children("Shot")) {
        VDISK_TRY(uuid, uuid_of(node, "GUID"));
        VDISK_TRY(parent, uuid_of(node, "ParentGUID"));
        if (descriptor.find(uuid) != nullptr) return fail(ErrorKind::corrupt, "Shot {} is there twice", braced(uuid));
        descriptor.shots.push_back({uuid, parent});
    }
    if (descriptor.shots.empty()) // of a disk that never had a snapshot
        for (const ImageFile& image : descriptor.storages.front().images) descriptor.shots.push_back({image.shot, {}});
    if (snapshots.child("TopGUID")) {
        VDISK_TRY(top, uuid_of(snapshots, "TopGUID"));
        descriptor.top = top;
    } else {
        descriptor.top = *Uuid::parse(kDefaultTop);
        if (descriptor.find(descriptor.top) == nullptr && descriptor.shots.size() == 1)
            descriptor.top = descriptor.shots.front().uuid;
    }
    if (descriptor.find(descriptor.top) == nullptr)
        return fail(ErrorKind::corrupt, "the current state is {}, but there is no such Shot", braced(descriptor.top));
    return ok();
}

// Nothing tells of an encrypted disk but this element; its bytes would be noise.
Result<void> refuse_encrypted(const pugi::xml_node& root) {
    const std::string_view engine = text_of(root.child("Disk_Parameters").child("Encryption"), "Engine");
    if (engine.empty() || engine == "{00000000-0000-0000-0000-000000000000}") return ok();
    return fail(ErrorKind::unsupported, "the disk is encrypted by the engine {}, which is not supported",
                printable(shortened(engine, 80)));
}

Result<Descriptor> read_document(const pugi::xml_node& root) {
    Descriptor descriptor;
    VDISK_CHECK(refuse_encrypted(root));
    VDISK_CHECK(read_storages(root, descriptor));
    VDISK_CHECK(read_shots(root, descriptor));
    if (text_of(root.child("Disk_Parameters"), "LogicSectorSize") == "4096") descriptor.sector_size = 4096;
    return descriptor;
}

} // namespace

const ImageFile* Storage::find(const Uuid& shot) const noexcept {
    const auto found = std::ranges::find(images, shot, &ImageFile::shot);
    return found == images.end() ? nullptr : &*found;
}

const Shot* Descriptor::find(const Uuid& shot) const noexcept {
    const auto found = std::ranges::find(shots, shot, &Shot::uuid);
    return found == shots.end() ? nullptr : &*found;
}

Result<std::vector<Uuid>> Descriptor::chain(const Uuid& shot) const {
    std::vector<Uuid> chain;
    for (Uuid next = shot; !next.is_null();) {
        const Shot* const found = find(next);
        if (found == nullptr)
            return fail(ErrorKind::corrupt, "Shot {} is named as a parent, but not there", braced(next));
        if (chain.size() >= shots.size())
            return fail(ErrorKind::corrupt, "Shot {} is among its own parents", braced(next));
        chain.push_back(next);
        next = found->parent;
    }
    return chain;
}

Result<Descriptor> Descriptor::parse(const ByteSource& source, const Limits& limits) {
    if (source.size() > limits.registry_bytes)
        return fail(ErrorKind::limit_exceeded, "{}: has {} bytes, the limit for a disk descriptor is {}", source.name(),
                    source.size(), limits.registry_bytes);
    VDISK_TRY(bytes, read_bytes(source, 0, source.size(), "disk descriptor"));
    pugi::xml_document document;
    const pugi::xml_parse_result parsed = document.load_buffer(bytes.data(), bytes.size());
    const pugi::xml_node root = document.child("Parallels_disk_image");
    if (!root) return fail(ErrorKind::not_this_format, "{}: has no Parallels_disk_image element", source.name());
    if (!parsed) return fail(ErrorKind::corrupt, "{}: {}", source.name(), xml_damage(parsed));
    auto descriptor = read_document(root);
    if (descriptor.has_error()) return std::move(descriptor).error().in(source.name());
    std::size_t files = descriptor.value().shots.size();
    for (const Storage& storage : descriptor.value().storages) files += 1 + storage.images.size();
    if (files > limits.search_files)
        return fail(ErrorKind::limit_exceeded, "{}: names {} images and snapshots, the limit is {}", source.name(),
                    files, limits.search_files);
    return descriptor;
}

std::string braced(const Uuid& uuid) {
    return fmt::format("{{{}}}", to_string(uuid));
}

} // namespace vdisk::parallels
