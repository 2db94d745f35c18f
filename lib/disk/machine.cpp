// SPDX-License-Identifier: Apache-2.0
#include "disk/machine.hpp"

#include "base/parse.hpp"
#include "base/text.hpp"

#include <algorithm>
#include <map>

namespace vdisk {
namespace {

void put(Facts& facts, std::string_view key, const std::string& text) {
    if (!text.empty()) facts[key] = printable(text);
}

template<class Value> void put(Facts& facts, std::string_view key, const std::optional<Value>& value) {
    if (value) facts[key] = *value;
}

Facts describe(const NetworkAdapter& adapter) {
    Facts facts = Facts::object();
    put(facts, "name", adapter.name);
    put(facts, "model", adapter.model);
    put(facts, "MAC address", adapter.mac);
    put(facts, "network", adapter.network);
    return facts;
}

// As hypervisors' own listings have it: the drive, where it hangs, what is in it.
Facts describe(const Drive& drive) {
    Facts facts = Facts::object();
    put(facts, "name", drive.name);
    facts["kind"] = to_string(drive.kind);
    put(facts, "controller", drive.controller);
    put(facts, "port", drive.port);
    facts["removable"] = drive.is_removable();
    facts["medium"] = drive.file.empty() ? "none" : printable(drive.file);
    facts.update(drive.facts);
    return facts;
}

// The place of each checkpoint's parent among them; their number where there is none.
std::vector<std::size_t> parents_of(const std::vector<MachineState>& states) {
    std::map<std::string_view, std::size_t> places;
    for (std::size_t i = 0; i < states.size(); ++i) places.emplace(states[i].key(), i);
    std::vector<std::size_t> parents(states.size(), states.size());
    for (std::size_t i = 0; i < states.size(); ++i)
        if (const auto found = places.find(states[i].parent); found != places.end() && !states[i].parent.empty())
            parents[i] = found->second;
    return parents;
}

Facts describe_checkpoints(const std::vector<MachineState>& states) {
    Facts list = Facts::array();
    std::map<std::string_view, std::size_t> depths;
    std::map<std::string_view, std::string_view> names;
    for (const MachineState& state : states) {
        const auto parent = depths.find(state.parent);
        const std::size_t depth = state.parent.empty() || parent == depths.end() ? 0 : parent->second + 1;
        depths.emplace(state.key(), depth);
        names.emplace(state.key(), state.name);
        Facts facts = Facts::object();
        put(facts, "name", state.name);
        put(facts, "id", state.id);
        put(facts, "time", state.time);
        if (depth > 0) put(facts, "after", std::string(names[state.parent]));
        facts["depth"] = depth;
        facts.update(state.facts);
        list.push_back(std::move(facts));
    }
    return list;
}

std::string name_of(const std::vector<MachineState>& states, const std::string& key) {
    const auto found = std::ranges::find(states, key, &MachineState::key);
    return found == states.end() || key.empty() ? "" : found->name;
}

} // namespace

std::string_view to_string(Drive::Kind kind) noexcept {
    switch (kind) {
    case Drive::Kind::disk: return "disk";
    case Drive::Kind::cdrom: return "CD-ROM";
    case Drive::Kind::floppy: return "floppy";
    case Drive::Kind::state: return "state";
    }
    return "disk";
}

void Machine::sort_checkpoints() {
    const std::vector<std::size_t> parents = parents_of(checkpoints);
    const std::size_t none = checkpoints.size();
    std::vector<std::vector<std::size_t>> children(none + 1);
    for (std::size_t i = none; i > 0; --i) children[parents[i - 1]].push_back(i - 1);
    std::vector<bool> placed(none);
    std::vector<MachineState> sorted;
    std::vector<std::size_t> ahead = children[none];
    const auto place = [&] {
        while (!ahead.empty()) {
            const std::size_t next = ahead.back();
            ahead.pop_back();
            if (placed[next]) continue;
            placed[next] = true;
            sorted.push_back(std::move(checkpoints[next]));
            ahead.insert(ahead.end(), children[next].begin(), children[next].end());
        }
    };
    place();
    for (std::size_t i = 0; i < none; ++i) { // what is left goes round in circles
        if (placed[i]) continue;
        problems.push_back(fmt::format("checkpoint '{}' is its own ancestor", printable(checkpoints[i].name)));
        checkpoints[i].parent.clear();
        ahead.push_back(i);
        place();
    }
    checkpoints = std::move(sorted);
}

Facts describe(const Machine& machine) {
    Facts facts = Facts::object();
    put(facts, "machine", machine.name);
    put(facts, "machine id", machine.id);
    put(facts, "owner", machine.owner);
    put(facts, "notes", machine.notes);
    put(facts, "machine created", machine.created);
    put(facts, "operating system", machine.system);
    put(facts, "memory size", machine.memory);
    put(facts, "processors", machine.processors);
    put(facts, "firmware", machine.firmware);
    put(facts, "secure boot", machine.secure_boot);
    put(facts, "TPM", machine.tpm);
    facts["machine encrypted"] = machine.encrypted.empty() ? "no" : printable(machine.encrypted);
    facts.update(machine.facts);
    for (const NetworkAdapter& adapter : machine.adapters) facts["network adapters"].push_back(describe(adapter));
    for (const Drive& drive : machine.drives) facts["drives"].push_back(describe(drive));
    if (!machine.checkpoints.empty()) facts["checkpoints"] = describe_checkpoints(machine.checkpoints);
    put(facts, "current state after", name_of(machine.checkpoints, machine.parent));
    for (const std::string& file : machine.files) facts["read with it"].push_back(file);
    if (!machine.problems.empty()) facts["problems"] = machine.problems;
    return facts;
}

std::string mac_address(std::string_view text) {
    std::string digits;
    for (const char c : text)
        if (c != ':' && c != '-' && c != '.') digits += lower(c);
    if (digits.size() != 12 || !parse_hex(digits)) return std::string(text);
    std::string address = digits.substr(0, 2);
    for (std::size_t i = 2; i < digits.size(); i += 2) address += ":" + digits.substr(i, 2);
    return address;
}

std::optional<std::uint64_t> memory_in_mebibytes(std::string_view text) noexcept {
    constexpr std::uint64_t kMebibyte = 1U << 20;
    const auto number = parse_up_to(std::uint64_t{1} << 40, text, 10);
    return number ? std::optional(*number * kMebibyte) : std::nullopt;
}

std::string DriveNames::unique(std::string wanted, std::string_view word, std::size_t number) {
    if (!wanted.empty() && taken_.insert(wanted).second) return wanted;
    std::size_t& next = next_[std::string(word)];
    for (next = std::max(next, number);; ++next)
        if (wanted = fmt::format("{}{}", word, next); taken_.insert(wanted).second) return wanted;
}

Result<void> check_media(std::size_t count, std::string_view name, const Limits& limits) {
    if (count <= limits.machine_media) return ok();
    return fail(ErrorKind::limit_exceeded, "{}: names more disks, media and checkpoints than the limit of {}", name,
                limits.machine_media);
}

Result<std::string> read_settings(const ByteSource& source, const Limits& limits) {
    if (source.size() > limits.registry_bytes)
        return fail(ErrorKind::limit_exceeded, "{}: has {} bytes, the limit for a machine's settings is {}",
                    source.name(), source.size(), limits.registry_bytes);
    std::string text(static_cast<std::size_t>(source.size()), '\0');
    VDISK_CHECK(read_exact(source, 0, std::as_writable_bytes(std::span(text))));
    return text;
}

} // namespace vdisk
