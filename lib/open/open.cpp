// SPDX-License-Identifier: Apache-2.0
#include "open/open.hpp"

#include "base/text.hpp"
#include "format/raw/raw.hpp"
#include "io/memory_source.hpp"
#include "open/reference/reference.hpp"
#include "open/registry.hpp"

#include <algorithm>
#include <set>

namespace vdisk {
namespace {

// What is known of a file before it is opened.
struct Expectation {
    std::string format{}; ///< a format's name; empty: to be detected
    bool raw_if_unknown = false;
    bool may_be_compressed = true;
    bool may_be_reference = false;
    FileKinds given = FileKinds::regular_or_block_device; ///< what a path in its selector may be
};

Result<const Format*> format_named(const std::string& name) {
    const Format* format = find_format(name);
    if (format == nullptr) return fail(ErrorKind::usage, "no format is called '{}'", printable(name));
    return format;
}

Error unknown_format(std::string_view name) {
    return fail(ErrorKind::not_this_format, "{}: not of a format that is known here", name);
}

// The format of what is read: of the decompressed bytes where the file is compressed, and then raw is what is none
// other.
Result<const Format*> detect_inside(const OpenedFile& opened, bool raw_if_unknown) {
    const std::shared_ptr<StreamSource>& stream = opened.context.stream;
    if (stream) {
        VDISK_TRY(head, stream->head(kProbeBytes));
        VDISK_TRY(format, detect_format(MemorySource(std::move(head), std::string(stream->name()))));
        return format == nullptr ? &kRawFormat : format;
    }
    VDISK_TRY(format, detect_format(*opened.source));
    if (format == nullptr && raw_if_unknown) return &kRawFormat;
    if (format == nullptr) return unknown_format(opened.source->name());
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

OpenContext context_of(const FilePtr& file, Selector selector, FileKinds given, const OpenOptions& options) {
    OpenContext context;
    context.limits = options.limits;
    context.references =
        std::make_shared<const References>(file->path(), options.references, options.limits, given, options.inputs);
    context.selector = std::move(selector);
    context.file = file;
    context.progress = options.progress;
    context.index_cache = options.index_cache;
    context.registry = options.registry;
    return context;
}

Result<OpenedFile> open_found(FilePtr file, Selector selector, const Expectation& expected, const OpenOptions& options,
                              CachesPtr caches);

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

Result<OpenedFile> open_found(FilePtr file, Selector selector, const Expectation& expected, const OpenOptions& options,
                              CachesPtr caches) {
    OpenedFile opened;
    opened.context = context_of(file, std::move(selector), expected.given, options);
    opened.context.caches = std::move(caches);
    opened.source = file;
    if (expected.may_be_compressed) VDISK_CHECK(look_through_compression(opened, options));
    VDISK_TRY(format,
              expected.format.empty() ? detect_inside(opened, expected.raw_if_unknown) : format_named(expected.format));
    if (format->follow != nullptr) return follow(opened, *format, expected, options);
    const std::shared_ptr<StreamSource>& stream = opened.context.stream;
    if (stream && !format->scans_forward && !stream->indexed()) VDISK_CHECK(stream->index({}, options.progress));
    VDISK_TRY(disks, format->open(opened.source, opened.context));
    opened.disks = std::move(disks);
    return opened;
}

bool is_called(const Disk& disk, std::string_view word) {
    return disk.name == word || (!disk.id.empty() && disk.id == word);
}

// What the user asked for, as one predicate and its text; without a selector, the disks chosen by default.
struct Wish {
    std::string_view key;
    std::string_view value;
    bool fits(const Disk& disk) const {
        if (key == "device") return disk.kind != Disk::Kind::snapshot && is_called(disk, value);
        if (key == "snapshot") return disk.kind == Disk::Kind::snapshot && is_called(disk, value);
        if (key == "name") return disk.kind != Disk::Kind::active && is_called(disk, value);
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
        list.text += fmt::format("\n  {}  {}  {}", to_string(disk.kind), human_size(disk.size),
                                 shell_quoted(selector.path.native() + "#" + selecting_word(file, disk)));
    }
    return list;
}

// Opens the parent that `link` names, or that the user gave in its place.
Result<OpenedFile> open_parent(const ParentLink& link, const OpenedFile& child, const OpenOptions& options,
                               std::string& how) {
    const Selector& selector = child.context.selector;
    const std::optional<std::string>& given = selector.backing ? selector.backing : selector.parent;
    OpenOptions below = options;
    below.registry = child.context.registry;
    if (given) {
        VDISK_TRY(chosen, parse_typed(*given));
        VDISK_TRY(found, child.context.references->open_given(chosen.path));
        how = found.how;
        const Expectation expected{.raw_if_unknown = true, .given = child.context.references->given_kinds()};
        return open_found(found.file, chosen, expected, below, child.context.caches);
    }
    VDISK_TRY(found, link.locate(*child.context.references));
    how = found.how;
    if (!found.registry.empty()) below.registry = found.registry;
    const std::string format = found.format.empty() ? link.format : found.format;
    // The guest chooses what a raw disk begins with: that must not make a compressed stream of it.
    const bool may_be_raw = format.empty() || format == kRawFormat.name;
    const Expectation expected{.format = format, .raw_if_unknown = true, .may_be_compressed = !may_be_raw};
    return open_found(found.file, Selector{.path = found.file->path()}, expected, below, child.context.caches);
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
    for (const auto& given : {selector.key_file, selector.data_file})
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

Result<OpenLayer> open_layer(OpenedFile file, std::size_t index) {
    VDISK_TRY(layer, file.disks->layer(index));
    ChainLink link{.path = std::string(file.source->name()),
                   .format = &file.disks->format(),
                   .size = file.disks->disks()[index].size,
                   .files = layer.files};
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

Result<OpenLayer> open_selected_layer(OpenedFile file) {
    VDISK_TRY(index, select_disk(*file.disks, file.context.selector));
    return open_layer(std::move(file), index);
}

// A parent that was given and that nothing reads would be a mistake no one notices.
Result<void> refuse_needless_parent(const OpenLayer& layer) {
    const Selector& selector = layer.file.context.selector;
    if (layer.layer.parent || (!selector.backing && !selector.parent)) return ok();
    return fail(ErrorKind::usage, "{}: has no parent, so the key '{}' does not apply", layer.link.path,
                selector.backing ? "backing" : "parent");
}

Result<std::vector<OpenLayer>> open_layers(OpenedFile file, std::size_t index, const OpenOptions& options) {
    std::vector<OpenLayer> chain;
    VDISK_TRY(top, open_layer(std::move(file), index));
    chain.push_back(std::move(top));
    VDISK_CHECK(refuse_needless_parent(chain.back()));
    while (chain.back().layer.parent) {
        const OpenLayer& child = chain.back();
        const std::string context = fmt::format("{}: {}", child.link.path, child.layer.parent->described);
        if (chain.size() >= options.limits.chain_depth)
            return fail(ErrorKind::limit_exceeded, "{}: the chain has more than {} layers", context,
                        options.limits.chain_depth);
        std::string how;
        auto below = open_parent(*child.layer.parent, child.file, options, how);
        if (below.has_error()) return std::move(below).error().in(context);
        if (auto fresh = refuse_cycle(chain, below.value()); fresh.has_error())
            return std::move(fresh).error().in(context);
        auto layer = open_selected_layer(std::move(below).value());
        if (layer.has_error()) return std::move(layer).error().in(context);
        layer.value().link.how = std::move(how);
        if (child.layer.parent->remarks)
            layer.value().link.remarks = child.layer.parent->remarks(layer.value().file.disks->facts());
        chain.push_back(std::move(layer).value());
        VDISK_CHECK(refuse_needless_parent(chain.back()));
    }
    return chain;
}

Result<const Format*> identify(const FilePtr& file) {
    VDISK_TRY(compression, detect_compression(*file));
    if (!compression) return detect_format(*file, Match::sure);
    // A disk's first bytes can look like a stream's by chance: what does not expand is of no format here.
    const auto stream = StreamSource::open(file, *compression, IndexCache(), Limits{});
    if (stream.has_error()) return nullptr;
    auto head = stream.value()->head(kProbeBytes);
    if (head.has_error()) return nullptr;
    return detect_format(MemorySource(std::move(head).value(), std::string(file->name())), Match::sure);
}

// What no format is sure of.
Result<const Format*> raw_if_compressed(const FileSource& file) {
    VDISK_TRY(compression, detect_compression(file));
    if (!compression) return unknown_format(file.name());
    return &kRawFormat;
}

} // namespace

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
    const std::string word = printable(selector_word(selecting_name(file, disk)));
    if (!reads_as_key(word)) return word;
    return (disk.kind == Disk::Kind::snapshot ? "snapshot=" : "device=") + word;
}

Result<OpenOptions> OpenOptions::from_environment() {
    VDISK_TRY(references, reference_policy_from_environment());
    VDISK_TRY(unverified, unverified_from_environment());
    VDISK_TRY(statistics, statistics_from_environment());
    return OpenOptions{.references = references,
                       .index_cache = IndexCache::from_environment(),
                       .unverified = unverified,
                       .statistics = std::move(statistics)};
}

Result<std::size_t> select_disk(const DiskFile& file, const Selector& selector) {
    const Wish wish = wish_of(selector);
    const std::vector<Disk>& disks = file.disks();
    std::vector<std::size_t> fitting;
    for (std::size_t i = 0; i < disks.size(); ++i)
        if (wish.fits(disks[i])) fitting.push_back(i);
    // One disk's name may be another's id: the id wins, for the other can be named by its own.
    if (fitting.size() > 1 && !wish.key.empty() &&
        std::ranges::any_of(fitting, [&](std::size_t i) { return disks[i].id == wish.value; }))
        std::erase_if(fitting, [&](std::size_t i) { return disks[i].id != wish.value; });
    if (fitting.size() == 1) return fitting.front();

    const std::string path = printable(selector.path.native());
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

Result<const Format*> identify_file(std::string_view text) {
    VDISK_TRY(selector, parse_typed(text));
    VDISK_TRY(file, FileSource::open(selector.path, FileKinds::regular_or_block_device));
    return identify(file);
}

Result<const Format*> identify_target(std::string_view text, const OpenOptions& options) {
    VDISK_TRY(selector, parse_typed(text));
    VDISK_TRY(file, FileSource::open(selector.path, FileKinds::regular_only));
    VDISK_TRY(there,
              kReferenceFormat.follow(*file, context_of(file, std::move(selector), FileKinds::regular_only, options)));
    auto format = identify(there.file);
    if (format.has_value() && format.value() == nullptr) format = raw_if_compressed(*there.file);
    else if (format.has_value() && format.value()->follow != nullptr)
        format = led_to(there.file->name(), *format.value());
    if (format.has_error()) return std::move(format).error().in(file->name());
    return format;
}

Result<OpenedFile> open_file(std::string_view text, const OpenOptions& options) {
    VDISK_TRY(selector, parse_typed(text));
    if (options.inputs) options.inputs->add(selector.path);
    VDISK_TRY(file, FileSource::open(selector.path, FileKinds::regular_or_block_device));
    if (options.inputs) options.inputs->add(file);
    // "rawz" is what The Sleuth Kit's programs call a raw disk that is compressed.
    const std::string format = options.format == "rawz" ? std::string(kRawFormat.name) : options.format;
    return open_found(std::move(file), std::move(selector), {.format = format, .may_be_reference = true}, options,
                      std::make_shared<Caches>(options.limits));
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
    auto opened = open_layers(std::move(file), index, options);
    if (opened.has_error())
        return reference.empty() ? std::move(opened).error() : std::move(opened).error().in(reference);
    std::vector<OpenLayer>& layers = opened.value();
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
                                                                .encryption = std::move(layer->layer.encryption)});
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
    VDISK_TRY(file, open_file(text, options));
    return open_disk(std::move(file), options);
}

} // namespace vdisk
