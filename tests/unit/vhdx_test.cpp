// SPDX-License-Identifier: Apache-2.0
#include "format/vhdx/vhdx.hpp"
#include "format_in_memory.hpp"
#include "open/open.hpp"
#include "open/report.hpp"
#include "temporary_folder.hpp"
#include "vhdx_builder.hpp"

#include <boost/test/unit_test.hpp>

#include <array>

using namespace vdisk;
using namespace vdisk::test;

BOOST_AUTO_TEST_SUITE(vhdx)

namespace {

constexpr std::uint64_t kMiB = VhdxBuilder::kMiB;
constexpr std::uint64_t kSectorsOfBlock = kMiB / 512;

const FormatInMemory kInMemory(kVhdxFormat);

std::byte byte_at(const Image& image, std::uint64_t at) {
    Bytes out(1);
    BOOST_REQUIRE(image.read_at(at, out).has_value());
    return out[0];
}

// Blocks 0 and 2 of four.
VhdxBuilder small_disk() {
    VhdxBuilder disk{.disk_size = 4 * kMiB};
    disk.store(2, Bytes(kMiB, std::byte{3}));
    disk.store(0, Bytes(kMiB, std::byte{1}));
    return disk;
}

// A page of the table with other entries.
Bytes table_page(const VhdxBuilder& disk) {
    Bytes page = disk.table_bytes();
    page.resize(4096);
    return page;
}

// The small disk, whose table is in its log alone.
VhdxBuilder dirty_disk() {
    VhdxBuilder disk = small_disk();
    disk.log = 9;
    disk.table_in_log = true;
    disk.entries = {{.sequence = 5, .writes = {{.offset = VhdxBuilder::kTableAt, .page = table_page(disk)}}}};
    return disk;
}

void check_small(const Bytes& file) {
    const ImagePtr image = kInMemory.image_of(file);
    BOOST_TEST((byte_at(*image, 0) == std::byte{1}));
    BOOST_TEST((byte_at(*image, kMiB) == std::byte{0}));
    BOOST_TEST((byte_at(*image, 2 * kMiB) == std::byte{3}));
    BOOST_TEST((byte_at(*image, 4 * kMiB - 1) == std::byte{0}));
}

std::string text_of(unsigned id) {
    return fmt::format("{{{:08x}-0000-0000-0000-0000000000aa}}", id);
}

// A parent of fives and a child that has one sector of its own.
struct Pair {
    VhdxBuilder parent{.disk_size = 2 * kMiB, .data_write = 5};
    VhdxBuilder child{.disk_size = 2 * kMiB, .flags = 2, .data_write = 6};

    explicit Pair(std::vector<std::pair<std::string, std::string>> locator) {
        parent.store(0, Bytes(kMiB, std::byte{5}));
        child.locator = std::move(locator);
        child.store(0, Bytes(kMiB, std::byte{9}), 7);
        child.mark(3);
    }
};

OpenedDisk opened(const std::string& text) {
    return required(open_disk(text, {}));
}

void check_pair(const std::string& child) {
    const OpenedDisk disk = opened(child);
    BOOST_TEST(disk.chain.size() == 2U);
    BOOST_TEST((byte_at(*disk.image, 3 * 512 - 1) == std::byte{5}));
    BOOST_TEST((byte_at(*disk.image, 3 * 512) == std::byte{9}));
    BOOST_TEST((byte_at(*disk.image, 4 * 512) == std::byte{5}));
    BOOST_TEST((byte_at(*disk.image, kMiB) == std::byte{0}));
}

} // namespace

BOOST_AUTO_TEST_CASE(random_chains_with_both_sector_sizes_read_as_their_model) {
    Random random(21);
    for (const std::uint32_t sector_size : {512U, 4096U})
        for (const std::uint32_t block_size : {1U << 20, 4U << 20}) {
            ImagePtr image;
            Bytes model(5 * kMiB + 3 * 4096);
            for (unsigned layer = 0; layer < 3; ++layer) {
                VhdxBuilder disk{.block_size = block_size,
                                 .sector_size = sector_size,
                                 .disk_size = model.size(),
                                 .flags = layer == 0 ? 0U : 2U};
                if (layer > 0) disk.locator = {{"parent_linkage", text_of(layer)}};
                for (std::uint64_t block = 0; block * block_size < model.size(); ++block) {
                    const std::uint64_t start = block * block_size;
                    const std::uint64_t length = std::min<std::uint64_t>(block_size, model.size() - start);
                    const auto target = model.begin() + static_cast<std::ptrdiff_t>(start);
                    const Bytes bytes = random_bytes(random, block_size);
                    switch (below(random, layer == 0 ? 3 : 5)) {
                    case 0: break;
                    case 1:
                        disk.set(block, 1 + below(random, 3));
                        std::fill_n(target, length, std::byte{0});
                        break;
                    case 2:
                        disk.store(block, bytes);
                        std::copy_n(bytes.begin(), length, target);
                        break;
                    default:
                        disk.store(block, bytes, 7);
                        for (std::uint64_t at = 0; at < length; at += sector_size) {
                            if (below(random, 3) == 0) continue;
                            disk.mark((start + at) / sector_size);
                            std::copy_n(bytes.begin() + static_cast<std::ptrdiff_t>(at), sector_size,
                                        target + static_cast<std::ptrdiff_t>(at));
                        }
                    }
                }
                image = kInMemory.image_of(disk.build(), image);
            }
            check_against_model(*image, model, kMiB / 2, random);
        }
}

BOOST_AUTO_TEST_CASE(sectors_of_4096_bytes_are_the_disks_own) {
    VhdxBuilder disk = small_disk();
    disk.sector_size = 4096;
    BOOST_TEST(required(kInMemory.parse(disk.build()))->disks()[0].sector_size == 4096U);
}

BOOST_AUTO_TEST_CASE(of_two_headers_the_sound_one_with_the_higher_number_holds) {
    VhdxBuilder disk = small_disk();
    disk.sequences = {6, 7};
    check_small(disk.build());
    BOOST_TEST(required(kInMemory.parse(disk.build()))->facts()["header offset"] == 131072);
    disk.sequences = {7, 7};
    check_small(disk.build());
    Bytes file = small_disk().build();
    file[65536 + 100] ^= std::byte{1};
    check_small(file);
    BOOST_TEST(kInMemory.remarks(file).size() == 1U);
    BOOST_TEST(!kInMemory.doubts(file));
    file[131072 + 100] ^= std::byte{1};
    BOOST_TEST((kInMemory.refused(file) == ErrorKind::corrupt));
}

BOOST_AUTO_TEST_CASE(two_headers_with_one_number_and_different_content_are_refused) {
    VhdxBuilder disk = small_disk();
    Bytes file = disk.build();
    disk.data_write = 2;
    disk.put_header(file, 131072, 7);
    BOOST_TEST((kInMemory.refused(file) == ErrorKind::corrupt));
}

BOOST_AUTO_TEST_CASE(a_damaged_header_is_a_doubt_where_the_log_was_ever_used) {
    Bytes pending = dirty_disk().build();
    pending[65536 + 100] ^= std::byte{1};
    BOOST_TEST(kInMemory.doubts(pending));
    VhdxBuilder disk = small_disk();
    disk.entries = {{.log = 8}};
    Bytes clean = disk.build();
    BOOST_TEST(!kInMemory.doubts(clean));
    clean[65536 + 100] ^= std::byte{1};
    BOOST_TEST(kInMemory.doubts(clean));
    // A log that is as long as may be is looked at, a longer one is not.
    for (const std::uint64_t most : {kMiB, kMiB - 1}) {
        OpenContext context = kInMemory.context();
        context.limits.log_bytes = most;
        const auto opened = required(kVhdxFormat.open(memory(clean), context));
        BOOST_TEST(kInMemory.doubts(*opened) == (most == kMiB));
    }
}

BOOST_AUTO_TEST_CASE(one_sound_region_table_is_enough) {
    for (const std::size_t at : {196608U, 262144U}) {
        Bytes file = small_disk().build();
        file[at + 20] ^= std::byte{1};
        check_small(file);
        BOOST_TEST(kInMemory.remarks(file).size() == 1U);
    }
    Bytes file = small_disk().build();
    file[196608 + 20] ^= std::byte{1};
    file[262144 + 20] ^= std::byte{1};
    BOOST_TEST((kInMemory.refused(file) == ErrorKind::corrupt));
}

BOOST_AUTO_TEST_CASE(what_regions_and_metadata_can_not_say_is_refused) {
    const auto regions = [](std::uint64_t at, std::uint64_t value, std::size_t size) {
        Bytes file = small_disk().build();
        for (const std::uint64_t table : {196608U, 262144U}) {
            put_little(file, table + at, value, size);
            VhdxBuilder::sum(file, table, 65536);
        }
        return kInMemory.refused(file);
    };
    BOOST_TEST((regions(8, 2048, 4) == ErrorKind::corrupt));
    BOOST_TEST((regions(8, 1, 4) == ErrorKind::corrupt));                         // no metadata region
    BOOST_TEST((regions(16, 1, 1) == ErrorKind::unsupported));                    // a region that must be known
    BOOST_TEST((regions(32, VhdxBuilder::kMetadataAt, 8) == ErrorKind::corrupt)); // two in one place
    BOOST_TEST((regions(32, VhdxBuilder::kLogAt, 8) == ErrorKind::corrupt));
    BOOST_TEST((regions(32, 4096, 8) == ErrorKind::corrupt));
    BOOST_TEST((regions(32, std::uint64_t{1} << 50, 8) == ErrorKind::corrupt));
    const auto metadata = [](std::uint64_t at, std::uint64_t value, std::size_t size) {
        Bytes file = small_disk().build();
        put_little(file, VhdxBuilder::kMetadataAt + at, value, size);
        return kInMemory.refused(file);
    };
    BOOST_TEST((metadata(0, 0, 1) == ErrorKind::corrupt));
    BOOST_TEST((metadata(10, 65535, 2) == ErrorKind::corrupt));
    BOOST_TEST((metadata(10, 1, 2) == ErrorKind::corrupt));
    BOOST_TEST((metadata(32, 0, 1) == ErrorKind::unsupported));
    BOOST_TEST((metadata(48, 2 * kMiB, 4) == ErrorKind::corrupt));
    BOOST_TEST((metadata(48, 4096, 4) == ErrorKind::corrupt));
    for (const std::uint64_t block_size : {0ULL, 3ULL << 20, 512ULL << 20, 4096ULL})
        BOOST_TEST((metadata(65536, block_size, 4) == ErrorKind::corrupt));
    BOOST_TEST((metadata(65540, 2, 4) == ErrorKind::corrupt)); // a parent without a locator
    for (const std::uint64_t size : {0ULL, 513ULL, 1ULL << 63, (64ULL << 40) + 512, 1ULL << 40})
        BOOST_TEST((metadata(65544, size, 8) == ErrorKind::corrupt));
    BOOST_TEST((metadata(65568, 513, 4) == ErrorKind::corrupt));
}

BOOST_AUTO_TEST_CASE(every_changed_bit_of_headers_regions_and_parameters_is_refused_or_reads_the_same) {
    const Bytes good = dirty_disk().build();
    Bytes right(4 * kMiB);
    BOOST_REQUIRE(kInMemory.image_of(good)->read_at(0, right).has_value());
    std::vector<std::size_t> places;
    for (const std::uint64_t start : std::to_array<std::uint64_t>({65536, 131072, 196608, 262144, VhdxBuilder::kLogAt}))
        for (std::size_t at = 0; at < 80; ++at) places.push_back(start + at);
    for (std::size_t at = 0; at < 8; ++at) places.push_back(VhdxBuilder::kMetadataAt + 65536 + at); // parameters
    for (std::size_t at = 0; at < 4; ++at) places.push_back(VhdxBuilder::kMetadataAt + 65568 + at); // sector size
    unsigned number = 0;
    for (const std::size_t place : places)
        for (unsigned bit = 0; bit < 8; bit += 3) {
            if (number++ % kTriedOneIn != 0) continue;
            const auto file = kInMemory.parse(with_changed_bit(good, place, bit));
            if (file.has_error() || FormatInMemory::doubts(*file.value())) continue;
            Bytes got(right.size());
            BOOST_TEST((FormatInMemory::image_of(*file.value())->read_at(0, got).has_value() && got == right),
                       "bit " << bit << " of byte " << place);
        }
}

BOOST_AUTO_TEST_CASE(every_changed_bit_of_the_block_table_gives_the_same_bytes_an_error_or_a_doubt) {
    VhdxBuilder large{.block_size = 4 * kMiB, .disk_size = kMiB}; // its one block goes on behind the disk
    Random random(9);
    large.store(0, random_bytes(random, 4 * kMiB));
    for (const VhdxBuilder& disk : {small_disk(), large}) {
        const Bytes good = disk.build();
        Bytes right(disk.disk_size);
        BOOST_REQUIRE(kInMemory.image_of(good)->read_at(0, right).has_value());
        BOOST_TEST(!kInMemory.doubts(good));
        for (std::uint64_t entry = 0; entry < disk.disk_size / kMiB && entry < 3; ++entry)
            for (unsigned bit = 0; bit < 64; ++bit) {
                const auto file = required(
                    kInMemory.parse(with_changed_bit(good, VhdxBuilder::kTableAt + entry * 8 + bit / 8, bit % 8)));
                if (FormatInMemory::doubts(*file)) continue;
                Bytes got(right.size());
                const bool read = FormatInMemory::image_of(*file)->read_at(0, got).has_value();
                BOOST_TEST((!read || got == right), "bit " << bit << " of entry " << entry);
            }
    }
}

BOOST_AUTO_TEST_CASE(damaged_entries_cost_their_block) {
    const auto with = [](std::uint64_t entry) {
        VhdxBuilder disk = small_disk();
        disk.set(1, entry);
        return disk.build();
    };
    for (const std::uint64_t entry :
         {4ULL, 5ULL, 7ULL | 8 * kMiB, 6ULL, 6ULL | 1 * kMiB, 6ULL | 2 * kMiB, 6ULL | 3 * kMiB, 6ULL | 4 * kMiB,
          6ULL | 100 * kMiB, 6ULL | 0xFFFFFFFFFFF00000ULL}) {
        const ImagePtr image = kInMemory.image_of(with(entry));
        BOOST_TEST(read_some(*image, kMiB, 1).has_error());
        BOOST_TEST(read_some(*image, 3 * kMiB, kMiB).has_value());
        BOOST_TEST(kInMemory.audit(with(entry)).number_of(Severity::error) > 0U);
    }
    // Both of two blocks in one place.
    BOOST_TEST(read_some(*kInMemory.image_of(with(6ULL | 4 * kMiB)), 2 * kMiB, 1).has_error());
    BOOST_TEST(kInMemory.remarks(with(2 | 1ULL << 5)).size() == 1U);
    BOOST_TEST(count(kInMemory.audit(with(2 | 1ULL << 5)), "reserved-bits") == 1U);
}

BOOST_AUTO_TEST_CASE(places_of_blocks_that_were_given_up_are_leaked) {
    VhdxBuilder disk = small_disk();
    const std::uint64_t at = disk.place(Bytes(kMiB, std::byte{8}));
    disk.set(1, at | 3);
    const Bytes file = disk.build();
    BOOST_TEST((byte_at(*kInMemory.image_of(file), kMiB) == std::byte{0}));
    BOOST_TEST(kInMemory.remarks(file).size() == 1U);
    BOOST_TEST(!kInMemory.doubts(file));
    const AuditReport report = kInMemory.audit(file);
    BOOST_TEST(count(report, "kept-block") == 1U);
    BOOST_TEST(report.leaked_bytes() == kMiB);
    disk.set(1, at | 2);
    BOOST_TEST(kInMemory.doubts(disk.build()));
    BOOST_TEST(kInMemory.audit(small_disk().build()).findings().empty());
}

BOOST_AUTO_TEST_CASE(a_partially_present_block_needs_its_bitmap) {
    Pair pair({{"parent_linkage", text_of(5)}});
    const Bytes file = pair.child.build();
    BOOST_TEST(count(kInMemory.audit(file), "stale-sectors") == 1U);
    BOOST_TEST(kInMemory.audit(file).leaked_bytes() == kMiB - 512);
    Pair both({});
    both.child.store(1, Bytes(kMiB, std::byte{9}), 7);
    both.child.mark(kSectorsOfBlock);
    both.child.mark(kSectorsOfBlock + 1);
    BOOST_TEST(kInMemory.audit(both.child.build()).leaked_bytes() == 2 * kMiB - 3 * 512);
    pair.child.table.erase(pair.child.ratio());
    BOOST_TEST(read_some(*kInMemory.image_of(pair.child.build()), 0, 1).has_error());
    BOOST_TEST(count(kInMemory.audit(pair.child.build()), "no-bitmap") == 1U);
}

BOOST_AUTO_TEST_CASE(a_fully_present_block_does_not_ask_its_bitmap) {
    Pair pair({{"parent_linkage", text_of(5)}});
    pair.child.table[0] += ~std::uint64_t{0}; // state 7 becomes 6
    BOOST_TEST((byte_at(*kInMemory.image_of(pair.child.build()), 0) == std::byte{9}));
}

BOOST_AUTO_TEST_CASE(a_pending_log_is_replayed_in_memory) {
    VhdxBuilder disk = dirty_disk();
    check_small(disk.build());
    BOOST_TEST(kInMemory.remarks(disk.build()).size() == 1U);
    BOOST_TEST(!kInMemory.doubts(disk.build()));
    BOOST_TEST(required(kInMemory.parse(disk.build()))->facts()["log entries replayed"] == 1);
    disk.log = 0;
    BOOST_TEST((byte_at(*kInMemory.image_of(disk.build()), 0) == std::byte{0}));
}

BOOST_AUTO_TEST_CASE(entries_wrap_around_the_end_of_the_log) {
    for (const std::uint64_t page : std::to_array<std::uint64_t>({1, 100, VhdxBuilder::kPages - 1})) {
        VhdxBuilder disk = dirty_disk();
        disk.entries[0].page = disk.entries[0].tail = page;
        check_small(disk.build());
    }
}

BOOST_AUTO_TEST_CASE(later_entries_of_a_sequence_hide_earlier_ones) {
    VhdxBuilder disk = dirty_disk();
    VhdxLogEntry wrong = disk.entries[0];
    wrong.writes[0].page = Bytes(4096, std::byte{0xFF});
    const VhdxLogEntry right = disk.entries[0];
    disk.entries = {wrong, {.page = 2, .sequence = 6, .tail = 0}, right};
    disk.entries[2].page = 3;
    disk.entries[2].sequence = 7;
    disk.entries[2].tail = 0;
    check_small(disk.build());
    // What the tail says was written long ago is not written again.
    disk.entries[2].tail = 3;
    check_small(disk.build());
    // An entry that only zeroes the table wins where it is the last.
    disk.entries = {
        right,
        {.page = 2, .sequence = 6, .tail = 0, .writes = {{.offset = VhdxBuilder::kTableAt, .zero_length = 4096}}}};
    BOOST_TEST((byte_at(*kInMemory.image_of(disk.build()), 0) == std::byte{0}));
}

BOOST_AUTO_TEST_CASE(a_torn_entry_is_not_replayed_and_told) {
    VhdxBuilder disk = dirty_disk();
    disk.entries.push_back({.page = 2,
                            .sequence = 6,
                            .tail = 0,
                            .writes = {{.offset = VhdxBuilder::kTableAt, .page = Bytes(4096, std::byte{0xFF})}}});
    const Bytes whole = disk.build();
    for (const std::uint64_t place : {2U * 4096 + 4, 2U * 4096 + 100, 3U * 4096, 3U * 4096 + 5, 3U * 4096 + 2000}) {
        Bytes torn = whole;
        torn[VhdxBuilder::kLogAt + place] ^= std::byte{1};
        check_small(torn);
        BOOST_TEST(kInMemory.remarks(torn).size() == 2U);
    }
    // A data page of an older round, whose checksum is right.
    Bytes old = whole;
    const std::uint64_t entry = VhdxBuilder::kLogAt + 2 * 4096;
    put_little(old, entry + 4096 + 4092, 5, 4);
    VhdxBuilder::sum(old, entry, 2 * 4096);
    check_small(old);
}

BOOST_AUTO_TEST_CASE(what_other_logs_and_rounds_left_behind_the_last_entry_is_no_torn_one) {
    for (const VhdxLogEntry& left : {VhdxLogEntry{.page = 2, .sequence = 6, .tail = 2, .log = 8},
                                     VhdxLogEntry{.page = 2, .sequence = 3, .tail = 2}}) {
        VhdxBuilder disk = dirty_disk();
        disk.entries.push_back(left);
        Bytes file = disk.build();
        file[VhdxBuilder::kLogAt + 2 * 4096 + 4] ^= std::byte{1};
        check_small(file);
        BOOST_TEST(kInMemory.remarks(file).size() == 1U);
    }
}

BOOST_AUTO_TEST_CASE(entries_of_other_rounds_are_not_replayed) {
    VhdxBuilder disk = dirty_disk();
    const VhdxWrite wrong{.offset = VhdxBuilder::kTableAt, .page = Bytes(4096, std::byte{0xFF})};
    disk.entries.push_back({.page = 10, .sequence = 99, .tail = 10, .log = 8, .writes = {wrong}}); // another GUID
    disk.entries.push_back({.page = 2, .sequence = 7, .tail = 0, .writes = {wrong}});              // not the successor
    disk.entries.push_back({.page = 20, .sequence = 90, .tail = 30, .writes = {wrong}}); // its tail is not in its run
    disk.entries.push_back({.page = 40, .sequence = 3, .tail = 40, .writes = {wrong}});  // an older sequence
    check_small(disk.build());
}

BOOST_AUTO_TEST_CASE(a_log_without_a_complete_sequence_is_refused) {
    VhdxBuilder disk = dirty_disk();
    disk.entries[0].tail = 7;
    BOOST_TEST((kInMemory.refused(disk.build()) == ErrorKind::corrupt));
    disk.entries.clear();
    BOOST_TEST((kInMemory.refused(disk.build()) == ErrorKind::corrupt));
}

BOOST_AUTO_TEST_CASE(descriptors_go_on_in_further_pages_without_a_second_header) {
    for (const std::size_t count : {126U, 127U, 254U, 255U}) {
        VhdxBuilder disk = dirty_disk();
        std::vector<VhdxWrite> writes(count - 1, {.offset = 3 * kMiB + 512 * 1024, .zero_length = 4096});
        writes.push_back(disk.entries[0].writes[0]);
        disk.entries[0].writes = writes;
        check_small(disk.build());
    }
}

BOOST_AUTO_TEST_CASE(the_log_may_write_only_where_it_may) {
    const auto write = [](std::uint64_t offset, std::uint64_t zeros) {
        VhdxBuilder disk = dirty_disk();
        disk.entries[0].writes.push_back({.offset = offset, .zero_length = zeros});
        return disk.build();
    };
    for (const std::uint64_t offset :
         std::to_array<std::uint64_t>({0, 65536, 131072, VhdxBuilder::kLogAt, VhdxBuilder::kLogAt + kMiB - 4096,
                                       std::uint64_t{1} << 62, 0xFFFFFFFFFFFFF000}))
        BOOST_TEST((kInMemory.refused(write(offset, 4096)) == ErrorKind::corrupt));
    BOOST_TEST((kInMemory.refused(write(0, 1ULL << 60)) == ErrorKind::corrupt));
    BOOST_TEST(
        (kInMemory.refused(write(VhdxBuilder::kTableAt + 512, 4096)) == ErrorKind::corrupt)); // no sound entry then
    check_small(write(VhdxBuilder::kTableAt + 4096, 4096));
}

BOOST_AUTO_TEST_CASE(behind_the_end_there_are_zeros_where_the_log_makes_the_file_longer) {
    VhdxBuilder disk = small_disk();
    disk.log = 9;
    disk.table_in_log = true;
    disk.set(1, 6 | disk.end);
    disk.entries = {
        {.writes = {{.offset = VhdxBuilder::kTableAt, .page = table_page(disk)}}, .last_end = disk.end + kMiB}};
    check_small(disk.build());
    // But not where it once had bytes.
    disk.entries[0].flushed_end = disk.end + kMiB;
    BOOST_TEST(kInMemory.doubts(disk.build()));
    BOOST_TEST((read_some(*kInMemory.image_of(disk.build()), kMiB, 1).error().kind == ErrorKind::truncated));
    BOOST_TEST((byte_at(*kInMemory.image_of(disk.build()), 0) == std::byte{1}));
    disk.entries[0].flushed_end = 0;
    disk.entries[0].last_end = std::uint64_t{1} << 60;
    check_small(disk.build());
}

BOOST_AUTO_TEST_CASE(parents_are_found_by_each_path_and_by_either_linkage) {
    const std::pair<std::string, std::string> right{"parent_linkage", text_of(5)};
    const std::vector<std::vector<std::pair<std::string, std::string>>> locators{
        {right, {"relative_path", ".\\p.vhdx"}},
        {right, {"relative_path", "..\\gone\\p.vhdx"}},
        {right, {"absolute_win32_path", "C:\\gone\\p.vhdx"}},
        {right, {"absolute_win32_path", "\\\\?\\C:\\gone\\p.vhdx"}},
        {right, {"volume_path", "\\\\?\\Volume{26a21bda-a627-11d7-9931-806e6f6e6963}\\gone\\p.vhdx"}},
        {{"parent_linkage", "{0000000F-0000-0000-0000-0000000000AA}"},
         {"parent_linkage2", text_of(5)},
         {"relative_path", "p.vhdx"}},
        {{"parent_linkage2", "{00000000-0000-0000-0000-000000000000}"}, {"an unknown key", "x"}, right},
        {right}};
    for (const auto& locator : locators) {
        TemporaryFolder folder;
        Pair pair(locator);
        (void)folder.write("p.vhdx", pair.parent.build());
        check_pair(folder.write("c.avhdx", pair.child.build()).string());
    }
}

BOOST_AUTO_TEST_CASE(a_parent_that_was_written_to_is_refused_unless_a_person_names_it) {
    TemporaryFolder folder;
    Pair pair({{"parent_linkage", text_of(5)}, {"relative_path", ".\\p.vhdx"}});
    pair.parent.data_write = 55;
    const std::string parent = folder.write("p.vhdx", pair.parent.build()).string();
    const std::string child = folder.write("c.avhdx", pair.child.build()).string();
    const auto refusal = open_disk(child, {});
    BOOST_REQUIRE(refusal.has_error());
    BOOST_TEST(refusal.error().what.find("data write GUID 00000037-0000") != std::string::npos);
    const OpenedDisk disk = opened(child + "#parent=" + parent);
    BOOST_REQUIRE_EQUAL(disk.remarks().size(), 1U);
    BOOST_TEST((disk.remarks()[0].weight == Remark::Weight::doubt));
    check_pair(child + "#parent=" + parent);
    const OpenedDisk without = opened(child + "#parent=none");
    BOOST_TEST(read_some(*without.image, 3 * 512, 512).has_value());
    BOOST_TEST(read_some(*without.image, 0, 512).has_error());
}

BOOST_AUTO_TEST_CASE(a_renamed_parent_is_found_by_its_guid_and_its_log_is_replayed) {
    TemporaryFolder folder;
    Pair pair({{"parent_linkage", text_of(5)}, {"relative_path", ".\\p.vhdx"}});
    pair.parent.log = 9;
    pair.parent.table_in_log = true;
    pair.parent.entries = {{.writes = {{.offset = VhdxBuilder::kTableAt, .page = table_page(pair.parent)}}}};
    (void)folder.write("ITEM.bin", pair.parent.build());
    check_pair(folder.write("c.avhdx", pair.child.build()).string());
}

BOOST_AUTO_TEST_CASE(circles_and_locators_that_name_nobody_are_refused) {
    TemporaryFolder folder;
    const auto write = [&](const std::string& name, unsigned own, unsigned parent) {
        VhdxBuilder disk{.disk_size = kMiB, .flags = 2, .data_write = own};
        disk.locator = {{"parent_linkage", text_of(parent)}};
        return folder.write(name, disk.build()).string();
    };
    (void)write("b.avhdx", 2, 1);
    BOOST_TEST((open_disk(write("a.avhdx", 1, 2), {}).error().kind == ErrorKind::corrupt));
    BOOST_TEST((open_disk(write("a.avhdx", 1, 1), {}).error().kind == ErrorKind::corrupt));
    Pair pair({{"relative_path", std::string("p.vhdx")}});
    BOOST_TEST(
        (open_disk(folder.write("c.avhdx", pair.child.build()).string(), {}).error().kind == ErrorKind::corrupt));
}

BOOST_AUTO_TEST_CASE(impossible_locators_are_refused) {
    Pair pair({{"parent_linkage", text_of(5)}});
    const std::uint64_t at = VhdxBuilder::kMetadataAt + 65576; // behind the five other items
    const auto changed = [&](std::uint64_t within, std::uint64_t value, std::size_t size) {
        Bytes file = pair.child.build();
        put_little(file, at + within, value, size);
        return kInMemory.refused(file);
    };
    BOOST_TEST((changed(0, 0, 1) == ErrorKind::unsupported));
    BOOST_TEST((changed(18, 60000, 2) == ErrorKind::corrupt));
    BOOST_TEST((changed(20, 100000, 4) == ErrorKind::corrupt));
    BOOST_TEST((changed(30, 60000, 2) == ErrorKind::corrupt));
}

BOOST_AUTO_TEST_SUITE_END()
