// SPDX-License-Identifier: Apache-2.0
/// One fuzz target for each format: opens arbitrary bytes as that format and does one of the Parts that can be done
/// with it. The last bytes of the input choose where it is read; what is read in one piece, in many, again, and through
/// another set of caches must agree. All in one thread: what threads do to one another, the tests under the thread
/// sanitizer see.
#pragma once

#include "disk/audit.hpp"
#include "disk/dirty_bitmap.hpp"
#include "image/disk_map.hpp"
#include "io/stream/stream_pass.hpp"
#include "open/open.hpp"
#include "open/registry.hpp"
#include "open/report.hpp"
#include "target.hpp"

namespace vdisk::fuzz {

/// A few small clusters, or the end of one and the start of the next: where something can go wrong is at their edges,
/// and what lies between is only copied.
constexpr std::size_t kMostRead = 1U << 14;

/// What a file may ask of a target. An input has some kilobytes: who asks for more asks for what is not there, and room
/// for it would only be cleared. Each limit is met by some input.
inline Limits small_limits() {
    Limits limits;
    limits.threads = 1; // none of its own
    limits.table_bytes = 16U << 10;
    limits.survey_bytes = 64U << 10;
    limits.metadata_cache_bytes = 64U << 10;
    limits.cluster_cache_bytes = 256U << 10;
    limits.machine_media = 64;
    limits.audit_findings = 4;
    limits.finding_ranges = 4;
    limits.audit_bytes = 256U << 10;
    limits.audit_ranges = 1024;
    limits.audit_look_bytes = 64U << 10;
    limits.log_bytes = 1U << 20;
    limits.cluster_map_bytes = 256U << 10;
    limits.snapshots = 64;
    limits.bitmaps = 64;
    limits.key_iterations = 2000;
    limits.scrypt_bytes = 1U << 20;
    limits.scrypt_work = 1U << 10;
    limits.chunk_bytes = 64U << 10;
    limits.backup_chunks = 4096;
    limits.catalog_bytes = 256U << 10;
    limits.stream_window_bytes = 256U << 10;
    return limits;
}

/// What choosing needs: numbers from the input's end, zeros when it is used up.
class Choices {
public:
    explicit Choices(std::span<const std::byte>& input) : input_(input) {}
    std::uint64_t next(std::size_t bytes) {
        std::uint64_t value = 0;
        for (; bytes > 0 && !input_.empty(); --bytes) {
            value = value << 8 | static_cast<std::uint64_t>(input_.back());
            input_ = input_.first(input_.size() - 1);
        }
        return value;
    }

private:
    std::span<const std::byte>& input_;
};

inline OpenContext context(const Limits& limits) {
    static const auto references =
        std::make_shared<const References>("/nonexistent/image", ReferencePolicy::deny, Limits{});
    OpenContext opened;
    opened.limits = limits;
    opened.caches = std::make_shared<Caches>(limits);
    opened.references = references;
    return opened;
}

inline ImagePtr image_of(Layer layer, const OpenContext& opened, ImagePtr parent = nullptr) {
    return std::make_shared<const Image>(Image::Parts{.name = "disk",
                                                      .layout = std::move(layer.layout),
                                                      .sources = std::move(layer.sources),
                                                      .parent = std::move(parent),
                                                      .caches = opened.caches});
}

/// The disk alone, without parents: those are files, and a fuzz target opens none. Null if its layer can not be had.
inline ImagePtr open_image(const DiskFile& file, std::size_t index, const OpenContext& opened) {
    auto layer = file.layer(index);
    return layer.has_error() ? nullptr : image_of(std::move(layer).value(), opened);
}

struct Read {
    bool good = false;
    std::vector<std::byte> bytes;
    friend bool operator==(const Read& one, const Read& other) {
        return one.good == other.good && same(one.bytes, other.bytes);
    }
};

inline Read read(const Image& image, std::uint64_t offset, std::size_t length) {
    Read result{.good = false, .bytes = std::vector<std::byte>(length)};
    const auto got = image.read_at(offset, result.bytes);
    result.good = got.has_value();
    result.bytes.resize(result.good ? got.value() : 0);
    return result;
}

/// The same bytes, read piece by piece: good exactly if all pieces are.
inline Read read_in_pieces(const Image& image, std::uint64_t offset, std::size_t length, std::size_t piece) {
    Read whole{.good = true, .bytes = {}};
    for (std::size_t done = 0; done < length; done += piece) {
        const Read part = read(image, offset + done, std::min(piece, length - done));
        if (!part.good) return Read{};
        whole.bytes.insert(whole.bytes.end(), part.bytes.begin(), part.bytes.end());
    }
    return whole;
}

/// What is mapped at once: more table entries than a layout looks at for one answer, if clusters are small.
constexpr std::uint64_t kMostMapped = 1U << 20;
constexpr int kMostPieces = 8;

inline void check_extents(const Image& image, std::uint64_t offset) {
    std::uint64_t at = offset;
    for (int i = 0; i < kMostPieces && at < image.size(); ++i) {
        const std::uint64_t wanted = std::min(image.size() - at, kMostMapped);
        const auto found = image.resolve(GuestOffset{at}, wanted);
        if (found.has_error()) return;
        require(found.value().extent.length > 0 && found.value().extent.length <= wanted);
        at += found.value().extent.length;
    }
}

/// Runs tile the disk as its extents do, and say why they can't be read.
inline void check_map(const Image& image, std::uint64_t offset) {
    DiskMap pieces(image, GuestOffset{offset}, offset + std::min(image.size() - offset, kMostMapped));
    DiskMap runs(image, GuestOffset{offset}, offset + std::min<std::uint64_t>(image.size() - offset, kMostRead));
    std::uint64_t at = offset;
    for (int i = 0; i < kMostPieces; ++i) {
        const auto piece = pieces.next_piece();
        if (!piece) break;
        require(piece->start.value == at && piece->length > 0 && piece->length <= image.size() - at);
        require((piece->kind == MapRun::Kind::unreadable) == (piece->why != nullptr));
        at += piece->length;
    }
    at = offset;
    while (const auto run = runs.next_run()) {
        require(run->start.value == at && run->length > 0);
        at += run->length;
    }
}

/// What is chosen by the input is a place and a length; or, by the bits that the length does not need, the middle is
/// moved to the edge of a block of 256 bytes or more.
struct Range {
    std::uint64_t offset = 0;
    std::size_t length = 0;
};
inline Range choose_range(std::uint64_t size, Choices& choices) {
    const std::uint64_t offset = size == 0 ? 0 : choices.next(8) % size;
    const std::uint64_t chosen = choices.next(3);
    const std::size_t length = 1 + static_cast<std::size_t>(chosen) % kMostRead;
    const std::uint64_t bits = chosen / kMostRead % 16;
    if (bits == 0) return {offset, length};
    const std::uint64_t edge = align_down(offset, std::uint64_t{128} << bits);
    return {edge - std::min<std::uint64_t>(edge, length / 2), length};
}

/// What can be done with a file once it is open.
enum class Part : std::uint8_t {
    tell,    ///< what is told of it, the texts and bitmaps kept in it
    audit,   ///< its bookkeeping and checksums
    read,    ///< its disks and machine states, in pieces and again
    compare, ///< its disks, opened once more with hardly any caches
    map,     ///< where on its disks what lies
};
constexpr std::size_t kParts = 5;
constexpr int kRanges = 3; // of each disk

inline void check_reads(const Image& image, Choices& choices) {
    for (int i = 0; i < kRanges; ++i) {
        const auto [offset, length] = choose_range(image.size(), choices);
        const Read whole = read(image, offset, length);
        require(read_in_pieces(image, offset, length,
                               1 + static_cast<std::size_t>(choices.next(2)) % 70000 + length / 64) == whole);
        require(read(image, offset, length) == whole);
    }
}

inline void check_against(const Image& image, const Image& other, Choices& choices) {
    for (int i = 0; i < kRanges; ++i) {
        const auto [offset, length] = choose_range(image.size(), choices);
        require(read(image, offset, length) == read(other, offset, length));
        choices.next(2); // what check_reads() takes
    }
}

inline void check_places(const Image& image, Choices& choices) {
    for (int i = 0; i < kRanges; ++i) {
        const std::uint64_t offset = choose_range(image.size(), choices).offset;
        check_extents(image, offset);
        check_map(image, offset);
        choices.next(2);
    }
}

inline void check_saved_state(const DiskFile& file, std::size_t index, const OpenContext& opened) {
    auto state = file.saved_state(index);
    if (state.has_error()) return;
    const std::uint64_t start = state.value().start.value;
    const ImagePtr image = image_of(std::move(state).value().layer, opened);
    require(start < image->size());
    const Read whole = read(*image, start, kMostRead);
    require(read_in_pieces(*image, start, kMostRead, 4097) == whole);
    check_extents(*image, start);
}

inline void check_look(const Format& format, const ByteSource& source) {
    const auto look = FirstLook::at(source);
    if (look.has_error()) return;
    for (const Signature& signature : format.signatures) (void)look.value().look_for(signature);
    if (format.probe != nullptr) (void)format.probe(look.value().head(), source);
}

inline void check_bookkeeping(const DiskFile& file) {
    if (const auto report = file.audit({}); report.has_value()) (void)describe(report.value());
    if (const auto report = file.verify({}); report.has_value()) (void)describe(report.value());
}

inline void check_bitmap(const DiskFile& file, const std::string& name) {
    const auto bitmap = file.bitmap(name);
    if (bitmap.has_error()) return;
    std::uint64_t ranges = 0;
    std::uint64_t end = 0;
    (void)bitmap.value().visit([&](const DirtyRange& range) -> Result<void> {
        require(range.length > 0 && range.offset.value >= end);
        end = range.offset.value + range.length;
        if (++ranges > 1000) return fail(ErrorKind::cancelled, "enough");
        return ok();
    });
}

inline void check_what_is_told(const OpenedFile& file) {
    const Facts facts = describe(file);
    (void)to_text(facts);
    (void)file.disks->configurations();
    for (const Facts& listed : facts["bitmaps"].elements()) {
        const std::string* name = listed["name"].text();
        check_bitmap(*file.disks, name == nullptr ? "" : *name);
    }
}

constexpr std::size_t kMostDisks = 4; // of a file

/// `check`: what is done with each disk that can be had. `input` chooses, from its end.
template<class Check>
void for_each_disk(const DiskFile& file, const OpenContext& opened, Input input, const Check& check) {
    Choices choices(input);
    for (std::size_t i = 0; i < std::min(file.disks().size(), kMostDisks); ++i)
        if (const ImagePtr image = open_image(file, i, opened)) check(*image, choices);
}

using OpenedBefore = Result<std::shared_ptr<const DiskFile>>;

/// `before`: what came of opening `source` with `opened`.
inline void check_with_other_caches(const Format& format, const SourcePtr& source, Input input,
                                    const OpenContext& opened, const OpenedBefore& before) {
    Limits without_caches = small_limits();
    without_caches.metadata_cache_bytes = 4 * 4096;
    without_caches.cluster_cache_bytes = 1;
    const OpenContext uncached = context(without_caches);
    const auto again = format.open(source, uncached);
    require(before.has_value() == again.has_value());
    if (before.has_error()) return;
    const DiskFile& file = *before.value();
    const DiskFile& other = *again.value();
    require(file.disks().size() == other.disks().size());
    Choices choices(input);
    for (std::size_t i = 0; i < std::min(file.disks().size(), kMostDisks); ++i) {
        const ImagePtr image = open_image(file, i, opened);
        const ImagePtr second = open_image(other, i, uncached);
        require((image == nullptr) == (second == nullptr));
        if (image) check_against(*image, *second, choices);
    }
}

/// `source`: what is opened; it need not outlive the call. `input`: what chooses.
inline void run(const Format& format, const SourcePtr& source, Input input, const Parts& parts) {
    const OpenContext opened = context(small_limits());
    if (parts.has(Part::tell)) check_look(format, *source);
    const auto opening = format.open(source, opened);
    if (parts.has(Part::compare)) check_with_other_caches(format, source, input, opened, opening);
    if (opening.has_error()) {
        require(!opening.error().what.empty());
        return;
    }
    const DiskFile& file = *opening.value();
    if (parts.has(Part::tell)) check_what_is_told({opened, source, opening.value()});
    if (parts.has(Part::audit)) check_bookkeeping(file);
    if (parts.has(Part::map)) for_each_disk(file, opened, input, check_places);
    if (!parts.has(Part::read)) return;
    for_each_disk(file, opened, input, check_reads);
    for (std::size_t i = 0; i < std::min(file.disks().size(), kMostDisks); ++i) check_saved_state(file, i, opened);
}

inline void run(const Format& format, Input input) {
    run(format, std::make_shared<const SpanSource>(input), input, Parts(input, kParts));
}

} // namespace vdisk::fuzz
