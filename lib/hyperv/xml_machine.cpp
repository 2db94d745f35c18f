// SPDX-License-Identifier: Apache-2.0
#include "base/parse.hpp"
#include "base/text.hpp"
#include "hyperv/machine.hpp"

#include <pugixml.hpp>

#include <map>

namespace vdisk::hyperv {
namespace {

constexpr int kDeepest = 16; // real ones have 6

class XmlDescriber {
public:
    XmlDescriber(const pugi::xml_node& root, std::size_t most) : root_(root), most_(most) {}

    Machine run() {
        for (const pugi::xml_node& device : root_.child("manifest"))
            names_.emplace(text(device, "instance"), text(device, "name"));
        read_properties();
        read_settings();
        read_devices(root_, 0);
        return std::move(machine_);
    }

private:
    static std::string text(const pugi::xml_node& node, const char* name) { return node.child(name).child_value(); }

    static std::optional<std::int64_t> number(const pugi::xml_node& node, const char* name) {
        const auto value = parse_number<std::uint32_t>(trimmed(node.child(name).child_value()));
        return value ? std::optional<std::int64_t>(*value) : std::nullopt;
    }

    static std::optional<bool> truth(const pugi::xml_node& node, const char* name) {
        const pugi::xml_node value = node.child(name);
        return value ? std::optional(lower(trimmed(value.child_value())) == "true") : std::nullopt;
    }

    static std::string device_of(const pugi::xml_node& node) { return instance_in(node.name()); }

    void read_properties() {
        const pugi::xml_node properties = root_.child("properties");
        machine_.name = text(properties, "name");
        machine_.id = text(properties, "global_id");
        machine_.type = text(properties, "type_id");
        machine_.notes = text(properties, "notes");
        machine_.version = number(properties, "version");
        machine_.owner = text(root_.child("global_settings").child("owner"), "sid");
        machine_.logical_id = text(root_.child("settings").child("global"), "logical_id");
        for (const pugi::xml_node& id : root_.child("global_settings").child("snapshots").child("list"))
            if (std::string_view(id.attribute("type").value()) == "string" && *id.child_value() != '\0')
                machine_.checkpoints.emplace_back(id.child_value());
        const auto subtype = number(properties, "subtype");
        if (subtype && (*subtype == 0 || *subtype == 1)) machine_.generation = static_cast<unsigned>(*subtype) + 1;
        else if (root_.child(fmt::format("_{}_", kIdeController).c_str())) machine_.generation = 1;
        read_creation_time(properties);
    }

    // FILETIME, as bytes in hexadecimal digits or base64.
    void read_creation_time(const pugi::xml_node& properties) {
        const std::string_view stored = trimmed(properties.child("creation_time").child_value());
        auto bytes = stored.size() == 16 ? parse_hex(stored) : parse_base64(stored);
        if (!bytes || bytes->size() != sizeof(std::uint64_t)) return;
        std::uint64_t ticks = 0;
        for (std::size_t i = bytes->size(); i > 0; --i)
            ticks = ticks << 8 | static_cast<std::uint64_t>((*bytes)[i - 1]);
        if (ticks != 0) machine_.created = unix_time(ticks);
    }

    void read_settings() {
        const pugi::xml_node settings = root_.child("settings");
        const pugi::xml_node bank = settings.child("memory").child("bank");
        machine_.memory_mib = number(bank, "size");
        machine_.least_memory_mib = number(bank, "reservation");
        machine_.most_memory_mib = number(bank, "limit");
        machine_.dynamic_memory = truth(bank, "dynamic_memory_enabled");
        machine_.processors = number(settings.child("processors"), "count");
    }

    // Recursive, but not deeper than kDeepest.
    void read_devices(const pugi::xml_node& node, int depth) {
        if (depth == kDeepest) return;
        for (const pugi::xml_node& child : node.children()) {
            if (machine_.drives.size() > most_) return;
            if (child.child("pathname")) add_drive(child);
            if (child.child("MacAddress")) add_adapter(child);
            if (const auto secure = truth(child, "secure_boot_enabled")) machine_.secure_boot = secure;
            read_devices(child, depth + 1);
        }
    }

    void add_drive(const pugi::xml_node& node) {
        const pugi::xml_node controller = node.parent();
        Drive drive{.path = node.path(), .device = device_of(controller.parent())};
        const auto known = names_.find(drive.device);
        drive.controller = known == names_.end() ? controller.parent().name() : known->second;
        drive.location = fmt::format("{}/{}", controller.name(), node.name());
        drive.type = text(node, "type");
        drive.file = text(node, "pathname");
        machine_.drives.push_back(std::move(drive));
    }

    void add_adapter(const pugi::xml_node& node) {
        machine_.adapters.push_back({.path = node.path(),
                                     .device = device_of(node),
                                     .name = text(node, "FriendlyName"),
                                     .mac_address = text(node, "MacAddress"),
                                     .mac_is_static = truth(node, "MacAddressIsStatic"),
                                     .switch_name = text(node, "SwitchName"),
                                     .connected = truth(node, "IsConnected")});
    }

    const pugi::xml_node root_;
    const std::size_t most_; // drives; reading stops at the first one beyond
    std::map<std::string, std::string> names_;
    Machine machine_;
};

} // namespace

Result<Machine> describe_xml(std::string_view text, std::string_view name, const Limits& limits) {
    pugi::xml_document document;
    const pugi::xml_parse_result parsed = document.load_buffer(text.data(), text.size());
    const pugi::xml_node root = document.child("configuration");
    if (!root) return fail(ErrorKind::not_this_format, "{}: has no configuration element", name);
    Machine machine = XmlDescriber(root, limits.machine_media).run();
    if (machine.drives.size() > limits.machine_media)
        return fail(ErrorKind::limit_exceeded, "{}: names more drives than the limit of {}", name,
                    limits.machine_media);
    if (!parsed) machine.doubtful.push_back(fmt::format("XML from offset {}: {}", parsed.offset, parsed.description()));
    return machine;
}

} // namespace vdisk::hyperv
