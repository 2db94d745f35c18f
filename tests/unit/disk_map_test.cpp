// SPDX-License-Identifier: Apache-2.0
#include "image/disk_comparison.hpp"
#include "io/joined_source.hpp"
#include "io/overlaid_source.hpp"
#include "model.hpp"
#include "temporary_folder.hpp"

#include <array>
#include <chrono>

using namespace vdisk;
using namespace vdisk::test;

namespace {

constexpr std::uint64_t kCluster = 4096;

// Clusters, of which each is what a list says; an error where the list has nothing, also for who asks for more than the
// cluster before that.
class ListLayout final : public Layout {
public:
    explicit ListLayout(std::vector<std::optional<Mapping>> clusters) : clusters_(std::move(clusters)) {}
    std::uint64_t disk_size() const noexcept override { return clusters_.size() * kCluster; }
    Result<Mapping> map(GuestOffset at, std::uint64_t wanted) const override {
        const std::size_t number = at.value / kCluster;
        const auto& cluster = clusters_[number];
        const bool looks_ahead = wanted > kCluster - at.value % kCluster && number + 1 < clusters_.size();
        if (!cluster || (looks_ahead && !clusters_[number + 1])) return fail(ErrorKind::io, "the table can't be read");
        return cluster->without_start(at.value % kCluster);
    }

private:
    std::vector<std::optional<Mapping>> clusters_;
};

Extent stored(std::uint64_t host_cluster) {
    return Extent::stored(kCluster, HostOffset{host_cluster * kCluster});
}

Extent packed(std::uint64_t cluster, std::uint64_t host, std::uint64_t host_length) {
    Extent extent{.kind = Extent::Kind::packed, .length = kCluster, .host = HostOffset{host}};
    extent.packed = {.start = GuestOffset{cluster * kCluster}, .expanded = kCluster, .host_length = host_length};
    return extent;
}

ImagePtr image_of(std::vector<std::optional<Mapping>> clusters, SourcePtr source, ImagePtr parent = nullptr,
                  Encryption encryption = {}) {
    return std::make_shared<const Image>(Image::Parts{.name = "disk",
                                                      .layout = std::make_shared<const ListLayout>(std::move(clusters)),
                                                      .sources = {std::move(source)},
                                                      .parent = std::move(parent),
                                                      .caches = std::make_shared<Caches>(Limits{}),
                                                      .encryption = std::move(encryption)});
}

std::vector<MapRun> runs_of(const Image& disk) {
    DiskMap map(disk);
    std::vector<MapRun> runs;
    while (auto run = map.next_run()) runs.push_back(std::move(*run));
    return runs;
}

// "data 4096@8192/0 ...": kind, length, place, depth.
std::string text_of(const Image& disk) {
    std::string text;
    for (const MapRun& run : runs_of(disk)) {
        text += fmt::format("{}{} {}", text.empty() ? "" : ", ", to_string(run.kind), run.length);
        if (run.place.file != nullptr) text += fmt::format("@{}", run.place.offset);
        if (run.stored_length > 0) text += fmt::format("+{}", run.stored_length);
        text += fmt::format("/{}", run.depth);
    }
    return text;
}

// What the metadata of two disks say: a letter a range.
std::string compared(const Image& a, const Image& b) {
    DiskComparison comparison(a, b);
    std::string text;
    std::uint64_t at = 0;
    while (const auto range = comparison.next()) {
        BOOST_TEST(range->start() == at);
        BOOST_TEST(range->second.start.value == at);
        BOOST_TEST(range->second.length == range->length());
        at += range->length();
        text += std::array{'=', '?', '!'}[static_cast<std::size_t>(range->state)];
    }
    BOOST_TEST(at == std::min(a.size(), b.size()));
    return text;
}

struct Files {
    Files() = default;

    FilePtr make(const std::string& name, std::size_t clusters) {
        folder.write(name, Bytes(clusters * kCluster, std::byte{1}));
        return open(name);
    }
    FilePtr open(const std::string& name) const {
        return required(FileSource::open(folder.path() / name, FileKinds::regular_only));
    }

    TemporaryFolder folder;
};

std::shared_ptr<const SectorCipher> cipher(std::byte key) {
    return required(SectorCipher::aes({}, Bytes(32, key)));
}

} // namespace

BOOST_FIXTURE_TEST_SUITE(disk_map, Files)

BOOST_AUTO_TEST_CASE(runs_go_over_pieces_that_follow_each_other_in_one_file) {
    const auto disk = image_of({stored(3), stored(4), stored(6), Extent::zero(kCluster), Extent::zero(kCluster),
                                Mapping::ask_parent(kCluster), Mapping::ask_parent(kCluster)},
                               make("a", 8));
    BOOST_TEST(text_of(*disk) == "data 8192@12288/0, data 4096@24576/0, zero 8192/0, unallocated 8192/0");
}

BOOST_AUTO_TEST_CASE(a_layer_below_is_told_by_its_depth_and_what_lies_behind_its_end_by_its_child) {
    const auto base = image_of({stored(0), Mapping::ask_parent(kCluster)}, make("base", 2));
    const auto disk =
        image_of(std::vector<std::optional<Mapping>>(3, Mapping::ask_parent(kCluster)), make("top", 1), base);
    BOOST_TEST(text_of(*disk) == "data 4096@0/1, unallocated 4096/1, unallocated 4096/0");
    BOOST_TEST(files_of(*disk).size() == 2U);
}

BOOST_AUTO_TEST_CASE(compressed_clusters_that_follow_each_other_in_the_file_are_one_run) {
    const auto disk =
        image_of({packed(0, 512, 512), packed(1, 1000, 600), packed(2, 4000, 512), packed(3, 100, 50)}, make("a", 2));
    BOOST_TEST(text_of(*disk) == "compressed 8192@512+1088/0, compressed 4096@4000+512/0, compressed 4096@100+50/0");
    DiskMap map(*disk, GuestOffset{100}, disk->size());
    BOOST_TEST(map.next_piece()->length == kCluster - 100);
}

BOOST_AUTO_TEST_CASE(a_table_that_cant_be_read_costs_what_it_describes_and_no_more) {
    const auto disk = image_of({stored(0), std::nullopt, std::nullopt, stored(1)}, make("a", 2));
    BOOST_TEST(text_of(*disk) == "data 4096@0/0, unreadable 8192/0, data 4096@4096/0");
    BOOST_TEST(runs_of(*disk)[1].why->what == "the table can't be read");
}

BOOST_AUTO_TEST_CASE(the_end_of_what_lost_tables_map_is_found_without_trying_each_sector) {
    static constexpr std::uint64_t kFirst = 1 << 20, kLast = (std::uint64_t{20} << 30) + std::uint64_t{512} * 77;
    class Lost final : public Layout {
    public:
        std::uint64_t disk_size() const noexcept override { return std::uint64_t{64} << 30; }
        Result<Mapping> map(GuestOffset at, std::uint64_t /*wanted*/) const override {
            ++asked;
            if (at.value < kFirst) return Extent::zero(kFirst - at.value);
            if (at.value < kLast) return fail(ErrorKind::io, "lost");
            return Extent::zero(disk_size() - at.value);
        }
        mutable std::uint64_t asked = 0;
    };
    const auto layout = std::make_shared<const Lost>();
    const Image disk({.name = "disk",
                      .layout = layout,
                      .sources = {},
                      .parent = nullptr,
                      .caches = std::make_shared<Caches>(Limits{})});
    BOOST_TEST(text_of(disk) ==
               fmt::format("zero {}/0, unreadable {}/0, zero {}/0", kFirst, kLast - kFirst, disk.size() - kLast));
    BOOST_TEST(layout->asked < 400'000U);
    DiskMap from_within(disk, GuestOffset{kLast - 5}, kLast - 2);
    BOOST_TEST(from_within.next_run()->length == 3U);
}

BOOST_AUTO_TEST_CASE(what_the_file_lacks_is_unreadable_and_ranges_with_different_reasons_stay_apart) {
    const auto disk = image_of(
        {stored(0), stored(7), Extent::unreadable(kCluster, fail(ErrorKind::corrupt, "entry 2"))}, make("a", 1));
    BOOST_TEST(text_of(*disk) == "data 4096@0/0, unreadable 4096/0, unreadable 4096/0");
}

BOOST_AUTO_TEST_CASE(places_are_told_through_all_that_stands_between_the_disk_and_its_file) {
    const FilePtr a = make("a", 4), b = make("b", 4);
    const auto slice = std::make_shared<const SliceSource>(a, kCluster, 2 * kCluster);
    const auto joined = std::make_shared<const JoinedSource>(
        std::vector<Share>{{slice, kCluster, nullptr}, {b, kCluster, nullptr}}, "joined");
    const std::array overlays{Overlay{.at = 100, .length = 50, .from = kCluster + 7}, Overlay{.at = 200, .length = 56}};
    const auto disk = image_of({stored(0), stored(1)}, overlaid(joined, overlays));
    BOOST_TEST(text_of(*disk) ==
               "data 100@4096/0, data 50@7/0, data 50@4246/0, zero 56/0, data 3840@4352/0, data 4096@0/0");
    BOOST_TEST(files_of(*disk).size() == 2U);
}

BOOST_AUTO_TEST_CASE(a_hole_of_the_file_is_zeros_unless_it_is_deciphered) {
    constexpr std::uint64_t kHole = 1U << 20;
    make("a", 1);
    std::filesystem::resize_file(folder.path() / "a", kHole + kCluster);
    const FilePtr file = open("a");
    if (!file->allocation(kHole).hole) return; // a file system that does not tell
    const auto far = stored(kHole / kCluster);
    BOOST_TEST(text_of(*image_of({stored(0), far}, file)) == "data 4096@0/0, zero 4096@1048576/0");
    Extent secret = far;
    secret.enciphered = true;
    BOOST_TEST(text_of(*image_of({secret}, file, nullptr, {.cipher = cipher(std::byte{1})})) ==
               "encrypted 4096@1048576/0");
}

BOOST_AUTO_TEST_CASE(what_a_file_lost_since_it_was_opened_is_no_hole) {
    const FilePtr file = make("a", 4);
    std::filesystem::resize_file(folder.path() / "a", kCluster);
    BOOST_TEST(!file->allocation(2 * kCluster).hole);
    BOOST_TEST(file->allocation(2 * kCluster).length == 2 * kCluster);
}

BOOST_AUTO_TEST_CASE(bytes_in_one_place_of_one_file_are_the_same_whatever_path_leads_there) {
    make("a", 4);
    std::filesystem::create_hard_link(folder.path() / "a", folder.path() / "link");
    const auto one = image_of({stored(0), stored(1), packed(2, 9000, 500)}, open("a"));
    const auto other = image_of({Mapping::ask_parent(kCluster), stored(0), packed(2, 9000, 500)},
                                std::make_shared<const SliceSource>(open("link"), kCluster, 3 * kCluster), one);
    // Of the second disk the last cluster lies 4096 bytes further on in the file.
    BOOST_TEST(compared(*one, *other) == "==?");
    BOOST_TEST(compared(*one, *one) == "===");
}

BOOST_AUTO_TEST_CASE(equal_bytes_in_two_files_or_places_are_not_known_to_be_the_same) {
    const auto one = image_of({stored(0), stored(1), Extent::zero(kCluster)}, make("a", 2));
    const auto other = image_of({stored(0), stored(0), stored(1)}, make("b", 2));
    BOOST_TEST(compared(*one, *other) == "???");
    BOOST_TEST(compared(*one, *image_of({stored(1)}, open("a"))) == "?");
}

BOOST_AUTO_TEST_CASE(a_file_that_changed_between_its_openings_is_not_known_to_be_the_same) {
    const auto before = image_of({stored(0)}, make("a", 1));
    BOOST_TEST(compared(*before, *image_of({stored(0)}, open("a"))) == "=");
    const auto path = folder.path() / "a";
    std::filesystem::last_write_time(path, std::filesystem::last_write_time(path) - std::chrono::seconds(1));
    BOOST_TEST(compared(*before, *image_of({stored(0)}, open("a"))) == "?");
}

BOOST_AUTO_TEST_CASE(zeros_of_every_kind_are_the_same_and_what_cant_be_read_is_never) {
    const auto lost = [] { return Extent::unreadable(kCluster, fail(ErrorKind::corrupt, "lost")); };
    const auto one = image_of({Extent::zero(kCluster), Mapping::ask_parent(kCluster), lost(), lost()}, make("a", 1));
    const auto other =
        image_of({Mapping::ask_parent(kCluster), Mapping::ask_parent(kCluster), lost(), stored(0)}, make("b", 1));
    BOOST_TEST(compared(*one, *other) == "==!!");
}

BOOST_AUTO_TEST_CASE(enciphered_bytes_are_the_same_only_under_one_key_and_numbering) {
    Extent secret = stored(0);
    secret.enciphered = true;
    const FilePtr file = make("a", 1);
    const auto with = [&](std::byte key, Encryption::Numbering numbering) {
        return image_of({secret}, file, nullptr, {.cipher = cipher(key), .numbering = numbering});
    };
    const auto one = with(std::byte{1}, Encryption::Numbering::host);
    BOOST_TEST(compared(*one, *with(std::byte{1}, Encryption::Numbering::host)) == "=");
    BOOST_TEST(compared(*one, *with(std::byte{2}, Encryption::Numbering::host)) == "?");
    BOOST_TEST(compared(*one, *with(std::byte{1}, Encryption::Numbering::guest)) == "?");
    BOOST_TEST(compared(*one, *image_of({stored(0)}, file)) == "?");
}

BOOST_AUTO_TEST_CASE(ranges_end_where_either_disk_does) {
    const auto one = image_of({stored(0), stored(1)}, make("a", 4));
    BOOST_TEST(compared(*one, *image_of({stored(0)}, open("a"))) == "=");
    BOOST_TEST(compared(*image_of({}, open("a")), *one) == "");
}

BOOST_AUTO_TEST_SUITE_END()
