// SPDX-License-Identifier: Apache-2.0
/// Small sound images of every kind that can be small, built as an input's bytes choose, with the disks that they hold.
/// A VHDX is left out: its blocks have a mebibyte at least, and one takes as long as a hundred others.
#pragma once

#include "cluster_builders.hpp"
#include "format/parallels/parallels.hpp"
#include "format/qcow/qcow.hpp"
#include "format/qcow2/qcow2.hpp"
#include "format/qed/qed.hpp"
#include "format/vdi/vdi.hpp"
#include "format/vhd/vhd.hpp"
#include "format/vma/vma.hpp"
#include "format/vmdk/vmdk.hpp"
#include "format_target.hpp"
#include "io/memory_source.hpp"
#include "random_qcow2.hpp"
#include "vdi_builder.hpp"
#include "vhd_builder.hpp"
#include "vma_builder.hpp"
#include "vmdk_builder.hpp"

namespace vdisk::fuzz {

struct ModelImage {
    const Format* format = nullptr;
    std::vector<test::Bytes> layers{}; ///< the files, the lowest parent first
    test::Bytes disk{};                ///< what the last layer must read as
};

/// What may be above a parent, and what may be below others.
enum class Place : std::uint8_t { bottom, above };

/// The size of a disk of up to `most` clusters, of which the last need not be whole.
inline std::uint64_t chosen_size(test::Chosen& chosen, std::uint64_t cluster, std::uint64_t most) {
    const std::uint64_t clusters = 1 + test::below(chosen, most);
    return clusters * cluster - std::min(test::below(chosen, 8) * 512, cluster - 512);
}

// Each adds a layer to the disk `below` and gives its file.

inline test::Bytes qcow2_layer(test::Bytes& below, test::Chosen& chosen, Place /*place*/) {
    test::Qcow2Options options{.version = test::below(chosen, 4) == 0 ? 2U : 3U,
                               .cluster_bits = static_cast<std::uint32_t>(9 + test::below(chosen, 4))};
    if (options.version == 3 && test::below(chosen, 3) == 0) {
        options.incompatible = test::kQcow2ExtendedL2;
        options.cluster_bits = 14;
    }
    options.size = chosen_size(chosen, std::uint64_t{1} << options.cluster_bits, options.incompatible != 0 ? 3 : 12);
    const test::RandomQcow2 made(options, below, chosen);
    below = made.model();
    return made.builder().bytes();
}

inline test::Bytes qcow_layer(test::Bytes& below, test::Chosen& chosen, Place place) {
    test::QcowBuilder made{.cluster_bits = static_cast<std::uint32_t>(9 + test::below(chosen, 4)),
                           .l2_bits = static_cast<std::uint32_t>(6 + test::below(chosen, 4)),
                           .backing = place == Place::above ? "parent" : ""};
    made.disk_size = chosen_size(chosen, made.cluster_size(), 12);
    test::fill_clusters(made, below, chosen, 2);
    return made.build();
}

inline test::Bytes qed_layer(test::Bytes& below, test::Chosen& chosen, Place place) {
    test::QedBuilder made{.features = place == Place::above ? 1U : 0U,
                          .backing = place == Place::above ? "parent" : ""};
    made.disk_size = chosen_size(chosen, made.cluster_bytes, 12);
    test::fill_clusters(made, below, chosen, 1);
    return made.build();
}

inline test::Bytes parallels_layer(test::Bytes& below, test::Chosen& chosen, Place /*place*/) {
    test::ParallelsBuilder made{.tracks = 1 + test::below(chosen, 16), .counts_clusters = test::below(chosen, 2) == 0};
    made.disk_size = chosen_size(chosen, made.cluster_size(), 12);
    test::fill_clusters(made, below, chosen, 1);
    return made.build();
}

inline test::Bytes vdi_layer(test::Bytes& below, test::Chosen& chosen, Place place) {
    test::VdiBuilder made{.type = place == Place::above ? 4U : 1U,
                          .block_size = 512U << test::below(chosen, 5),
                          .block_extra = test::below(chosen, 3) == 0 ? 512U : 0U};
    if (place == Place::above) made.linkage = test::vdi_uuid(7);
    made.disk_size = chosen_size(chosen, made.block_size, 12);
    test::fill_randomly(made, below, chosen);
    return made.build();
}

inline test::Bytes vhd_layer(test::Bytes& below, test::Chosen& chosen, Place place) {
    test::VhdBuilder made{.type = place == Place::above ? 4U : 3U, .block_size = 512U << test::below(chosen, 5)};
    made.disk_size = chosen_size(chosen, made.block_size, 12);
    test::fill_randomly(made, below, chosen);
    return made.build();
}

inline test::Bytes vmdk_layer(test::Bytes& below, test::Chosen& chosen, Place /*place*/) {
    using Kind = test::VmdkExtent::Kind;
    constexpr std::array kKinds{Kind::hosted, Kind::stream, Kind::cowd};
    test::VmdkExtent made{.kind = kKinds[test::below(chosen, kKinds.size())], .grain = 4096};
    made.redundant = test::below(chosen, 2) == 0;
    made.zeroed = test::below(chosen, 2) == 0;
    made.footer = test::below(chosen, 2) == 0;
    made.disk_size = chosen_size(chosen, made.grain, 12);
    const test::VmdkText text{.extents = {fmt::format("RW {} SPARSE \"disk.vmdk\"", made.disk_size / 512)}};
    if (made.kind != Kind::cowd) made.descriptor = text.text();
    test::fill_randomly(made, below, chosen);
    return made.build();
}

inline test::Bytes vma_layer(test::Bytes& below, test::Chosen& chosen, Place /*place*/) {
    using test::VmaBuilder;
    below.resize(chosen_size(chosen, VmaBuilder::kBlock, 24));
    for (std::size_t at = 0; at < below.size(); at += VmaBuilder::kBlock) {
        if (test::below(chosen, 3) == 0) continue;
        const test::Bytes block = test::random_bytes(chosen, std::min(VmaBuilder::kBlock, below.size() - at));
        std::ranges::copy(block, below.begin() + static_cast<std::ptrdiff_t>(at));
    }
    VmaBuilder made;
    made.add_device(1, "drive-scsi0", below.size());
    std::vector<VmaBuilder::Slot> slots;
    for (std::uint32_t cluster = 0; cluster * VmaBuilder::kCluster < below.size(); ++cluster)
        slots.push_back(VmaBuilder::slot_of(1, below, cluster, static_cast<std::uint16_t>(chosen.next(2))));
    if (test::below(chosen, 2) != 0) std::ranges::reverse(slots);
    made.add_extents(slots, 1 + test::below(chosen, 3));
    return made.build();
}

/// An image with `most` layers at most.
inline ModelImage model_image(test::Chosen& chosen, std::uint64_t most) {
    struct Kind {
        const Format* format;
        test::Bytes (*add)(test::Bytes& below, test::Chosen& chosen, Place place);
        bool has_parents;
    };
    static constexpr std::array kKinds{Kind{&kQcow2Format, qcow2_layer, true},
                                       Kind{&kQcowFormat, qcow_layer, true},
                                       Kind{&kQedFormat, qed_layer, true},
                                       Kind{&kVdiFormat, vdi_layer, true},
                                       Kind{&kVhdFormat, vhd_layer, true},
                                       Kind{&kVmdkFormat, vmdk_layer, true},
                                       Kind{&kParallelsFormat, parallels_layer, true},
                                       Kind{&kVmaFormat, vma_layer, false}};
    const Kind& kind = kKinds[test::below(chosen, kKinds.size())];
    ModelImage made{.format = kind.format};
    const std::uint64_t layers = 1 + test::below(chosen, kind.has_parents ? most : 1);
    for (std::uint64_t i = 0; i < layers; ++i)
        made.layers.push_back(kind.add(made.disk, chosen, i == 0 ? Place::bottom : Place::above));
    return made;
}

/// A piece of a disk of `size` bytes, as four bytes choose: anywhere, or at one of the borders of 512 bytes.
struct Piece {
    std::uint64_t offset = 0;
    std::size_t length = 0;
};
inline Piece chosen_piece(test::Chosen& chosen, std::uint64_t size) {
    const std::uint64_t place = chosen.next(2);
    const std::uint64_t length = chosen.next(2);
    const std::uint64_t offset = place % 2 == 0 ? place * 512 : place * 77;
    return {size == 0 ? 0 : offset % size, static_cast<std::size_t>(1 + length % (length % 2 == 0 ? 1024 : 16384))};
}

} // namespace vdisk::fuzz
