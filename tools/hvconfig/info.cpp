// SPDX-License-Identifier: Apache-2.0
#include "hvconfig/files_argument.hpp"

#include "base/text.hpp"
#include "common/json_output.hpp"
#include "hvconfig/json_dump.hpp"
#include "io/file_source.hpp"

#include <map>

namespace vdisk::tools {
namespace {

std::string_view to_string(hyperv::LogState state) {
    switch (state) {
    case hyperv::LogState::missing: return "missing";
    case hyperv::LogState::bad: return "bad header";
    case hyperv::LogState::clean: return "clean";
    case hyperv::LogState::pending: return "pending entries, all good";
    case hyperv::LogState::refused: return "pending entries, not all good";
    }
    return "unknown";
}

std::string_view to_string(hyperv::ObjectType type) {
    switch (type) {
    case hyperv::ObjectType::empty: return "empty";
    case hyperv::ObjectType::object_table: return "object table";
    case hyperv::ObjectType::key_table: return "key table";
    case hyperv::ObjectType::file_object: return "file object";
    case hyperv::ObjectType::free: return "free";
    case hyperv::ObjectType::replay_log: return "replay log";
    case hyperv::ObjectType::change_tracking: return "change tracking";
    }
    return "unknown";
}

Facts describe(const hyperv::HeaderCopy& copy) {
    Facts json;
    json["offset"] = copy.offset;
    json["state"] = !copy.inside_file      ? "outside the file"
                    : !copy.signature_good ? "bad signature"
                    : !copy.checksum_good  ? "bad checksum"
                                           : "good";
    if (!copy.inside_file || !copy.signature_good) return json;
    json["sequence"] = copy.sequence;
    json["format version"] = fmt::format("{}.{}", copy.version >> 8, copy.version & 0xFF);
    json["data version"] = copy.data_version;
    json["flags"] = copy.flags;
    json["alignment"] = copy.alignment;
    json["log offset"] = copy.log_offset;
    json["log size"] = copy.log_size;
    json["log header size"] = copy.log_header_size;
    return json;
}

Facts describe(const hyperv::ReplayLog& log) {
    Facts json;
    json["state"] = to_string(log.state);
    if (!log.header_good()) return json;
    json["pending entries"] = log.pending_count;
    json["most entries"] = log.max_entries;
    json["leftover entries"] = log.leftovers.size();
    json["change tracking"] = log.change_tracking;
    return json;
}

Facts describe_headers(const std::string& path, const hyperv::Headers& headers) {
    Facts json;
    json["file"] = path;
    json["active header copy"] = headers.active ? Facts(*headers.active + 1) : Facts(nullptr);
    for (std::size_t i = 0; i < headers.copies.size(); ++i)
        json[fmt::format("header copy {}", i + 1)] = describe(headers.copies[i]);
    return json;
}

Facts object_tables(const hyperv::Storage& storage) {
    Facts list = Facts::array();
    for (const hyperv::ObjectTable& table : storage.objects().tables)
        list.push_back(
            {{"offset", table.offset}, {"slots", table.slots}, {"signature", table.signature_good ? "good" : "bad"}});
    return list;
}

Facts objects_by_type(const hyperv::Storage& storage) {
    Facts json = Facts::object();
    for (const hyperv::Object& object : storage.objects().objects) {
        Facts& count = json[to_string(object.type)];
        count = count.is_null() ? 1 : *count.number() + 1;
    }
    return json;
}

Facts key_tables(const hyperv::Storage& storage) {
    std::map<std::uint32_t, std::size_t> keys;
    for (const hyperv::Key& key : storage.keys()) ++keys[key.table];
    Facts list = Facts::array();
    for (std::uint32_t i = 0; i < storage.key_tables().live.size(); ++i) {
        const hyperv::KeyTable& table = storage.key_tables().live[i];
        list.push_back({{"index", table.index},
                        {"offset", table.offset},
                        {"bytes", table.bytes.size()},
                        {"sequence", table.sequence},
                        {"checksum", table.header_good ? "good" : "bad"},
                        {"keys", keys[i]}});
    }
    return list;
}

Facts keys_by_type(const hyperv::Storage& storage) {
    Facts json = Facts::object();
    for (const hyperv::Key& key : storage.keys()) {
        Facts& count = json[hyperv::to_string(key.entry.type)];
        count = count.is_null() ? 1 : *count.number() + 1;
    }
    return json;
}

Facts describe(const std::string& path, const hyperv::Storage& storage) {
    Facts json = describe_headers(path, storage.headers());
    json["size"] = storage.raw_source()->size();
    json["replay log"] = describe(storage.log());
    json["replay log"]["applied"] = storage.log_applied();
    json["object tables"] = object_tables(storage);
    json["objects"] = objects_by_type(storage);
    json["key tables"] = key_tables(storage);
    json["superseded key tables"] = storage.key_tables().superseded.size();
    json["keys"] = keys_by_type(storage);
    json["orphans"] = storage.tree().tops(hyperv::Tree::RootKind::orphan).size();
    json["cycles"] = storage.tree().tops(hyperv::Tree::RootKind::cycle).size();
    json["findings"] = storage.findings().size();
    return json;
}

std::string scalar(const Facts& json) {
    const std::string* text = json.text();
    return text != nullptr ? printable(*text) : json.dump();
}

// One level of members a line; a list's items as `name: value` pairs on one line each.
void print_text(TextOutput& out, const Facts& json, std::size_t indent) {
    for (const auto& [name, value] : json.members()) {
        if (value.is_object()) {
            out.print("{:{}}{}:\n", "", indent, name);
            print_text(out, value, indent + 2);
        } else if (value.is_array()) {
            out.print("{:{}}{}: {}\n", "", indent, name, value.size());
            for (const Facts& item : value.elements()) {
                out.print("{:{}}-", "", indent + 2);
                for (const auto& [field, number] : item.members()) out.print(" {} {}", field, scalar(number));
                out.put("\n");
            }
        } else {
            out.print("{:{}}{}: {}\n", "", indent, name, scalar(value));
        }
    }
}

struct Info {
    FilesArgument files;
    bool json = false;

    int operator()() const {
        bool first = true;
        return files.for_each({".vmcx", ".vmrs", ".vsv"}, [&](const FileArgument& file) {
            if (!json && !first) fmt::print("\n");
            first = false;
            return tell(file);
        });
    }

private:
    int tell(const FileArgument& file) const {
        const auto storage = file.open();
        if (storage.has_value()) {
            warn_of_findings(*storage.value(), files.several());
            return print(describe(file.path, *storage.value()), status_of(*storage.value()));
        }
        report(storage.error());
        if (storage.error().kind != ErrorKind::unsupported) return kFailed;
        // Of another format version the header at least is known.
        const auto source = FileSource::open(file.path, FileKinds::regular_only);
        if (source.has_error()) return report(source.error());
        const auto headers = hyperv::read_headers(*source.value());
        if (headers.has_error()) return report(headers.error());
        return print(describe_headers(file.path, headers.value()), kPartial);
    }

    int print(const Facts& facts, int status) const {
        TextOutput out;
        if (json) out.put(json_document(facts, files.several() ? JsonLayout::one_line : JsonLayout::indented));
        else print_text(out, facts, 0);
        return status;
    }
};

} // namespace

Action add_info(CommandLine& line) {
    auto action = std::make_shared<Info>();
    action->files.add_to(line);
    line.flag("--json", action->json, "print JSON, as vdisk-json(5) describes it");
    return [action] { return (*action)(); };
}

} // namespace vdisk::tools
