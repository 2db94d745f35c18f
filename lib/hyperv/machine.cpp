// SPDX-License-Identifier: Apache-2.0
#include "hyperv/machine.hpp"

#include "hyperv/value.hpp"

#include <algorithm>
#include <map>

namespace vdisk::hyperv {
namespace {

/// Longer texts are no names or paths.
constexpr std::uint64_t kLongestText = 1U << 20;

class Describer {
public:
    explicit Describer(const Storage& storage) : storage_(storage) {}

    Machine run() {
        read_manifest();
        read_properties();
        read_settings();
        read_list("/Configurations/VirtualMachines", false);
        read_list("/Configurations/Snapshots", true);
        for (KeyId id = 0; id < storage_.keys().size(); ++id)
            if (storage_.key(id).entry.type == KeyType::node) read_device(id);
        return std::move(machine_);
    }

private:
    // Notes a key whose value is not to be relied on.
    void judge(KeyId id) {
        const auto faults = storage_.key(id).entry.faults.list();
        if (std::ranges::any_of(faults, doubts_value)) doubt(id);
    }

    void doubt(KeyId id) {
        std::string path = path_of(storage_, id);
        if (std::ranges::find(machine_.doubtful, path) == machine_.doubtful.end())
            machine_.doubtful.push_back(std::move(path));
    }

    std::string text(KeyId id) {
        if (id == kNoKey || storage_.key(id).entry.type != KeyType::string) return "";
        judge(id);
        const auto bytes = storage_.value_size(id) > kLongestText
                               ? Result<std::vector<std::byte>>(fail(ErrorKind::limit_exceeded, "too long a text"))
                               : storage_.value(id);
        if (bytes.has_value()) return decode_utf16(bytes.value()).utf8;
        doubt(id);
        return "";
    }

    std::optional<std::int64_t> number(KeyId id) {
        if (id == kNoKey) return std::nullopt;
        const KeyEntry& entry = storage_.key(id).entry;
        if (entry.type != KeyType::integer && entry.type != KeyType::unsigned_integer) return std::nullopt;
        judge(id);
        return as_integer(entry.data);
    }

    std::optional<bool> truth(KeyId id) {
        if (id == kNoKey || storage_.key(id).entry.type != KeyType::boolean) return std::nullopt;
        judge(id);
        return as_boolean(storage_.key(id).entry.data);
    }

    KeyId at(std::string_view path) const { return find_key(storage_, path); }
    KeyId child(KeyId parent, std::string_view name) const { return find_child(storage_, parent, name); }
    std::string name_of(KeyId id) const { return id == kNoKey ? "" : escape_name(storage_.key(id).entry.name); }

    std::string device_of(KeyId id) const { return instance_in(name_of(id)); }

    void read_manifest() {
        const KeyId manifest = at("/configuration/manifest");
        if (manifest == kNoKey) return;
        for (const KeyId device : storage_.tree().children(manifest)) {
            const std::string instance = text(child(device, "instance"));
            if (!instance.empty()) device_names_.emplace(instance, text(child(device, "name")));
        }
    }

    void read_properties() {
        machine_.name = text(at("/configuration/properties/name"));
        machine_.id = text(at("/configuration/properties/global_id"));
        machine_.type = text(at("/configuration/properties/type_id"));
        machine_.notes = text(at("/configuration/properties/notes"));
        machine_.owner = text(at("/configuration/global_settings/owner/sid"));
        machine_.logical_id = text(at("/configuration/settings/global/logical_id"));
        if (const KeyId list = at("/configuration/global_settings/snapshots/list"); list != kNoKey)
            for (const KeyId key : storage_.tree().children(list))
                if (std::string id = text(key); !id.empty()) machine_.checkpoints.push_back(std::move(id));
        machine_.version = number(at("/configuration/properties/version"));
        machine_.created = creation_time();
        if (const auto subtype = number(at("/configuration/properties/subtype"));
            subtype && (*subtype == 0 || *subtype == 1))
            machine_.generation = static_cast<unsigned>(*subtype) + 1;
        else if (at(std::string("/configuration/_") + std::string(kIdeController) + "_") != kNoKey)
            machine_.generation = 1; // 2 has no IDE
    }

    std::optional<std::int64_t> creation_time() {
        const KeyId id = at("/configuration/properties/creation_time");
        if (id == kNoKey || storage_.value_size(id) != sizeof(std::uint64_t)) return std::nullopt;
        judge(id);
        const auto ticks = as_unsigned(storage_.key(id).entry.data);
        if (!ticks || *ticks == 0) return std::nullopt;
        return unix_time(*ticks);
    }

    void read_settings() {
        machine_.memory_mib = number(at("/configuration/settings/memory/bank/size"));
        machine_.least_memory_mib = number(at("/configuration/settings/memory/bank/reservation"));
        machine_.most_memory_mib = number(at("/configuration/settings/memory/bank/limit"));
        machine_.dynamic_memory = truth(at("/configuration/settings/memory/bank/dynamic_memory_enabled"));
        machine_.processors = number(at("/configuration/settings/processors/count"));
        machine_.tpm = truth(at("/configuration/security/settings/tpm_enabled"));
        machine_.shielded = truth(at("/configuration/security/settings/shielding_requested"));
        machine_.encrypted_state = truth(at("/configuration/security/settings/encrypt_state_migration"));
        machine_.nested_virtualization = truth(at("/configuration/settings/processors/nested_virtualization/enabled"));
    }

    void read_list(const char* path, bool checkpoints) {
        const KeyId list = at(path);
        if (list == kNoKey) return;
        for (const KeyId key : storage_.tree().children(list))
            if (storage_.key(key).entry.type == KeyType::string)
                machine_.listed.push_back({name_of(key), text(key), checkpoints});
    }

    void read_device(KeyId node) {
        if (const KeyId file = child(node, "pathname"); file != kNoKey) add_drive(node, file);
        if (const KeyId mac = child(node, "MacAddress"); mac != kNoKey) add_adapter(node, mac);
        if (const KeyId state = child(node, "StateFilePath"); state != kNoKey) add_file(state, "guest state");
        if (const KeyId pipe = child(node, "connection");
            pipe != kNoKey && storage_.key(pipe).entry.type == KeyType::string)
            add_file(pipe, "serial " + name_of(node));
        if (const auto secure = truth(child(node, "secure_boot_enabled"))) machine_.secure_boot = secure;
    }

    void add_drive(KeyId node, KeyId file) {
        const KeyId controller = storage_.tree().parent(node);
        const KeyId device = controller == kNoKey ? kNoKey : storage_.tree().parent(controller);
        Drive drive{.path = path_of(storage_, node), .device = device_of(device)};
        const auto known = device_names_.find(drive.device);
        drive.controller = known == device_names_.end() ? name_of(device) : known->second;
        drive.location = controller == kNoKey ? name_of(node) : name_of(controller) + "/" + name_of(node);
        drive.type = text(child(node, "type"));
        drive.file = text(file);
        machine_.drives.push_back(std::move(drive));
    }

    void add_adapter(KeyId node, KeyId mac) {
        machine_.adapters.push_back({.path = path_of(storage_, node),
                                     .device = device_of(node),
                                     .name = text(child(node, "FriendlyName")),
                                     .mac_address = text(mac),
                                     .mac_is_static = truth(child(node, "MacAddressIsStatic")),
                                     .switch_name = text(child(node, "SwitchName")),
                                     .connected = truth(child(node, "IsConnected"))});
    }

    void add_file(KeyId key, std::string what) {
        if (std::string file = text(key); !file.empty())
            machine_.files.push_back({path_of(storage_, key), std::move(what), std::move(file)});
    }

    const Storage& storage_;
    std::map<std::string, std::string> device_names_;
    Machine machine_;
};

} // namespace

std::string instance_in(std::string_view name) {
    constexpr std::size_t kGuid = 36;
    const bool is_one = name.size() == kGuid + 2 && name.front() == '_' && name.back() == '_';
    return std::string(is_one ? name.substr(1, kGuid) : "");
}

std::int64_t unix_time(std::uint64_t file_time) noexcept {
    constexpr std::uint64_t kSecond = 10'000'000;
    constexpr std::int64_t kYear1970 = 11'644'473'600;
    return static_cast<std::int64_t>(file_time / kSecond) - kYear1970;
}

bool Machine::is_there() const noexcept {
    return !name.empty() || !id.empty() || version || memory_mib || processors || !drives.empty() ||
           !adapters.empty() || !files.empty() || !listed.empty();
}

Machine describe_machine(const Storage& storage) {
    return Describer(storage).run();
}

} // namespace vdisk::hyperv
