// SPDX-License-Identifier: Apache-2.0
#include "hvconfig/values.hpp"

#include "base/text.hpp"
#include "hvconfig/commands.hpp"
#include "hyperv/value.hpp"

#include "base/facts.hpp"
#include <fmt/ranges.h>

#include <bit>
#include <cmath>

namespace vdisk::tools {
namespace {

using hyperv::KeyType;

constexpr std::size_t kPiece = 1U << 20;

std::string real_members(double value) {
    const std::string number = std::isfinite(value) ? Facts(value).dump() : fmt::format("\"{}\"", value);
    return fmt::format("\"bits\":\"{:#018x}\",\"value\":{}", std::bit_cast<std::uint64_t>(value),
                       std::isnan(value) ? "\"nan\"" : number);
}

std::string string_members(std::span<const std::byte> bytes) {
    const Utf16Text text = decode_utf16(bytes);
    std::string value = fmt::format("\"value\":{}", json_string(text.utf8));
    if (text.exact) return value;
    return fmt::format("{},\"utf16le_hex\":\"{}\",\"lone_surrogate_or_odd\":true", value, hex(bytes));
}

template<class Value> std::string shown(const std::optional<Value>& value) {
    return value ? fmt::format("{}", *value) : std::string();
}

template<class Value> std::string member(const std::optional<Value>& value) {
    return value ? fmt::format("\"value\":{}", *value) : std::string();
}

void miss(TextOutput& out, const hyperv::Storage& storage, hyperv::KeyId key, const Error& why) {
    warn(fmt::format("{}: {}", short_path(storage, key).value_or("a key"), why.what));
    out.miss();
}

} // namespace

std::string json_string(std::string_view text) {
    return Facts(text).dump();
}

std::string value_text(KeyType type, std::span<const std::byte> bytes) {
    switch (type) {
    case KeyType::integer: return shown(hyperv::as_integer(bytes));
    case KeyType::unsigned_integer: return shown(hyperv::as_unsigned(bytes));
    case KeyType::real: return shown(hyperv::as_real(bytes));
    case KeyType::boolean: return shown(hyperv::as_boolean(bytes));
    case KeyType::string: return printable(decode_utf16(bytes).utf8);
    case KeyType::node: return "";
    case KeyType::array:
    case KeyType::free: break;
    }
    return hex(bytes);
}

std::string value_members(KeyType type, std::span<const std::byte> bytes) {
    switch (type) {
    case KeyType::integer: return member(hyperv::as_integer(bytes));
    case KeyType::unsigned_integer: return member(hyperv::as_unsigned(bytes));
    case KeyType::boolean: return member(hyperv::as_boolean(bytes));
    case KeyType::string: return string_members(bytes);
    case KeyType::real: {
        const auto value = hyperv::as_real(bytes);
        return value ? real_members(*value) : std::string();
    }
    case KeyType::node: return "";
    case KeyType::array:
    case KeyType::free: break;
    }
    return fmt::format("\"length\":{},\"hex\":\"{}\"", bytes.size(), hex(bytes));
}

std::optional<std::vector<std::byte>> readable_value(TextOutput& out, const hyperv::Storage& storage,
                                                     hyperv::KeyId key) {
    auto bytes = storage.value(key);
    if (bytes.has_value()) return std::move(bytes).value();
    miss(out, storage, key, bytes.error());
    return std::nullopt;
}

bool print_hex(TextOutput& out, const hyperv::Storage& storage, hyperv::KeyId key) {
    std::vector<std::byte> piece(static_cast<std::size_t>(std::min<std::uint64_t>(kPiece, storage.value_size(key))));
    for (std::uint64_t at = 0; at < storage.value_size(key);) {
        const auto got = storage.read_value(key, at, piece);
        if (got.has_error()) {
            miss(out, storage, key, got.error());
            return false;
        }
        out.put(hex(std::span(piece).first(got.value())));
        at += got.value();
    }
    return true;
}

void print_value(TextOutput& out, const hyperv::Storage& storage, hyperv::KeyId key) {
    const KeyType type = storage.key(key).entry.type;
    if (type == KeyType::array) {
        if (!print_hex(out, storage, key)) out.put("  # unreadable from here on");
        return;
    }
    const auto bytes = readable_value(out, storage, key);
    out.put(bytes ? value_text(type, *bytes) : "  # unreadable");
}

void print_flat(TextOutput& out, const hyperv::Storage& storage, hyperv::KeyId key, std::string_view path) {
    const hyperv::KeyEntry& entry = storage.key(key).entry;
    const auto damage = damage_of(entry);
    if (entry.type == KeyType::node && damage.empty() && !storage.tree().children(key).empty()) return;
    out.put(path);
    if (entry.type == KeyType::node) {
        out.put(" = {}");
    } else {
        out.put(" = ");
        print_value(out, storage, key);
    }
    if (!damage.empty()) out.print("  # damaged: {}", fmt::join(damage, ", "));
    out.put("\n");
}

void print_json_key(TextOutput& out, const hyperv::Storage& storage, hyperv::KeyId key) {
    const hyperv::KeyEntry& entry = storage.key(key).entry;
    out.print("{{\"path\":{},\"type\":\"{}\"", json_string(hyperv::path_of(storage, key)),
              hyperv::to_string(entry.type));
    if (entry.type == KeyType::array) {
        out.print(",\"length\":{},\"hex\":\"", storage.value_size(key));
        const bool whole = print_hex(out, storage, key);
        out.put(whole ? "\"" : "\",\"unreadable\":true");
    } else if (entry.type != KeyType::node) {
        const auto bytes = readable_value(out, storage, key);
        const std::string members = bytes ? value_members(entry.type, *bytes) : "\"unreadable\":true";
        if (!members.empty()) out.print(",{}", members);
    }
    if (const auto damage = damage_of(entry); !damage.empty()) out.print(",\"damaged\":{}", Facts(damage).dump());
    out.put("}");
}

std::vector<std::string> damage_of(const hyperv::KeyEntry& entry) {
    std::vector<std::string> names;
    for (const hyperv::FindingKind kind : entry.faults.list())
        if (hyperv::doubts_value(kind)) names.emplace_back(hyperv::to_string(kind));
    return names;
}

} // namespace vdisk::tools
