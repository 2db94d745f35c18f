// SPDX-License-Identifier: Apache-2.0
#include "image/joined_layout.hpp"
#include "image/sequence.hpp"
#include "image/uniform_layout.hpp"
#include "model.hpp"

#include <libdeflate.h>
#include <zstd.h>

#include <atomic>
#include <chrono>
#include <thread>

using namespace vdisk;
using namespace vdisk::test;

BOOST_AUTO_TEST_SUITE(image)

namespace {

constexpr std::uint64_t kCluster = 4096;

// A layout of random clusters of every kind, which knows its own model.
class RandomLayout final : public Layout {
public:
    RandomLayout(Random& random, std::uint64_t size) : size_(size) {
        for (std::uint64_t at = 0; at < size; at += kCluster) add(random);
        file_.resize(file_.size() + 17); // a file that ends somewhere
    }
    std::uint64_t disk_size() const noexcept override { return size_; }
    Result<Mapping> map(GuestOffset at, std::uint64_t /*wanted*/) const override {
        const std::uint64_t index = at.value / kCluster;
        const std::uint64_t skipped = at.value % kCluster;
        return runs_[index].cut_to(size_ - index * kCluster).without_start(skipped);
    }

    Bytes file() const { return file_; }

    // This layer's disk over what lies below it.
    Bytes over(const Bytes& below) const {
        Bytes disk(size_);
        for (std::uint64_t at = 0; at < size_; at += kCluster) {
            const std::uint64_t length = std::min(kCluster, size_ - at);
            const Bytes& content = contents_[at / kCluster];
            for (std::uint64_t i = 0; i < length; ++i) {
                const bool from_below = runs_[at / kCluster].asks_parent();
                if (from_below) disk[at + i] = at + i < below.size() ? below[at + i] : std::byte{0};
                else disk[at + i] = content.empty() ? std::byte{0} : content[i];
            }
        }
        return disk;
    }

private:
    void add(Random& random) {
        switch (below(random, 4)) {
        case 0: return keep(Extent::zero(kCluster), {});
        case 1: return keep(Mapping::ask_parent(kCluster), {});
        case 2: {
            Bytes content = random_bytes(random, kCluster);
            const Extent extent = Extent::stored(kCluster, HostOffset{file_.size()});
            file_.insert(file_.end(), content.begin(), content.end());
            return keep(extent, std::move(content));
        }
        default:
            return keep_packed(Bytes(kCluster, static_cast<std::byte>(random())),
                               below(random, 2) == 0 ? Codec::deflate : Codec::zstd);
        }
    }

    void keep_packed(Bytes content, Codec codec) {
        Bytes packed(2 * kCluster);
        std::size_t length = 0;
        if (codec == Codec::zstd) {
            length = ZSTD_compress(packed.data(), packed.size(), content.data(), content.size(), 3);
        } else {
            const std::unique_ptr<libdeflate_compressor, decltype(&libdeflate_free_compressor)> compressor(
                libdeflate_alloc_compressor(6), libdeflate_free_compressor);
            length = libdeflate_deflate_compress(compressor.get(), content.data(), content.size(), packed.data(),
                                                 packed.size());
        }
        Extent extent{.kind = Extent::Kind::packed, .length = kCluster, .host = HostOffset{file_.size()}};
        extent.packed = {
            .codec = codec, .start = GuestOffset{runs_.size() * kCluster}, .expanded = kCluster, .host_length = length};
        file_.insert(file_.end(), packed.begin(), packed.begin() + static_cast<std::ptrdiff_t>(length));
        keep(extent, std::move(content));
    }

    void keep(Mapping run, Bytes content) {
        runs_.push_back(std::move(run));
        contents_.push_back(std::move(content));
    }

    std::uint64_t size_;
    Bytes file_;
    std::vector<Mapping> runs_;
    std::vector<Bytes> contents_;
};

struct Chain {
    ImagePtr image;
    Bytes model;
};

// Layers of random sizes, one over the other.
Chain random_chain(Random& random, std::size_t depth, const CachesPtr& caches) {
    Chain chain;
    for (std::size_t i = 0; i < depth; ++i) {
        const auto layout = std::make_shared<const RandomLayout>(random, 20 * kCluster + below(random, 20 * kCluster));
        chain.model = layout->over(chain.model);
        chain.image = std::make_shared<const Image>(Image::Parts{.name = "layer",
                                                                 .layout = layout,
                                                                 .sources = {memory(layout->file())},
                                                                 .parent = chain.image,
                                                                 .caches = caches});
    }
    return chain;
}

ImagePtr image_of(std::shared_ptr<const Layout> layout, std::vector<SourcePtr> sources) {
    return std::make_shared<const Image>(Image::Parts{.name = "disk",
                                                      .layout = std::move(layout),
                                                      .sources = std::move(sources),
                                                      .parent = nullptr,
                                                      .caches = std::make_shared<Caches>(Limits{})});
}

} // namespace

BOOST_AUTO_TEST_CASE(chains_of_random_layers_read_like_their_flat_model) {
    for (std::uint64_t seed = 0; seed < 12; ++seed) {
        Random random(seed);
        const Chain chain = random_chain(random, 1 + seed % 4, std::make_shared<Caches>(Limits{}));
        check_against_model(*chain.image, chain.model, kCluster, random);
    }
}

BOOST_AUTO_TEST_CASE(threads_that_share_a_small_cache_read_the_model) {
    Random random(7);
    Limits limits;
    limits.cluster_cache_bytes = 4 * kCluster; // far less than the working set
    limits.threads = 3;
    const Chain chain = random_chain(random, 3, std::make_shared<Caches>(limits));
    std::atomic<std::size_t> wrong{0};
    std::vector<std::thread> readers;
    for (std::uint64_t id = 0; id < 8; ++id)
        readers.emplace_back([&, id] {
            Random own(id);
            for (int i = 0; i < 400; ++i)
                if (!reads_as(*chain.image, chain.model, below(own, chain.model.size()), 1 + below(own, 3 * kCluster)))
                    ++wrong;
        });
    for (std::thread& reader : readers) reader.join();
    BOOST_TEST(wrong == 0U);
}

BOOST_AUTO_TEST_CASE(a_sequential_reader_finds_each_cluster_expanded_once_whoever_did_it) {
    Random random(11);
    Limits limits;
    limits.threads = 4;
    const auto layout = std::make_shared<const RandomLayout>(random, 600 * kCluster);
    const Bytes model = layout->over({});
    const auto caches = std::make_shared<Caches>(limits);
    const Image disk(
        {.name = "disk", .layout = layout, .sources = {memory(layout->file())}, .parent = nullptr, .caches = caches});
    std::size_t packed = 0;
    for (std::uint64_t at = 0; at < model.size(); at += kCluster) {
        const Mapping mapping = layout->map(GuestOffset{at}, 1).value();
        packed += !mapping.asks_parent() && mapping.own()->kind == Extent::Kind::packed ? 1U : 0U;
    }
    for (std::uint64_t at = 0; at < model.size(); at += 64 * 1024) BOOST_TEST(reads_as(disk, model, at, 64 * 1024));
    BOOST_TEST(caches->clusters.expanded() == packed);
}

BOOST_AUTO_TEST_CASE(a_cluster_that_is_done_ahead_just_when_its_reader_asks_is_not_expanded_again) {
    constexpr std::uint64_t kCount = 20'000;
    Limits limits;
    limits.threads = 4;
    ExpandedBlocks clusters(limits);
    const auto expand = [] { return Result<BlockPtr>(std::make_shared<const Block>(1)); };
    for (std::uint64_t at = 0; at < kCount; ++at) {
        clusters.prepare({.offset = at}, expand);
        BOOST_REQUIRE(clusters.get({.offset = at}, expand).has_value());
    }
    BOOST_TEST(clusters.expanded() == kCount);
}

BOOST_AUTO_TEST_CASE(an_error_met_ahead_is_not_told_to_a_reader_who_asks_when_it_is_over) {
    std::atomic<bool> broken{true};
    std::atomic<bool> read{false};
    std::atomic<bool> mended{false};
    Limits limits;
    limits.threads = 2;
    ExpandedBlocks clusters(limits);
    clusters.prepare({}, [&]() -> Result<BlockPtr> {
        const bool failed = broken;
        read = true;
        while (!mended) std::this_thread::yield();
        std::this_thread::sleep_for(std::chrono::milliseconds(20)); // while its reader waits for it
        if (failed) return fail(ErrorKind::io, "broken");
        return std::make_shared<const Block>(1);
    });
    while (!read) std::this_thread::yield();
    broken = false;
    mended = true;
    BOOST_TEST(clusters.get({}, [] { return Result<BlockPtr>(std::make_shared<const Block>(1)); }).has_value());
}

BOOST_AUTO_TEST_CASE(clusters_that_fail_ahead_fail_for_their_reader_and_are_tried_again) {
    Random random(12);
    Limits limits;
    limits.threads = 4;
    const auto layout = std::make_shared<const RandomLayout>(random, 200 * kCluster);
    const Bytes model = layout->over({});
    const auto faulty = std::make_shared<FaultySource>(memory(layout->file()), 0, layout->file().size());
    const Image disk({.name = "disk",
                      .layout = layout,
                      .sources = {faulty},
                      .parent = nullptr,
                      .caches = std::make_shared<Caches>(limits)});
    Bytes out(model.size());
    for (int i = 0; i < 3; ++i) BOOST_TEST((disk.read_at(0, out).error().kind == ErrorKind::io));
    faulty->broken = false;
    BOOST_TEST(reads_as(disk, model, 0, model.size()));
}

BOOST_AUTO_TEST_CASE(who_waits_for_the_file_keeps_no_other_reader_waiting) {
    Random random(13);
    Limits limits;
    limits.threads = 1;
    const auto layout = std::make_shared<const RandomLayout>(random, 200 * kCluster);
    const Bytes model = layout->over({});
    for (const Extent::Kind kind : {Extent::Kind::stored, Extent::Kind::packed}) {
        const auto extent_at = [&](std::uint64_t at) {
            const Mapping mapping = layout->map(GuestOffset{at}, 1).value();
            return mapping.asks_parent() ? Extent::zero(kCluster) : *mapping.own();
        };
        std::uint64_t held = 0;
        while (extent_at(held).kind != kind) held += kCluster;
        const Extent extent = extent_at(held);
        const auto gate =
            std::make_shared<GatedSource>(memory(layout->file()), extent.host.value, extent.host.value + 1);
        const Image disk({.name = "disk",
                          .layout = layout,
                          .sources = {gate},
                          .parent = nullptr,
                          .caches = std::make_shared<Caches>(limits)});
        BOOST_TEST(reads_while_another_waits(
            *gate, [&] { return reads_as(disk, model, held, kCluster); },
            [&] {
                std::size_t wrong = 0;
                for (std::uint64_t at = model.size() - kCluster; at > held; at -= kCluster)
                    wrong += reads_as(disk, model, at, kCluster) ? 0U : 1U;
                return wrong == 0;
            }));
    }
}

BOOST_AUTO_TEST_CASE(as_much_is_prepared_as_a_reader_in_order_has_shown_to_want) {
    constexpr std::uint64_t kRead = 64U << 10;
    constexpr std::uint64_t kWindow = 64U << 20;
    Sequence sequence(kWindow);
    std::uint64_t prepared = 0, ahead = 0;
    for (std::uint64_t at = 0; at < 200 * kWindow / 64; at += kRead) {
        if (const auto range = sequence.advance(at, kRead)) {
            BOOST_REQUIRE(range->start == std::max(prepared, at)); // each byte once
            prepared = range->end;
        }
        BOOST_REQUIRE(prepared <= at + kRead + std::min(kWindow, 2 * (at + kRead)));
        ahead = std::max(ahead, prepared - std::min(prepared, at + kRead));
    }
    BOOST_TEST(ahead == kWindow);
    BOOST_TEST(!sequence.advance(5, kRead)); // elsewhere: it begins anew
    BOOST_TEST(sequence.advance(5 + kRead, 4 * kRead)->end == 5 + 15 * kRead);
}

BOOST_AUTO_TEST_CASE(resolved_extents_tile_any_range_exactly) {
    Random random(3);
    const Chain chain = random_chain(random, 3, std::make_shared<Caches>(Limits{}));
    for (int i = 0; i < 200; ++i) {
        const std::uint64_t start = below(random, chain.model.size());
        const std::uint64_t end = start + 1 + below(random, chain.model.size() - start);
        std::uint64_t at = start;
        while (at < end) {
            const auto found = chain.image->resolve(GuestOffset{at}, end - at);
            BOOST_REQUIRE(found.has_value());
            BOOST_REQUIRE(found.value().extent.length > 0U);
            at += found.value().extent.length;
        }
        BOOST_TEST(at == end);
    }
}

BOOST_AUTO_TEST_CASE(an_unreadable_extent_spoils_only_reads_that_touch_it) {
    class Holed final : public Layout {
    public:
        std::uint64_t disk_size() const noexcept override { return 3 * kCluster; }
        Result<Mapping> map(GuestOffset at, std::uint64_t) const override {
            const std::uint64_t left = kCluster - at.value % kCluster;
            if (at.value / kCluster == 1) return Extent::unreadable(left, fail(ErrorKind::corrupt, "bad entry"));
            return Extent::stored(left, HostOffset{at.value});
        }
    };
    Random random(1);
    const Bytes bytes = random_bytes(random, 3 * kCluster);
    const ImagePtr disk = image_of(std::make_shared<const Holed>(), {memory(bytes)});
    BOOST_TEST(reads_as(*disk, bytes, 0, kCluster));
    BOOST_TEST(reads_as(*disk, bytes, 2 * kCluster, kCluster));
    Bytes out(2);
    const auto crossing = disk->read_at(kCluster - 1, out);
    BOOST_REQUIRE(crossing.has_error());
    BOOST_TEST((crossing.error().kind == ErrorKind::corrupt));
    BOOST_TEST(crossing.error().offset.value() == kCluster);
}

BOOST_AUTO_TEST_CASE(a_table_that_cant_be_read_further_on_is_no_error_for_what_lies_before) {
    class LooksAhead final : public Layout {
    public:
        std::uint64_t disk_size() const noexcept override { return 4 * kCluster; }
        Result<Mapping> map(GuestOffset at, std::uint64_t wanted) const override {
            if (at.value + wanted > 2 * kCluster) return fail(ErrorKind::io, "no table for the last two");
            return Extent::zero(kCluster - at.value % kCluster);
        }
    };
    const ImagePtr disk = image_of(std::make_shared<const LooksAhead>(), {});
    for (const std::uint64_t at : {std::uint64_t{0}, kCluster, 2 * kCluster - 1})
        BOOST_TEST(required(disk->resolve(GuestOffset{at}, disk->size())).extent.length == kCluster - at % kCluster);
    BOOST_TEST(disk->resolve(GuestOffset{2 * kCluster}, disk->size()).has_error());
}

BOOST_AUTO_TEST_CASE(data_past_the_end_of_the_file_is_truncated_not_zero) {
    Random random(1);
    const Bytes bytes = random_bytes(random, 6000);
    const ImagePtr disk =
        image_of(std::make_shared<const UniformLayout>(Extent::stored(8192, HostOffset{0})), {memory(bytes)});
    BOOST_TEST(reads_as(*disk, bytes, 0, 6000 - 0));
    Bytes out(1);
    BOOST_TEST((disk->read_at(6000, out).error().kind == ErrorKind::truncated));
    BOOST_TEST((disk->read_at(8191, out).error().kind == ErrorKind::truncated));
}

BOOST_AUTO_TEST_CASE(a_cluster_that_does_not_fill_its_output_or_goes_on_behind_it_is_an_error) {
    for (const std::uint64_t size : {std::uint64_t{100}, kCluster - 1, kCluster + 1, 2 * kCluster}) {
        Bytes packed(1000);
        const Bytes content(size, std::byte{1});
        packed.resize(ZSTD_compress(packed.data(), packed.size(), content.data(), content.size(), 1));
        Extent extent{.kind = Extent::Kind::packed, .length = kCluster};
        extent.packed = {.codec = Codec::zstd, .start = {}, .expanded = kCluster, .host_length = packed.size()};
        const ImagePtr disk = image_of(std::make_shared<const UniformLayout>(extent), {memory(packed)});
        Bytes out(10);
        const auto got = disk->read_at(0, out);
        BOOST_REQUIRE(got.has_error());
        BOOST_TEST((got.error().kind == ErrorKind::corrupt));
    }
}

BOOST_AUTO_TEST_CASE(a_passing_fault_does_not_poison_the_cache) {
    Random random(5);
    const auto layout = std::make_shared<const RandomLayout>(random, 40 * kCluster);
    const Bytes model = layout->over({});
    const auto faulty = std::make_shared<FaultySource>(memory(layout->file()), 0, layout->file().size());
    const ImagePtr disk = image_of(layout, {faulty});
    Bytes out(model.size());
    BOOST_TEST((disk->read_at(0, out).error().kind == ErrorKind::io));
    faulty->broken = false;
    BOOST_TEST(reads_as(*disk, model, 0, model.size()));
}

BOOST_AUTO_TEST_CASE(an_expanded_cluster_is_read_from_the_file_once) {
    Bytes packed(1000);
    const Bytes content(kCluster, std::byte{9});
    packed.resize(ZSTD_compress(packed.data(), packed.size(), content.data(), content.size(), 1));
    Extent extent{.kind = Extent::Kind::packed, .length = kCluster};
    extent.packed = {.codec = Codec::zstd, .start = {}, .expanded = kCluster, .host_length = packed.size()};
    const auto counted = std::make_shared<const FaultySource>(memory(packed), 0, 0);
    const ImagePtr disk = image_of(std::make_shared<const UniformLayout>(extent), {counted});
    for (std::uint64_t at = 0; at < kCluster; at += 512) BOOST_TEST(reads_as(*disk, content, at, 512));
    BOOST_TEST(counted->reads() == 1U);
}

namespace {

// Knows that [from, to) can't be read.
class HoledSource final : public ByteSource {
public:
    HoledSource(std::uint64_t size, std::uint64_t from, std::uint64_t to) : size_(size), from_(from), to_(to) {}
    std::uint64_t size() const noexcept override { return size_; }
    std::string_view name() const noexcept override { return "holed"; }
    Result<std::size_t> read_at(std::uint64_t offset, std::span<std::byte> out) const override {
        if (offset >= size_) return std::size_t{0};
        out = out.first(static_cast<std::size_t>(std::min<std::uint64_t>(out.size(), size_ - offset)));
        if (offset < to_ && offset + out.size() > from_) return Error(*why_);
        std::ranges::fill(out, std::byte{5});
        return out.size();
    }
    Readability readability(std::uint64_t offset, std::uint64_t wanted) const override {
        if (offset >= from_ && offset < to_) return {std::min(wanted, to_ - offset), why_};
        return {std::min(wanted, (offset < from_ ? from_ : size_) - offset), nullptr};
    }

private:
    std::uint64_t size_, from_, to_;
    std::shared_ptr<const Error> why_ = std::make_shared<const Error>(fail(ErrorKind::corrupt, "lost on purpose"));
};

std::vector<std::pair<Extent::Kind, std::uint64_t>> extents_of(const Image& image) {
    std::vector<std::pair<Extent::Kind, std::uint64_t>> extents;
    for (std::uint64_t at = 0; at < image.size();) {
        const Extent extent = image.resolve(GuestOffset{at}, image.size() - at).value().extent;
        extents.emplace_back(extent.kind, extent.length);
        at += extent.length;
    }
    return extents;
}

} // namespace

BOOST_AUTO_TEST_CASE(what_a_source_has_lost_is_one_unreadable_extent) {
    using Kind = Extent::Kind;
    const std::uint64_t size = std::uint64_t{1} << 60;
    const auto source = std::make_shared<const HoledSource>(size, 1000, size - 7);
    const auto layout = std::make_shared<const UniformLayout>(Extent::stored(size, HostOffset{0}));
    const std::vector<std::pair<Kind, std::uint64_t>> expected{
        {Kind::stored, 1000}, {Kind::unreadable, size - 1007}, {Kind::stored, 7}};
    BOOST_TEST((extents_of(*image_of(layout, {source})) == expected));
}

// Enciphered bytes are read by sectors, so that one which is lost in part is lost.
BOOST_AUTO_TEST_CASE(of_an_enciphered_sector_that_is_lost_in_part_nothing_can_be_read) {
    using Kind = Extent::Kind;
    Extent extent = Extent::stored(8192, HostOffset{0});
    extent.enciphered = true;
    const auto layout = std::make_shared<const UniformLayout>(extent);
    const auto source = std::make_shared<const HoledSource>(8192, 1000, 2100);
    const std::vector<std::pair<Kind, std::uint64_t>> expected{
        {Kind::stored, 512}, {Kind::unreadable, 2048}, {Kind::stored, 8192 - 2560}};
    BOOST_TEST((extents_of(*image_of(layout, {source})) == expected));
}

BOOST_AUTO_TEST_CASE(a_compressed_cluster_that_is_lost_in_part_is_an_unreadable_extent) {
    Extent extent{.kind = Extent::Kind::packed, .length = kCluster, .host = HostOffset{900}};
    extent.packed = {.codec = Codec::zstd, .start = {}, .expanded = kCluster, .host_length = 200};
    const auto layout = std::make_shared<const UniformLayout>(extent);
    const auto source = std::make_shared<const HoledSource>(8192, 1000, 2100);
    BOOST_TEST((extents_of(*image_of(layout, {source})).front().first == Extent::Kind::unreadable));
}

BOOST_AUTO_TEST_CASE(a_piece_of_a_disk_ends_where_the_next_begins_whatever_its_layout_has) {
    const auto longer = std::make_shared<const UniformLayout>(Extent::stored(1000, HostOffset{0}));
    const JoinedLayout joined(
        {{.length = 300, .layout = longer}, {.length = 700, .layout = longer, .first_source = 1}});
    BOOST_TEST(joined.disk_size() == 1000U);
    for (const std::uint64_t at : {0U, 1U, 299U, 300U, 301U, 999U}) {
        const Extent found = *required(joined.map(GuestOffset{at}, 1000)).own();
        BOOST_TEST(found.length == (at < 300 ? 300 - at : 1000 - at));
        BOOST_TEST(found.source == (at < 300 ? 0U : 1U));
        BOOST_TEST(found.host.value == (at < 300 ? at : at - 300));
    }
}

BOOST_AUTO_TEST_SUITE_END()
