// SPDX-License-Identifier: Apache-2.0
#include "hvconfig/commands.hpp"

#include "base/text.hpp"
#include "hvconfig/json_dump.hpp"
#include "hvconfig/values.hpp"
#include "hyperv/machine.hpp"
#include "hyperv/value.hpp"

#include <fmt/ranges.h>

#include <algorithm>

namespace vdisk::tools {
namespace {

using hyperv::KeyId;
using hyperv::KeyType;
using hyperv::Tree;

constexpr std::size_t kShownBytes = 32;
constexpr std::size_t kGuidBytes = 16;

std::string guid(std::span<const std::byte> bytes) {
    const auto part = [&](std::initializer_list<std::size_t> order) {
        std::string digits;
        for (const std::size_t i : order) digits += hex(bytes.subspan(i, 1));
        return digits;
    };
    return fmt::format("{}-{}-{}-{}-{}", part({3, 2, 1, 0}), part({5, 4}), part({7, 6}), part({8, 9}),
                       part({10, 11, 12, 13, 14, 15}));
}

// 100 ns since 1601, if that is a time at which Hyper-V could run.
std::string file_time(std::string_view name, std::span<const std::byte> bytes) {
    constexpr std::int64_t kYear2000 = 946'684'800;
    constexpr std::int64_t kYear2100 = 4'102'444'800;
    const std::int64_t seconds = hyperv::unix_time(hyperv::as_unsigned(bytes).value_or(0));
    if (name.find("time") == name.npos || seconds < kYear2000 || seconds > kYear2100) return "";
    return fmt::format("  ({})", utc_time(seconds));
}

class TextDump {
public:
    TextDump(const hyperv::Storage& storage, TextOutput& out) : storage_(storage), out_(out) {}

    Result<void> flat(std::span<const KeyId> tops) {
        std::vector<std::size_t> lengths;
        std::string path;
        return walk(
            storage_.tree(), tops,
            [&](KeyId key, std::size_t depth) -> Result<void> {
                if (depth == 0) path = hyperv::path_of(storage_, key);
                lengths.push_back(depth == 0 ? 0 : path.size());
                if (depth > 0) path += "/" + hyperv::step_of(storage_, key);
                print_flat(out_, storage_, key, path);
                return ok();
            },
            [&](KeyId, std::size_t) -> Result<void> {
                path.resize(lengths.back());
                lengths.pop_back();
                return ok();
            });
    }

    Result<void> tree(std::span<const KeyId> tops) {
        return walk(
            storage_.tree(), tops, [&](KeyId key, std::size_t depth) -> Result<void> { return tree_line(key, depth); },
            [](KeyId, std::size_t) -> Result<void> { return ok(); });
    }

private:
    Result<void> tree_line(KeyId key, std::size_t depth) {
        const hyperv::KeyEntry& entry = storage_.key(key).entry;
        const std::size_t indent = std::min(depth, kDeepestIndent);
        out_.print("{:{}}{}{}", "", 2 * indent, depth > indent ? fmt::format("<{}> ", depth) : "",
                   printable(entry.name));
        if (entry.type != KeyType::node && entry.has_value()) out_.print(": {}", shown_value(key));
        if (const auto damage = damage_of(entry); !damage.empty())
            out_.print("  [damaged: {}]", fmt::join(damage, ", "));
        out_.put("\n");
        return ok();
    }

    std::string shown_value(KeyId key) {
        const hyperv::KeyEntry& entry = storage_.key(key).entry;
        if (entry.type == KeyType::array || !hyperv::is_defined(entry.type)) return shown_bytes(key);
        const auto bytes = readable_value(out_, storage_, key);
        if (!bytes) return "[unreadable]";
        std::string text = value_text(entry.type, *bytes);
        if (entry.type == KeyType::string) return fmt::format("\"{}\"", text);
        if (entry.type == KeyType::integer) return text + file_time(entry.name, *bytes);
        return text;
    }

    std::string shown_bytes(KeyId key) {
        std::vector<std::byte> bytes(kShownBytes);
        const std::uint64_t size = storage_.value_size(key);
        const std::string title = fmt::format("{}, {} bytes ", hyperv::to_string(storage_.key(key).entry.type), size);
        const auto got = storage_.read_value(key, 0, bytes);
        if (got.has_error()) {
            warn(fmt::format("{}: {}", short_path(storage_, key).value_or("a key"), got.error().what));
            out_.miss();
            return title + "[unreadable]";
        }
        bytes.resize(got.value());
        std::string shown = title + hex(bytes) + (got.value() < size ? "..." : "");
        if (size == kGuidBytes) shown += fmt::format("  ({})", guid(bytes));
        if (size == sizeof(std::uint64_t)) shown += file_time(storage_.key(key).entry.name, bytes);
        return shown;
    }

    const hyperv::Storage& storage_;
    TextOutput& out_;
};

struct Dump {
    FileArgument file;
    std::string format = "tree";
    std::string path;
    bool json = false;

    int operator()() {
        if (json) format = "json";
        const auto storage = file.open();
        if (storage.has_error()) return report(storage.error());
        const int status = warn_of_findings(*storage.value());
        const auto tops = chosen(*storage.value());
        if (tops.has_error()) return report(tops.error());
        TextOutput out;
        if (auto done = write(*storage.value(), tops.value(), out); done.has_error()) return report(done.error());
        return out.complete() ? status : kPartial;
    }

private:
    Result<std::vector<KeyId>> chosen(const hyperv::Storage& storage) const {
        VDISK_TRY(tops, hyperv::find_keys(storage, path));
        if (tops.empty() && !path.empty())
            return fail(ErrorKind::usage, "{}: there is no key {}", printable(file.path), printable(path));
        return tops;
    }

    Result<void> write(const hyperv::Storage& storage, std::span<const KeyId> tops, TextOutput& out) const {
        const bool all = path.empty();
        if (format == "json") return dump_json(storage, tops, all, out);
        TextDump dump(storage, out);
        if (format == "flat") VDISK_CHECK(dump.flat(tops));
        else VDISK_CHECK(dump.tree(tops));
        if (!all) return ok();
        for (const auto& [kind, title] :
             {std::pair(Tree::RootKind::orphan, "orphans"), std::pair(Tree::RootKind::cycle, "cycles")}) {
            const auto& keys = storage.tree().tops(kind);
            if (keys.empty()) continue;
            if (format == "flat") {
                VDISK_CHECK(dump.flat(keys));
                continue;
            }
            out.print("[{}]\n", title);
            VDISK_CHECK(dump.tree(keys));
        }
        return ok();
    }
};

} // namespace

Action add_dump(CommandLine& line) {
    auto action = std::make_shared<Dump>();
    action->file.add_to(line);
    line.flag("--json", action->json, "the same as --output-format json");
    line.option("-O,--output-format", "FORMAT", action->format, "tree (to read; usual), flat (a line a value) or json")
        .one_of({"json", "tree", "flat"});
    line.option("-p,--path", "PATH", action->path, "only the keys at this path");
    return [action] { return (*action)(); };
}

} // namespace vdisk::tools
