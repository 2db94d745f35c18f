// SPDX-License-Identifier: Apache-2.0
#include "format/vma/layout.hpp"
#include "format/vma/scan.hpp"
#include "format/vma/vma.hpp"

#include "base/text.hpp"
#include "model.hpp"
#include "open/open.hpp"
#include "settled.hpp"
#include "temporary_folder.hpp"
#include "vma_builder.hpp"

#include <boost/test/unit_test.hpp>
#include <nlohmann/json.hpp>

#include <bit>
#include <fstream>
#include <set>
#include <thread>

using namespace vdisk;
using namespace vdisk::test;
using Json = nlohmann::json;
using Slot = VmaBuilder::Slot;

BOOST_AUTO_TEST_SUITE(vma_format)

namespace {

constexpr std::size_t kCluster = VmaBuilder::kCluster;
constexpr std::size_t kBlock = VmaBuilder::kBlock;

OpenContext context() {
    OpenContext opened;
    opened.caches = std::make_shared<Caches>(Limits{});
    opened.references = std::make_shared<const References>("/nonexistent/image", ReferencePolicy::deny, Limits{});
    return opened;
}

using FileResult = Result<std::shared_ptr<const DiskFile>>;

FileResult open_archive(SourcePtr source, const OpenContext& opened = context()) {
    return kVmaFormat.open(std::move(source), opened);
}

ImagePtr image_of(const DiskFile& file, std::size_t index) {
    auto layer = file.layer(index);
    return std::make_shared<const Image>(Image::Parts{.name = "disk",
                                                      .layout = std::move(layer.value().layout),
                                                      .sources = std::move(layer.value().sources),
                                                      .parent = nullptr,
                                                      .caches = context().caches});
}

ImagePtr open_device(const Bytes& archive, std::size_t index = 0) {
    const auto file = open_archive(memory(archive));
    BOOST_TEST_REQUIRE(file.has_value());
    return image_of(*file.value(), index);
}

// A disk of `size` bytes of which each block is zeros by chance.
Bytes patchy_disk(Random& random, std::size_t size) {
    Bytes disk(size);
    for (std::size_t at = 0; at < size; at += kBlock) {
        if (below(random, 3) == 0) continue;
        const Bytes block = random_bytes(random, std::min(kBlock, size - at));
        std::ranges::copy(block, disk.begin() + static_cast<std::ptrdiff_t>(at));
    }
    // Whole clusters of zeros too.
    for (std::size_t at = 0; at + kCluster <= size; at += kCluster)
        if (below(random, 4) == 0) std::fill_n(disk.begin() + static_cast<std::ptrdiff_t>(at), kCluster, std::byte{0});
    return disk;
}

std::vector<Slot> slots_of(Random& random, std::uint8_t device, const Bytes& disk) {
    std::vector<Slot> slots;
    for (std::size_t cluster = 0; cluster * kCluster < disk.size(); ++cluster)
        slots.push_back(VmaBuilder::slot_of(device, disk, static_cast<std::uint32_t>(cluster),
                                            static_cast<std::uint16_t>(random())));
    return slots;
}

bool readable(const Image& image, std::uint64_t cluster) {
    Bytes out(std::min<std::uint64_t>(kCluster, image.size() - cluster * kCluster));
    return image.read_at(cluster * kCluster, out).has_value();
}

// One device of four clusters, filled with data; a cluster an extent.
struct Small {
    Small() : random(7), disk(random_bytes(random, 4 * kCluster)) {
        builder.add_device(1, "drive-scsi0", disk.size());
        for (std::uint32_t i = 0; i < 4; ++i) builder.add_extent({VmaBuilder::slot_of(1, disk, i)});
        archive = builder.build(&extents);
    }
    Random random;
    Bytes disk;
    VmaBuilder builder;
    std::vector<std::size_t> extents;
    Bytes archive;
};

std::uint64_t number_of(const DiskFile& file, std::string_view kind) {
    const auto report = file.verify({});
    BOOST_TEST_REQUIRE(report.has_value());
    const auto found = report.value().counts().find(kind);
    return found == report.value().counts().end() ? 0 : found->second.number;
}

Json manifest() {
    std::ifstream in(FIXTURES "/vma/MANIFEST.json");
    return Json::parse(in);
}

std::string sha256(std::span<const std::byte> bytes) {
    Hasher hasher("SHA256");
    hasher.add(bytes);
    return vdisk::hex(hasher.finish<32>().value());
}

Bytes read_whole(const ByteSource& source) {
    return read_bytes(source, 0, source.size(), "test").value();
}

FilePtr fixture(const std::string& name) {
    return FileSource::open(FIXTURES "/vma/" + name, FileKinds::regular_only).value();
}

} // namespace

BOOST_AUTO_TEST_CASE(devices_read_as_the_disks_that_went_in_whatever_the_order) {
    Random random(1);
    for (const std::size_t slots_in_extent : {1U, 7U, 58U, 59U}) {
        for (int order = 0; order < 4; ++order) {
            const std::vector<Bytes> disks{patchy_disk(random, 9 * kCluster + 5 * kBlock + 513), patchy_disk(random, 1),
                                           patchy_disk(random, 12 * kCluster)};
            VmaBuilder builder;
            std::vector<Slot> slots;
            for (std::size_t i = 0; i < disks.size(); ++i) {
                builder.add_device(static_cast<std::uint8_t>(3 + i), "drive-scsi" + std::to_string(i), disks[i].size());
                const auto more = slots_of(random, static_cast<std::uint8_t>(3 + i), disks[i]);
                slots.insert(slots.end(), more.begin(), more.end());
            }
            if (order == 1) std::ranges::reverse(slots);
            if (order == 2) std::ranges::shuffle(slots, random);
            if (order == 3) std::ranges::stable_sort(slots, {}, &Slot::cluster); // the devices in turn
            builder.add_extents(slots, slots_in_extent);
            const auto file = open_archive(memory(builder.build()));
            BOOST_TEST_REQUIRE(file.has_value());
            for (std::size_t i = 0; i < disks.size(); ++i)
                check_against_model(*image_of(*file.value(), i), disks[i], kCluster, random);
            BOOST_TEST(file.value()->verify({}).value().counts().empty());
        }
    }
}

BOOST_AUTO_TEST_CASE(unused_slots_and_empty_extents_are_passed_over) {
    Random random(2);
    const Bytes disk = patchy_disk(random, 3 * kCluster);
    VmaBuilder builder;
    builder.add_device(200, "drive-ide0", disk.size());
    builder.add_extent({});
    builder.add_extent({{}, VmaBuilder::slot_of(200, disk, 1), {}, {}, VmaBuilder::slot_of(200, disk, 0)});
    builder.add_extent({});
    builder.add_extent({{}, {}, VmaBuilder::slot_of(200, disk, 2)});
    check_against_model(*open_device(builder.build()), disk, kCluster, random);
}

// All masks, by where the layout says that each block is: their data would be two gigabytes.
BOOST_AUTO_TEST_CASE(every_mask_is_laid_out_block_by_block) {
    constexpr std::uint32_t kMasks = 65536;
    auto archive = std::make_shared<vma::Archive>();
    archive->header.size = 12800;
    archive->contents.devices.push_back({.id = 1, .name = "disk", .size = std::uint64_t{kMasks} * kCluster});
    archive->source = memory({});
    vma::ClusterMapBuilder builder;
    std::vector<std::uint64_t> expected; // host offset of each block, 0 for zeros
    std::uint64_t host = 12800;
    for (std::uint32_t mask = 0; mask < kMasks; ++mask) {
        if (mask % 59 == 0) {
            host += 512;
            builder.end_extent();
        }
        if (mask == 0) builder.add_zero(0, 0);
        else builder.add_stored(vma::Run(mask, static_cast<std::uint16_t>(mask), (host - 12800) / 512));
        for (std::uint32_t block = 0; block < 16; ++block) {
            const bool stored = (mask >> block & 1) != 0;
            expected.push_back(stored ? host : 0);
            if (stored) host += kBlock;
        }
    }
    archive->contents.maps.push_back(builder.finish(kMasks, 1U << 20).value());
    const vma::DeviceLayout layout(archive, 0);
    std::size_t wrong = 0;
    for (std::uint64_t block = 0; block < expected.size(); ++block) {
        const std::uint64_t at = block * kBlock + block % kBlock;
        const Extent extent = *layout.map(GuestOffset{at}, 1).value().own();
        const bool stored = expected[block] != 0;
        wrong += (extent.kind == Extent::Kind::stored) != stored ||
                         (stored && extent.host.value != expected[block] + block % kBlock)
                     ? 1U
                     : 0U;
        // All blocks of a run are where the layout says of its first.
        for (std::uint64_t next = block + 1; next * kBlock < at + extent.length; ++next)
            wrong += expected[next] != (stored ? expected[block] + (next - block) * kBlock : 0) ? 1U : 0U;
    }
    BOOST_TEST(wrong == 0U);
}

BOOST_AUTO_TEST_CASE(a_cluster_map_finds_what_was_put_in) {
    Random random(3);
    for (int round = 0; round < 200; ++round) {
        const std::uint64_t clusters = 1 + below(random, 60);
        std::vector<std::vector<std::uint64_t>> model(clusters); // the places of each cluster, 0 for a copy of zeros
        vma::ClusterMapBuilder builder;
        std::uint64_t units = 1;
        for (std::uint64_t i = 0; i < below(random, 3 * clusters + 1); ++i) {
            const bool goes_on = i > 0 && below(random, 2) == 0;
            static std::uint32_t cluster = 0;
            cluster = static_cast<std::uint32_t>(goes_on ? (cluster + 1) % clusters : below(random, clusters));
            if (below(random, 3) == 0) {
                builder.add_zero(cluster, units);
                model[cluster].push_back(0);
            } else {
                if (below(random, 4) == 0) {
                    builder.end_extent();
                    ++units;
                }
                builder.add_stored(vma::Run(cluster, 0x8001, units));
                model[cluster].push_back(units);
                units += 16;
            }
        }
        const vma::ClusterMap map = builder.finish(clusters, 1U << 20).value();
        std::uint64_t lost = 0, zero = 0, stored = 0, duplicate = 0;
        for (std::uint32_t cluster = 0; cluster < clusters; ++cluster) {
            const auto found = map.find(cluster);
            auto places = model[cluster];
            std::ranges::sort(places);
            using Kind = vma::ClusterMap::Found::Kind;
            const Kind expected = places.empty()      ? Kind::lost
                                  : places.size() > 1 ? Kind::duplicate
                                  : places[0] == 0    ? Kind::zero
                                                      : Kind::stored;
            BOOST_TEST_REQUIRE((found.kind == expected));
            BOOST_TEST_REQUIRE((found.last >= cluster && found.last < clusters));
            for (std::uint32_t next = cluster; next <= found.last; ++next)
                BOOST_TEST_REQUIRE((map.find(next).kind == expected));
            if (expected == Kind::stored) {
                const auto& run = found.runs.front();
                BOOST_TEST_REQUIRE(run.single(cluster - run.first()).units() == places[0]);
            }
            if (expected == Kind::duplicate) {
                std::vector<std::uint64_t> copies;
                for (const vma::Run& run : found.runs) copies.push_back(run.mask() == 0 ? 0 : run.units());
                BOOST_TEST_REQUIRE((copies == places));
            }
            lost += expected == Kind::lost ? 1U : 0U;
            zero += expected == Kind::zero ? 1U : 0U;
            stored += expected == Kind::stored ? 1U : 0U;
            duplicate += expected == Kind::duplicate ? 1U : 0U;
        }
        BOOST_TEST((map.lost_clusters() == lost && map.zero_clusters() == zero && map.stored_clusters() == stored &&
                    map.duplicate_clusters() == duplicate));
    }
}

BOOST_AUTO_TEST_CASE(a_run_keeps_the_largest_numbers) {
    vma::Run run(0xFFFFFFC0, 0xFFFF, vma::Run::kMostUnits - 128 * 63);
    for (std::uint32_t i = 1; i < 64; ++i)
        BOOST_TEST_REQUIRE(run.take(vma::Run(0xFFFFFFC0 + i, 0xFFFF, vma::Run::kMostUnits - 128 * (63 - i))));
    BOOST_TEST(run.last() == 0xFFFFFFFFU);
    BOOST_TEST(run.mask() == 0xFFFF);
    BOOST_TEST(run.single(63).units() == vma::Run::kMostUnits);
    BOOST_TEST(!run.take(vma::Run(0, 0xFFFF, 0)));
}

BOOST_AUTO_TEST_CASE(a_device_of_256_tib_costs_what_is_there) {
    Random random(4);
    Bytes head = random_bytes(random, kCluster);
    VmaBuilder builder;
    builder.add_device(1, "drive-scsi0", vma::kMaxDeviceSize);
    Slot last = VmaBuilder::slot_of(1, head, 0);
    last.cluster = 0xFFFFFFFF;
    builder.add_extent({VmaBuilder::slot_of(1, head, 0), last});
    const auto file = open_archive(memory(builder.build()));
    BOOST_TEST_REQUIRE(file.has_value());
    const ImagePtr image = image_of(*file.value(), 0);
    Bytes out(kCluster);
    BOOST_TEST((image->read_at(vma::kMaxDeviceSize - kCluster, out).has_value() && out == head));
    BOOST_TEST(!readable(*image, 1));
    BOOST_TEST(image->resolve(GuestOffset{kCluster}, vma::kMaxDeviceSize).value().extent.length ==
               vma::kMaxDeviceSize - 2 * kCluster);
}

BOOST_AUTO_TEST_CASE(a_cluster_map_beyond_the_limit_is_refused) {
    const Small small;
    OpenContext opened = context();
    opened.limits.cluster_map_bytes = 20;
    BOOST_TEST((open_archive(memory(small.archive), opened).error().kind == ErrorKind::limit_exceeded));
}

BOOST_AUTO_TEST_CASE(a_damaged_extent_costs_its_own_clusters) {
    const Small small;
    for (std::size_t extent = 0; extent < small.extents.size(); ++extent) {
        for (const std::size_t byte : {0U, 4U, 6U, 8U, 24U, 40U, 511U}) {
            Bytes archive = small.archive;
            archive[small.extents[extent] + byte] ^= std::byte{1};
            const auto file = open_archive(memory(archive));
            BOOST_TEST_REQUIRE(file.has_value());
            const ImagePtr image = image_of(*file.value(), 0);
            for (std::uint64_t cluster = 0; cluster < 4; ++cluster) {
                BOOST_TEST(readable(*image, cluster) == (cluster != extent));
                if (cluster != extent) BOOST_TEST(reads_as(*image, small.disk, cluster * kCluster, kCluster));
            }
            BOOST_TEST(number_of(*file.value(), "damaged-extent") == 1U);
            BOOST_TEST(number_of(*file.value(), "lost") == 1U);
        }
    }
}

// Whether they came in behind the data of the extent before or among them is not to be known.
BOOST_AUTO_TEST_CASE(the_next_extent_is_found_behind_bytes_that_were_put_in) {
    const Small small;
    Bytes archive = small.archive;
    Random random(5);
    const Bytes garbage = random_bytes(random, 300 * 512);
    archive.insert(archive.begin() + static_cast<std::ptrdiff_t>(small.extents[2]), garbage.begin(), garbage.end());
    const auto file = open_archive(memory(archive));
    const ImagePtr image = image_of(*file.value(), 0);
    BOOST_TEST(!readable(*image, 1));
    for (const std::uint64_t cluster : {0U, 2U, 3U})
        BOOST_TEST(reads_as(*image, small.disk, cluster * kCluster, kCluster));
    BOOST_TEST(number_of(*file.value(), "skipped-bytes") == 1U);
    BOOST_TEST(number_of(*file.value(), "misplaced-data") == 1U);
}

namespace {

// Four extents of three clusters each; every block says which one it is, but for those that are zeros.
struct Numbered {
    static constexpr std::uint32_t kClusters = 12;
    static constexpr std::uint32_t kInExtent = 3;

    Numbered() : disk(kClusters * kCluster) {
        for (std::size_t block = 0; block * kBlock < disk.size(); ++block)
            for (std::size_t i = 0; i < kBlock && block % 5 != 4; ++i)
                disk[block * kBlock + i] = static_cast<std::byte>((block + 1) * (i % 7 + 1) + i / 256);
        builder.add_device(1, "drive-scsi0", disk.size());
        for (std::uint32_t i = 0; i < kClusters; i += kInExtent)
            builder.add_extent({VmaBuilder::slot_of(1, disk, i), VmaBuilder::slot_of(1, disk, i + 1),
                                VmaBuilder::slot_of(1, disk, i + 2)});
        archive = builder.build(&extents);
    }

    // The extents of which all clusters read, as bits; an error of the test if a block reads as another.
    unsigned whole_extents(const Image& image) const {
        unsigned whole = (1U << kClusters / kInExtent) - 1;
        Bytes out(kBlock);
        for (std::uint64_t at = 0; at < disk.size(); at += kBlock) {
            const auto read = image.read_at(at, out);
            if (read.has_error()) whole &= ~(1U << at / (kInExtent * kCluster));
            else BOOST_TEST_REQUIRE(reads_as(image, disk, at, kBlock), "disk offset " << at);
        }
        return whole;
    }

    Bytes disk;
    VmaBuilder builder;
    std::vector<std::size_t> extents;
    Bytes archive;
};

Bytes without(const Bytes& archive, std::size_t at, std::size_t count) {
    Bytes rest = archive;
    rest.erase(rest.begin() + static_cast<std::ptrdiff_t>(at), rest.begin() + static_cast<std::ptrdiff_t>(at + count));
    return rest;
}

Bytes with(const Bytes& archive, std::size_t at, const Bytes& more) {
    Bytes longer = archive;
    longer.insert(longer.begin() + static_cast<std::ptrdiff_t>(at), more.begin(), more.end());
    return longer;
}

} // namespace

BOOST_AUTO_TEST_CASE(bytes_that_are_missing_or_too_many_cost_the_extent_that_they_are_in) {
    const Numbered numbered;
    Random random(11);
    for (std::size_t extent = 0; extent < 3; ++extent) {
        const std::size_t data = numbered.extents[extent] + 512;
        const std::size_t end = numbered.extents[extent + 1];
        const unsigned others = 15U & ~(1U << extent);
        for (const std::size_t count : {1U, 2U, 13U, 511U, 512U, 513U, 4096U, 4608U, 20000U}) {
            for (const std::size_t at : {data, data + 1, data + 5000, (data + end) / 2, end - count}) {
                const auto fewer = open_archive(memory(without(numbered.archive, at, count)));
                BOOST_TEST_REQUIRE(numbered.whole_extents(*image_of(*fewer.value(), 0)) == others,
                                   count << " bytes less at " << at);
                const auto more = open_archive(memory(with(numbered.archive, at, random_bytes(random, count))));
                BOOST_TEST_REQUIRE(numbered.whole_extents(*image_of(*more.value(), 0)) == others,
                                   count << " bytes more at " << at);
                BOOST_TEST(number_of(*more.value(), "misplaced-data") == 1U);
            }
        }
    }
}

BOOST_AUTO_TEST_CASE(bytes_missing_across_a_header_cost_the_extents_on_both_sides_at_most) {
    const Numbered numbered;
    for (std::size_t extent = 1; extent < 3; ++extent)
        for (const std::size_t before : {0U, 1U, 300U, 5000U})
            for (const std::size_t count : {1U, 20U, 511U, 512U, 700U, 6000U}) {
                const auto file =
                    open_archive(memory(without(numbered.archive, numbered.extents[extent] - before, count)));
                const unsigned whole = numbered.whole_extents(*image_of(*file.value(), 0));
                const unsigned others = 15U & ~(3U << (extent - 1));
                BOOST_TEST_REQUIRE((whole & others) == others,
                                   count << " bytes from " << before << " before the header");
            }
}

BOOST_AUTO_TEST_CASE(a_changed_byte_of_a_header_costs_its_extent_alone) {
    const Numbered numbered;
    for (std::size_t extent = 0; extent < 4; ++extent)
        for (std::size_t byte = 0; byte < 512; byte += 3) {
            Bytes archive = numbered.archive;
            archive[numbered.extents[extent] + byte] ^= std::byte{0x5A};
            const auto file = open_archive(memory(archive));
            BOOST_TEST_REQUIRE(numbered.whole_extents(*image_of(*file.value(), 0)) == (15U & ~(1U << extent)),
                               "byte " << byte << " of extent " << extent);
        }
}

BOOST_AUTO_TEST_CASE(a_header_of_zeros_costs_its_extent_alone) {
    const Numbered numbered;
    Bytes archive = numbered.archive;
    std::fill_n(archive.begin() + static_cast<std::ptrdiff_t>(numbered.extents[2]), 512, std::byte{0});
    const auto file = open_archive(memory(archive));
    BOOST_TEST(numbered.whole_extents(*image_of(*file.value(), 0)) == 0b1011U);
}

// From the data of the third extent as many bytes are missing as the fourth one has: that ends where the third would.
BOOST_AUTO_TEST_CASE(an_extent_inside_the_data_of_the_last_one_is_found) {
    Random random(12);
    const Bytes disk = random_bytes(random, 3 * kCluster);
    VmaBuilder builder;
    builder.add_device(1, "drive-scsi0", disk.size());
    builder.add_extent({VmaBuilder::slot_of(1, disk, 0), VmaBuilder::slot_of(1, disk, 1)});
    builder.add_extent({VmaBuilder::slot_of(1, disk, 2)});
    std::vector<std::size_t> extents;
    const Bytes archive = builder.build(&extents);
    const auto file = open_archive(memory(without(archive, extents[0] + 5000, 512 + kCluster)));
    const ImagePtr image = image_of(*file.value(), 0);
    BOOST_TEST((!readable(*image, 0) && !readable(*image, 1)));
    BOOST_TEST(reads_as(*image, disk, 2 * kCluster, kCluster));
}

BOOST_AUTO_TEST_CASE(zeros_of_an_extent_whose_data_can_not_be_placed_are_known) {
    const Numbered numbered;
    const auto file = open_archive(memory(without(numbered.archive, numbered.extents[1] + 600, 1)));
    const ImagePtr image = image_of(*file.value(), 0);
    const std::uint64_t start = Numbered::kInExtent * kCluster;
    Bytes out(kBlock);
    for (std::uint64_t block = start / kBlock; block < 2 * start / kBlock; ++block)
        BOOST_TEST(image->read_at(block * kBlock, out).has_value() == (block % 5 == 4), "block " << block);
    const auto report = file.value()->audit({}).value();
    std::uint64_t lost = 0;
    for (const Finding& finding : report.findings()) {
        if (finding.kind != "lost") continue;
        lost += finding.place.length;
        const std::uint64_t first = finding.place.guest->value;
        const std::string range = fmt::format("bytes {} to {} (1 clusters)", first, first + finding.place.length - 1);
        BOOST_TEST(finding.text.find(range) != std::string::npos, finding.text);
    }
    BOOST_TEST(lost == 38 * kBlock);
    // What no disk shows can be had from the archive.
    BOOST_TEST(report.leaked_bytes() == 38 * kBlock - 1);
}

BOOST_AUTO_TEST_CASE(clusters_of_devices_that_the_table_does_not_list_are_disks_by_number) {
    Random random(14);
    const Bytes listed = random_bytes(random, kCluster);
    const Bytes other = random_bytes(random, 5 * kCluster);
    VmaBuilder builder;
    builder.add_device(1, "drive-scsi0", listed.size());
    builder.add_extent(
        {VmaBuilder::slot_of(1, listed, 0), VmaBuilder::slot_of(7, other, 4), VmaBuilder::slot_of(7, other, 2)});
    const auto file = open_archive(memory(builder.build())).value();
    BOOST_TEST_REQUIRE(file->disks().size() == 2U);
    BOOST_TEST((file->disks()[1].name == "device-7" && file->disks()[1].id == "7"));
    BOOST_TEST(file->disks()[1].size == other.size());
    BOOST_TEST(select_disk(*file, {}).value() == 0U);
    BOOST_TEST(select_disk(*file, {.word = "7"}).value() == 1U);
    const ImagePtr image = image_of(*file, 1);
    for (std::uint64_t cluster = 0; cluster < 5; ++cluster) {
        BOOST_TEST(readable(*image, cluster) == (cluster == 2 || cluster == 4));
        if (readable(*image, cluster)) BOOST_TEST(reads_as(*image, other, cluster * kCluster, kCluster));
    }
    BOOST_TEST(reads_as(*image_of(*file, 0), listed, 0, kCluster));
}

BOOST_AUTO_TEST_CASE(what_belongs_to_no_disk_is_told_as_leaked) {
    Random random(15);
    const Bytes disk = random_bytes(random, kCluster);
    Bytes past = disk;
    past.resize(3 * kCluster, std::byte{9});
    VmaBuilder builder;
    builder.add_device(1, "drive-scsi0", disk.size());
    builder.add_extent({VmaBuilder::slot_of(1, disk, 0), VmaBuilder::slot_of(1, past, 2)});
    Bytes archive = builder.build();
    archive.resize(archive.size() + 100, std::byte{1});
    const auto report = open_archive(memory(archive)).value()->audit({}).value();
    BOOST_TEST_REQUIRE(report.leaked().size() == 1U);
    BOOST_TEST(report.leaked()[0].offset.value == archive.size() - 100 - kCluster);
    BOOST_TEST(report.leaked()[0].length == kCluster + 100);
}

BOOST_AUTO_TEST_CASE(an_archive_cut_anywhere_opens_with_what_it_has) {
    const Small small;
    for (std::size_t size = small.extents[0]; size < small.archive.size(); size += 1777) {
        const Bytes archive(small.archive.begin(), small.archive.begin() + static_cast<std::ptrdiff_t>(size));
        const auto file = open_archive(memory(archive));
        BOOST_TEST_REQUIRE(file.has_value());
        const ImagePtr image = image_of(*file.value(), 0);
        for (std::uint64_t cluster = 0; cluster < 4; ++cluster) {
            const bool there = size >= small.extents[cluster] + 512 + kCluster;
            BOOST_TEST(readable(*image, cluster) == there);
            if (there) BOOST_TEST(reads_as(*image, small.disk, cluster * kCluster, kCluster));
        }
        BOOST_TEST(file.value()->facts().contains("problems"));
    }
}

BOOST_AUTO_TEST_CASE(a_header_that_can_not_be_read_costs_its_extent_and_data_only_themselves) {
    const Small small;
    const auto broken_header =
        std::make_shared<FaultySource>(memory(small.archive), small.extents[1] + 10, small.extents[1] + 20);
    const auto file = open_archive(broken_header);
    BOOST_TEST_REQUIRE(file.has_value());
    const ImagePtr image = image_of(*file.value(), 0);
    for (std::uint64_t cluster = 0; cluster < 4; ++cluster) BOOST_TEST(readable(*image, cluster) == (cluster != 1));

    const auto broken_data =
        std::make_shared<FaultySource>(memory(small.archive), small.extents[2] + 5000, small.extents[2] + 5001);
    const auto second = open_archive(broken_data);
    BOOST_TEST_REQUIRE(second.has_value());
    for (std::uint64_t cluster = 0; cluster < 4; ++cluster)
        BOOST_TEST(readable(*image_of(*second.value(), 0), cluster) == (cluster != 2));
    BOOST_TEST(number_of(*second.value(), "unreadable-data") == 1U);
    BOOST_TEST(number_of(*second.value(), "lost") == 1U);
}

BOOST_AUTO_TEST_CASE(copies_of_a_cluster_are_read_if_they_agree) {
    Small small;
    Bytes zeros(kCluster);
    small.builder.add_extent({VmaBuilder::slot_of(1, small.disk, 2)});
    Bytes archive = small.builder.build(&small.extents);
    const auto agreeing = open_archive(memory(archive));
    BOOST_TEST(reads_as(*image_of(*agreeing.value(), 0), small.disk, 0, small.disk.size()));
    BOOST_TEST(number_of(*agreeing.value(), "duplicate") == 1U);

    archive.back() ^= std::byte{1};
    const auto differing = open_archive(memory(archive));
    const ImagePtr image = image_of(*differing.value(), 0);
    for (std::uint64_t cluster = 0; cluster < 4; ++cluster) BOOST_TEST(readable(*image, cluster) == (cluster != 2));
    BOOST_TEST(number_of(*differing.value(), "conflict") == 1U);

    // A copy that is zeros by its mask agrees with one whose zeros are stored.
    VmaBuilder builder;
    builder.add_device(1, "drive-scsi0", kCluster);
    builder.add_extent({VmaBuilder::slot_of(1, zeros, 0, 0x00F0), VmaBuilder::slot_of(1, zeros, 0)});
    BOOST_TEST(reads_as(*open_device(builder.build()), zeros, 0, zeros.size()));
}

BOOST_AUTO_TEST_CASE(side_devices_are_not_chosen_by_default) {
    VmaBuilder builder;
    std::vector<Slot> slots;
    std::uint8_t id = 1;
    for (const char* name : {"drive-efidisk0", "drive-scsi0", "drive-tpmstate0-backup", "vmstate"}) {
        builder.add_device(id, name, 4096);
        slots.push_back({.device = id++, .cluster = 0});
    }
    builder.add_extent(slots);
    const auto file = open_archive(memory(builder.build()));
    BOOST_TEST(select_disk(*file.value(), {}).value() == 1U);
    BOOST_TEST(select_disk(*file.value(), {.device = "vmstate"}).value() == 3U);
    BOOST_TEST((file.value()->disks()[3].kind == Disk::Kind::memory));
    BOOST_TEST(select_disk(*file.value(), {.word = "3"}).value() == 2U); // by its id
}

BOOST_AUTO_TEST_CASE(a_name_that_is_not_unique_is_offered_by_its_id) {
    VmaBuilder builder;
    for (const std::uint8_t id : {std::uint8_t{1}, std::uint8_t{2}, std::uint8_t{9}})
        builder.add_device(id, id == 9 ? "other" : "same", 4096);
    builder.add_extent({{.device = 1}, {.device = 2}, {.device = 9}});
    const auto file = open_archive(memory(builder.build()));
    BOOST_TEST((select_disk(*file.value(), {.word = "same"}).error().kind == ErrorKind::usage));
    const std::vector<Disk>& disks = file.value()->disks();
    BOOST_TEST(selecting_word(*file.value(), disks[1]) == "2");
    BOOST_TEST(selecting_word(*file.value(), disks[2]) == "other");
}

BOOST_AUTO_TEST_CASE(a_saved_state_may_be_longer_than_announced_but_not_out_of_order) {
    Random random(6);
    const Bytes state = random_bytes(random, 3 * kCluster);
    for (const bool ordered : {true, false}) {
        VmaBuilder builder;
        builder.add_device(1, "vmstate", 2 * kCluster);
        builder.add_extent({VmaBuilder::slot_of(1, state, ordered ? 0 : 1),
                            VmaBuilder::slot_of(1, state, ordered ? 1 : 0), VmaBuilder::slot_of(1, state, 2)});
        const auto file = open_archive(memory(builder.build()));
        BOOST_TEST(
            reads_as(*image_of(*file.value(), 0), Bytes(state.begin(), state.begin() + 2 * kCluster), 0, 2 * kCluster));
        BOOST_TEST((number_of(*file.value(), "memory-order") == 0) == ordered);
        BOOST_TEST(number_of(*file.value(), "memory-past-end") == 1U);
    }
}

// Wrong numbers anywhere in the tables, under a right checksum: never more than an error, and never other bytes of a
// disk that reads.
BOOST_AUTO_TEST_CASE(no_change_of_the_tables_does_harm) {
    VmaBuilder builder;
    Random random(8);
    const Bytes disk = random_bytes(random, kCluster);
    builder.add_configuration("qemu-server.conf", "memory: 512\n");
    builder.add_device(1, "drive-scsi0", disk.size());
    builder.add_extent({VmaBuilder::slot_of(1, disk, 0)});
    std::vector<std::size_t> extents;
    const Bytes good = builder.build(&extents);
    std::set<std::size_t> places;
    for (std::size_t at = 0; at < 64; ++at) places.insert(at);
    for (const std::size_t start : {2044U, 3068U, 4096U, 12288U})
        for (std::size_t at = start; at < start + 70; ++at) places.insert(at);
    for (std::size_t at = extents[0]; at < extents[0] + 64; ++at) places.insert(at);
    for (const std::size_t at : places) {
        for (const unsigned value : {0x00U, 0x01U, 0x7FU, 0x80U, 0xFFU}) {
            Bytes archive = good;
            archive[at] = static_cast<std::byte>(value);
            VmaBuilder::sum_header(archive);
            VmaBuilder::sum_extent(archive, extents[0]);
            const auto file = open_archive(memory(archive));
            if (file.has_error()) continue;
            (void)file.value()->facts();
            BOOST_TEST(file.value()->verify({}).has_value());
            for (std::size_t i = 0; i < file.value()->disks().size(); ++i) {
                const ImagePtr image = image_of(*file.value(), i);
                Bytes out(kBlock);
                if (image->read_at(0, out).has_value()) (void)image->resolve(GuestOffset{image->size() - 1}, 1);
            }
        }
    }
}

BOOST_AUTO_TEST_CASE(header_sizes_are_checked_before_anything_is_allocated) {
    const Small small;
    const auto with_size = [&](std::uint32_t size) {
        Bytes archive = small.archive;
        VmaBuilder::put(archive, 56, size);
        VmaBuilder::sum_header(archive);
        return open_archive(memory(archive)).error().kind;
    };
    BOOST_TEST((with_size(12288) == ErrorKind::corrupt));
    BOOST_TEST((with_size(0) == ErrorKind::corrupt));
    BOOST_TEST((with_size(0xFFFFFFFF) == ErrorKind::limit_exceeded));
    BOOST_TEST((with_size(30U << 20) == ErrorKind::truncated));
}

BOOST_AUTO_TEST_CASE(progress_can_stop_the_pass) {
    const Small small;
    OpenContext opened = context();
    opened.progress = [](std::uint64_t, std::uint64_t) { return false; };
    BOOST_TEST((open_archive(memory(small.archive), opened).error().kind == ErrorKind::cancelled));
    const auto file = open_archive(memory(small.archive));
    BOOST_TEST((file.value()->verify(opened.progress).error().kind == ErrorKind::cancelled));
}

namespace {

// An archive on disk with more extents than are gone over each time, and a disk of which every third cluster is lost,
// and one whose data can't be placed.
struct Large {
    static constexpr std::uint32_t kMisplaced = 300;

    explicit Large(const TemporaryFolder& folder) {
        Random random(9);
        disk = patchy_disk(random, 600 * 4096);
        VmaBuilder builder;
        builder.add_device(1, "drive-scsi0", 600 * kCluster);
        for (std::uint32_t i = 0; i < 600; ++i) {
            if (i % 3 == 2) continue;
            Slot slot{.device = 1,
                      .cluster = i,
                      .mask = 1,
                      .data = Bytes(disk.begin() + i * 4096, disk.begin() + (i + 1) * 4096)};
            builder.add_extent({slot});
        }
        std::vector<std::size_t> extents;
        Bytes archive = builder.build(&extents);
        archive.resize(archive.size() + 100); // so that there is a finding to keep
        // From here on extents lie at odd offsets.
        archive = with(archive, extents[kMisplaced / 3 * 2] + 1000, Bytes(5, std::byte{1}));
        path = folder.write("large.vma", archive);
        test::settle(path);
    }

    std::shared_ptr<const DiskFile> open(const IndexCache& cache) const {
        OpenContext opened = context();
        opened.file = FileSource::open(path, FileKinds::regular_only).value();
        opened.index_cache = cache;
        return open_archive(opened.file, opened).value();
    }

    bool is_right(const DiskFile& file) const {
        const ImagePtr image = image_of(file, 0);
        Bytes out(4096);
        for (std::uint64_t i = 0; i < 600; i += i == 294 ? 6 : 7) {
            const auto read = image->read_at(i * kCluster, out);
            if (read.has_value() != (i % 3 != 2 && i != kMisplaced)) return false;
            if (read.has_value() &&
                !std::equal(out.begin(), out.end(), disk.begin() + static_cast<std::ptrdiff_t>(i * 4096)))
                return false;
        }
        return file.facts()["problems"].size() == 5;
    }

    Bytes disk;
    std::filesystem::path path;
};

} // namespace

BOOST_AUTO_TEST_CASE(what_the_index_cache_keeps_reads_like_the_archive) {
    const TemporaryFolder folder;
    const Large large(folder);
    const IndexCache cache(folder.path() / "cache");
    const auto first = large.open(cache);
    BOOST_TEST(large.is_right(*first));
    const auto second = large.open(cache);
    BOOST_TEST(large.is_right(*second));
    BOOST_TEST(first->facts() == second->facts());
    BOOST_TEST(first->disks()[0].facts == second->disks()[0].facts);
}

namespace {

// The one index; beside it is what marks the folder.
std::filesystem::path index_in(const IndexCache& cache) {
    for (const auto& entry : std::filesystem::directory_iterator(cache.folder()))
        if (entry.path().filename() != "CACHEDIR.TAG") return entry.path();
    return {};
}

} // namespace

BOOST_AUTO_TEST_CASE(what_is_kept_is_opened_without_a_pass) {
    const TemporaryFolder folder;
    const Large large(folder);
    const IndexCache cache(folder.path() / "cache");
    (void)large.open(cache);
    OpenContext impatient = context();
    impatient.file = FileSource::open(large.path, FileKinds::regular_only).value();
    impatient.progress = [](std::uint64_t, std::uint64_t) { return false; };
    BOOST_TEST((open_archive(impatient.file, impatient).error().kind == ErrorKind::cancelled));
    impatient.index_cache = cache;
    BOOST_TEST(open_archive(impatient.file, impatient).has_value());
}

BOOST_AUTO_TEST_CASE(a_cache_file_damaged_anywhere_costs_a_new_pass) {
    const TemporaryFolder folder;
    const Large large(folder);
    const IndexCache cache(folder.path() / "cache");
    (void)large.open(cache);
    const auto path = index_in(cache);
    const Bytes good = read_whole(*FileSource::open(path, FileKinds::regular_only).value());
    for (std::size_t at = 0; at < good.size(); at += at < 400 ? 7 : 61) {
        // By its magic and the half of the key that its name has, a file is known to be ours; one that lacks them is a
        // stranger's and stays as it is.
        const bool ours = !(at < 8 || (at >= 24 && at < 40));
        Bytes damaged = good;
        damaged[at] ^= std::byte{0x10};
        std::ofstream(path, std::ios::binary)
            .write(reinterpret_cast<const char*>(damaged.data()), static_cast<std::streamsize>(damaged.size()));
        BOOST_TEST_REQUIRE(large.is_right(*large.open(cache)), "byte " << at);
        const Bytes kept = read_whole(*FileSource::open(path, FileKinds::regular_only).value());
        BOOST_TEST_REQUIRE((kept == (ours ? good : damaged)), "byte " << at);
    }
}

// Whoever can write into the cache can make its checksums right; what does not fit the archive is still not used.
BOOST_AUTO_TEST_CASE(an_index_that_contradicts_the_archive_is_not_used) {
    const TemporaryFolder folder;
    const Large large(folder);
    const IndexCache cache(folder.path() / "cache");
    (void)large.open(cache);
    const auto key =
        IndexKey::of(*FileSource::open(large.path, FileKinds::regular_only).value(), vma::kContentsKind).value();
    const Bytes good = cache.load(key, 1U << 20).value();
    Random random(10);
    for (int round = 0; round < 300; ++round) {
        Bytes wrong = good;
        const std::uint64_t kind = below(random, 3);
        if (kind == 0) wrong.resize(below(random, wrong.size()));
        else if (kind == 1) wrong[below(random, 48)] ^= std::byte{0x40};
        else wrong.resize(wrong.size() + 1 + below(random, 100));
        BOOST_TEST_REQUIRE(cache.store(key, wrong).has_value());
        BOOST_TEST_REQUIRE(large.open(cache)->disks()[0].size == 600 * kCluster);
        (void)image_of(*large.open(cache), 0)->resolve(GuestOffset{0}, kCluster);
    }
}

namespace {

// A disk of clusters that are zeros, or have the same block of data for a few of their blocks, in many extents; and
// archives of it that have the same header and size whatever is where.
struct Patterned {
    static constexpr std::uint32_t kClusters = 900;
    struct Cluster {
        std::uint16_t mask;
        std::byte data;
    };
    std::vector<Cluster> disk;
    std::vector<std::uint32_t> order; // of the clusters in the archive

    explicit Patterned(Random& random) {
        for (std::uint32_t i = 0; i < kClusters; ++i) {
            // Long runs of zeros too, which go over many slots.
            const bool data = i % 100 < 60 && below(random, 3) > 0;
            disk.push_back({static_cast<std::uint16_t>(data ? 1U << below(random, 16) | 1U << below(random, 16) : 0U),
                            static_cast<std::byte>(1 + i % 251)});
            order.push_back(i);
        }
    }

    Bytes archive() const {
        VmaBuilder builder;
        builder.add_device(1, "drive-scsi0", kClusters * kCluster);
        for (std::size_t i = 0; i < order.size(); i += 3) {
            std::vector<Slot> slots;
            for (std::size_t j = i; j < i + 3; ++j) {
                const Cluster& cluster = disk[order[j]];
                slots.push_back(
                    {.device = 1,
                     .cluster = order[j],
                     .mask = cluster.mask,
                     .data = Bytes(static_cast<std::size_t>(std::popcount(cluster.mask)) * kBlock, cluster.data)});
            }
            builder.add_extent(slots);
        }
        return builder.build();
    }

    Bytes cluster(std::uint32_t number) const {
        Bytes bytes(kCluster);
        for (std::size_t block = 0; block < 16; ++block)
            if ((disk[number].mask >> block & 1U) != 0)
                std::fill_n(bytes.begin() + static_cast<std::ptrdiff_t>(block * kBlock), kBlock, disk[number].data);
        return bytes;
    }
};

struct Read {
    std::size_t right = 0, wrong = 0, errors = 0;
};

Read read_clusters(const DiskFile& file, const Patterned& expected) {
    const ImagePtr image = image_of(file, 0);
    Read read;
    Bytes out(kCluster);
    for (std::uint32_t i = 0; i < Patterned::kClusters; ++i) {
        if (image->read_at(i * kCluster, out).has_error()) ++read.errors;
        else ++(out == expected.cluster(i) ? read.right : read.wrong);
    }
    return read;
}

} // namespace

// The map of one archive under the key of another one of the same header: as if the file was changed and its size,
// times and samples were made what they were.
BOOST_AUTO_TEST_CASE(a_kept_map_of_what_the_file_was_gives_no_bytes_of_what_it_is) {
    const TemporaryFolder folder;
    const IndexCache cache(folder.path() / "cache");
    Random random(11);
    const Patterned before(random);
    const auto key_of = [](const auto& path) {
        return IndexKey::of(*FileSource::open(path, FileKinds::regular_only).value(), vma::kContentsKind).value();
    };
    const auto open = [&](const std::filesystem::path& path) {
        OpenContext opened = context();
        opened.file = FileSource::open(path, FileKinds::regular_only).value();
        opened.index_cache = cache;
        return open_archive(opened.file, opened).value();
    };
    const auto path = folder.write("before.vma", before.archive());
    test::settle(path);
    (void)open(path);
    BOOST_TEST(read_clusters(*open(path), before).right == Patterned::kClusters);
    const Bytes kept = cache.load(key_of(path), 1U << 20).value();

    for (int round = 0; round < 30; ++round) {
        Patterned after = before;
        const int kind = round % 3;
        for (int i = 0; i < (round < 15 ? 1 : 40); ++i) {
            const std::uint64_t one = below(random, Patterned::kClusters);
            const std::uint64_t other = below(random, Patterned::kClusters);
            if (kind == 0) std::swap(after.order[one], after.order[other]); // elsewhere in the archive
            if (kind == 1) std::swap(after.disk[one], after.disk[other]);   // data for zeros, zeros for data
            if (kind == 2) after.disk[one].mask = std::rotl(after.disk[one].mask, 1);
        }
        const auto changed = folder.write("after.vma", after.archive());
        test::settle(changed);
        BOOST_TEST_REQUIRE(std::filesystem::file_size(changed) == std::filesystem::file_size(path));
        BOOST_TEST_REQUIRE(cache.store(key_of(changed), kept).has_value());
        const Read read = read_clusters(*open(changed), after);
        BOOST_TEST(read.wrong == 0U, "round " << round << ": " << read.wrong << " wrong, " << read.errors << " errors");
        // Where all is in the same place, one wrong cluster does not cost the others.
        if (kind == 2 && round < 15) BOOST_TEST(read.right > Patterned::kClusters - 100);
    }
}

BOOST_AUTO_TEST_CASE(good_fixtures_have_the_devices_and_configurations_of_the_manifest) {
    const Json all = manifest();
    for (const Json& entry : all["files"]) {
        if (entry["compression"] != "none" || !entry.contains("configs") || entry["class"] == "damaged") continue;
        const std::string name = entry["file"];
        BOOST_TEST_CONTEXT(name) {
            const auto file = open_archive(fixture(name));
            BOOST_TEST_REQUIRE(file.has_value());
            const Facts facts = file.value()->facts();
            BOOST_TEST(facts["uuid"].dump() == entry["uuid"].dump());
            BOOST_TEST(facts["extents"].dump() == entry["extents"].dump());
            BOOST_TEST(!facts.contains("problems"));
            const auto configs = file.value()->configurations().value();
            BOOST_TEST_REQUIRE(configs.size() == entry["configs"].size());
            for (std::size_t i = 0; i < configs.size(); ++i) {
                BOOST_TEST(configs[i].name == entry["configs"][i]["name"].get<std::string>());
                BOOST_TEST(sha256(std::as_bytes(std::span(configs[i].data))) ==
                           entry["configs"][i]["sha256"].get<std::string>());
            }
            const std::vector<Disk>& disks = file.value()->disks();
            BOOST_TEST_REQUIRE(disks.size() == entry["devices"].size());
            for (std::size_t i = 0; i < disks.size(); ++i) {
                const Json& device = entry["devices"][i];
                const ImagePtr image = image_of(*file.value(), i);
                BOOST_TEST(disks[i].name == device["name"].get<std::string>());
                BOOST_TEST(disks[i].size == device["size"].get<std::uint64_t>());
                BOOST_TEST(disks[i].facts["zero clusters"].dump() == device["zero_clusters"].dump());
                BOOST_TEST(disks[i].facts["lost clusters"] == 0);
                if (image->size() < 1U << 28)
                    BOOST_TEST(sha256(read_whole(*image)) == device["sha256"].get<std::string>());
                if (!device.contains("spot_reads")) continue;
                for (const Json& spot : device["spot_reads"])
                    BOOST_TEST(sha256(read_bytes(*image, spot["offset"], spot["length"], "spot").value()) ==
                               spot["sha256"].get<std::string>());
            }
        }
    }
}

namespace {

// Where the next sound extent is found although the manifest's reader would stop.
bool may_salvage_more(std::string_view name) {
    return name.starts_with("damaged/d23") || name.starts_with("damaged/d34");
}

void check_intact(const Image& image, const Bytes& original, const Json& ranges, bool more_allowed) {
    for (std::uint64_t cluster = 0; cluster * kCluster < image.size(); ++cluster) {
        bool intact = false;
        for (const Json& range : ranges)
            intact = intact || (cluster >= range[0].get<std::uint64_t>() && cluster <= range[1].get<std::uint64_t>());
        if (intact || (more_allowed && readable(image, cluster)))
            BOOST_TEST(reads_as(image, original, cluster * kCluster, kCluster), "cluster " << cluster);
        else BOOST_TEST(!readable(image, cluster), "cluster " << cluster);
    }
}

} // namespace

BOOST_AUTO_TEST_CASE(damaged_fixtures_read_where_they_are_intact_and_nowhere_else) {
    const auto sound = open_archive(fixture("15-small.vma")).value();
    const std::set<std::string> legal{"damaged/d18-config-path.vma", "damaged/d37-data-bit-rot.vma",
                                      "damaged/d39-extents-swapped.vma"};
    std::size_t checked = 0;
    const Json all = manifest();
    for (const Json& entry : all["files"]) {
        if (entry["compression"] != "none" || entry["class"] != "damaged" || !entry.contains("devices")) continue;
        const std::string name = entry["file"];
        BOOST_TEST_CONTEXT(name) {
            const auto file = open_archive(fixture(name));
            BOOST_TEST_REQUIRE(file.has_value());
            for (const Json& device : entry["devices"])
                for (std::size_t i = 0; i < 2; ++i)
                    if (sound->disks()[i].name == device["name"].get<std::string>())
                        check_intact(*image_of(*file.value(), i), read_whole(*image_of(*sound, i)),
                                     device["intact_clusters"], may_salvage_more(name));
            const bool reported = file.value()->verify({}).value().number_of(Severity::warning) > 0;
            BOOST_TEST(reported == !legal.contains(name));
            ++checked;
        }
    }
    BOOST_TEST(checked > 20U);
}

BOOST_AUTO_TEST_CASE(damaged_headers_are_refused_by_what_is_wrong_with_them) {
    const std::vector<std::pair<std::string, ErrorKind>> refused{
        {"d04-trunc-in-vma-header", ErrorKind::truncated},
        {"d05-trunc-in-blob-buffer", ErrorKind::truncated},
        {"d07-empty", ErrorKind::truncated},
        {"d08-header-md5", ErrorKind::corrupt},
        {"d09-bad-magic", ErrorKind::not_this_format},
        {"d10-version", ErrorKind::unsupported},
        {"d11-huge-header-size", ErrorKind::limit_exceeded},
        {"d12-small-header-size", ErrorKind::corrupt},
        {"d13-blob-range", ErrorKind::corrupt},
    };
    for (const auto& [name, kind] : refused) {
        const auto file = open_archive(fixture("damaged/" + name + ".vma"));
        BOOST_TEST_REQUIRE(file.has_error(), name);
        BOOST_TEST((file.error().kind == kind), name);
    }
}

BOOST_AUTO_TEST_CASE(a_damaged_table_entry_costs_the_name_or_the_device_only) {
    const auto sound = open_archive(fixture("15-small.vma")).value();
    for (const std::string name : {"d14-blob-overrun", "d15-devname-pointer", "d16-name-not-terminated",
                                   "d20-device-size-too-big", "d24-extent-reserved"}) {
        const auto file = open_archive(fixture("damaged/" + name + ".vma"));
        BOOST_TEST_REQUIRE(file.has_value(), name);
        BOOST_TEST_REQUIRE(file.value()->disks().size() == 2U);
        for (std::size_t i = 0; i < 2; ++i)
            BOOST_TEST(reads_as(*image_of(*file.value(), i), read_whole(*image_of(*sound, i)), 0, 300 * 1024), name);
        BOOST_TEST(file.value()->facts().contains("problems"), name);
    }
    const auto huge = open_archive(fixture("damaged/d19-huge-device-size.vma")).value();
    BOOST_TEST_REQUIRE(huge->disks().size() == 2U);
    BOOST_TEST(huge->disks()[0].name == "drive-virtio1");
    BOOST_TEST((huge->disks()[1].name == "drive-scsi0" && huge->disks()[1].size == 161 * kCluster));
    const auto longer = image_of(*open_archive(fixture("damaged/d20-device-size-too-big.vma")).value(), 0);
    BOOST_TEST(!readable(*longer, 161));
}

BOOST_AUTO_TEST_CASE(findings_that_no_pass_has_written_are_none) {
    using vma::Findings;
    Findings some;
    some.add(static_cast<vma::Oddity>(0), 7, "seven");
    const std::string sound = some.to_json();
    BOOST_TEST_REQUIRE(Findings::from_json(sound).has_value());
    BOOST_TEST(Findings::from_json(sound)->to_json() == sound);
    const std::string kept = R"([0,7,"seven"])";
    BOOST_TEST_REQUIRE(sound.find(kept) != std::string::npos);
    for (const char* const wrong :
         {R"(["0",7,"seven"])", R"([99,7,"seven"])", R"([0,"7","seven"])", R"([0,7,8])", R"([0,7])", "[]", "0"}) {
        std::string text = sound;
        BOOST_TEST(!Findings::from_json(text.replace(text.find(kept), kept.size(), wrong)).has_value(), wrong);
    }
}

BOOST_AUTO_TEST_CASE(parts_of_a_map_that_are_not_in_order_or_not_on_the_device_are_refused) {
    using Parts = vma::ClusterMap::Parts;
    const auto sound = [](const Parts& parts) { return vma::ClusterMap::from_parts(parts, 10).has_value(); };
    const auto run = [](std::uint32_t first, std::uint16_t mask = 1) { return vma::Run(first, mask, 0); };
    BOOST_TEST(sound({.runs = {run(0), run(9)}}));
    for (const auto& runs : {std::vector{run(1), run(0)}, {run(1), run(1)}, {run(10)}, {run(0, 0)}})
        BOOST_TEST(!sound({.runs = runs}));
    BOOST_TEST(sound({.duplicates = {run(3), run(3), run(9, 0)}}));
    for (const auto& copies : {std::vector{run(1), run(0)}, {run(10)}}) BOOST_TEST(!sound({.duplicates = copies}));
    BOOST_TEST(sound({.lost = {{0, 4}, {5, 9}}}));
    for (const auto& lost : {std::vector<vma::Range>{{0, 4}, {4, 9}}, {{2, 1}}, {{9, 10}}})
        BOOST_TEST(!sound({.lost = lost}));
    BOOST_TEST(sound({.lost = {{2, 3}}, .partial = {{.cluster = 2, .mask = 1}, {.cluster = 3, .mask = 1}}}));
    for (const auto& partial : {std::vector<vma::PartialCluster>{{.cluster = 2, .mask = 1}, {.cluster = 2, .mask = 1}},
                                {{.cluster = 2}},
                                {{.cluster = 4, .mask = 1}}})
        BOOST_TEST(!sound({.lost = {{2, 3}}, .partial = partial}));
    constexpr std::uint64_t kMost = vma::Run::kMostUnits;
    BOOST_TEST(sound({.zeros = {{0, 4, 1}, {5, 9, kMost}}}));
    for (const auto& zeros :
         {std::vector<vma::ZeroRun>{{0, 4, 1}, {4, 9, 1}}, {{2, 1, 1}}, {{9, 10, 1}}, {{0, 1, kMost + 1}}})
        BOOST_TEST(!sound({.zeros = zeros}));
}

BOOST_AUTO_TEST_CASE(lost_clusters_end_before_one_of_which_the_zeros_are_known) {
    vma::ClusterMapBuilder builder;
    builder.add_stored(vma::Run(0, 1, 0));
    builder.add_partial({.cluster = 4, .mask = 1, .units = 1});
    const vma::ClusterMap map = required(builder.finish(8, 1U << 20));
    BOOST_TEST(map.find(1).last == 3U);
    BOOST_TEST((map.find(1).partial == nullptr));
    BOOST_TEST(map.find(4).last == 4U);
    BOOST_TEST((map.find(4).partial != nullptr));
    BOOST_TEST(map.find(5).last == 7U);
}

BOOST_AUTO_TEST_SUITE_END()
