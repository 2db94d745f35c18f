// SPDX-License-Identifier: Apache-2.0
#include "hvconfig/commands.hpp"

#include "base/text.hpp"
#include "common/json_output.hpp"
#include "hvconfig/values.hpp"
#include "hyperv/value.hpp"

#include <algorithm>
#include <set>

namespace vdisk::tools {
namespace {

using hyperv::KeyId;
using hyperv::KeyType;

struct Get {
    FileArgument file;
    std::string path;
    bool raw = false;
    bool json = false;

    int operator()() const {
        const auto storage = file.open();
        if (storage.has_error()) return report(storage.error());
        auto keys = hyperv::find_keys(*storage.value(), path);
        if (keys.has_error()) return report(keys.error());
        const int status = warn_of(*storage.value(), keys.value());
        if (keys.value().empty())
            return report(fail(ErrorKind::usage, "{}: there is no key {}", printable(file.path), printable(path)));
        TextOutput out;
        if (auto done = print(*storage.value(), keys.value(), out); done.has_error()) return report(done.error());
        return out.complete() ? status : kPartial;
    }

private:
    Result<void> print(const hyperv::Storage& storage, const std::vector<KeyId>& keys, TextOutput& out) const {
        if (raw) return print_raw(storage, keys, out);
        if (json) return print_json(storage, keys, out);
        for (const KeyId key : keys) VDISK_CHECK(print_key(storage, key, out));
        return ok();
    }

    // A value is one line; a node is a line for each value below it.
    static Result<void> print_key(const hyperv::Storage& storage, KeyId key, TextOutput& out) {
        if (storage.key(key).entry.type != KeyType::node) {
            print_value(out, storage, key);
            out.put("\n");
            return ok();
        }
        return walk(
            storage.tree(), std::span(&key, 1),
            [&](KeyId at, std::size_t) -> Result<void> {
                print_flat(out, storage, at, hyperv::path_of(storage, at));
                return ok();
            },
            [](KeyId, std::size_t) -> Result<void> { return ok(); });
    }

    // Every key that the path stands for, and of a node all below it.
    static Result<void> print_json(const hyperv::Storage& storage, const std::vector<KeyId>& keys, TextOutput& out) {
        out.print("{{\"vdisk_json\":{},\"keys\":[", kJsonVersion);
        std::string_view separator = "\n ";
        VDISK_CHECK(walk(
            storage.tree(), keys,
            [&](KeyId at, std::size_t) -> Result<void> {
                out.put(separator);
                separator = ",\n ";
                print_json_key(out, storage, at);
                return ok();
            },
            [](KeyId, std::size_t) -> Result<void> { return ok(); }));
        out.put("]}\n");
        return ok();
    }

    Result<void> print_raw(const hyperv::Storage& storage, const std::vector<KeyId>& keys, TextOutput& out) const {
        if (keys.size() != 1)
            return fail(ErrorKind::usage, "{}: {} keys are at {}; choose one as {}", printable(file.path), keys.size(),
                        printable(path), hyperv::path_of(storage, keys.front()));
        if (storage.key(keys[0]).entry.type == KeyType::node)
            return fail(ErrorKind::usage, "{}: {} is a node and has no bytes", printable(file.path), printable(path));
        std::vector<std::byte> piece(1U << 20);
        for (std::uint64_t at = 0; at < storage.value_size(keys[0]);) {
            VDISK_TRY(got, storage.read_value(keys[0], at, piece));
            out.put({reinterpret_cast<const char*>(piece.data()), got});
            at += got;
        }
        return ok();
    }

    // What is wrong with the values of other keys does not matter here. What is wrong with the file does: the value may
    // be one that a log entry or a lost table replaces. And what has lost its parent may belong below a node.
    static int warn_of(const hyperv::Storage& storage, const std::vector<KeyId>& keys) {
        const std::set<KeyId> asked = with_all_below(storage, keys);
        const bool a_node =
            std::ranges::any_of(keys, [&](KeyId key) { return storage.key(key).entry.type == KeyType::node; });
        return warn_of_findings(storage, [&](const hyperv::Finding& finding) {
            return finding.key == hyperv::kNoKey || asked.contains(finding.key) ||
                   (a_node &&
                    (finding.kind == hyperv::FindingKind::orphan || finding.kind == hyperv::FindingKind::unreachable));
        });
    }

    static std::set<KeyId> with_all_below(const hyperv::Storage& storage, const std::vector<KeyId>& keys) {
        std::set<KeyId> all;
        std::vector<KeyId> open = keys;
        while (!open.empty()) {
            const KeyId key = open.back();
            open.pop_back();
            if (!all.insert(key).second) continue;
            const auto children = storage.tree().children(key);
            open.insert(open.end(), children.begin(), children.end());
        }
        return all;
    }
};

} // namespace

Action add_get(CommandLine& line) {
    auto action = std::make_shared<Get>();
    action->file.add_to(line);
    line.operand("PATH", action->path, "a key, as dump -O flat prints it");
    line.flag("--raw", action->raw, "the value's bytes as they are stored");
    line.flag("--json", action->json, "print JSON, as vdisk-json(5) describes it").excludes("raw");
    return [action] { return (*action)(); };
}

} // namespace vdisk::tools
