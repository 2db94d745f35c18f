// SPDX-License-Identifier: Apache-2.0
#include "format/utm/utm.hpp"

#include "base/parse.hpp"
#include "base/system/path.hpp"
#include "base/text.hpp"
#include "disk/xml.hpp"

#include <pugixml.hpp>

#include <algorithm>

namespace vdisk::utm {
namespace {

constexpr std::string_view kBinaryMagic = "bplist00";
constexpr std::string_view kVersionKey = "ConfigurationVersion";

// The element behind <key>NAME</key> in a dictionary; an empty node if there is none.
pugi::xml_node value_of(const pugi::xml_node& dict, std::string_view name) {
    for (const pugi::xml_node& key : dict.children("key"))
        if (key.child_value() == name) return key.next_sibling();
    return {};
}

std::string text_of(const pugi::xml_node& dict, std::string_view name) {
    return value_of(dict, name).child_value();
}

std::optional<bool> truth_of(const pugi::xml_node& dict, std::string_view name) {
    const std::string_view element = value_of(dict, name).name();
    if (element != "true" && element != "false") return std::nullopt;
    return element == "true";
}

std::optional<std::uint64_t> number_of(const pugi::xml_node& dict, std::string_view name) {
    return parse_number<std::uint64_t>(text_of(dict, name));
}

// Where nothing more is known: a raw image of Apple's hypervisor may be a sparse one instead, which has blocks of its
// own order.
std::string objection(const FileSource& file) {
    constexpr std::string_view kSparse = "shdw";
    const auto start = file.size() < kSparse.size() ? Result<std::vector<std::byte>>(std::vector<std::byte>())
                                                    : read_bytes(file, 0, kSparse.size(), "start");
    if (start.has_error()) return start.error().what;
    if (as_text(start.value()) != kSparse) return "";
    return fmt::format("{} is an Apple sparse image (ASIF), which is not read here", file.name());
}

std::string format_of(std::string_view image) {
    if (ends_in(image, ".qcow2")) return "qcow2";
    if (ends_in(image, ".img") || ends_in(image, ".raw")) return "raw";
    return "";
}

class Reader {
public:
    Reader(const pugi::xml_node& root, std::size_t most, Machine& machine)
        : root_(root), system_(value_of(root, "System")), most_(most), machine_(machine) {}

    void read(const std::filesystem::path& file) {
        describe(file);
        read_adapters();
        for (const pugi::xml_node& drive : value_of(root_, "Drive").children("dict"))
            add_drive(drive, {"Data", "Images"});
        for (const pugi::xml_node& drive : value_of(root_, "Drives").children("dict")) add_old_drive(drive);
    }

    // Of all kinds, and adapters: reading stops at the first one beyond the limit.
    [[nodiscard]] std::size_t media() const noexcept { return images_ + machine_.adapters.size(); }

private:
    using Folders = std::initializer_list<const char*>;

    void describe(const std::filesystem::path& file) {
        const pugi::xml_node information = value_of(root_, "Information");
        machine_.encrypted = Machine::kNotTold;
        machine_.name = text_of(information ? information : root_, "Name");
        if (machine_.name.empty()) machine_.name = utf8(file.parent_path().stem());
        machine_.id = text_of(information, "UUID");
        if (machine_.id.empty()) machine_.id = text_of(system_, "SystemUUID");
        machine_.notes = text_of(information ? information : value_of(root_, "Info"), "Notes");
        for (const pugi::xml_node& place : {system_, root_})
            for (const char* key : {"MemorySize", "Memory"})
                if (const auto size = memory_in_mebibytes(text_of(place, key)); size && *size > 0)
                    machine_.memory = size;
        machine_.processors = number_of(system_, "CPUCount");
        if (machine_.processors == 0U) machine_.processors.reset(); // as many as the host has
        const pugi::xml_node qemu = value_of(root_, "QEMU");
        for (const pugi::xml_node& boot : {qemu, value_of(system_, "Boot")})
            if (const auto uefi = truth_of(boot, "UEFIBoot")) machine_.firmware = *uefi ? "UEFI" : "BIOS";
        if (const auto uefi = truth_of(system_, "BootUefi")) machine_.firmware = *uefi ? "UEFI" : "BIOS";
        machine_.tpm = truth_of(qemu, "TPMDevice");
        for (const auto& [key, fact] : {std::pair{"Architecture", "architecture"}, {"Target", "machine type"}})
            if (const std::string text = text_of(system_, key); !text.empty()) machine_.facts[fact] = printable(text);
        if (const std::string backend = text_of(root_, "Backend"); !backend.empty())
            machine_.facts["hypervisor"] = printable(backend);
    }

    void read_adapters() {
        for (const pugi::xml_node& node : value_of(root_, "Network").children("dict")) {
            if (machine_.adapters.size() > most_) return;
            machine_.adapters.push_back({.name = fmt::format("net{}", machine_.adapters.size()),
                                         .model = text_of(node, "Hardware"),
                                         .mac = mac_address(text_of(node, "MacAddress")),
                                         .network = text_of(node, "Mode")});
        }
        const pugi::xml_node old = value_of(root_, "Networking");
        if (!old || !truth_of(old, "NetworkEnabled").value_or(true)) return;
        machine_.adapters.push_back({.name = "net0",
                                     .model = text_of(old, "NetworkCard"),
                                     .mac = mac_address(text_of(old, "NetworkCardMAC")),
                                     .network = text_of(old, "NetworkMode")});
    }

    void add_drive(const pugi::xml_node& node, Folders folders) {
        Drive drive{.controller = text_of(node, "Interface"), .identifier = text_of(node, "Identifier")};
        if (truth_of(node, "Nvme").value_or(false)) drive.controller = "NVMe";
        if (!drive.identifier.empty()) drive.facts["drive id"] = printable(drive.identifier);
        if (const auto fixed = truth_of(node, "ReadOnly")) drive.facts["read only"] = *fixed;
        add(std::move(drive), text_of(node, "ImageType"), text_of(node, "ImageName"), folders);
    }

    void add_old_drive(const pugi::xml_node& node) {
        Drive drive{.name = text_of(node, "DriveName"), .controller = text_of(node, "InterfaceType")};
        std::string type = text_of(node, "ImageType");
        if (type.empty() && truth_of(node, "Cdrom").value_or(false)) type = "cd";
        add(std::move(drive), type, text_of(node, "ImagePath"), {"Images", "Data"});
    }

    // `type` is in capitals in newer layouts. What is no drive is a kernel, or a firmware's image.
    void add(Drive drive, const std::string& type, const std::string& image, Folders folders) {
        if (images_++ > most_) return;
        const std::string kind = lower(type);
        if (!kind.empty() && kind != "disk" && kind != "cd") {
            if (kind != "none")
                machine_.facts["other files"].push_back(Facts{{"what", printable(type)}, {"file", printable(image)}});
            return;
        }
        if (kind == "cd") drive.kind = Drive::Kind::cdrom;
        if (lower(drive.controller) == "floppy") drive.kind = Drive::Kind::floppy;
        // Newer layouts give drives no names.
        drive.name = names_.unique(drive.name, "drive", machine_.drives.size());
        drive.file = image;
        if (!image.empty()) {
            for (const char* folder : folders) drive.where.paths.push_back(fmt::format("{}/{}", folder, image));
            if (!drive.is_removable()) drive.format = format_of(image);
            drive.search.objection = objection;
        }
        machine_.drives.push_back(std::move(drive));
    }

    pugi::xml_node root_;
    pugi::xml_node system_;
    std::size_t images_ = 0;
    std::size_t most_; ///< images, and adapters; reading stops at the first one beyond
    Machine& machine_;
    DriveNames names_;
};

bool names_version(std::string_view text) {
    return text.find(kVersionKey) != std::string_view::npos;
}

} // namespace

Match probe(std::span<const std::byte> head, const ByteSource& source) {
    const std::string_view text = as_text(head);
    if (text.starts_with(kBinaryMagic))
        return names_version(text) && ends_in(source.name(), kConfigName) ? Match::sure : Match::no;
    if (!is_xml_with(head, "<plist") || !names_version(text)) return Match::no;
    for (const std::string_view key : {"Backend", "Debug", "Display", "Displays", "Drive", "Drives"})
        if (text.find(fmt::format("<key>{}</key>", key)) != std::string_view::npos) return Match::sure;
    return Match::no;
}

Result<Machine> read(const ByteSource& source, const OpenContext& context) {
    VDISK_TRY(text, read_settings(source, context.limits));
    if (text.starts_with(kBinaryMagic))
        return fail(ErrorKind::unsupported,
                    "{}: is a binary property list, which is not read: make an XML one of a copy of it (plistutil)",
                    source.name());
    pugi::xml_document document;
    const pugi::xml_parse_result parsed = document.load_buffer(text.data(), text.size());
    const pugi::xml_node root = document.child("plist").child("dict");
    if (!value_of(root, kVersionKey))
        return fail(ErrorKind::not_this_format, "{}: has no {}", source.name(), kVersionKey);
    Machine machine;
    if (!parsed) machine.problems.push_back(xml_damage(parsed));
    Reader reader(root, context.limits.machine_media, machine);
    reader.read(context.file ? std::filesystem::absolute(context.file->path()) : std::filesystem::path(source.name()));
    VDISK_CHECK(check_media(reader.media(), source.name(), context.limits));
    return machine;
}

} // namespace vdisk::utm
