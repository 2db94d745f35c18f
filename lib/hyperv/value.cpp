// SPDX-License-Identifier: Apache-2.0
#include "hyperv/value.hpp"

#include "base/parse.hpp"
#include "base/text.hpp"

#include <boost/endian/conversion.hpp>

#include <algorithm>
#include <bit>
#include <charconv>
#include <cstring>

namespace vdisk::hyperv {
namespace {

constexpr std::string_view kEscaped = "/\\[]=";

template<class Number> std::optional<Number> little(std::span<const std::byte> bytes) noexcept {
    Number value{};
    if (bytes.size() < sizeof value) return std::nullopt;
    std::memcpy(&value, bytes.data(), sizeof value);
    return boost::endian::little_to_native(value);
}

struct Step {
    std::string name;
    std::uint32_t number = 0; // 0: any
};

int hex_digit(char digit) {
    if (digit >= '0' && digit <= '9') return digit - '0';
    if (digit >= 'a' && digit <= 'f') return digit - 'a' + 10;
    if (digit >= 'A' && digit <= 'F') return digit - 'A' + 10;
    return -1;
}

Result<std::string> unescape(std::string_view text) {
    std::string name;
    for (std::size_t i = 0; i < text.size(); ++i) {
        if (text[i] != '\\') {
            name.push_back(text[i]);
            continue;
        }
        const bool complete =
            i + 3 < text.size() && text[i + 1] == 'x' && hex_digit(text[i + 2]) >= 0 && hex_digit(text[i + 3]) >= 0;
        if (!complete)
            return fail(ErrorKind::usage, "path step \"{}\": a backslash stands before xNN only", printable(text));
        name.push_back(static_cast<char>(hex_digit(text[i + 2]) * 16 + hex_digit(text[i + 3])));
        i += 3;
    }
    return name;
}

Result<Step> parse_step(std::string_view text) {
    Step step;
    if (text.ends_with(']')) {
        const std::size_t open = text.rfind('[');
        const auto digits = open == text.npos ? std::string_view{} : text.substr(open + 1, text.size() - open - 2);
        const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), step.number);
        if (error != std::errc{} || end != digits.data() + digits.size() || step.number == 0)
            return fail(ErrorKind::usage, "path step \"{}\": the number in brackets counts from 1", printable(text));
        text = text.substr(0, open);
    }
    VDISK_TRY(name, unescape(text));
    step.name = std::move(name);
    return step;
}

Result<std::vector<Step>> parse_path(std::string_view path) {
    std::vector<Step> steps;
    if (path.empty()) return steps;
    if (path.starts_with('/')) path.remove_prefix(1);
    for (std::size_t start = 0; start <= path.size();) {
        const std::size_t end = std::min(path.find('/', start), path.size());
        VDISK_TRY(step, parse_step(path.substr(start, end - start)));
        steps.push_back(std::move(step));
        start = end + 1;
    }
    return steps;
}

bool same_letters(std::string_view a, std::string_view b) {
    return std::equal(a.begin(), a.end(), b.begin(), b.end(), [&](char x, char y) { return lower(x) == lower(y); });
}

} // namespace

std::optional<std::int64_t> as_integer(std::span<const std::byte> bytes) noexcept {
    return little<std::int64_t>(bytes);
}

std::optional<std::uint64_t> as_unsigned(std::span<const std::byte> bytes) noexcept {
    return little<std::uint64_t>(bytes);
}

std::optional<double> as_real(std::span<const std::byte> bytes) noexcept {
    const auto bits = little<std::uint64_t>(bytes);
    if (!bits) return std::nullopt;
    return std::bit_cast<double>(*bits);
}

std::optional<bool> as_boolean(std::span<const std::byte> bytes) noexcept {
    const auto value = little<std::int32_t>(bytes);
    if (!value) return std::nullopt;
    return *value != 0;
}

std::uint64_t change_tracking_sequence(const KeyEntry& node) noexcept {
    return node.type == KeyType::node ? as_unsigned(node.data).value_or(0) : 0;
}

std::string escape_name(std::string_view name) {
    std::string escaped;
    while (!name.empty()) {
        const std::size_t special = std::min(name.find_first_of(kEscaped), name.size());
        escaped += printable(name.substr(0, special));
        if (special < name.size()) escaped += fmt::format("\\x{:02x}", static_cast<unsigned char>(name[special]));
        name.remove_prefix(std::min(special + 1, name.size()));
    }
    return escaped;
}

std::string step_of(const Storage& storage, KeyId key) {
    const std::uint32_t number = storage.tree().occurrence(key);
    const std::string name = escape_name(storage.key(key).entry.name);
    return number == 0 ? name : fmt::format("{}[{}]", name, number);
}

std::string path_of(const Storage& storage, KeyId key) {
    std::vector<KeyId> line;
    for (KeyId at = key; at != kNoKey; at = storage.tree().parent(at)) line.push_back(at);
    std::string path;
    switch (storage.tree().root_kind(line.back())) {
    case Tree::RootKind::root: break;
    case Tree::RootKind::orphan: path = "orphan:"; break;
    case Tree::RootKind::cycle: path = "cycle:"; break;
    }
    for (auto step = line.rbegin(); step != line.rend(); ++step) path += "/" + step_of(storage, *step);
    return path;
}

Result<std::vector<KeyId>> find_keys(const Storage& storage, std::string_view path) {
    VDISK_TRY(steps, parse_path(path));
    const auto& roots = storage.tree().tops(Tree::RootKind::root);
    if (steps.empty()) return roots;
    std::vector<KeyId> found;
    std::vector<KeyId> candidates = roots;
    for (const Step& step : steps) {
        if (&step != &steps.front()) {
            candidates.clear();
            for (const KeyId parent : found) {
                const auto children = storage.tree().children(parent);
                candidates.insert(candidates.end(), children.begin(), children.end());
            }
        }
        found.clear();
        for (const KeyId key : candidates) {
            const std::uint32_t number = std::max(storage.tree().occurrence(key), 1U);
            if (storage.key(key).entry.name == step.name && (step.number == 0 || step.number == number))
                found.push_back(key);
        }
    }
    // Few files have a root key without a name, and whoever types "/" means all of them.
    if (found.empty() && path == "/") return roots;
    return found;
}

KeyId find_key(const Storage& storage, std::string_view path) {
    const auto found = find_keys(storage, path);
    return found.has_value() && !found.value().empty() ? found.value().front() : kNoKey;
}

KeyId find_child(const Storage& storage, KeyId parent, std::string_view name) {
    for (const KeyId child : storage.tree().children(parent))
        if (same_letters(storage.key(child).entry.name, name)) return child;
    return kNoKey;
}

} // namespace vdisk::hyperv
