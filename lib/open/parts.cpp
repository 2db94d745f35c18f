// SPDX-License-Identifier: Apache-2.0
#include "open/parts.hpp"

#include "base/system/path.hpp"
#include "base/text.hpp"
#include "io/file_parts.hpp"
#include "open/registry.hpp"

#include <algorithm>
#include <set>

namespace fs = std::filesystem;

namespace vdisk {
namespace {

constexpr std::string_view kOne = "one";
constexpr std::string_view kAll = "all";
constexpr std::string_view kAdvice = "; '#parts=one' reads this file alone, '#parts=all' joins them as they are";

// Far more than an image is cut into; a chain of names must not cost every descriptor there is.
constexpr std::size_t kMostParts = 4096;

// A part as it was found: open, or why not.
struct Found {
    fs::path path;
    Result<FilePtr> file;
};

std::string shown(const fs::path& path) {
    return printable(utf8(path));
}

// Whether a file begins as an image or a compressed stream of its own.
bool begins_a_file(const FileSource& file) {
    const auto compression = detect_compression(file);
    if (compression.has_value() && compression.value()) return true;
    const auto look = FirstLook::at(file);
    if (look.has_error()) return false;
    const auto format = detect_format(look.value(), file, Match::sure);
    return format.has_value() && format.value() != nullptr;
}

bool begins_a_file(const Found& part) {
    return part.file.has_value() && begins_a_file(*part.file.value());
}

// A partition table in the first sector: a raw disk begins with one, and seldom one of its parts.
bool begins_a_disk(const FileSource& file) {
    constexpr std::size_t kSector = 512, kTable = 446, kEntry = 16, kType = 4;
    const auto sector = read_bytes(file, 0, kSector, "first sector");
    if (sector.has_error()) return false;
    const auto at = [&](std::size_t i) { return std::to_integer<unsigned>(sector.value()[i]); };
    if (at(kSector - 2) != 0x55 || at(kSector - 1) != 0xAA) return false;
    bool used = false;
    for (std::size_t entry = kTable; entry < kSector - 2; entry += kEntry) {
        if ((at(entry) & 0x7FU) != 0) return false;
        used = used || at(entry + kType) != 0;
    }
    return used;
}

bool begins_a_disk(const Found& part) {
    return part.file.has_value() && begins_a_disk(*part.file.value());
}

std::vector<PartSize> sizes_of(const std::vector<Found>& found) {
    std::vector<PartSize> sizes;
    for (const Found& part : found)
        sizes.push_back({.name = shown(part.path),
                         .size = part.file.has_value() ? std::optional(part.file.value()->size()) : std::nullopt});
    return sizes;
}

// Why the bytes of a part that is not sound can't be had.
Error why_lost(const Found& part, const PartPlace& place) {
    const std::string range =
        fmt::format("bytes {} to {} of the whole file can't be read", place.start, place.start + place.length);
    if (part.file.has_value())
        return fail(ErrorKind::truncated, "{}: the part has {} bytes, not {}, so {}", shown(part.path),
                    part.file.value()->size(), place.length, range);
    return fail(ErrorKind::io, "{}: {}", part.file.error().what, range);
}

WholeFile joined(const std::vector<Found>& found, const std::vector<PartPlace>& places) {
    std::vector<FilePart> parts;
    WholeFile whole;
    for (std::size_t i = 0; i < found.size(); ++i) {
        FilePart part{.start = places[i].start, .length = places[i].length, .file = nullptr, .path = found[i].path};
        if (places[i].sound) {
            part.file = found[i].file.value();
        } else {
            part.why = std::make_shared<const Error>(why_lost(found[i], places[i]));
            whole.remarks.push_back(Remark::doubt(part.why->what));
        }
        parts.push_back(std::move(part));
    }
    whole.file = FileSource::join(std::move(parts));
    return whole;
}

bool is_all(const std::optional<std::string>& parts) {
    return parts == kAll;
}

// Puts them together, by what their lengths show or, where a person says so, as they are.
Result<WholeFile> join(const std::vector<Found>& found, const std::optional<std::string>& said) {
    const std::vector<PartSize> sizes = sizes_of(found);
    auto places = place_parts(sizes);
    const bool even = places.has_value() && std::ranges::all_of(places.value(), &PartPlace::sound);
    if (!even && is_all(said)) places = append_parts(sizes);
    if (places.has_error()) {
        Error error = std::move(places).error();
        error.what += kAdvice;
        return std::move(error).in(sizes.front().name);
    }
    WholeFile whole = joined(found, places.value());
    if (!even && is_all(said))
        whole.remarks.push_back(Remark::doubt("its parts are joined as they are, as who named it says, though "
                                              "their lengths are not those of a file that was cut"));
    const bool is_disk = begins_a_disk(found.front());
    for (const Found& part : std::span(found).subspan(1))
        if (is_disk && begins_a_disk(part))
            whole.remarks.push_back(
                Remark::doubt(fmt::format("its part {} begins with a partition table, as a disk does and a part "
                                          "of one seldom",
                                          shown(part.path))));
    return whole;
}

WholeFile alone(const FilePtr& file, Remark::Weight weight, std::string text) {
    return WholeFile{.file = file, .remarks = {{weight, std::move(text)}}};
}

// Whether what is named as parts of a file is files of their own: all of them begin as such.
bool are_files(std::span<const Found> parts) {
    const auto own = [](const Found& part) { return begins_a_file(part) || part.file.has_error(); };
    return !parts.empty() && begins_a_file(parts.back()) && std::ranges::all_of(parts, own);
}

// A raw disk that ends too early shows it nowhere; other files do.
WholeFile beside_files(const std::vector<Found>& found) {
    const FilePtr& first = found.front().file.value();
    const bool could_be_parts = !begins_a_file(*first) && place_parts(sizes_of(found)).has_value();
    return alone(first, could_be_parts ? Remark::Weight::doubt : Remark::Weight::note,
                 fmt::format("is read alone: {}, by its name a part of it, begins as a file of its own ('#parts=all' "
                             "joins them)",
                             shown(found.back().path)));
}

// A part that is not the first was named: by itself it is a file only if it begins as one.
WholeFile alone_in_the_middle(const FilePtr& file, const NumberedNames& names) {
    if (begins_a_file(*file)) return {.file = file};
    return alone(file, Remark::Weight::doubt,
                 fmt::format("is part {} of the file that begins with {}, by its name, and is read alone",
                             names.own + 1, printable(names.names.front().text)));
}

std::vector<Found> open_parts(const FilePtr& first, const NumberedNames& names, const References& gate) {
    std::vector<Found> found{{first->path(), first}};
    for (const NumberedNames::Name& name : std::span(names.names).subspan(1)) {
        const fs::path path(name.text);
        auto part = gate.open_part(path); // one that is missing counts as an input, too
        if (!name.there) part = fail(ErrorKind::io, "{}: is missing", shown(path));
        found.push_back({path, std::move(part)});
    }
    return found;
}

// The names beside the file, by the path as given, else by the real one behind symbolic links.
std::optional<NumberedNames> names_beside(const FileSource& file) {
    if (auto names = numbered_files(file.path())) return names;
    std::error_code error;
    const fs::path real = fs::canonical(file.path(), error);
    return error || real == file.path() ? std::nullopt : numbered_files(real);
}

Result<void> check_word(const FileSource& file, const std::optional<std::string>& parts) {
    if (!parts || parts == kOne || parts == kAll) return ok();
    return fail(ErrorKind::usage, "{}: parts is '{}': one of {}, {} is wanted", file.name(), printable(*parts), kOne,
                kAll);
}

// Of parts that a person lists nothing but the list says where they lie, so a short one that is not the last shows that
// one is damaged or the order is wrong.
Result<void> refuse_short_parts(const std::vector<Found>& found) {
    const std::uint64_t full = found.front().file.value()->size();
    const auto places = place_parts(sizes_of(found));
    if (places.has_error()) return ok(); // joining them tells
    for (std::size_t i = 0; i < found.size(); ++i)
        if (!places.value()[i].sound)
            return fail(ErrorKind::corrupt, "{}: {} has {} bytes and is not the last part, but the first has {}{}",
                        found.front().file.value()->name(), shown(found[i].path), found[i].file.value()->size(), full,
                        kAdvice);
    return ok();
}

// Whoever lists files by hand, or by a shell's pattern, may leave one out or take them in another order: what the first
// difference from the names beside the first one is.
std::optional<Remark> remark_of_order(const FileSource& first, const std::vector<Found>& found) {
    const auto beside = numbered_files(first.path());
    if (!beside) return std::nullopt;
    const auto& names = beside->names;
    const auto same = [](const NumberedNames::Name& name, const Found& part) { return part.path == name.text; };
    const auto differ = static_cast<std::size_t>(std::ranges::mismatch(names, found, same).in1 - names.begin());
    if (differ < names.size())
        return Remark::doubt(fmt::format("{} is by its name part {} of it, and was not given as that",
                                         printable(names[differ].text), differ + 1));
    if (differ < found.size())
        return Remark::doubt(fmt::format("{} was given as part {} of it, which it is not by its name",
                                         shown(found[differ].path), differ + 1));
    return std::nullopt;
}

} // namespace

Result<WholeFile> with_parts(const FilePtr& first, const References& gate, const std::optional<std::string>& parts) {
    VDISK_CHECK(check_word(*first, parts));
    const auto names = first->is_regular() ? names_beside(*first) : std::nullopt;
    if (!names && parts) return fail(ErrorKind::usage, "{}: no other part of it lies beside it", first->name());
    if (!names || parts == kOne) return WholeFile{.file = first};
    if (names->own > 0) return alone_in_the_middle(first, *names);
    if (names->names.size() > kMostParts)
        return fail(ErrorKind::limit_exceeded, "{}: has {} parts, the limit is {}", first->name(), names->names.size(),
                    kMostParts);
    const std::vector<Found> found = open_parts(first, *names, gate);
    const bool none_follows = found.size() == 1;
    if (!is_all(parts) && are_files(std::span(found).subspan(1))) return beside_files(found);
    VDISK_TRY(whole, none_follows ? Result<WholeFile>(WholeFile{.file = first}) : join(found, parts));
    if (names->beyond)
        whole.remarks.push_back(Remark::doubt(fmt::format("{} is by its name a part of it too, but most of "
                                                          "those before it are missing: it is not read",
                                                          printable(names->beyond->text))));
    return std::move(whole);
}

Result<WholeFile> with_given_parts(const FilePtr& first, std::span<const std::string> more, const References& gate,
                                   const std::optional<std::string>& parts) {
    VDISK_CHECK(check_word(*first, parts));
    if (parts == kOne)
        return fail(ErrorKind::usage, "{}: parts is 'one', but {} are given", first->name(), more.size() + 1);
    std::vector<Found> found{{first->path(), first}};
    std::set<FileIdentity> known{first->identity()};
    for (const std::string& path : more) {
        VDISK_TRY(part, gate.open_given(path));
        if (!known.insert(part.file->identity()).second)
            return fail(ErrorKind::usage, "{}: is given twice, as two parts of one file", part.file->name());
        found.push_back({path, part.file});
    }
    if (!is_all(parts) && are_files(std::span(found).subspan(1)))
        return fail(ErrorKind::usage, "{}: begins as a file of its own, and is no part of {} ('#parts=all' joins them)",
                    shown(found.back().path), first->name());
    if (!is_all(parts)) VDISK_CHECK(refuse_short_parts(found));
    VDISK_TRY(whole, join(found, parts));
    if (auto remark = remark_of_order(*first, found)) whole.remarks.push_back(std::move(*remark));
    return std::move(whole);
}

Facts describe_parts(const FileSource& file) {
    Facts rows = Facts::array();
    for (const FilePart& part : file.parts()) {
        Facts row = Facts::object();
        row["file"] = shown(part.path);
        row["size"] = part.length;
        if (part.why) row["not read"] = part.why->what;
        rows.push_back(std::move(row));
    }
    return rows;
}

} // namespace vdisk
