// SPDX-License-Identifier: Apache-2.0
#include "disk/selector.hpp"

#include "base/nearest.hpp"
#include "base/system/path.hpp"
#include "base/text.hpp"

#include <algorithm>
#include <array>
#include <system_error>
#include <vector>

namespace vdisk {
namespace {

constexpr std::array kKeys{
    SelectorKey{"device", &Selector::device, "NAME", "one of several disks in the file"},
    SelectorKey{"snapshot", &Selector::snapshot, "NAME", "a snapshot, by id or name"},
    SelectorKey{"key-file", &Selector::key_file, "PATH",
                "the file with an encrypted image's passphrase, or a backup's key"},
    SelectorKey{"passphrase-file", &Selector::passphrase_file, "PATH",
                "the file with the passphrase of a backup's key"},
    SelectorKey{"backing", &Selector::backing, "PATH", "the backing file, in place of the one that the image names"},
    SelectorKey{"data-file", &Selector::data_file, "PATH", "the external data file, likewise"},
    SelectorKey{"parent", &Selector::parent, "PATH", "the parent, likewise"},
    SelectorKey{"format", &Selector::format, "NAME", "the format by which the file is read, whatever it looks like"},
    SelectorKey{"root", &Selector::root, "FOLDER",
                "below which the evidence is mounted: absolute names are looked for there"},
    SelectorKey{"parts", &Selector::parts, "one|all",
                "of a cut file: this part alone, or all that follow whatever they look like"},
    SelectorKey{"chunks", &Selector::chunks, "FOLDER", "of a backup's index: the folder with its chunks"},
    SelectorKey{"block-size", &Selector::block_size, "BYTES",
                "of a VDI whose header is lost; with the three that follow"},
    SelectorKey{"map-offset", &Selector::map_offset, "BYTES", "where its block map lies in the file"},
    SelectorKey{"data-offset", &Selector::data_offset, "BYTES", "where its blocks begin in the file"},
    SelectorKey{"size", &Selector::size, "BYTES", "of its disk"},
};

// The parts between unescaped commas, unescaped.
std::vector<std::string> split(std::string_view text) {
    std::vector<std::string> parts(1);
    for (std::size_t i = 0; i < text.size(); ++i) {
        const bool escaped = text[i] == '\\' && i + 1 < text.size() && (text[i + 1] == ',' || text[i + 1] == '\\');
        if (escaped) parts.back() += text[++i];
        else if (text[i] == ',') parts.emplace_back();
        else parts.back() += text[i];
    }
    return parts;
}

const SelectorKey* key_of(std::string_view part) {
    const std::string_view name = part.substr(0, part.find('='));
    for (const SelectorKey& key : kKeys)
        if (name.size() < part.size() && key.name == name) return &key;
    return nullptr;
}

// "keyfile" of "keyfile=secret": what was meant as a key. A name may have an equals sign too, but seldom behind a word.
std::string_view key_like(std::string_view part) {
    constexpr std::string_view kLetters = "abcdefghijklmnopqrstuvwxyz-_";
    constexpr std::size_t kShortest = 3;
    const std::size_t end = part.find_first_not_of(kLetters);
    return end != std::string_view::npos && end >= kShortest && part[end] == '=' ? part.substr(0, end)
                                                                                 : std::string_view();
}

Error unknown_key(std::string_view name) {
    std::vector<std::string_view> names;
    std::string list;
    for (const SelectorKey& key : kKeys) {
        names.push_back(key.name);
        list += fmt::format("{}{}=", list.empty() ? "" : ", ", key.name);
    }
    return fail(ErrorKind::usage,
                "a selector has no key '{}'{} (the keys are {}; a disk of such a name is selected by device= or "
                "snapshot=)",
                name, suggestion(name, names), list);
}

Result<void> assign(std::optional<std::string>& member, std::string value, std::string_view what) {
    if (member) return fail(ErrorKind::usage, "selector gives '{}' twice (a comma in a value is written '\\,')", what);
    if (value.empty()) return fail(ErrorKind::usage, "selector gives '{}' no value", what);
    member = std::move(value);
    return ok();
}

Result<void> read_part(Selector& selector, const std::string& part) {
    if (const SelectorKey* key = key_of(part))
        return assign(selector.*key->member, part.substr(key->name.size() + 1), key->name);
    if (const std::string_view name = key_like(part); !name.empty()) return unknown_key(name);
    return assign(selector.word, part, "a name");
}

bool file_exists(std::string_view path) {
    std::error_code error;
    return std::filesystem::exists(std::filesystem::path(path), error);
}

// Not where a folder refuses to tell: opening the file says that better.
bool surely_missing(std::string_view path) {
    std::error_code error;
    return std::filesystem::status(std::filesystem::path(path), error).type() == std::filesystem::file_type::not_found;
}

Result<Selector> parse(std::string_view text);

} // namespace

bool Selector::empty() const noexcept {
    return !word &&
           std::ranges::none_of(kKeys, [&](const SelectorKey& key) { return (this->*key.member).has_value(); });
}

std::span<const SelectorKey> selector_keys() noexcept {
    return kKeys;
}

Result<Selector> parse_selector(std::string_view text) {
    auto selector = parse(text);
    if (selector.has_error()) return std::move(selector).error().in(printable(text));
    return selector;
}

Result<Selector> parse_typed(std::string_view text) {
    const std::size_t hash = text.find('#');
    if (hash == std::string_view::npos) return parse_selector(text);
    for (std::size_t next = hash; next != std::string_view::npos; next = text.find('#', next + 1))
        if (!surely_missing(text.substr(0, next))) return parse_selector(text);
    if (!surely_missing(text)) return parse_selector(text);
    return fail(ErrorKind::io, "{}: No such file or directory, nor is there a file '{}'", printable(text),
                printable(text.substr(0, hash)));
}

Result<Selector> parse_selector_of(const std::filesystem::path& path, std::string_view words) {
    Selector selector;
    selector.path = path;
    const auto parts = words.empty() ? std::vector<std::string>() : split(words);
    for (const std::string& part : parts)
        if (auto read = read_part(selector, part); read.has_error())
            return std::move(read).error().in(printable(utf8(path)));
    return selector;
}

bool reads_as_key(std::string_view word) noexcept {
    return key_of(word) != nullptr || !key_like(word).empty();
}

namespace {

Result<Selector> parse(std::string_view text) {
    Selector selector;
    selector.path = std::filesystem::path(text);
    if (text.find('#') == std::string_view::npos || file_exists(text)) return selector;

    // Of several '#', the first behind an existing file separates: names of disks inside may have a '#' too.
    std::size_t hash = text.find('#');
    for (std::size_t next = hash; next != std::string_view::npos; next = text.find('#', next + 1))
        if (file_exists(text.substr(0, next))) {
            hash = next;
            break;
        }
    selector.path = std::filesystem::path(text.substr(0, hash));
    for (const std::string& part : split(text.substr(hash + 1))) VDISK_CHECK(read_part(selector, part));
    return selector;
}

} // namespace

std::string selector_word(std::string_view word) {
    std::string escaped;
    for (const char c : word) {
        if (c == ',' || c == '\\') escaped += '\\';
        escaped += c;
    }
    return escaped;
}

Result<std::string> selector_text(const Selector& selector) {
    std::string keys = selector.word ? selector_word(*selector.word) : "";
    for (const SelectorKey& key : kKeys)
        if (const auto& value = selector.*key.member)
            keys += fmt::format("{}{}={}", keys.empty() ? "" : ",", key.name, selector_word(*value));
    std::string text = keys.empty() ? utf8(selector.path) : fmt::format("{}#{}", utf8(selector.path), keys);
    const auto read_back = parse_selector(text);
    if (read_back.has_value() && read_back.value() == selector) return text;
    return fail(ErrorKind::usage, "{}: another file has the beginning of this name, up to a '#'", printable(text));
}

} // namespace vdisk
