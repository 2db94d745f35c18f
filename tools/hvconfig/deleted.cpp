// SPDX-License-Identifier: Apache-2.0
#include "hvconfig/commands.hpp"

#include "base/text.hpp"
#include "common/json_output.hpp"
#include "hvconfig/values.hpp"
#include "hyperv/remnants.hpp"
#include "hyperv/value.hpp"

namespace vdisk::tools {
namespace {

using hyperv::KeyType;
using hyperv::Remnant;

class RemnantPrinter {
public:
    explicit RemnantPrinter(TextOutput& out) : out_(out) {}

    void text(const Remnant& remnant) {
        out_.print("offset {}: {}: {}", remnant.file_offset, hyperv::to_string(remnant.source), path(remnant));
        if (remnant.type != KeyType::node) out_.print(" = {}", value(remnant));
        out_.print("  ({}, {}; {})\n", type_name(remnant), remnant.checksum_good ? "checksum holds" : "no checksum",
                   printable(remnant.how));
    }

    void json(const Remnant& remnant) {
        out_.print("{{\"source\":\"{}\",\"file_offset\":{}", hyperv::to_string(remnant.source), remnant.file_offset);
        if (remnant.place) out_.print(",\"table\":{},\"offset\":{}", remnant.place->table, remnant.place->offset);
        if (!remnant.name.empty() || remnant.header_intact) out_.print(",\"name\":{}", json_string(remnant.name));
        out_.print(",\"type\":\"{}\",\"seq\":{}", type_name(remnant), remnant.sequence);
        if (remnant.parent_known)
            out_.print(",\"parent_path\":{},\"path\":{}", json_string(remnant.parent_path), json_string(path(remnant)));
        if (remnant.pointer)
            out_.print(",\"file_object\":{{\"offset\":{},\"size\":{}}}", remnant.pointer->offset,
                       remnant.pointer->size);
        const bool elsewhere = remnant.pointer && remnant.value.empty();
        if (const auto members = value_members(remnant.type, remnant.value); !elsewhere && !members.empty())
            out_.print(",{}", members);
        out_.print(",\"header_intact\":{},\"checksum_good\":{},\"found\":{}}}", remnant.header_intact,
                   remnant.checksum_good, json_string(remnant.how));
    }

private:
    static std::string_view type_name(const Remnant& remnant) {
        return remnant.type == KeyType::free ? "unknown" : hyperv::to_string(remnant.type);
    }

    static std::string path(const Remnant& remnant) {
        const std::string name = hyperv::escape_name(remnant.name);
        if (remnant.parent_known) return remnant.parent_path + "/" + name;
        return remnant.name.empty() && !remnant.header_intact ? "(no name)" : "?/" + name;
    }

    static std::string value(const Remnant& remnant) {
        if (remnant.pointer && remnant.value.empty())
            return fmt::format("{} bytes in a file object at offset {}", remnant.pointer->size,
                               remnant.pointer->offset);
        return value_text(remnant.type, remnant.value);
    }

    TextOutput& out_;
};

struct Deleted {
    FileArgument file;
    bool json = false;

    int operator()() const {
        const auto storage = file.open();
        if (storage.has_error()) return report(storage.error());
        warn_of_findings(*storage.value());
        const auto remnants = hyperv::find_remnants(*storage.value());
        if (remnants.has_error()) return report(remnants.error());
        TextOutput out;
        print(out, remnants.value());
        return status_of(*storage.value());
    }

private:
    void print(TextOutput& out, const std::vector<Remnant>& remnants) const {
        RemnantPrinter printer(out);
        if (!json) {
            for (const Remnant& remnant : remnants) printer.text(remnant);
            out.print("{} remnants\n", remnants.size());
            return;
        }
        out.print("{{\"vdisk_json\":{},\"deleted\":[", kJsonVersion);
        for (const Remnant& remnant : remnants) {
            out.put(&remnant == &remnants.front() ? "\n " : ",\n ");
            printer.json(remnant);
        }
        out.put("]}\n");
    }
};

} // namespace

Action add_deleted(CommandLine& line) {
    auto action = std::make_shared<Deleted>();
    action->file.add_to(line);
    line.flag("--json", action->json, "print JSON, as vdisk-json(5) describes it");
    return [action] { return (*action)(); };
}

} // namespace vdisk::tools
