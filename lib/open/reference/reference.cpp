// SPDX-License-Identifier: Apache-2.0
#include "open/reference/reference.hpp"

#include "base/facts.hpp"
#include "base/parse.hpp"
#include "base/system/path.hpp"
#include "base/text.hpp"

#include <algorithm>
#include <array>

namespace fs = std::filesystem;

namespace vdisk {
namespace {

constexpr std::string_view kBlanks = " \t";
constexpr std::string_view kImageKey = "image";

Result<std::string> value_of(std::string_view text) {
    if (!text.starts_with('"')) return std::string(text);
    const auto parsed = Facts::parse(text);
    if (!parsed || parsed->text() == nullptr) return fail(ErrorKind::corrupt, "{} is no JSON string", printable(text));
    return *parsed->text();
}

// Reads the lines behind the first one into a Selector.
class ReferenceReader {
public:
    Result<void> read_line(std::string_view line) {
        line = trimmed(line, kBlanks);
        if (line.empty() || line.starts_with('#')) return ok();
        const std::size_t equals = line.find('=');
        if (equals == std::string_view::npos)
            return fail(ErrorKind::corrupt, "'{}' is not KEY = VALUE", printable(line));
        const std::string_view key = trimmed(line.substr(0, equals), kBlanks);
        VDISK_TRY(value, value_of(trimmed(line.substr(equals + 1), kBlanks)));
        if (value.empty()) return fail(ErrorKind::corrupt, "'{}' has no value", printable(key));
        if (value.find('\0') != std::string::npos)
            return fail(ErrorKind::corrupt, "'{}' has a NUL byte in its value", printable(key));
        return assign(key, std::move(value));
    }

    Result<Selector> result() && {
        if (!image_) return fail(ErrorKind::corrupt, "names no image: there is no line '{} = PATH'", kImageKey);
        if (selector_.device && selector_.snapshot)
            return fail(ErrorKind::corrupt, "'device' and 'snapshot' are both given");
        if (selector_.backing && selector_.parent)
            return fail(ErrorKind::corrupt, "'backing' and 'parent' are both given");
        selector_.path = std::move(*image_);
        return std::move(selector_);
    }

private:
    Result<void> assign(std::string_view key, std::string value) {
        std::optional<std::string>* const place = place_of(key);
        if (place == nullptr) return fail(ErrorKind::corrupt, "unknown key '{}'", printable(key));
        if (*place) return fail(ErrorKind::corrupt, "'{}' is given twice", key);
        *place = std::move(value);
        return ok();
    }

    std::optional<std::string>* place_of(std::string_view key) {
        if (key == kImageKey) return &image_;
        const auto known = selector_keys();
        const auto found = std::ranges::find(known, key, &SelectorKey::name);
        return found == known.end() ? nullptr : &(selector_.*found->member);
    }

    Selector selector_;
    std::optional<std::string> image_;
};

// As it stands where a reader gets the same back from it, else as a JSON string.
Result<std::string> written(std::string_view key, const std::string& value) {
    const bool controls = std::ranges::any_of(value, [](unsigned char c) { return c < 0x20 || c == 0x7F; });
    if (!controls && trimmed(value, kBlanks) == value && !value.starts_with('"'))
        return fmt::format("{} = {}\n", key, value);
    if (!is_utf8(value))
        return fail(ErrorKind::usage,
                    "'{}' can't be written into a reference file: it has control characters or blanks at an end, and "
                    "is not UTF-8",
                    printable(value));
    return fmt::format("{} = {}\n", key, Facts(value).dump());
}

// What a person selected in the reference file comes on top of what it says and contradicts nothing of it.
Result<void> add_selected(Selector& selector, const Selector& selected) {
    const bool disk_said = selector.device || selector.snapshot;
    if (disk_said && (selected.word || selected.device || selected.snapshot))
        return fail(ErrorKind::usage, "says already which disk, so a selector can't");
    for (const SelectorKey& key : selector_keys()) {
        const std::optional<std::string>& value = selected.*key.member;
        if (value && selector.*key.member)
            return fail(ErrorKind::usage, "says '{}' already, so a selector can't", key.name);
        if (value) selector.*key.member = value;
    }
    selector.word = selected.word;
    return ok();
}

// PATH#SELECTOR, the path relative to one of the folders. Which '#' separates depends on which files there are.
Result<Selector> read_nested(std::string_view text, const std::vector<fs::path>& folders) {
    std::error_code error;
    for (const fs::path& folder : folders) {
        VDISK_TRY(selector, parse_selector(utf8(fs::absolute(folder, error) / text)));
        if (fs::exists(selector.path, error)) return selector;
    }
    return parse_selector(utf8(fs::absolute(folders.front(), error) / text));
}

Result<Redirection> open_target(Selector selector, const OpenContext& context) {
    const References& gate = *context.references;
    const auto path_of = [&](const std::string& name, bool is_folder) -> Result<std::string> {
        auto found = is_folder ? gate.open_file_or_folder(name) : gate.open(name);
        if (found.has_error()) return std::move(found).error().in(fmt::format("'{}'", printable(name)));
        return utf8(found.value().file->path());
    };
    const auto nested = [&](std::string_view text) { return read_nested(text, gate.folders()); };
    VDISK_CHECK(change_paths(selector, nested, path_of, context.limits.chain_depth));
    auto found = gate.open_file_or_folder(utf8(selector.path));
    if (found.has_error())
        return std::move(found).error().in(fmt::format("image '{}'", printable(utf8(selector.path))));
    if (context.file && found.value().file->identity() == context.file->identity())
        return fail(ErrorKind::corrupt, "image '{}' is the reference file itself", printable(utf8(selector.path)));
    selector.path = found.value().file->path();
    VDISK_CHECK(add_selected(selector, context.selector));
    return Redirection{std::move(found.value().file), std::move(selector)};
}

Result<Redirection> follow(const ByteSource& source, const OpenContext& context) {
    const std::string_view name = source.name();
    if (source.size() > context.limits.reference_bytes)
        return fail(ErrorKind::limit_exceeded, "{}: has {} bytes, the limit for a reference file is {}", name,
                    source.size(), context.limits.reference_bytes);
    std::string text(static_cast<std::size_t>(source.size()), '\0');
    VDISK_CHECK(read_exact(source, 0, std::as_writable_bytes(std::span(text))));
    VDISK_TRY(selector, parse_reference(text, name));
    auto target = open_target(std::move(selector), context);
    if (target.has_error()) return std::move(target).error().in(name);
    return target;
}

constexpr std::array kReferenceSignatures{Signature{.magic = kReferenceMagic}};

Match probe_reference(std::span<const std::byte> /*head*/, const ByteSource& source) {
    return source.size() <= Limits{}.reference_bytes ? Match::sure : Match::no;
}

Result<std::shared_ptr<const DiskFile>> open_reference_as_disk(SourcePtr source, const OpenContext& /*context*/) {
    return fail(ErrorKind::unsupported, "{}: a reference file has no disks of its own", source->name());
}

} // namespace

const Format kReferenceFormat{.name = "reference",
                              .description = "Reference file (.vdisk), by the disk that it names",
                              .probe = probe_reference,
                              .open = open_reference_as_disk,
                              .scans_forward = false,
                              .follow = follow,
                              .signatures = kReferenceSignatures};

Result<Selector> parse_reference(std::string_view text, std::string_view name) {
    const std::string_view first = take_line(text);
    if (!first.starts_with(kReferenceMagic))
        return fail(ErrorKind::not_this_format, "{}: does not begin with '{}1'", name, kReferenceMagic);
    if (first != fmt::format("{}1", kReferenceMagic))
        return fail(ErrorKind::unsupported, "{}: line 1: '{}': only version 1 is known", name,
                    printable(shortened(first, 80)));
    ReferenceReader reader;
    for (std::size_t number = 2; !text.empty(); ++number) {
        auto read = reader.read_line(take_line(text));
        if (read.has_error()) return std::move(read).error().in(fmt::format("{}: line {}", name, number));
    }
    auto selector = std::move(reader).result();
    if (selector.has_error()) return std::move(selector).error().in(name);
    return selector;
}

Result<std::string> reference_text(const Selector& selector) {
    std::string text = fmt::format("{}1\n", kReferenceMagic);
    VDISK_TRY(image, written(kImageKey, utf8(selector.path)));
    text += image;
    for (const SelectorKey& key : selector_keys()) {
        if (!(selector.*key.member)) continue;
        VDISK_TRY(line, written(key.name, *(selector.*key.member)));
        text += line;
    }
    return text;
}

Result<void> change_paths(Selector& selector, const ReadNested& read, const ChangePath& change, std::size_t depth) {
    if (depth == 0) return fail(ErrorKind::limit_exceeded, "too many parents are named in each other");
    for (std::optional<std::string>* path :
         {&selector.key_file, &selector.passphrase_file, &selector.data_file, &selector.chunks}) {
        if (!*path) continue;
        VDISK_TRY(changed, change(**path, path == &selector.chunks));
        *path = std::move(changed);
    }
    for (std::optional<std::string>* parent : {&selector.backing, &selector.parent}) {
        if (!*parent || **parent == kNoParent) continue;
        VDISK_TRY(nested, read(**parent));
        VDISK_CHECK(change_paths(nested, read, change, depth - 1));
        VDISK_TRY(path, change(utf8(nested.path), false));
        nested.path = std::move(path);
        VDISK_TRY(text, selector_text(nested));
        *parent = std::move(text);
    }
    return ok();
}

} // namespace vdisk
