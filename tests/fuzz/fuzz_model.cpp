// SPDX-License-Identifier: Apache-2.0
// A sound image, its parents below it, and what is read of it: the bytes that were put in. The first bytes choose where
// to read, the others what is in the image.
#include "base/zeros.hpp"
#include "io/memory_source.hpp"
#include "model_image.hpp"

namespace {

using namespace vdisk;

constexpr std::size_t kPieces = 12;
constexpr std::size_t kChoices = 2 + 4 * kPieces;

ImagePtr open_chain(const fuzz::ModelImage& made, const OpenContext& opened) {
    ImagePtr image;
    for (const test::Bytes& file : made.layers) {
        const auto parsed = made.format->open(std::make_shared<const MemorySource>(file, "input"), opened);
        fuzz::require(parsed.has_value());
        auto layer = parsed.value()->layer(0);
        fuzz::require(layer.has_value());
        image = fuzz::image_of(std::move(layer).value(), opened, image);
    }
    return image;
}

// Clipped to the disk's end.
void check_piece(const Image& image, const test::Bytes& disk, const fuzz::Piece& piece) {
    test::Bytes out(piece.length, std::byte{0xEE});
    const auto got = image.read_at(piece.offset, out);
    const std::size_t at = std::min<std::size_t>(piece.offset, disk.size());
    const std::size_t expected = std::min(piece.length, disk.size() - at);
    fuzz::require(got.has_value() && got.value() == expected);
    fuzz::require(expected == 0 || std::memcmp(out.data(), disk.data() + at, expected) == 0);
}

// Extents tile the disk, and those of zeros are zeros.
void check_extents_of(const Image& image, const test::Bytes& disk) {
    std::uint64_t at = 0;
    while (at < image.size()) {
        const auto found = image.resolve(GuestOffset{at}, image.size() - at);
        fuzz::require(found.has_value());
        const Extent& extent = found.value().extent;
        fuzz::require(extent.length > 0 && extent.length <= image.size() - at);
        fuzz::require(extent.kind != Extent::Kind::unreadable);
        const auto bytes =
            std::span(disk).subspan(static_cast<std::size_t>(at), static_cast<std::size_t>(extent.length));
        fuzz::require(extent.kind != Extent::Kind::zero || all_zeros(bytes));
        at += extent.length;
    }
}

} // namespace

void vdisk::fuzz::model(Input input) {
    test::Chosen places(input.first(std::min(kChoices, input.size())));
    test::Chosen chosen(input.subspan(std::min(kChoices, input.size())));
    const ModelImage made = model_image(chosen, 3);
    Limits limits;
    limits.threads = 1;
    if (places.next(1) % 2 == 0) {
        limits.metadata_cache_bytes = 4 * 4096;
        limits.cluster_cache_bytes = 1;
    }
    const ImagePtr image = open_chain(made, context(limits));
    require(image->size() == made.disk.size());
    for (std::size_t i = 0; i < kPieces; ++i) check_piece(*image, made.disk, chosen_piece(places, image->size()));
    check_piece(*image, made.disk, {.offset = 0, .length = made.disk.size() + 1});
    check_extents_of(*image, made.disk);
}
