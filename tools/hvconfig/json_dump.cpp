// SPDX-License-Identifier: Apache-2.0
#include "hvconfig/json_dump.hpp"

#include "base/text.hpp"
#include "hvconfig/commands.hpp"
#include "hvconfig/values.hpp"
#include "hyperv/value.hpp"

#include <algorithm>

namespace vdisk::tools {
namespace {

using hyperv::KeyId;
using hyperv::KeyType;
using hyperv::Tree;

class TreeWriter {
public:
    TreeWriter(const hyperv::Storage& storage, TextOutput& out) : storage_(storage), out_(out) {}

    // A list of keys with all that is below them; `placeless` ones say where they stand.
    Result<void> list(std::span<const KeyId> tops, bool placeless) {
        placeless_ = placeless;
        out_.put("[");
        first_ = true;
        VDISK_CHECK(walk(
            storage_.tree(), tops, [&](KeyId key, std::size_t depth) -> Result<void> { return enter(key, depth); },
            [&](KeyId key, std::size_t) -> Result<void> { return leave(key); }));
        out_.put("]");
        return ok();
    }

private:
    Result<void> enter(KeyId key, std::size_t depth) {
        const hyperv::KeyEntry& entry = storage_.key(key).entry;
        out_.print("{}\n{:{}}", first_ ? "" : ",", "", 1 + std::min(depth, kDeepestIndent));
        first_ = false;
        out_.print("{{\"name\":{}", json_string(entry.name));
        if (entry.faults.has(hyperv::FindingKind::name_utf8))
            out_.print(",\"name_hex\":\"{}\"", hex(std::as_bytes(std::span(entry.name))));
        out_.print(",\"type\":\"{}\",\"seq\":{}", hyperv::to_string(entry.type), entry.sequence);
        if (!hyperv::is_defined(entry.type)) out_.print(",\"type_number\":{}", static_cast<unsigned>(entry.type));
        if (const unsigned flags = entry.flags & ~unsigned{hyperv::kFlagFileObject}; flags != 0)
            out_.print(",\"flags\":{}", flags);
        if (const auto tracked = hyperv::change_tracking_sequence(entry); tracked != 0)
            out_.print(",\"change_tracking_sequence\":{}", tracked);
        if (entry.has_value()) value(key);
        if (entry.pointer) out_.put(",\"file_object\":true");
        if (const auto damage = damage_of(entry); !damage.empty()) out_.print(",\"damaged\":{}", Facts(damage).dump());
        if (placeless_ && depth == 0) place(key);
        if (has_children(key)) {
            out_.put(",\"children\":[");
            first_ = true;
        }
        return ok();
    }

    Result<void> leave(KeyId key) {
        out_.put(has_children(key) ? "]}" : "}");
        first_ = false;
        return ok();
    }

    bool has_children(KeyId key) const { return storage_.key(key).entry.type == KeyType::node; }

    void value(KeyId key) {
        constexpr std::string_view kUnreadable = ",\"unreadable\":true";
        const KeyType type = storage_.key(key).entry.type;
        if (type == KeyType::node) return;
        if (type == KeyType::array) {
            out_.print(",\"length\":{},\"hex\":\"", storage_.value_size(key));
            const bool whole = print_hex(out_, storage_, key);
            out_.put("\"");
            if (!whole) out_.put(kUnreadable);
            return;
        }
        const auto bytes = readable_value(out_, storage_, key);
        if (!bytes) return out_.put(kUnreadable);
        if (const std::string members = value_members(type, *bytes); !members.empty()) out_.print(",{}", members);
    }

    void place(KeyId key) {
        const hyperv::KeyEntry& entry = storage_.key(key).entry;
        out_.print(",\"table\":{},\"offset\":{},\"parent_table\":{},\"parent_offset\":{}", storage_.table_of(key).index,
                   entry.offset, entry.parent.table, entry.parent.offset);
    }

    const hyperv::Storage& storage_;
    TextOutput& out_;
    bool first_ = true;
    bool placeless_ = false;
};

std::size_t file_objects(const hyperv::Storage& storage) {
    const auto& objects = storage.objects().objects;
    return static_cast<std::size_t>(std::count_if(objects.begin(), objects.end(), [](const hyperv::Object& object) {
        return object.type == hyperv::ObjectType::file_object;
    }));
}

} // namespace

Facts header_json(const hyperv::Storage& storage) {
    Facts json;
    const hyperv::HeaderCopy* header = storage.headers().current();
    if (header == nullptr) {
        json["active"] = nullptr;
        return json;
    }
    json["active"] = *storage.headers().active + 1;
    json["sequence"] = header->sequence;
    json["version"] = fmt::format("{:#06x}", header->version);
    json["data_version"] = header->data_version;
    json["flags"] = header->flags;
    json["alignment"] = header->alignment;
    json["log_offset"] = header->log_offset;
    json["log_size"] = header->log_size;
    json["log_header_size"] = header->log_header_size;
    if (storage.log().header_good()) {
        json["pending"] = storage.log().pending_count;
        json["max_entries"] = storage.log().max_entries;
    }
    return json;
}

void print_findings(const hyperv::Storage& storage, TextOutput& out, JsonLayout layout) {
    const std::string_view between = layout == JsonLayout::indented ? "\n " : "";
    out.put("[");
    for (const hyperv::Finding& finding : storage.findings()) {
        Facts json{{"kind", hyperv::to_string(finding.kind)}, {"offset", finding.offset}, {"message", finding.what}};
        if (const auto path = short_path(storage, finding.key)) json["path"] = *path;
        out.print("{}{}{}", &finding == &storage.findings().front() ? "" : ",", between, json.dump());
    }
    out.put("]");
}

Result<void> dump_json(const hyperv::Storage& storage, std::span<const KeyId> tops, bool all, TextOutput& out) {
    const std::string_view name = storage.source()->name();
    out.print("{{\"vdisk_json\":{},\"file\":{},\n", kJsonVersion, json_string(name.substr(name.rfind('/') + 1)));
    out.print("\"header\":{},\n", header_json(storage).dump());
    out.print("\"log_applied\":{},\n", storage.log_applied());
    out.print("\"key_tables\":{},\"object_tables\":{},\"file_objects\":{},\n", storage.key_tables().live.size(),
              storage.objects().tables.size(), file_objects(storage));
    TreeWriter writer(storage, out);
    out.put("\"tree\":");
    VDISK_CHECK(writer.list(tops, false));
    for (const auto& [kind, title] :
         {std::pair(Tree::RootKind::orphan, "orphans"), std::pair(Tree::RootKind::cycle, "cycles")}) {
        const auto& keys = storage.tree().tops(kind);
        if (!all || keys.empty()) continue;
        out.print(",\n\"{}\":", title);
        VDISK_CHECK(writer.list(keys, true));
    }
    out.put(",\n\"findings\":");
    print_findings(storage, out, JsonLayout::indented);
    out.put("}\n");
    return ok();
}

} // namespace vdisk::tools
