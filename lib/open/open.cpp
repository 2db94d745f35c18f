// SPDX-License-Identifier: Apache-2.0
#include "open/open.hpp"

#include "base/nearest.hpp"
#include "base/processors.hpp"
#include "base/system/path.hpp"
#include "base/text.hpp"
#include "disk/nearby_files.hpp"
#include "format/raw/raw.hpp"
#include "image/uniform_layout.hpp"
#include "io/memory_source.hpp"
#include "open/known_files.hpp"
#include "open/parts.hpp"
#include "open/reference/reference.hpp"
#include "open/registry.hpp"
#include "open/report.hpp"

#include <algorithm>
#include <array>
#include <initializer_list>
#include <set>
#include <utility>

namespace vdisk {
namespace {

constexpr std::uint64_t kSectorBytes = 512;

// Who said of which format a file is.
enum class SaidBy : std::uint8_t { nobody, image, person };

// What is known of a file before it is opened.
struct Expectation {
    std::string format{}; ///< a format's name; empty: to be detected
    SaidBy said_by = SaidBy::nobody;
    bool named_by_person = true; ///< the file; else an image names it
    bool raw_if_unknown = false;
    bool called_raw = false; ///< by its name, or by being a device
    bool may_be_compressed = true;
    bool may_be_reference = false;
    bool disks_only = false;                              ///< what is_disk() does not take is refused
    FileKinds given = FileKinds::regular_or_block_device; ///< what a path in its selector may be
    std::optional<Window> window{};                       ///< the part of the file that is meant
    std::span<const std::string> more_parts{};            ///< paths of what the file goes on in, as a person gave them
};

Result<const Format*> format_named(const Expectation& expected) {
    const Format* format = find_format(expected.format);
    if (format == nullptr && expected.said_by == SaidBy::image)
        return fail(ErrorKind::unsupported, "the image declares format '{}', which is not read here",
                    printable(expected.format));
    if (format == nullptr) {
        std::vector<std::string_view> names;
        for (const Format* known : formats()) names.push_back(known->name);
        return fail(ErrorKind::usage, "no format is called '{}'{}", printable(expected.format),
                    suggestion(expected.format, names));
    }
    return format;
}

// What belongs to a disk is best read as that.
std::optional<Error> part_of_disk(const OpenedFile& opened) {
    for (const Format* format : formats()) {
        if (format->described_by == nullptr) continue;
        const std::string other =
            format->described_by(*opened.source, *opened.context.references, opened.context.limits);
        if (!other.empty())
            return fail(
                ErrorKind::not_this_format,
                "{}: is a part of the disk that {} describes: open that; '#format=raw' behind its name reads it "
                "as it is",
                opened.source->name(), other);
    }
    return std::nullopt;
}

Error unknown_format(std::string_view name, const FirstLook& look) {
    const std::string_view words = plain_words(look);
    return fail(ErrorKind::not_this_format, "{}: {}{}; '#format=raw' behind its name says that it is a raw disk", name,
                words,
                words.empty() ? "not of a format that is known here" : ", and is of no format that is known here");
}

// Of a file that is something else than a disk's bytes, where nobody said what it is.
Error other_kind(const OpenedFile& opened, std::string_view is) {
    const std::string_view name = opened.source->name();
    if (const auto& stream = opened.context.stream)
        return fail(ErrorKind::not_this_format, "{}: what is compressed there with {} {}", name,
                    to_string(stream->compression()), is);
    return fail(ErrorKind::not_this_format, "{}: {}", name, is);
}

// What can be seen of the file that is read: of the decompressed bytes where the file is compressed.
struct Seen {
    FirstLook look;
    const Format* format = nullptr;   ///< nullptr: none of those that are read here
    const KnownFile* known = nullptr; ///< what it is else
};

Result<Seen> look_inside(const OpenedFile& opened) {
    if (const auto& stream = opened.context.stream) {
        VDISK_TRY(head, stream->head(FirstLook::kHeadBytes));
        Seen seen{.look = FirstLook::at_start(head)};
        VDISK_TRY(format, detect_format(seen.look, MemorySource(std::move(head), std::string(stream->name()))));
        seen.format = format;
        seen.known = known_file(seen.look);
        return seen;
    }
    VDISK_TRY(look, FirstLook::at(*opened.source));
    Seen seen{.look = std::move(look)};
    VDISK_TRY(format, detect_format(seen.look, *opened.source));
    seen.format = format;
    seen.known = known_file(seen.look);
    return seen;
}

// Whether a file that a person named is called a raw disk by its name or its kind. Anything may be one, so some of that
// has to be there.
bool is_called_raw(const FileSource& file) {
    std::filesystem::path name = file.path().filename();
    const auto is_digit = [](char c) { return '0' <= c && c <= '9'; };
    if (const std::string part = utf8(name.extension());
        part.size() > 2 && std::all_of(part.begin() + 1, part.end(), is_digit))
        name = name.stem(); // of a disk that was cut into parts
    const bool device = !(file.is_regular() || file.is_folder() || file.is_given());
    return device || NearbyFiles::has_extension(name, {".raw", ".dd", ".img"});
}

// Of a folder that is a disk's the file in it that stands for all; else the file itself.
Result<FilePtr> file_to_read(const FilePtr& file) {
    if (!file->is_folder()) return file;
    VDISK_TRY(folder, Folder::open(file->path()));
    for (const Format* format : formats())
        if (!format->file_in_folder.empty() && folder->kind_of(format->file_in_folder) == Folder::Entry::Kind::file)
            return folder->file(format->file_in_folder);
    return file;
}

// The format whose folder it is.
Result<const Format*> detect_folder(const FileSource& file) {
    VDISK_TRY(folder, Folder::open(file.path()));
    for (const Format* format : formats())
        if (format->owns_folder != nullptr && format->owns_folder(*folder)) return format;
    return fail(ErrorKind::io, "{}: is a directory, not an image file", file.name());
}

// The format of a file of which nobody said it. Raw is what nothing that is known contradicts, and only of a parent, of
// what is compressed and of what is called so: anything may be a raw disk, so of any other file it has to be said.
Result<const Format*> detect_inside(OpenedFile& opened, const Expectation& expected) {
    if (opened.context.file->is_folder()) return detect_folder(*opened.context.file);
    VDISK_TRY(seen, look_inside(opened));
    if (seen.format != nullptr) return seen.format;
    const bool compressed = opened.context.stream != nullptr;
    const bool may_be_raw = compressed || expected.called_raw;
    const bool is_disk = seen.known != nullptr && seen.known->content == KnownFile::Content::disk;
    if (seen.known != nullptr && !(may_be_raw && is_disk)) return other_kind(opened, in_words(*seen.known));
    if (!may_be_raw && !expected.raw_if_unknown) {
        if (auto part = part_of_disk(opened)) return std::move(*part);
        return unknown_format(opened.source->name(), seen.look);
    }
    if (!compressed && seen.look.size() == 0U) return other_kind(opened, "is empty");
    opened.taken_as_raw = true;
    return &kRawFormat;
}

// Raw is what it was said to be; says where the file itself looks like something else.
Result<void> remark_contradiction(OpenedFile& opened, const Expectation& expected) {
    const auto seen = look_inside(opened);
    if (seen.has_error()) return ok(); // two formats fit, or the stream's start is damaged: nothing to be sure of
    const bool other = seen.value().known != nullptr && seen.value().known->content == KnownFile::Content::other;
    if (seen.value().format == nullptr && !other) return ok();
    const std::string is = seen.value().format != nullptr
                               ? fmt::format("begins as a {} file", seen.value().format->name)
                               : fmt::format("is {}", seen.value().known->what);
    const bool person_chose_the_file = expected.said_by == SaidBy::image && expected.named_by_person;
    opened.decided.push_back({person_chose_the_file ? Remark::Weight::doubt : Remark::Weight::note,
                              fmt::format("{} by itself, and is read as raw, as {} says", is,
                                          expected.said_by == SaidBy::image ? "its child" : "who named it")});
    return ok();
}

Result<const Format*> decide_format(OpenedFile& opened, const Expectation& expected) {
    if (expected.format.empty()) return detect_inside(opened, expected);
    auto named = format_named(expected);
    if (named.has_error()) return std::move(named).error().in(opened.source->name());
    const Format* const format = named.value();
    if (opened.context.file->is_folder()) {
        VDISK_TRY(own, detect_folder(*opened.context.file));
        if (own != format)
            return fail(ErrorKind::not_this_format, "{}: is a {} folder", opened.source->name(), own->name);
    }
    if (format == &kRawFormat) VDISK_CHECK(remark_contradiction(opened, expected));
    return format;
}

// A stream that was taken for a raw disk by its start may end as another kind of file does, which is known only once
// all of it was decoded. What is lost of its start keeps nobody from the rest.
Result<const Format*> look_at_end(OpenedFile& opened, const Format* format) {
    if (!opened.taken_as_raw || !opened.context.stream) return format;
    const FirstLook look = FirstLook::at_end(*opened.source);
    VDISK_TRY(by_end, detect_format(look, *opened.source, Match::sure));
    if (by_end != nullptr) {
        opened.taken_as_raw = false;
        return by_end;
    }
    if (const KnownFile* const known = known_by_its_end(look)) return other_kind(opened, in_words(*known));
    return format;
}

Result<void> look_through_compression(OpenedFile& opened, const OpenOptions& options) {
    VDISK_TRY(compression, detect_compression(*opened.context.file));
    if (!compression) return ok();
    VDISK_TRY(stream, StreamSource::open(opened.context.file, *compression, options.index_cache, options.limits,
                                         options.unverified));
    opened.context.stream = stream;
    opened.context.unverified = options.unverified;
    opened.source = stream;
    return ok();
}

// Of a reference file that an image or another reference file names.
Error led_to(std::string_view name, const Format& format) {
    return fail(ErrorKind::unsupported, "{}: is a {} file, and neither an image nor another one may lead to it", name,
                format.name);
}

// The root that the selector gives goes before that of the options.
Result<OpenContext> context_of(const FilePtr& file, Selector selector, FileKinds given, const OpenOptions& options) {
    OpenContext context;
    context.limits = options.limits;
    References::RootPtr root = options.root;
    if (selector.root) {
        VDISK_TRY(own, evidence_root(*selector.root, "key 'root'"));
        root = std::move(own);
    }
    context.references = std::make_shared<const References>(file->path(), options.references, options.limits, given,
                                                            options.inputs, std::move(root), with_parts);
    context.selector = std::move(selector);
    context.file = file;
    context.progress = options.progress;
    context.index_cache = options.index_cache;
    context.registry = options.registry;
    return context;
}

Result<OpenedFile> open_found(FilePtr file, Selector selector, const Expectation& expected, const OpenOptions& options,
                              CachesPtr caches);

std::string_view needless(std::string_view key) {
    if (key == "key-file" || key == "passphrase-file") return "the image is not encrypted";
    if (key == "backing" || key == "parent") return "the image has no parent";
    if (key == "data-file") return "the image has no external data file";
    if (key == "root") return "the image names no other file";
    return "the image has nothing of that kind";
}

// Once only, and only where a person named the reference file: never where an image did, or another reference.
Result<OpenedFile> follow(const OpenedFile& reference, const Format& format, const Expectation& expected,
                          const OpenOptions& options) {
    const std::string_view name = reference.source->name();
    if (!expected.may_be_reference) return led_to(name, format);
    if (reference.context.stream)
        return fail(ErrorKind::unsupported, "{}: is a compressed {} file, which is not followed", name, format.name);
    VDISK_TRY(there, format.follow(*reference.source, reference.context));
    const Expectation image{.given = FileKinds::regular_only};
    auto opened =
        open_found(std::move(there.file), std::move(there.selector), image, options, reference.context.caches);
    if (opened.has_error()) return std::move(opened).error().in(name);
    opened.value().reference = name;
    return opened;
}

Result<void> refuse_two(std::string_view path, std::initializer_list<std::pair<std::string_view, bool>> keys) {
    std::string_view first;
    for (const auto& [name, given] : keys) {
        if (given && !first.empty())
            return fail(ErrorKind::usage, "{}: {} and {} are both given, and only one can hold", path, first, name);
        if (given) first = name;
    }
    return ok();
}

// A key that means nothing to the file would be a mistake that no one notices.
Result<void> refuse_needless_keys(const OpenedFile& opened) {
    const Selector& selector = opened.context.selector;
    const std::string_view name = opened.source->name();
    VDISK_CHECK(refuse_two(name, {{"'device'", selector.device.has_value()},
                                  {"'snapshot'", selector.snapshot.has_value()},
                                  {"a name", selector.word.has_value()}}));
    VDISK_CHECK(
        refuse_two(name, {{"'backing'", selector.backing.has_value()}, {"'parent'", selector.parent.has_value()}}));
    const std::vector<std::string_view> taken = opened.disks->keys();
    constexpr std::array kForAll{"device", "snapshot", "format", "parts"};
    for (const SelectorKey& key : selector_keys()) {
        if (!(selector.*key.member) || std::ranges::find(kForAll, key.name) != kForAll.end()) continue;
        if (std::ranges::find(taken, key.name) == taken.end())
            return fail(ErrorKind::usage, "{}: the key '{}' does not apply: {}", name, key.name, needless(key.name));
    }
    return ok();
}

// A format as a person calls it: "rawz" is what The Sleuth Kit's programs call a raw disk that is compressed.
std::string_view format_called(std::string_view typed) {
    return typed == "rawz" ? kRawFormat.name : typed;
}

// The format that a person said, in a selector or by an option.
Result<Expectation> with_own_format(Expectation expected, const Selector& selector, std::string_view name) {
    if (!selector.format) return expected;
    const std::string_view own = format_called(*selector.format);
    if (expected.said_by == SaidBy::person && !expected.format.empty() && expected.format != own)
        return fail(ErrorKind::usage, "{}: format is to be '{}' and '{}'", name, printable(expected.format),
                    printable(*selector.format));
    expected.format = own;
    expected.said_by = SaidBy::person;
    expected.may_be_compressed = true;
    return expected;
}

SourcePtr windowed(const FilePtr& file, const std::optional<Window>& window) {
    if (!window) return file;
    return std::make_shared<const SliceSource>(file, window->offset, window->length.value_or(file->size()));
}

Result<void> check_window(const FileSource& file, const std::optional<Window>& window) {
    if (!window || fits(window->offset, window->length.value_or(0), file.size())) return ok();
    return fail(ErrorKind::truncated, "{}: {} bytes from offset {} are named, but the file has {}", file.name(),
                window->length.value_or(0), window->offset, file.size());
}

// The file with all parts into which it was cut.
Result<WholeFile> whole_file(const FilePtr& file, const Selector& selector, const References& gate,
                             std::span<const std::string> more) {
    if (file->is_folder()) return WholeFile{.file = file};
    return more.empty() ? with_parts(file, gate, selector.parts) : with_given_parts(file, more, gate, selector.parts);
}

Result<OpenedFile> open_found(FilePtr named, Selector selector, const Expectation& wanted, const OpenOptions& options,
                              CachesPtr caches) {
    VDISK_TRY(file, file_to_read(named));
    if (options.inputs && file != named) options.inputs->add(file);
    VDISK_TRY(expected, with_own_format(wanted, selector, file->name()));
    OpenedFile opened;
    VDISK_TRY(context, context_of(file, std::move(selector), expected.given, options));
    opened.context = std::move(context);
    opened.context.caches = std::move(caches);
    VDISK_TRY(whole, whole_file(file, opened.context.selector, *opened.context.references, expected.more_parts));
    opened.context.file = std::move(whole.file);
    opened.decided = std::move(whole.remarks);
    VDISK_CHECK(check_window(*opened.context.file, expected.window));
    opened.source = windowed(opened.context.file, expected.window);
    if (expected.may_be_compressed && !expected.window) VDISK_CHECK(look_through_compression(opened, options));
    auto decided = decide_format(opened, expected);
    // What is known of its parts may be why.
    if (decided.has_error() && !opened.decided.empty())
        decided.error().what += fmt::format("; it {}", opened.decided.front().text);
    VDISK_TRY(format, std::move(decided));
    if (expected.disks_only && !is_disk(*format))
        return fail(ErrorKind::unsupported, "{}: is a {} file, and no disk", opened.source->name(), format->name);
    if (format->follow != nullptr) return follow(opened, *format, expected, options);
    const std::shared_ptr<StreamSource>& stream = opened.context.stream;
    if (stream && !format->scans_forward && !stream->indexed()) VDISK_CHECK(stream->index({}, options.progress));
    VDISK_TRY(read_as, look_at_end(opened, format));
    VDISK_TRY(disks, read_as->open(opened.source, opened.context));
    opened.disks = std::move(disks);
    VDISK_CHECK(refuse_needless_keys(opened));
    return opened;
}

bool is_called(const Disk& disk, std::string_view word) {
    return disk.name == word || (!disk.id.empty() && disk.id == word);
}

bool has_alias(const Disk& disk, std::string_view word) {
    return std::ranges::find(disk.aliases, word) != disk.aliases.end();
}

// What the user asked for, as one predicate and its text; without a selector, the disks chosen by default.
struct Wish {
    std::string_view key;
    std::string_view value;

    std::vector<std::size_t> fitting(const std::vector<Disk>& disks) const {
        std::vector<std::size_t> fitting = those(disks, is_called);
        return fitting.empty() && !key.empty() ? those(disks, has_alias) : fitting;
    }

private:
    using Called = bool (*)(const Disk&, std::string_view);

    std::vector<std::size_t> those(const std::vector<Disk>& disks, Called called) const {
        std::vector<std::size_t> found;
        for (std::size_t i = 0; i < disks.size(); ++i)
            if (fits(disks[i], called)) found.push_back(i);
        return found;
    }
    bool fits(const Disk& disk, Called called) const {
        if (key == "device") return disk.kind != Disk::Kind::snapshot && called(disk, value);
        if (key == "snapshot") return disk.kind == Disk::Kind::snapshot && called(disk, value);
        if (key == "name") return disk.kind != Disk::Kind::active && called(disk, value);
        return disk.chosen_by_default;
    }
};

Wish wish_of(const Selector& selector) {
    if (selector.device) return {"device", *selector.device};
    if (selector.snapshot) return {"snapshot", *selector.snapshot};
    if (selector.word) return {"name", *selector.word};
    return {};
}

// The disks that have to be asked for by name.
struct DiskList {
    std::size_t count = 0;
    std::string text; ///< a line each, with what to type
};

DiskList list_disks(const DiskFile& file, const Selector& selector) {
    DiskList list;
    for (const Disk& disk : file.disks()) {
        if (disk.kind == Disk::Kind::active) continue;
        ++list.count;
        list.text += fmt::format("\n  {}  {}  {}", to_string(disk.kind), shown_size(disk),
                                 shell_quoted(utf8(selector.path) + "#" + selecting_word(file, disk)));
    }
    return list;
}

// What the user gave in the parent's place, if anything.
const std::optional<std::string>& given_parent(const OpenedFile& child) {
    const Selector& selector = child.context.selector;
    return selector.backing ? selector.backing : selector.parent;
}

struct OpenedParent {
    OpenedFile file;
    std::string how;
    std::vector<Remark> remarks{};
    bool given = false;
};

OpenOptions options_below(const OpenedFile& child, const OpenOptions& options) {
    OpenOptions below = options;
    below.registry = child.context.registry;
    below.root = child.context.references->root();
    return below;
}

// The format that the child declares holds for the file that a person names too.
Result<OpenedParent> open_given_parent(const ParentLink& link, const OpenedFile& child, const OpenOptions& options) {
    const References& gate = *child.context.references;
    VDISK_TRY(chosen, parse_typed(*given_parent(child)));
    VDISK_TRY(found, gate.open_given(chosen.path));
    const Expectation expected{.format = link.format,
                               .said_by = link.format.empty() ? SaidBy::nobody : SaidBy::image,
                               .raw_if_unknown = true,
                               .may_be_compressed = link.format != kRawFormat.name,
                               .given = gate.given_kinds()};
    VDISK_TRY(file, open_found(found.file, chosen, expected, options_below(child, options), child.context.caches));
    return OpenedParent{.file = std::move(file), .how = found.how, .given = true};
}

// Why the parent was not found, with what to type.
Error not_found(Error error, const ParentLink& link) {
    const bool can_be_named =
        error.kind == ErrorKind::io || error.kind == ErrorKind::usage || error.kind == ErrorKind::unsupported;
    if (link.key.empty() || !can_be_named) return error;
    error.what += fmt::format(". Name it yourself: 'IMAGE#{}=FILE'; or read what the image has without it: '#{}={}'",
                              link.key, link.key, kNoParent);
    return error;
}

// A file of another kind is no parent; only a person can know better.
Error not_raw(Error error, const ParentLink& link) {
    if (error.kind == ErrorKind::not_this_format && link.format.empty() && !link.key.empty())
        error.what += fmt::format(". If it is a raw disk all the same: 'IMAGE#{}=FILE#format=raw'", link.key);
    return error;
}

// Opens what an image or a machine names, by the format that it has there; empty: nobody says it.
Result<OpenedFile> open_as_named(const FoundFile& found, const std::string& format, bool disks_only, Selector meant,
                                 const OpenOptions& options, CachesPtr caches) {
    // The guest chooses what a raw disk begins with: that must not make a compressed stream of it.
    const bool may_be_raw = format.empty() || format == kRawFormat.name;
    const Expectation expected{.format = format,
                               .said_by = format.empty() ? SaidBy::nobody : SaidBy::image,
                               .named_by_person = false,
                               .raw_if_unknown = true,
                               .may_be_compressed = !may_be_raw || found.packed,
                               .disks_only = disks_only,
                               .window = found.window};
    meant.path = found.file->path();
    if (!found.snapshot.empty()) meant.snapshot = found.snapshot;
    return open_found(found.file, std::move(meant), expected, options, std::move(caches));
}

// What a person said of a machine's disk is meant for its image, and of some images for their parents too. Of other
// files it is meant for themselves.
Selector keys_below(const ParentLink& link, const OpenedFile& child) {
    Selector keys;
    if (!child.disks->format().is_machine && !link.shares_key) return keys;
    keys.key_file = child.context.selector.key_file;
    keys.passphrase_file = child.context.selector.passphrase_file;
    return keys;
}

// Opens the parent that `link` names, or that the user gave in its place.
Result<OpenedParent> open_parent(const ParentLink& link, const OpenedFile& child, const OpenOptions& options) {
    if (given_parent(child)) return open_given_parent(link, child, options);
    auto located = link.locate(*child.context.references);
    if (located.has_error()) return not_found(std::move(located).error(), link);
    FoundFile& found = located.value();
    OpenOptions below = options_below(child, options);
    if (!found.registry.empty()) below.registry = found.registry;
    auto file = open_as_named(found, found.format.empty() ? link.format : found.format, false, keys_below(link, child),
                              below, child.context.caches);
    if (file.has_error()) return not_raw(std::move(file).error(), link);
    return OpenedParent{
        .file = std::move(file).value(), .how = std::move(found.how), .remarks = std::move(found.remarks)};
}

// What can be said against a raw file as the parent of a larger disk: nothing in it tells whose it is.
std::optional<Remark> doubt_of_raw(const OpenedParent& parent, std::uint64_t size, std::uint64_t child_size) {
    const OpenedFile& file = parent.file;
    const bool said_by_person = file.context.selector.format.has_value();
    if (&file.disks->format() != &kRawFormat || said_by_person) return std::nullopt;
    const bool odd = size % kSectorBytes != 0;
    const bool too_small = size < child_size && child_size - size >= kSectorBytes; // a child's disk has whole sectors
    const std::string sizes = fmt::format("it has {} bytes, its child's disk {}", size, child_size);
    if (file.taken_as_raw)
        return Remark{too_small || odd ? Remark::Weight::doubt : Remark::Weight::note,
                      fmt::format("is taken as a raw disk, which nothing says that it is{}{}",
                                  too_small || odd ? ": " : "", too_small || odd ? sizes : "")};
    if (too_small && (parent.given || odd))
        return Remark{Remark::Weight::doubt, fmt::format("may not be the parent: {}", sizes)};
    return std::nullopt;
}

// Opens what is named by the selector or by the file itself, to see what that names. What can't be followed is left.
std::vector<OpenedFile> open_named(const OpenedFile& file, const OpenOptions& options, std::set<FileIdentity>& seen) {
    const References& gate = *file.context.references;
    const Selector& selector = file.context.selector;
    std::vector<OpenedFile> opened;
    const auto add = [&](const Result<FoundFile>& found, Selector chosen, const Expectation& expected) {
        if (found.has_error() || !seen.insert(found.value().file->identity()).second) return;
        auto next = open_found(found.value().file, std::move(chosen), expected, options, file.context.caches);
        if (next.has_value()) opened.push_back(std::move(next).value());
    };
    for (const auto& given : {selector.backing, selector.parent}) {
        if (!given) continue;
        auto chosen = parse_selector(*given);
        if (chosen.has_error()) continue;
        const auto found = gate.open_given(chosen.value().path);
        add(found, std::move(chosen.value()), {.raw_if_unknown = true, .given = gate.given_kinds()});
    }
    for (const auto& given : {selector.key_file, selector.passphrase_file, selector.data_file})
        if (given) (void)gate.open_given(*given);
    for (const ParentLink& link : file.disks->links()) {
        const auto found = link.locate(gate);
        if (found.has_error()) continue;
        const bool may_be_raw = link.format.empty() || link.format == kRawFormat.name;
        add(found, Selector{.path = found.value().file->path()},
            {.format = link.format, .raw_if_unknown = true, .may_be_compressed = !may_be_raw});
    }
    return opened;
}

struct OpenLayer {
    OpenedFile file;
    std::size_t index = 0;
    Layer layer;
    ChainLink link;
};

std::vector<Remark> damage_of_stream(const OpenedFile& file) {
    std::vector<Remark> damage;
    if (file.context.stream)
        for (const std::string& finding : file.context.stream->findings())
            damage.push_back({Remark::Weight::doubt, printable(finding)});
    return damage;
}

Result<OpenLayer> open_layer(OpenedFile file, std::size_t index) {
    VDISK_TRY(layer, file.disks->layer(index));
    ChainLink link{.path = std::string(file.source->name()),
                   .format = &file.disks->format(),
                   .size = file.disks->disks()[index].size,
                   .disks = file.disks,
                   .index = index,
                   .remarks = file.decided,
                   .files = layer.files};
    if (const FilePtr& whole = file.context.file; whole && !whole->parts().empty())
        link.files["parts"] = describe_parts(*whole);
    link.remarks.insert(link.remarks.end(), layer.remarks.begin(), layer.remarks.end());
    link.damage = damage_of_stream(file);
    return OpenLayer{std::move(file), index, std::move(layer), std::move(link)};
}

// A file may come twice in a chain only as different disks of it, and that no format has: any repetition is a cycle.
Result<void> refuse_cycle(const std::vector<OpenLayer>& chain, const OpenedFile& next) {
    const FilePtr& file = next.context.file;
    const bool repeated = file && std::ranges::any_of(chain, [&](const OpenLayer& layer) {
                              return layer.file.context.file && layer.file.context.file->identity() == file->identity();
                          });
    if (repeated) return fail(ErrorKind::corrupt, "{} is in its own chain of parents", file->name());
    return ok();
}

const Format kNoFormat{
    .name = kNoParent, .description = "A parent that was left out", .probe = nullptr, .open = nullptr};

// A disk of which nothing can be read, in the place of a parent that was left out.
OpenLayer absent_layer(const OpenLayer& child) {
    OpenLayer absent;
    const std::string& what = child.layer.parent->described;
    Error why = fail(ErrorKind::usage, "{} was left out, and the bytes are there", what);
    absent.layer.layout = std::make_shared<const UniformLayout>(Extent::unreadable(child.link.size, std::move(why)));
    absent.file.context.caches = child.file.context.caches;
    absent.link = ChainLink{.path = what, .format = &kNoFormat, .size = child.link.size, .how = "left out"};
    absent.link.remarks.push_back({Remark::Weight::note, "was left out: what the image does not have is an error"});
    return absent;
}

Result<OpenLayer> open_layer_below(const std::vector<OpenLayer>& chain, const OpenOptions& options) {
    const OpenLayer& child = chain.back();
    if (given_parent(child.file) == kNoParent) return absent_layer(child);
    VDISK_TRY(parent, open_parent(*child.layer.parent, child.file, options));
    VDISK_CHECK(refuse_cycle(chain, parent.file));
    VDISK_TRY(index, select_disk(*parent.file.disks, parent.file.context.selector));
    const auto doubt = doubt_of_raw(parent, parent.file.disks->disks()[index].size, child.link.size);
    VDISK_TRY(layer, open_layer(std::move(parent.file), index));
    layer.link.how = std::move(parent.how);
    const auto add = [&](std::vector<Remark> more) {
        layer.link.remarks.insert(layer.link.remarks.end(), more.begin(), more.end());
    };
    add(std::move(parent.remarks));
    if (child.layer.parent->remarks) {
        Facts facts = layer.file.disks->facts();
        facts[kFactSize] = layer.link.size;
        add(child.layer.parent->remarks(facts));
    }
    if (doubt) layer.link.remarks.push_back(*doubt);
    return std::move(layer);
}

// Puts them into `chain`, before an error as far as they go.
Result<void> open_layers(OpenedFile file, std::size_t index, const OpenOptions& options,
                         std::vector<OpenLayer>& chain) {
    VDISK_TRY(top, open_layer(std::move(file), index));
    chain.push_back(std::move(top));
    while (chain.back().layer.parent) {
        const OpenLayer& child = chain.back();
        const std::string context = fmt::format("{}: {}", child.link.path, child.layer.parent->described);
        if (chain.size() >= options.limits.chain_depth)
            return fail(ErrorKind::limit_exceeded, "{}: the chain has more than {} layers", context,
                        options.limits.chain_depth);
        auto below = open_layer_below(chain, options);
        if (below.has_error()) return std::move(below).error().in(context);
        chain.push_back(std::move(below).value());
    }
    return ok();
}

// A root that a person named for this image and that no name was looked for below.
Result<void> refuse_needless_root(const OpenedFile& file) {
    const References::RootPtr& root = file.context.references->root();
    if (!file.context.selector.root || root->used) return ok();
    return fail(ErrorKind::usage,
                "{}: the key 'root' does not apply: no file of the chain is named by an absolute path",
                file.source->name());
}

Result<const Format*> identify(const FilePtr& file) {
    if (file->is_folder()) return detect_folder(*file);
    VDISK_TRY(compression, detect_compression(*file));
    if (!compression) return detect_format(*file, Match::sure);
    // A disk's first bytes can look like a stream's by chance: what does not expand is of no format here.
    const auto stream = StreamSource::open(file, *compression, IndexCache(), Limits{});
    if (stream.has_error()) return nullptr;
    auto head = stream.value()->head(FirstLook::kHeadBytes);
    if (head.has_error()) return nullptr;
    const FirstLook look = FirstLook::at_start(head.value());
    return detect_format(look, MemorySource(std::move(head).value(), std::string(file->name())), Match::sure);
}

// Detects the format of what the file and its parts are together; of the first alone where they can't be joined, which
// opening them tells.
Result<const Format*> identify_whole(const FilePtr& named, const Selector& selector, std::span<const std::string> more,
                                     const OpenOptions& options) {
    VDISK_TRY(first, file_to_read(named));
    VDISK_TRY(context, context_of(first, selector, FileKinds::regular_or_block_device, options));
    const auto whole = whole_file(first, selector, *context.references, more);
    return identify(whole.has_value() ? whole.value().file : first);
}

// What no format is sure of.
Result<const Format*> raw_if_compressed(const FileSource& file) {
    VDISK_TRY(compression, detect_compression(file));
    if (compression) return &kRawFormat;
    VDISK_TRY(look, FirstLook::at(file));
    if (const KnownFile* const known = known_file(look))
        return fail(ErrorKind::not_this_format, "{}: {}", file.name(), in_words(*known));
    return unknown_format(file.name(), look);
}

void add_named(std::vector<Remark>& lines, std::string_view name, const std::vector<Remark>& remarks) {
    for (const Remark& remark : remarks) lines.push_back({remark.weight, fmt::format("{}: {}", name, remark.text)});
}

} // namespace

std::vector<Remark> OpenedFile::remarks() const {
    std::vector<Remark> lines;
    add_named(lines, source->name(), decided);
    add_named(lines, source->name(), damage_of_stream(*this));
    return lines;
}

std::vector<Remark> OpenedDisk::remarks() const {
    std::vector<Remark> lines;
    for (const ChainLink& link : chain) {
        add_named(lines, link.path, link.remarks);
        add_named(lines, link.path, link.damage);
    }
    return lines;
}

std::string_view to_string(Disk::Kind kind) noexcept {
    switch (kind) {
    case Disk::Kind::active: return "active";
    case Disk::Kind::snapshot: return "snapshot";
    case Disk::Kind::device: return "device";
    case Disk::Kind::memory: return "memory";
    }
    return "active";
}

const std::string& selecting_name(const DiskFile& file, const Disk& disk) {
    const auto called =
        std::ranges::count_if(file.disks(), [&](const Disk& other) { return is_called(other, disk.name); });
    const bool typed =
        !disk.name.empty() && printable(disk.name) == disk.name && disk.name.find('=') == std::string::npos;
    return disk.id.empty() || (typed && called == 1) ? disk.name : disk.id;
}

std::string selecting_word(const DiskFile& file, const Disk& disk) {
    std::string word = printable(selector_word(selecting_name(file, disk)));
    if (!reads_as_key(word)) return word;
    return (disk.kind == Disk::Kind::snapshot ? "snapshot=" : "device=") + word;
}

Result<OpenOptions> OpenOptions::from_environment() {
    VDISK_TRY(references, reference_policy_from_environment());
    VDISK_TRY(root, evidence_root_from_environment());
    VDISK_TRY(unverified, unverified_from_environment());
    VDISK_TRY(statistics, statistics_from_environment());
    VDISK_TRY(threads, threads_from_environment());
    Limits limits;
    limits.threads = threads;
    return OpenOptions{.limits = limits,
                       .references = references,
                       .index_cache = IndexCache::from_environment(),
                       .unverified = unverified,
                       .root = std::move(root),
                       .statistics = std::move(statistics)};
}

Result<std::size_t> select_disk(const DiskFile& file, const Selector& selector) {
    const Wish wish = wish_of(selector);
    const std::vector<Disk>& disks = file.disks();
    std::vector<std::size_t> fitting = wish.fitting(disks);
    // One disk's name may be another's id: the id wins, for the other can be named by its own.
    if (fitting.size() > 1 && !wish.key.empty() &&
        std::ranges::any_of(fitting, [&](std::size_t i) { return disks[i].id == wish.value; }))
        std::erase_if(fitting, [&](std::size_t i) { return disks[i].id != wish.value; });
    if (fitting.size() == 1) return fitting.front();

    const std::string path = printable(utf8(selector.path));
    const DiskList there = list_disks(file, selector);
    if (wish.key.empty() && there.count == 0) return fail(ErrorKind::usage, "{}: holds no disk", path);
    if (wish.key.empty() && fitting.empty())
        return fail(ErrorKind::usage,
                    "{}: holds no disk but these, say which, or make reference files of them with 'vdisk ref':{}", path,
                    there.text);
    if (wish.key.empty())
        return fail(ErrorKind::usage,
                    "{}: holds {} disks, say which, or make reference files of them with 'vdisk ref':{}", path,
                    there.count, there.text);
    return fail(ErrorKind::usage, "{}: {} {} '{}'{}{}", path, fitting.empty() ? "has no" : "has more than one",
                wish.key, printable(wish.value), there.count == 0 ? "" : "; there are:", there.text);
}

Result<std::size_t> select_disk(const OpenedFile& file) {
    auto index = select_disk(*file.disks, file.context.selector);
    if (index.has_error() && !file.reference.empty()) return std::move(index).error().in(file.reference);
    return index;
}

Result<const Format*> identify_file(std::string_view text, std::span<const std::string> more_parts) {
    VDISK_TRY(selector, parse_typed(text));
    VDISK_TRY(file, FileSource::open(selector.path, FileKinds::any_of_these));
    const auto policy = reference_policy_from_environment();
    const OpenOptions options{.references = policy.has_value() ? policy.value() : ReferencePolicy::deny};
    return identify_whole(file, selector, more_parts, options);
}

Result<const Format*> identify_given(const FilePtr& file) {
    return identify(file);
}

Result<const Format*> identify_target(std::string_view text, const OpenOptions& options) {
    VDISK_TRY(selector, parse_typed(text));
    VDISK_TRY(file, FileSource::open(selector.path, FileKinds::regular_only));
    VDISK_TRY(context, context_of(file, std::move(selector), FileKinds::regular_only, options));
    VDISK_TRY(there, kReferenceFormat.follow(*file, context));
    auto format = identify_whole(there.file, there.selector, {}, options);
    if (format.has_value() && format.value() == nullptr) format = raw_if_compressed(*there.file);
    else if (format.has_value() && format.value()->follow != nullptr)
        format = led_to(there.file->name(), *format.value());
    if (format.has_error()) return std::move(format).error().in(file->name());
    return format;
}

Result<OpenedFile> open_file(std::string_view text, const OpenOptions& options) {
    return open_file(text, {}, options);
}

Result<OpenedFile> open_file(std::string_view text, std::span<const std::string> more_parts,
                             const OpenOptions& options) {
    VDISK_TRY(selector, parse_typed(text));
    if (options.inputs) options.inputs->add(selector.path);
    VDISK_TRY(file, FileSource::open(selector.path, FileKinds::any_of_these));
    if (options.inputs) options.inputs->add(file);
    const bool raw = is_called_raw(*file);
    return open_found(std::move(file), std::move(selector),
                      {.format = std::string(format_called(options.format)),
                       .said_by = SaidBy::person,
                       .called_raw = raw,
                       .may_be_reference = more_parts.empty(),
                       .more_parts = more_parts},
                      options, std::make_shared<Caches>(options.limits));
}

Result<OpenedFile> open_given(const FilePtr& file, std::string_view selector, OpenOptions options) {
    VDISK_TRY(selected, parse_selector_of(file->path(), selector));
    options.references = ReferencePolicy::deny;
    return open_found(file, std::move(selected),
                      {.format = std::string(format_called(options.format)),
                       .said_by = SaidBy::person,
                       .called_raw = is_called_raw(*file)},
                      options, std::make_shared<Caches>(options.limits));
}

namespace {

OpenOptions options_of(const OpenContext& machine, const std::filesystem::path& registry) {
    return OpenOptions{.limits = machine.limits,
                       .references = machine.references->policy(),
                       .progress = machine.progress,
                       .index_cache = machine.index_cache,
                       .registry = registry.empty() ? machine.registry : registry,
                       .root = machine.references->root(),
                       .inputs = machine.references->inputs()};
}

} // namespace

Result<OpenedFile> open_medium(const FoundFile& found, const OpenContext& machine) {
    return open_as_named(found, found.format, true, Selector{}, options_of(machine, found.registry), machine.caches);
}

NamedChain chain_of(OpenedFile file, std::size_t index) {
    const OpenOptions options = options_of(file.context, {});
    NamedChain chain;
    chain.files.push_back({std::string(file.source->name()), std::string(file.disks->format().name)});
    std::vector<OpenLayer> layers;
    const auto opened = open_layers(std::move(file), index, options, layers);
    if (opened.has_error()) chain.problem = opened.error().what;
    for (std::size_t i = 1; i < layers.size(); ++i)
        chain.files.push_back({layers[i].link.path, std::string(layers[i].link.format->name)});
    return chain;
}

Result<OpenContext> context_for(const FilePtr& file, const OpenOptions& options) {
    VDISK_TRY(context, context_of(file, {.path = file->path()}, FileKinds::regular_only, options));
    context.caches = std::make_shared<Caches>(options.limits);
    return std::move(context);
}

void find_inputs(const OpenedFile& file, const OpenOptions& options) {
    std::set<FileIdentity> seen;
    std::vector<OpenedFile> level = open_named(file, options, seen);
    for (std::size_t depth = 1; !level.empty() && depth < options.limits.chain_depth; ++depth) {
        std::vector<OpenedFile> next;
        for (const OpenedFile& named : level)
            for (OpenedFile& below : open_named(named, options, seen)) next.push_back(std::move(below));
        level = std::move(next);
    }
}

Result<OpenedDisk> open_disk(OpenedFile file, const OpenOptions& options) {
    VDISK_TRY(index, select_disk(file));
    return open_disk_at(std::move(file), index, options);
}

Result<OpenedDisk> open_disk_at(OpenedFile file, std::size_t index, const OpenOptions& options) {
    const std::string reference = file.reference;
    std::vector<OpenLayer> layers;
    if (auto opened = open_layers(std::move(file), index, options, layers); opened.has_error())
        return reference.empty() ? std::move(opened).error() : std::move(opened).error().in(reference);
    VDISK_CHECK(refuse_needless_root(layers.front().file));
    OpenedDisk disk;
    for (const OpenLayer& layer : layers) disk.chain.push_back(layer.link);
    std::vector<std::shared_ptr<const StreamSource>> streams;
    for (const OpenLayer& layer : layers)
        if (layer.file.context.stream) streams.push_back(layer.file.context.stream);
    for (auto layer = layers.rbegin(); layer != layers.rend(); ++layer)
        disk.image = std::make_shared<const Image>(Image::Parts{.name = layer->link.path,
                                                                .layout = std::move(layer->layer.layout),
                                                                .sources = std::move(layer->layer.sources),
                                                                .parent = std::move(disk.image),
                                                                .caches = layer->file.context.caches,
                                                                .encryption = std::move(layer->layer.encryption),
                                                                .cluster_bytes = layer->layer.cluster_bytes});
    if (options.statistics) disk.image = with_statistics(std::move(disk.image), std::move(streams), options.statistics);
    disk.index = layers.front().index;
    disk.file = std::move(layers.front().file);
    return disk;
}

Result<OpenedState> open_saved_state(const OpenedFile& file) {
    VDISK_TRY(index, select_disk(file));
    auto found = file.disks->saved_state(index);
    if (found.has_error()) return std::move(found).error().in(file.source->name());
    SavedState& state = found.value();
    auto image = std::make_shared<const Image>(Image::Parts{.name = std::string(file.source->name()),
                                                            .layout = std::move(state.layer.layout),
                                                            .sources = std::move(state.layer.sources),
                                                            .parent = nullptr,
                                                            .caches = file.context.caches,
                                                            .encryption = std::move(state.layer.encryption)});
    return OpenedState{std::move(image), state.start, state.size};
}

Result<OpenedDisk> open_disk(std::string_view text, const OpenOptions& options) {
    return open_disk(text, {}, options);
}

Result<OpenedDisk> open_disk(std::string_view text, std::span<const std::string> more_parts,
                             const OpenOptions& options) {
    VDISK_TRY(file, open_file(text, more_parts, options));
    return open_disk(std::move(file), options);
}

} // namespace vdisk
