// SPDX-License-Identifier: Apache-2.0
#include "hvconfig/files_argument.hpp"

#include "base/facts.hpp"
#include "base/text.hpp"
#include "common/inputs.hpp"
#include "common/json_output.hpp"
#include "hvconfig/text_output.hpp"
#include "hyperv/machine.hpp"
#include "open/machine/hyperv_relations.hpp"
#include "open/open.hpp"

#include <algorithm>

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
    json["tpm"] = known(machine.tpm);
    json["shielded"] = known(machine.shielded);
    json["encrypted_state"] = known(machine.encrypted_state);
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
    explicit TextReport(TextOutput& out, std::size_t indent = 0) : out_(out), indent_(indent, ' ') {}

    void file(const std::string& path) { line("file", path); }

    void print(const Machine& machine) {
        if (!machine.is_there()) out_.print("{}no machine is configured or listed here\n", indent_);
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
        line("TPM", yes_or_no(machine.tpm));
        line("shielded", yes_or_no(machine.shielded));
        line("encrypted state", yes_or_no(machine.encrypted_state));
        for (const auto& drive : machine.drives)
            out_.print("{}drive: {} {}: {} {}\n", indent_, printable(drive.controller), drive.location,
                       printable(drive.type), drive.file.empty() ? "(no medium)" : printable(drive.file));
        for (const auto& adapter : machine.adapters) print(adapter);
        for (const auto& other : machine.files) out_.print("{}{}: {}\n", indent_, other.what, printable(other.file));
        for (const auto& listed : machine.listed)
            out_.print("{}{}: {} {}\n", indent_, listed.checkpoint ? "listed checkpoint" : "listed machine",
                       printable(listed.id), printable(listed.file));
        for (const std::string& path : machine.doubtful) out_.print("{}in doubt: {}\n", indent_, path);
    }

private:
    void line(std::string_view title, const std::string& value) {
        if (!value.empty()) out_.print("{}{}: {}\n", indent_, title, printable(value));
    }

    void print(const hyperv::NetworkAdapter& adapter) {
        out_.print("{}network adapter: {} MAC {}", indent_, printable(adapter.name), printable(adapter.mac_address));
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
    std::string indent_;
};

// One of several files.
struct Configured {
    std::string path;
    hyperv_machine::Configuration configuration;
    hyperv_machine::Relation relation{};
    std::size_t depth = 0; ///< below its machine
};

// Each machine with its checkpoints behind it, each of those behind the one that it was made upon.
class Family {
public:
    explicit Family(std::vector<Configured>& all) : all_(all), below_(all.size()) {
        for (std::size_t i = 0; i < all.size(); ++i) {
            const auto [machine, after] = all[i].relation;
            const bool is_checkpoint = machine && *machine != i;
            if (is_checkpoint) below_[is_descendant(i) ? *after : *machine].push_back(i);
        }
    }

    // The members of the family whose head is `head`, that first.
    std::vector<std::size_t> members(std::size_t head) {
        std::vector<std::size_t> members;
        std::vector<std::size_t> left{head};
        while (!left.empty()) {
            const std::size_t number = left.back();
            left.pop_back();
            members.push_back(number);
            for (auto child = below_[number].rbegin(); child != below_[number].rend(); ++child) {
                all_[*child].depth = all_[number].depth + 1;
                left.push_back(*child);
            }
        }
        return members;
    }

private:
    // Disks that stand upon each other in a circle are nobody's.
    bool is_descendant(std::size_t number) const {
        auto after = all_[number].relation.after;
        for (std::size_t steps = 0; after && steps < all_.size(); ++steps) after = all_[*after].relation.after;
        return !after && all_[number].relation.after.has_value();
    }

    std::vector<Configured>& all_;
    std::vector<std::vector<std::size_t>> below_;
};

struct Disks {
    FilesArgument files;
    bool json = false;

    int operator()() {
        if (!files.several())
            return files.for_each({".vmcx"}, [this](const FileArgument& file) { return tell_one(file); });
        Statuses statuses;
        statuses.add(files.for_each({".vmcx"}, [this](const FileArgument& file) { return collect(file); }));
        if (all_.empty()) return statuses.all();
        if (const auto related = relate(); related.has_error()) return report(related.error());
        tell_all();
        return statuses.all();
    }

private:
    int tell_one(const FileArgument& file) const {
        const auto storage = file.open();
        if (storage.has_error()) return report(storage.error());
        const int status = warn_of_findings(*storage.value());
        const Machine machine = hyperv::describe_machine(*storage.value());
        TextOutput out;
        if (json) out.put(json_document(to_json(machine)));
        else TextReport(out).print(machine);
        return machine.doubtful.empty() ? status : kPartial;
    }

    int collect(const FileArgument& file) {
        const auto storage = file.open();
        if (storage.has_error()) return report(storage.error());
        const int status = warn_of_findings(*storage.value(), true);
        all_.push_back({.path = file.path, .configuration = {.machine = hyperv::describe_machine(*storage.value())}});
        return all_.back().configuration.machine.doubtful.empty() ? status : kPartial;
    }

    Result<void> relate() {
        VDISK_TRY(options, OpenOptions::from_environment());
        options.inputs = inputs();
        std::vector<hyperv_machine::Configuration> configurations;
        OpenContext context;
        for (Configured& each : all_) {
            VDISK_TRY(file, FileSource::open(each.path, FileKinds::regular_only));
            VDISK_TRY(beside, context_for(file, options));
            context = std::move(beside);
            each.configuration.drives = hyperv_machine::drives_of(each.configuration.machine);
            each.configuration.references = context.references;
            each.configuration.is_machine = each.configuration.machine.type == "Virtual Machines";
            configurations.push_back(each.configuration);
        }
        const auto relations = hyperv_machine::relate(configurations, context);
        for (std::size_t i = 0; i < all_.size(); ++i) all_[i].relation = relations[i];
        return ok();
    }

    void tell_all() {
        Family family(all_);
        TextOutput out;
        bool first = true;
        for (std::size_t i = 0; i < all_.size(); ++i) {
            const auto machine = all_[i].relation.machine;
            if (machine && *machine != i) continue; // told with its machine
            const std::vector<std::size_t> members = family.members(i);
            if (json) {
                out.put(json_document(json_of(members), JsonLayout::one_line));
                continue;
            }
            for (const std::size_t member : members) {
                if (!first) out.put("\n");
                first = false;
                const Configured& each = all_[member];
                TextReport report(out, std::min(2 * each.depth, kDeepestIndent));
                report.file(each.path);
                report.print(each.configuration.machine);
            }
        }
    }

    Facts json_of(const std::vector<std::size_t>& members) const {
        Facts head = json_of(all_[members.front()]);
        head["checkpoints"] = Facts::array();
        for (std::size_t i = 1; i < members.size(); ++i) {
            const Configured& checkpoint = all_[members[i]];
            Facts facts = json_of(checkpoint);
            facts["depth"] = checkpoint.depth - 1;
            if (checkpoint.relation.after) facts["after"] = all_[*checkpoint.relation.after].configuration.machine.name;
            head["checkpoints"].push_back(std::move(facts));
        }
        return head;
    }

    static Facts json_of(const Configured& configured) {
        Facts facts = {{"file", printable(configured.path)}};
        facts.update(to_json(configured.configuration.machine));
        return facts;
    }

    std::vector<Configured> all_;
};

} // namespace

Action add_disks(CommandLine& line) {
    auto action = std::make_shared<Disks>();
    action->files.add_to(line);
    line.flag("--json", action->json, "print JSON, as vdisk-json(5) describes it");
    return [action] { return (*action)(); };
}

} // namespace vdisk::tools
