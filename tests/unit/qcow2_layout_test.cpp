// SPDX-License-Identifier: Apache-2.0
#include "format/qcow2/qcow2.hpp"
#include "format/qcow2/subclusters.hpp"
#include "format/raw/raw.hpp"
#include "model.hpp"
#include "open/open.hpp"
#include "qcow2_builder.hpp"
#include "random_qcow2.hpp"
#include "temporary_folder.hpp"
#include "zlib_stream.hpp"

#include <boost/test/unit_test.hpp>

using namespace vdisk;
using namespace vdisk::test;

namespace {

OpenContext context_for_tests() {
    return {.caches = std::make_shared<Caches>(Limits{}),
            .references = std::make_shared<const References>("image", ReferencePolicy::deny, Limits{})};
}

ImagePtr image_of(const Format& format, SourcePtr file, ImagePtr parent = nullptr) {
    const OpenContext context = context_for_tests();
    Layer layer = required(required(format.open(std::move(file), context))->layer(0));
    return std::make_shared<const Image>(Image::Parts{.name = "image",
                                                      .layout = std::move(layer.layout),
                                                      .sources = std::move(layer.sources),
                                                      .parent = std::move(parent),
                                                      .caches = context.caches});
}

ImagePtr image_of(const Qcow2Builder& builder, ImagePtr parent = nullptr) {
    return image_of(kQcow2Format, memory(builder.bytes()), std::move(parent));
}

ErrorKind read_error(const Image& image, std::uint64_t offset) {
    std::byte byte{};
    const auto got = image.read_at(offset, std::span(&byte, 1));
    BOOST_REQUIRE(got.has_error());
    return got.error().kind;
}

std::size_t readable_bytes(const Image& image, std::uint64_t step) {
    Bytes out(step);
    std::size_t readable = 0;
    for (std::uint64_t at = 0; at < image.size(); at += step)
        if (const auto got = image.read_at(at, out); got.has_value()) readable += got.value();
    return readable;
}

// Four clusters of data, stored in a row, each filled with its number plus one.
struct FourClusters {
    explicit FourClusters(Qcow2Options options) : builder(options) {
        for (std::uint64_t cluster = 0; cluster < 4; ++cluster)
            host[cluster] = builder.append(Bytes(builder.cluster_size(), static_cast<std::byte>(cluster + 1)));
        for (std::uint64_t cluster = 0; cluster < 4; ++cluster) builder.set(cluster, host[cluster], 0xFFFFFFFF);
    }
    // Only cluster 1 is spoilt, wholly.
    void check_second_lost(ErrorKind kind) const {
        const ImagePtr image = image_of(builder);
        const std::uint64_t size = builder.cluster_size();
        BOOST_TEST((read_error(*image, size) == kind));
        BOOST_TEST((read_error(*image, 2 * size - 1) == kind));
        BOOST_TEST(readable_bytes(*image, 512) == 3 * size);
        BOOST_TEST(reads_as(*image, Bytes(2 * size, std::byte{1}), 0, size));
    }
    Qcow2Builder builder;
    std::array<std::uint64_t, 4> host{};
};

constexpr Qcow2Options kSmall{.cluster_bits = 12, .size = 4 << 12};

} // namespace

BOOST_AUTO_TEST_SUITE(qcow2_subclusters)

namespace {

using qcow2::Allocation;
using qcow2::SubclusterRun;

Allocation naive_state(std::uint64_t bitmap, unsigned index) {
    const bool stored = (bitmap >> index & 1) != 0;
    const bool zero = (bitmap >> (32 + index) & 1) != 0;
    if (stored && zero) return Allocation::invalid;
    return stored ? Allocation::stored : zero ? Allocation::zero : Allocation::unallocated;
}

SubclusterRun naive_run(std::uint64_t bitmap, unsigned index) {
    SubclusterRun run{naive_state(bitmap, index), 1};
    while (index + run.count < 32 && naive_state(bitmap, index + run.count) == run.allocation) ++run.count;
    return run;
}

std::size_t disagreements(std::uint64_t bitmap) {
    std::size_t wrong = 0;
    for (unsigned index = 0; index < 32; ++index)
        wrong += qcow2::subcluster_run(bitmap, index) == naive_run(bitmap, index) ? 0U : 1U;
    return wrong;
}

// A bitmap with the states `inner` in [from, to) and `outer` elsewhere; bit 0 of a state: allocated, bit 1: zero.
std::uint64_t window(unsigned from, unsigned to, unsigned inner, unsigned outer) {
    std::uint64_t bitmap = 0;
    for (unsigned i = 0; i < 32; ++i) {
        const std::uint64_t state = i >= from && i < to ? inner : outer;
        bitmap |= (state & 1) << i | (state >> 1) << (32 + i);
    }
    return bitmap;
}

} // namespace

BOOST_AUTO_TEST_CASE(every_run_of_every_state_between_every_other_is_found) {
    std::size_t wrong = 0;
    for (unsigned inner = 0; inner < 4; ++inner)
        for (unsigned outer = 0; outer < 4; ++outer)
            for (unsigned from = 0; from < 32; ++from)
                for (unsigned to = from + 1; to <= 32; ++to) wrong += disagreements(window(from, to, inner, outer));
    BOOST_TEST(wrong == 0U);
}

BOOST_AUTO_TEST_CASE(random_bitmaps_are_decoded_as_bit_by_bit) {
    Random random(1);
    std::size_t wrong = 0;
    for (int i = 0; i < 20000; ++i)
        wrong += disagreements(random() & random()) + disagreements(random() | random() << 32);
    BOOST_TEST(wrong == 0U);
}

BOOST_AUTO_TEST_SUITE_END()

BOOST_AUTO_TEST_SUITE(qcow2_layout)

BOOST_AUTO_TEST_CASE(random_images_read_as_their_model) {
    Random random(2);
    struct Kind {
        std::uint32_t version, cluster_bits;
        std::uint64_t incompatible, size;
    };
    for (const Kind& kind :
         {Kind{2, 9, 0, 300 << 10}, Kind{3, 9, 0, (300 << 10) + 77}, Kind{3, 12, 0, (700 << 10) + 512},
          Kind{2, 16, 0, 3 << 20}, Kind{3, 14, kQcow2ExtendedL2, (2 << 20) + 512 * 3},
          Kind{3, 17, kQcow2ExtendedL2, (4 << 20) + 1}}) {
        BOOST_TEST_CONTEXT("version " << kind.version << ", cluster_bits " << kind.cluster_bits) {
            const Bytes parent = random_bytes(random, kind.size * 2 / 3);
            const Qcow2Options options{.version = kind.version,
                                       .cluster_bits = kind.cluster_bits,
                                       .size = kind.size,
                                       .incompatible = kind.incompatible};
            const RandomQcow2 made(options, parent, random);
            const std::uint64_t step =
                kind.incompatible != 0 ? made.builder().cluster_size() / 32 * 7 : made.builder().cluster_size();
            check_against_model(*image_of(made.builder(), image_of(kRawFormat, memory(parent))), made.model(), step,
                                random);
        }
    }
}

BOOST_AUTO_TEST_CASE(what_lies_in_a_row_is_one_extent_over_clusters_and_l2_tables) {
    Qcow2Builder builder({.cluster_bits = 9, .size = 200 << 9}); // 64 entries in an L2 table
    for (std::uint64_t table = 0; table < 4; ++table) builder.set(table * 64, 0);
    const std::uint64_t host = builder.append(Bytes(200 << 9));
    for (std::uint64_t cluster = 10; cluster < 190; ++cluster) builder.set(cluster, host + (cluster << 9));
    const ImagePtr image = image_of(builder);
    BOOST_TEST(image->resolve(GuestOffset{0}, image->size()).value().extent.length == 10U << 9);
    const Extent stored = image->resolve(GuestOffset{(10 << 9) + 3}, image->size()).value().extent;
    BOOST_TEST(stored.length == (180U << 9) - 3);
    BOOST_TEST(stored.host.value == host + (10 << 9) + 3);
}

BOOST_AUTO_TEST_CASE(subclusters_in_a_row_are_one_extent_over_clusters) {
    FourClusters image({.cluster_bits = 14, .size = 4 << 14, .incompatible = kQcow2ExtendedL2});
    image.builder.set(0, image.host[0], 0xFFFFFF00);
    image.builder.set(1, image.host[1], 0x0000FFFF);
    image.builder.set(2, image.host[2], std::uint64_t{0xFFFFFFFF} << 32);
    const ImagePtr disk = image_of(image.builder);
    const auto length = [&](std::uint64_t at) {
        return disk->resolve(GuestOffset{at}, disk->size()).value().extent.length;
    };
    BOOST_TEST(length(0) == 8 * 512U);
    BOOST_TEST(length(9 * 512) == 39 * 512U);
    BOOST_TEST(length(48 * 512) == 16 * 512U);
    BOOST_TEST(length(64 * 512) == 32 * 512U);
}

BOOST_AUTO_TEST_CASE(a_subcluster_both_allocated_and_zero_spoils_only_itself) {
    FourClusters image({.cluster_bits = 14, .size = 4 << 14, .incompatible = kQcow2ExtendedL2});
    image.builder.set(1, image.host[1], 0xFFFFFFFF | std::uint64_t{0b110} << 40);
    const ImagePtr disk = image_of(image.builder);
    BOOST_TEST((read_error(*disk, (1 << 14) + 9 * 512) == ErrorKind::corrupt));
    BOOST_TEST((read_error(*disk, (1 << 14) + 11 * 512 - 1) == ErrorKind::corrupt));
    BOOST_TEST(readable_bytes(*disk, 512) == (4U << 14) - 1024);
}

BOOST_AUTO_TEST_CASE(an_allocated_subcluster_without_a_data_offset_spoils_only_itself) {
    FourClusters image({.cluster_bits = 14, .size = 4 << 14, .incompatible = kQcow2ExtendedL2});
    image.builder.set(1, 0, std::uint64_t{1} << 31);
    const ImagePtr disk = image_of(image.builder);
    BOOST_TEST((read_error(*disk, (2 << 14) - 1) == ErrorKind::corrupt));
    BOOST_TEST(readable_bytes(*disk, 512) == (4U << 14) - 512);
}

BOOST_AUTO_TEST_CASE(a_bad_l2_entry_spoils_only_its_cluster) {
    FourClusters image(kSmall);
    const std::uint64_t end = image.builder.bytes().size();
    for (const std::uint64_t descriptor :
         {image.host[1] + 512, std::uint64_t{1} << 55 | 512, kQcow2Zero | (image.host[1] + 1024)}) {
        image.builder.set(1, descriptor);
        image.check_second_lost(ErrorKind::corrupt);
    }
    image.builder.set(1, end);
    image.check_second_lost(ErrorKind::truncated);
    image.builder.set(1, kQcow2Compressed | end);
    image.check_second_lost(ErrorKind::corrupt);
    image.builder.set(1, kQcow2Compressed | image.host[2]); // 0x03... is no deflate stream
    image.check_second_lost(ErrorKind::corrupt);
}

BOOST_AUTO_TEST_CASE(version_2_has_no_zero_flag) {
    FourClusters image({.version = 2, .cluster_bits = 12, .size = 4 << 12});
    image.builder.set(1, kQcow2Zero);
    image.check_second_lost(ErrorKind::corrupt);
}

BOOST_AUTO_TEST_CASE(a_cluster_cut_off_by_the_end_of_the_file_reads_up_to_there) {
    FourClusters image(kSmall);
    image.builder.set(3, image.builder.append(Bytes(4096, std::byte{4})));
    image.builder.bytes().resize(image.builder.bytes().size() - 4096 + 1000);
    const ImagePtr disk = image_of(image.builder);
    Bytes out(1000);
    BOOST_TEST(disk->read_at(3 << 12, out).has_value());
    BOOST_TEST((out == Bytes(1000, std::byte{4})));
    BOOST_TEST((read_error(*disk, (3 << 12) + 1000) == ErrorKind::truncated));
}

BOOST_AUTO_TEST_CASE(a_bad_l1_entry_spoils_only_its_l2_table) {
    Qcow2Builder builder({.cluster_bits = 9, .size = 3 * (64 << 9)});
    const std::uint64_t host = builder.append(Bytes(512, std::byte{9}));
    for (std::uint64_t cluster = 0; cluster < 192; ++cluster) builder.set(cluster, host);
    for (const std::uint64_t entry : {std::uint64_t{builder.bytes().size()}, std::uint64_t{1} << 55}) {
        builder.put64(builder.l1_entry_offset(1), entry);
        const ImagePtr disk = image_of(builder);
        BOOST_TEST((read_error(*disk, 64 << 9) == ErrorKind::corrupt));
        BOOST_TEST((read_error(*disk, (128 << 9) - 1) == ErrorKind::corrupt));
        BOOST_TEST(readable_bytes(*disk, 512) == 128U << 9);
    }
}

BOOST_AUTO_TEST_CASE(an_l2_table_at_no_cluster_boundary_is_unreadable) {
    Qcow2Builder builder({.cluster_bits = 12, .size = 2 << 21});
    builder.set(0, builder.append(Bytes(4096, std::byte{9})));
    builder.set(512, builder.append(Bytes(4096, std::byte{9})));
    builder.put64(builder.l1_entry_offset(0), builder.get64(builder.l1_entry_offset(0)) + 512);
    const ImagePtr disk = image_of(builder);
    BOOST_TEST((read_error(*disk, 0) == ErrorKind::corrupt));
    Bytes out(4096);
    BOOST_TEST(disk->read_at(2 << 20, out).has_value());
    BOOST_TEST((out == Bytes(4096, std::byte{9})));
}

BOOST_AUTO_TEST_CASE(of_an_l2_table_cut_off_the_first_entries_serve) {
    Qcow2Builder builder({.cluster_bits = 12, .size = 512 << 12});
    const std::uint64_t host = builder.append(Bytes(4096, std::byte{9}));
    for (std::uint64_t cluster = 0; cluster < 512; ++cluster) builder.set(cluster, host);
    builder.bytes().resize((builder.get64(builder.l1_entry_offset(0)) & ~kQcow2Copied) + 100 * 8 + 5);
    const ImagePtr disk = image_of(builder);
    BOOST_TEST(readable_bytes(*disk, 4096) == 100U << 12);
    BOOST_TEST((read_error(*disk, 100 << 12) == ErrorKind::truncated));
}

BOOST_AUTO_TEST_CASE(an_l1_table_that_is_too_short_leaves_what_it_covers) {
    Qcow2Builder builder({.cluster_bits = 9, .size = 3 * (64 << 9)});
    builder.put32(qcow2_field::l1_size, 2);
    const ImagePtr disk = image_of(builder);
    BOOST_TEST(readable_bytes(*disk, 512) == 2U * (64 << 9));
    BOOST_TEST((read_error(*disk, 128 << 9) == ErrorKind::corrupt));
}

BOOST_AUTO_TEST_CASE(a_data_file_is_read_at_the_guests_offsets_only) {
    Random random(4);
    const TemporaryFolder folder;
    const Bytes data = random_bytes(random, 4 << 12);
    folder.write("data", data);
    Qcow2Builder builder({.cluster_bits = 12, .size = 4 << 12, .incompatible = kQcow2DataFile});
    builder.extension(0x44415441, "data");
    builder.set(0, kQcow2Copied); // offset 0 of the data file
    builder.set(1, kQcow2Copied | 1 << 12);
    builder.set(2, kQcow2Copied | 1 << 12);       // not its own offset
    builder.set(3, kQcow2Compressed | (1 << 12)); // there are no compressed clusters in a data file
    const OpenedDisk opened = required(open_disk(folder.write("image", builder.bytes()).string(), {}));
    const Image& disk = *opened.image;
    BOOST_TEST(reads_as(disk, data, 0, 2 << 12));
    BOOST_TEST((read_error(disk, 2 << 12) == ErrorKind::corrupt));
    BOOST_TEST((read_error(disk, 3 << 12) == ErrorKind::corrupt));
    BOOST_TEST(opened.chain[0].files["data file used"] == (folder.path() / "data").string());
}

BOOST_AUTO_TEST_SUITE_END()
