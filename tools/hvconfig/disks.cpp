// SPDX-License-Identifier: Apache-2.0
#include "hvconfig/commands.hpp"

#include "base/text.hpp"
#include "common/json_output.hpp"
#include "hvconfig/text_output.hpp"
#include "hyperv/machine.hpp"

#include "base/facts.hpp"

namespace vdisk::tools {
namespace {

using hyperv::Machine;
template<class Value> Facts known(const std::optional<Value>& value) {
    return value ? Facts(*value) : Facts(nullptr);
}

std::string version_text(std::int64_t version) {
    return fmt::format("{}.{}", version >> 8, version & 0xFF);
}

Facts to_json(const Machine& machine) {
    Facts json;
    json["name"] = machine.name;
    json["id"] = machine.id;
    json["type"] = machine.type;
    json["generation"] = known(machine.generation);
    json["version"] = machine.version ? Facts(version_text(*machine.version)) : Facts(nullptr);
    json["created"] = machine.created ? Facts(utc_time(*machine.created)) : Facts(nullptr);
    json["owner"] = machine.owner;
    json["notes"] = machine.notes;
    json["memory"] = {{"mib", known(machine.memory_mib)},
                      {"dynamic", known(machine.dynamic_memory)},
                      {"least_mib", known(machine.least_memory_mib)},
                      {"most_mib", known(machine.most_memory_mib)}};
    json["processors"] = known(machine.processors);
    json["nested_virtualization"] = known(machine.nested_virtualization);
    json["secure_boot"] = known(machine.secure_boot);
    json["drives"] = Facts::array();
    for (const auto& drive : machine.drives)
        json["drives"].push_back({{"controller", drive.controller},
                                  {"location", drive.location},
                                  {"type", drive.type},
                                  {"file", drive.file},
                                  {"device", drive.device},
                                  {"path", drive.path}});
    json["network_adapters"] = Facts::array();
    for (const auto& adapter : machine.adapters)
        json["network_adapters"].push_back({{"name", adapter.name},
                                            {"mac_address", adapter.mac_address},
                                            {"mac_is_static", known(adapter.mac_is_static)},
                                            {"switch", adapter.switch_name},
                                            {"connected", known(adapter.connected)},
                                            {"device", adapter.device},
                                            {"path", adapter.path}});
    json["files"] = Facts::array();
    for (const auto& other : machine.files)
        json["files"].push_back({{"what", other.what}, {"file", other.file}, {"path", other.path}});
    json["listed"] = Facts::array();
    for (const auto& listed : machine.listed)
        json["listed"].push_back({{"id", listed.id}, {"file", listed.file}, {"checkpoint", listed.checkpoint}});
    if (!machine.doubtful.empty()) json["doubtful"] = machine.doubtful;
    return json;
}

class TextReport {
public:
    explicit TextReport(TextOutput& out) : out_(out) {}

    void print(const Machine& machine) {
        if (!machine.is_there()) out_.put("no machine is configured or listed here\n");
        line("machine", machine.name);
        line("id", machine.id);
        line("type", type(machine));
        line("generation", machine.generation ? fmt::format("{}", *machine.generation) : "");
        line("configuration version", machine.version ? version_text(*machine.version) : "");
        line("created", machine.created ? utc_time(*machine.created) : "");
        line("owner", machine.owner);
        line("notes", machine.notes);
        line("memory", memory(machine));
        line("processors", machine.processors ? fmt::format("{}", *machine.processors) : "");
        line("nested virtualization", yes_or_no(machine.nested_virtualization));
        line("secure boot", yes_or_no(machine.secure_boot));
        for (const auto& drive : machine.drives)
            out_.print("drive: {} {}: {} {}\n", printable(drive.controller), drive.location, printable(drive.type),
                       drive.file.empty() ? "(no medium)" : printable(drive.file));
        for (const auto& adapter : machine.adapters) print(adapter);
        for (const auto& other : machine.files) out_.print("{}: {}\n", other.what, printable(other.file));
        for (const auto& listed : machine.listed)
            out_.print("{}: {} {}\n", listed.checkpoint ? "listed checkpoint" : "listed machine", printable(listed.id),
                       printable(listed.file));
        for (const std::string& path : machine.doubtful) out_.print("in doubt: {}\n", path);
    }

private:
    void line(std::string_view title, const std::string& value) {
        if (!value.empty()) out_.print("{}: {}\n", title, printable(value));
    }

    void print(const hyperv::NetworkAdapter& adapter) {
        out_.print("network adapter: {} MAC {}", printable(adapter.name), printable(adapter.mac_address));
        if (adapter.mac_is_static) out_.print(" ({})", *adapter.mac_is_static ? "static" : "dynamic");
        if (!adapter.switch_name.empty()) out_.print(", switch {}", printable(adapter.switch_name));
        if (adapter.connected) out_.print(", {}", *adapter.connected ? "connected" : "not connected");
        out_.put("\n");
    }

    static std::string type(const Machine& machine) {
        return machine.type == "Snapshots" ? machine.type + " (a checkpoint)" : machine.type;
    }

    static std::string yes_or_no(const std::optional<bool>& value) { return !value ? "" : *value ? "yes" : "no"; }

    static std::string memory(const Machine& machine) {
        if (!machine.memory_mib) return "";
        std::string text = fmt::format("{} MiB", *machine.memory_mib);
        if (!machine.dynamic_memory.value_or(false)) return text;
        text += ", dynamic";
        if (machine.least_memory_mib) text += fmt::format(" from {} MiB", *machine.least_memory_mib);
        if (machine.most_memory_mib) text += fmt::format(" to {} MiB", *machine.most_memory_mib);
        return text;
    }

    TextOutput& out_;
};

struct Disks {
    FileArgument file;
    bool json = false;

    int operator()() const {
        const auto storage = file.open();
        if (storage.has_error()) return report(storage.error());
        const int status = warn_of_findings(*storage.value());
        const Machine machine = hyperv::describe_machine(*storage.value());
        TextOutput out;
        if (json) out.put(json_document(to_json(machine)));
        else TextReport(out).print(machine);
        return machine.doubtful.empty() ? status : kPartial;
    }
};

} // namespace

Action add_disks(CommandLine& line) {
    auto action = std::make_shared<Disks>();
    action->file.add_to(line);
    line.flag("--json", action->json, "print JSON, as vdisk-json(5) describes it");
    return [action] { return (*action)(); };
}

} // namespace vdisk::tools
