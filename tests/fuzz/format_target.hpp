// SPDX-License-Identifier: Apache-2.0
/// One fuzz target for each format: opens arbitrary bytes as that format and reads what it gives. The last bytes of the
/// input choose where; what is read in one piece, in many, through another set of caches and from two threads must
/// agree.
#pragma once

#include "disk/audit.hpp"
#include "disk/dirty_bitmap.hpp"
#include "image/disk_map.hpp"
#include "io/memory_source.hpp"
#include "open/open.hpp"
#include "open/registry.hpp"
#include "open/report.hpp"
#include "target.hpp"

#include <thread>

namespace vdisk::fuzz {

constexpr std::size_t kMostRead = 1U << 18; // enough for four of the usual clusters; more only slows down

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

inline ImagePtr image_of(Layer layer, const OpenContext& opened) {
    return std::make_shared<const Image>(Image::Parts{.name = "disk",
                                                      .layout = std::move(layer.layout),
                                                      .sources = std::move(layer.sources),
                                                      .parent = nullptr,
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
    friend bool operator==(const Read&, const Read&) = default;
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

inline void check_extents(const Image& image, std::uint64_t offset) {
    std::uint64_t at = offset;
    for (int i = 0; i < 64 && at < image.size(); ++i) {
        const auto found = image.resolve(GuestOffset{at}, image.size() - at);
        if (found.has_error()) return;
        require(found.value().extent.length > 0 && found.value().extent.length <= image.size() - at);
        at += found.value().extent.length;
    }
}

/// Runs tile the disk as its extents do, and say why they can't be read.
inline void check_map(const Image& image, std::uint64_t offset) {
    DiskMap pieces(image, GuestOffset{offset}, image.size());
    DiskMap runs(image, GuestOffset{offset}, offset + std::min<std::uint64_t>(image.size() - offset, kMostRead));
    std::uint64_t at = offset;
    for (int i = 0; i < 64; ++i) {
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

inline void check_reads(const Image& image, const Image& other, Choices& choices) {
    for (int i = 0; i < 3; ++i) {
        const std::uint64_t offset = image.size() == 0 ? 0 : choices.next(8) % image.size();
        const std::size_t length = 1 + static_cast<std::size_t>(choices.next(3)) % kMostRead;
        const Read whole = read(image, offset, length);
        require(read_in_pieces(image, offset, length,
                               1 + static_cast<std::size_t>(choices.next(2)) % 70000 + length / 64) == whole);
        Read elsewhere;
        std::thread second([&] { elsewhere = read(other, offset, length); });
        const Read again = read(image, offset, length);
        second.join();
        require(again == whole && elsewhere == whole);
        check_extents(image, offset);
        check_map(image, offset);
    }
}

inline void check_saved_state(const DiskFile& file, std::size_t index, const OpenContext& opened) {
    auto state = file.saved_state(index);
    if (state.has_error()) return;
    const std::uint64_t start = state.value().start.value;
    const ImagePtr image = image_of(std::move(state).value().layer, opened);
    require(start < image->size());
    const Read whole = read(*image, start, kMostRead);
    require(read_in_pieces(*image, start, kMostRead, 65537) == whole);
    check_extents(*image, start);
}

/// What reads the whole file: its bookkeeping, its checksums, the texts and bitmaps kept in it.
inline void check_whole_file(const DiskFile& file) {
    if (const auto report = file.audit({}); report.has_value()) (void)describe(report.value());
    if (const auto report = file.verify({}); report.has_value()) (void)describe(report.value());
    (void)file.configurations();
    const Facts facts = file.facts();
    if (!facts.is_object() || !facts.contains("bitmaps")) return;
    for (const Facts& listed : facts["bitmaps"].elements()) {
        const std::string* name = listed["name"].text();
        const auto bitmap = file.bitmap(name == nullptr ? "" : *name);
        if (bitmap.has_error()) continue;
        std::uint64_t ranges = 0;
        std::uint64_t end = 0;
        (void)bitmap.value().visit([&](const DirtyRange& range) -> Result<void> {
            require(range.length > 0 && range.offset.value >= end);
            end = range.offset.value + range.length;
            if (++ranges > 100'000) return fail(ErrorKind::cancelled, "enough");
            return ok();
        });
    }
}

inline void run(const Format& format, std::span<const std::byte> input) {
    Choices choices(input);
    Limits small;
    small.metadata_cache_bytes = 4 * 4096;
    small.cluster_cache_bytes = 1;
    small.threads = 1;
    const auto source =
        std::make_shared<const MemorySource>(std::vector<std::byte>(input.begin(), input.end()), "input");
    const OpenContext opened = context(Limits{});
    const OpenContext uncached = context(small);
    if (const auto look = FirstLook::at(*source); look.has_value()) {
        for (const Signature& signature : format.signatures) (void)look.value().look_for(signature);
        if (format.probe != nullptr) (void)format.probe(look.value().head(), *source);
    }
    const auto file = format.open(source, opened);
    const auto other = format.open(source, uncached);
    require(file.has_value() == other.has_value());
    if (file.has_error()) {
        require(!file.error().what.empty());
        return;
    }
    (void)to_text(describe(OpenedFile{opened, source, file.value()}));
    check_whole_file(*file.value());
    const std::size_t disks = file.value()->disks().size();
    require(disks == other.value()->disks().size());
    for (std::size_t i = 0; i < std::min<std::size_t>(disks, 4); ++i) {
        const ImagePtr image = open_image(*file.value(), i, opened);
        const ImagePtr second = open_image(*other.value(), i, uncached);
        require((image == nullptr) == (second == nullptr));
        if (image) check_reads(*image, *second, choices);
        check_saved_state(*file.value(), i, opened);
    }
}

} // namespace vdisk::fuzz
