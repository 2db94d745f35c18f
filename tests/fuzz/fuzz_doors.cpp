// SPDX-License-Identifier: Apache-2.0
// One image through several doors: C++ and vdisk.h, large caches and none, one thread and four, an index just made and
// one that was kept. The first bytes choose doors and places, some of them what is spoilt in the file, the others what
// is in the image.
#include "capi/vdisk.h"
#include "io/memory_source.hpp"
#include "model_image.hpp"
#include "temporary_folder.hpp"

#include "io/stream_source.hpp"
#include "settled.hpp"

namespace {

using namespace vdisk;
using test::Bytes;

constexpr std::size_t kPieces = 8;
constexpr std::size_t kSpoilt = 2;
constexpr std::size_t kChoices = 1 + 4 * kPieces + 4 * kSpoilt;

// Changes a byte, or none, at a place that three bytes choose.
void spoil(Bytes& file, test::Chosen& places) {
    const std::uint64_t place = places.next(3);
    const auto change = static_cast<std::byte>(places.next(1));
    if (!file.empty()) file[place % file.size()] ^= change;
}

// What a disk's bytes are, or that they can't be read.
using Answer = fuzz::Read;

Answer answer_of(const ByteSource& disk, const fuzz::Piece& piece) {
    Bytes out(piece.length);
    const auto got = disk.read_at(piece.offset, out);
    if (got.has_error()) return {};
    out.resize(got.value());
    return {.good = true, .bytes = std::move(out)};
}

struct DiskClosed {
    void operator()(vdisk_disk* disk) const { vdisk_close(disk); }
};
using DiskHandle = std::unique_ptr<vdisk_disk, DiskClosed>;

Answer answer_of(const vdisk_disk& disk, const fuzz::Piece& piece) {
    Bytes out(piece.length);
    const std::int64_t got = vdisk_read(&disk, out.data(), out.size(), piece.offset);
    if (got < 0) return {};
    out.resize(static_cast<std::size_t>(got));
    return {.good = true, .bytes = std::move(out)};
}

// `file` must outlive the disk. Null where it does not open.
DiskHandle through_c(const Bytes& file, const Format& format) {
    const auto read = [](void* data, void* buffer, std::size_t count, std::uint64_t offset) {
        std::memcpy(buffer, static_cast<Bytes*>(data)->data() + offset, count);
        return static_cast<std::int64_t>(count);
    };
    const std::string name(format.name);
    const vdisk_source source{.struct_size = sizeof source,
                              .name = "input",
                              .size = file.size(),
                              .read = read,
                              .close = nullptr,
                              .data = const_cast<Bytes*>(&file)};
    const vdisk_open_options options{.struct_size = sizeof options,
                                     .format = name.c_str(),
                                     .progress = nullptr,
                                     .progress_data = nullptr,
                                     .threads = 1};
    vdisk_file* const opened = vdisk_file_open_source(&source, nullptr, &options);
    if (opened == nullptr) return nullptr;
    const std::int64_t selected = vdisk_file_selected(opened);
    DiskHandle disk(selected < 0 ? nullptr : vdisk_file_open_disk(opened, static_cast<std::size_t>(selected)));
    vdisk_file_close(opened);
    return disk;
}

// A file's only disk. Null where it can't be had, or not without a parent: these are files, and no door opens any here.
ImagePtr through_library(const Bytes& file, const Format& format, const Limits& limits) {
    const OpenContext opened = fuzz::context(limits);
    const auto parsed = format.open(std::make_shared<const MemorySource>(file, "input"), opened);
    if (parsed.has_error() || parsed.value()->disks().size() != 1) return nullptr;
    auto layer = parsed.value()->layer(0);
    if (layer.has_error() || layer.value().parent) return nullptr;
    return fuzz::image_of(std::move(layer).value(), opened);
}

Limits with_threads(std::size_t threads) {
    Limits limits;
    limits.threads = threads;
    return limits;
}

// From front to back, so that threads decode ahead.
void check_in_order(const Image& one, const Image& other) {
    constexpr std::size_t kStep = 4096;
    for (std::uint64_t at = 0; at < one.size() && at < fuzz::kMostRead; at += kStep)
        fuzz::require(answer_of(one, {at, kStep}) == answer_of(other, {at, kStep}));
}

void run_image(const Bytes& file, const Format& format, bool with_helpers, test::Chosen& places) {
    const ImagePtr image = through_library(file, format, with_threads(1));
    const DiskHandle handle = through_c(file, format);
    if (!image)
        return fuzz::require(handle == nullptr || format.name == kVmaFormat.name); // of two devices one may open
    Limits none = with_threads(1);
    none.metadata_cache_bytes = 4 * 4096;
    none.cluster_cache_bytes = 1;
    const ImagePtr uncached = through_library(file, format, none);
    fuzz::require(handle && uncached);
    fuzz::require(vdisk_size(handle.get()) == image->size() && uncached->size() == image->size());
    for (std::size_t i = 0; i < kPieces; ++i) {
        const fuzz::Piece piece = fuzz::chosen_piece(places, image->size());
        const Answer answer = answer_of(*image, piece);
        fuzz::require(answer_of(*handle, piece) == answer && answer_of(*uncached, piece) == answer);
    }
    if (with_helpers) {
        const ImagePtr helped = through_library(file, format, with_threads(4));
        fuzz::require(helped != nullptr);
        check_in_order(*image, *helped);
    }
}

// A gzip stream with restart points, twice: by the index of a pass, and by one that was kept.
class Streams {
public:
    Streams() {
        test::Random random(1);
        plain_ = test::random_bytes(random, 3U << 20);
        for (std::size_t at = 0; at < plain_.size(); at += 8192)
            std::fill_n(plain_.begin() + static_cast<std::ptrdiff_t>(at), 5000, static_cast<std::byte>(at >> 13));
        const auto path =
            folder_.write("packed", test::zlib_stream(plain_, {.level = 1, .window_bits = 16 + MAX_WBITS}));
        test::settle(path);
        const IndexCache cache(folder_.path() / "cache");
        made_ = opened(path, {});
        static_cast<void>(opened(path, cache)); // keeps its index
        kept_ = opened(path, cache);
        fuzz::require(kept_->statistics().cached && !made_->statistics().cached);
    }

    void check(const fuzz::Piece& piece) const {
        const Answer answer = answer_of(*made_, piece);
        fuzz::require(answer.good && answer_of(*kept_, piece) == answer);
        fuzz::require(answer.bytes.size() == std::min<std::uint64_t>(piece.length, plain_.size() - piece.offset) &&
                      std::memcmp(answer.bytes.data(), plain_.data() + piece.offset, answer.bytes.size()) == 0);
    }
    std::uint64_t size() const { return plain_.size(); }

private:
    static std::shared_ptr<StreamSource> opened(const std::filesystem::path& path, const IndexCache& cache) {
        Limits limits = with_threads(1);
        limits.stream_decode_bytes = 128U << 10;
        limits.stream_cache_bytes = 1;
        auto file = FileSource::open(path, FileKinds::regular_only);
        fuzz::require(file.has_value());
        auto stream = StreamSource::open(file.value(), Compression::gzip, cache, limits);
        fuzz::require(stream.has_value());
        if (!stream.value()->indexed()) fuzz::require(stream.value()->index({}, {}).has_value());
        return stream.value();
    }

    test::TemporaryFolder folder_;
    Bytes plain_;
    std::shared_ptr<StreamSource> made_;
    std::shared_ptr<StreamSource> kept_;
};

} // namespace

void vdisk::fuzz::doors(Input input) {
    test::Chosen places(input.first(std::min(kChoices, input.size())));
    const std::uint64_t doors = places.next(1);
    if (doors == 255) { // a pass over megabytes, once
        static const Streams streams;
        for (int i = 0; i < 2; ++i) {
            const std::uint64_t offset = places.next(4) % streams.size();
            streams.check({.offset = offset, .length = 1 + static_cast<std::size_t>(places.next(2))});
        }
        return;
    }
    test::Chosen chosen(input.subspan(std::min(kChoices, input.size())));
    ModelImage made = model_image(chosen, 1);
    for (std::size_t i = 0; i < kSpoilt; ++i) spoil(made.layers.front(), places);
    run_image(made.layers.front(), *made.format, doors >= 248, places);
}
