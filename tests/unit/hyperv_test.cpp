// SPDX-License-Identifier: Apache-2.0
#include "hyperv/machine.hpp"
#include "hyperv/ram_block.hpp"
#include "hyperv/remnants.hpp"
#include "hyperv/saved_memory.hpp"
#include "hyperv/value.hpp"
#include "hyperv/xpress.hpp"
#include "io/file_source.hpp"
#include "io/memory_source.hpp"

#include "hyperv_builder.hpp"
#include "model.hpp"

#include <boost/test/data/test_case.hpp>
#include <boost/test/unit_test.hpp>
#include <nlohmann/json.hpp>

#include <fstream>
#include <set>

using namespace vdisk;

BOOST_AUTO_TEST_SUITE(hyperv)

using namespace vdisk::hyperv;
using vdisk::test::BuildOptions;
using vdisk::test::BuiltFile;
using vdisk::test::Forest;
using vdisk::test::HypervBuilder;

namespace {

Result<StoragePtr> open_bytes(std::vector<std::byte> bytes, const ReadOptions& options = {}) {
    return Storage::open(std::make_shared<MemorySource>(std::move(bytes), "built"), options);
}

StoragePtr open_built(const BuiltFile& file, const ReadOptions& options = {}) {
    auto storage = open_bytes(file.bytes, options);
    BOOST_REQUIRE_MESSAGE(storage.has_value(), (storage.has_error() ? storage.error().what : ""));
    return storage.value();
}

std::set<std::string> kinds(const Storage& storage) {
    std::set<std::string> names;
    for (const vdisk::hyperv::Finding& finding : storage.findings()) names.emplace(to_string(finding.kind));
    return names;
}

// Whether the keys of `storage` are those of the forest: names, types, values, and children in order.
bool same_tree(const Storage& storage, const Forest& forest) {
    if (storage.keys().size() != forest.keys.size()) return false;
    std::vector<std::pair<std::vector<std::size_t>, std::span<const KeyId>>> pending;
    pending.emplace_back(forest.roots, storage.tree().tops(Tree::RootKind::root));
    while (!pending.empty()) {
        const auto [expected, found] = pending.back();
        pending.pop_back();
        if (expected.size() != found.size()) return false;
        for (std::size_t i = 0; i < found.size(); ++i) {
            const test::BuiltKey& key = forest.keys[expected[i]];
            const KeyEntry& entry = storage.key(found[i]).entry;
            if (entry.name != key.name || static_cast<int>(entry.type) != key.type || !entry.faults.empty())
                return false;
            if (key.type != 9 && storage.value(found[i]).value() != key.value) return false;
            pending.emplace_back(key.children, storage.tree().children(found[i]));
        }
    }
    return true;
}

std::vector<std::byte> random_value(std::mt19937& random, int type) {
    if (type == 9) return {};
    std::size_t size = type == 8 ? 4 : 8;
    if (type == 6) size = 2 * (random() % (random() % 8 == 0 ? 1500 : 20));
    if (type == 7) size = random() % (random() % 8 == 0 ? 9000 : 60);
    std::vector<std::byte> value(size);
    for (std::byte& byte : value) byte = static_cast<std::byte>(random());
    return value;
}

std::string random_name(std::mt19937& random) {
    static const std::array<std::string, 8> kNames{"name",     "metric", "a/b",         "with [2]",
                                                   "\xC3\xA4", "",       "back\\slash", std::string(254, 'x')};
    return random() % 2 == 0 ? kNames[random() % kNames.size()] : "key" + std::to_string(random() % 50);
}

Forest random_forest(unsigned seed) {
    std::mt19937 random(seed);
    Forest forest;
    std::vector<std::size_t> parents{Forest::kRoot};
    const std::size_t count = 1 + random() % 200;
    for (std::size_t i = 0; i < count; ++i) {
        const int type = random() % 3 == 0 ? 9 : 3 + static_cast<int>(random() % 6);
        const std::size_t id =
            forest.add({random_name(random), type, random_value(random, type)}, parents[random() % parents.size()]);
        if (type == 9) parents.push_back(id);
    }
    return forest;
}

BuildOptions random_options(unsigned seed) {
    std::mt19937 random(seed * 7919);
    BuildOptions options{.seed = seed};
    options.alignment = 4096U << (random() % 3);
    options.table_bytes = options.alignment * (1 + static_cast<std::uint32_t>(random() % 2));
    if (random() % 2 == 0) options.slots = 3 + static_cast<std::uint32_t>(random() % 5);
    if (random() % 2 == 0) options.slack = 12;
    options.file_object_from = random() % 3 == 0 ? 100 : 2048;
    options.shuffled = random() % 2 == 0;
    return options;
}

// A little of everything: two key tables, a file object, slack, a log with one pending entry.
Forest small_forest() {
    Forest forest;
    const std::size_t root = forest.add({"configuration"});
    const std::size_t settings = forest.add({"settings"}, root);
    forest.add({"size", 3, test::little<std::int64_t>(-5)}, settings);
    forest.add({"limit", 4, test::little<std::uint64_t>(1)}, settings);
    forest.add({"share", 5, test::little(std::bit_cast<std::uint64_t>(0.5))}, settings);
    forest.add({"on", 8, test::little<std::int32_t>(1)}, settings);
    forest.add({"name", 6, test::utf16("machine")}, root);
    forest.add({"name", 6, test::utf16("again")}, root);
    forest.add({"data", 7, test::bytes_of("0123456789abcdef")}, root);
    return forest;
}

std::vector<std::byte> bytes(std::initializer_list<int> list) {
    std::vector<std::byte> result;
    for (const int byte : list) result.push_back(static_cast<std::byte>(byte));
    return result;
}

nlohmann::json manifest() {
    std::ifstream in(FIXTURES "/hyperv/MANIFEST.json");
    return nlohmann::json::parse(in).at("files");
}

std::vector<std::byte> concat(std::initializer_list<std::vector<std::byte>> parts) {
    std::vector<std::byte> all;
    for (const auto& part : parts) all.insert(all.end(), part.begin(), part.end());
    return all;
}

RamBlock decode(const std::vector<std::byte>& stored) {
    RamBlock block;
    decode_ram_block(stored, stored.size(), block);
    return block;
}

std::vector<std::byte> fill(std::uint32_t pages, int pattern) {
    return concat({test::little<std::uint32_t>(0xFFFFFFFD), std::vector<std::byte>(8, static_cast<std::byte>(pattern)),
                   test::little(pages)});
}

// A RamMemoryBlock's 48 bytes.
std::vector<std::byte> region(std::uint64_t pages, std::uint64_t first_index, std::uint64_t first_page) {
    return concat({test::little<std::uint32_t>(3), test::little<std::uint32_t>(0), test::little(pages),
                   test::little(first_index), test::little(first_page), std::vector<std::byte>(16)});
}

} // namespace

BOOST_AUTO_TEST_CASE(each_fixture_has_the_findings_of_its_manifest) {
    for (const auto& entry : manifest()) {
        if (entry.contains("stored_as")) continue; // compressed; the tool's test has it
        const std::string name = entry.at("file");
        BOOST_TEST_CONTEXT(name) {
            const auto file = FileSource::open(std::string(FIXTURES "/hyperv/") + name, FileKinds::regular_only);
            BOOST_REQUIRE(file.has_value());
            const auto storage = Storage::open(file.value());
            const std::string kind = entry.at("kind");
            BOOST_TEST(storage.has_value() == (kind != "not-hyperv" && kind != "version"));
            if (storage.has_error()) {
                BOOST_TEST((kind == "version") == (storage.error().kind == ErrorKind::unsupported));
                continue;
            }
            BOOST_TEST(kinds(*storage.value()) == entry.at("findings").get<std::set<std::string>>(),
                       boost::test_tools::per_element());
        }
    }
}

BOOST_DATA_TEST_CASE(any_tree_that_is_built_is_the_tree_that_is_read, boost::unit_test::data::xrange(60U), seed) {
    const Forest forest = random_forest(seed);
    const BuiltFile file = HypervBuilder(random_options(seed)).build(forest);
    const StoragePtr storage = open_built(file);
    BOOST_TEST(kinds(*storage).empty());
    BOOST_TEST(same_tree(*storage, forest));
}

BOOST_DATA_TEST_CASE(a_path_leads_back_to_its_key, boost::unit_test::data::xrange(10U), seed) {
    const StoragePtr storage = open_built(HypervBuilder(random_options(seed)).build(random_forest(seed)));
    for (KeyId id = 0; id < storage->keys().size(); ++id) {
        const auto found = find_keys(*storage, path_of(*storage, id));
        BOOST_REQUIRE(found.has_value());
        BOOST_TEST(found.value() == std::vector<KeyId>{id}, boost::test_tools::per_element());
    }
}

BOOST_AUTO_TEST_CASE(a_step_without_a_number_stands_for_all_of_that_name) {
    const StoragePtr storage = open_built(HypervBuilder().build(small_forest()));
    BOOST_TEST(find_keys(*storage, "/configuration/name").value().size() == 2U);
    BOOST_TEST(find_keys(*storage, "/configuration/name[2]").value().size() == 1U);
    BOOST_TEST(find_keys(*storage, "/configuration/name[3]").value().empty());
    BOOST_TEST(find_keys(*storage, "/configuration/nothing").value().empty());
    BOOST_TEST(find_keys(*storage, "/").value().size() == 1U);
    for (const char* wrong : {"/a[0]", "/a[]", "/a[x]", "/a]", "/a\\", "/a\\x4", "/a\\xg0"})
        BOOST_TEST(find_keys(*storage, wrong).has_error(), wrong);
}

BOOST_AUTO_TEST_CASE(a_flipped_byte_under_a_checksum_never_goes_unnoticed) {
    const Forest forest = small_forest();
    const test::LoggedWrite same{8192, test::little<std::uint32_t>(0x01110001)}; // what stands there already
    const BuiltFile file = HypervBuilder({.file_object_from = 16}).build(forest, {same});
    std::vector<bool> guarded(file.bytes.size());
    for (const auto& range : file.guarded)
        std::fill_n(guarded.begin() + static_cast<std::ptrdiff_t>(range.start), range.length, true);
    const StoragePtr clean = open_built(file);
    BOOST_TEST(kinds(*clean) == std::set<std::string>{"dirty"}, boost::test_tools::per_element());
    std::vector<std::byte> bytes = file.bytes;
    for (std::size_t at = 0; at < bytes.size(); ++at) {
        bytes[at] ^= std::byte{0x40};
        const auto storage = open_bytes(bytes, {.best_effort = at % 2 == 0});
        if (guarded[at])
            BOOST_TEST((storage.has_error() || kinds(*storage.value()) != std::set<std::string>{"dirty"}),
                       "byte " << at);
        if (storage.has_value()) {
            for (KeyId id = 0; id < storage.value()->keys().size(); ++id)
                BOOST_TEST(storage.value()->value(id).has_value());
            if (guarded[at] || at % 64 == 0) BOOST_TEST(find_remnants(*storage.value()).has_value());
            (void)describe_machine(*storage.value());
        }
        bytes[at] ^= std::byte{0x40};
    }
}

BOOST_AUTO_TEST_CASE(an_object_table_that_counts_too_few_entries_hides_none) {
    const Forest forest = small_forest();
    const BuiltFile file = HypervBuilder().build(forest);
    for (const std::uint32_t count : {0U, 1U, 100U}) {
        BuiltFile changed = file;
        const auto stored = test::little(count);
        std::copy(stored.begin(), stored.end(), changed.bytes.begin() + 8192 + 4);
        const StoragePtr storage = open_built(changed);
        BOOST_TEST(kinds(*storage) == std::set<std::string>{"object-table-count"}, boost::test_tools::per_element());
        BOOST_TEST(same_tree(*storage, forest));
    }
}

BOOST_AUTO_TEST_CASE(a_file_cut_anywhere_is_read_as_far_as_it_goes) {
    const BuiltFile file = HypervBuilder({.file_object_from = 16}).build(small_forest());
    std::size_t most = 0;
    for (std::size_t size = 0; size < file.bytes.size(); size += 37) {
        const auto storage = open_bytes({file.bytes.begin(), file.bytes.begin() + static_cast<std::ptrdiff_t>(size)});
        if (size <= 8192) BOOST_TEST(storage.has_error());
        if (storage.has_error()) continue;
        BOOST_TEST(storage.value()->keys().size() >= most); // more of the file never gives less of the tree
        most = storage.value()->keys().size();
        BOOST_TEST(find_remnants(*storage.value()).has_value());
    }
}

BOOST_AUTO_TEST_CASE(pending_log_entries_are_the_state_and_no_replay_is_the_file) {
    const Forest forest = small_forest();
    HypervBuilder plain;
    const BuiltFile before = plain.build(forest);
    Forest changed = forest;
    changed.keys[2].value = test::little<std::int64_t>(77);
    HypervBuilder builder;
    const BuiltFile after = builder.build(changed);
    const std::size_t at = builder.entry_offset(2);
    const BuiltFile dirty =
        HypervBuilder().build(forest, {{at,
                                        {after.bytes.begin() + static_cast<std::ptrdiff_t>(at),
                                         after.bytes.begin() + static_cast<std::ptrdiff_t>(at + 34)}}});
    BOOST_TEST(same_tree(*open_built(dirty), changed));
    BOOST_TEST(same_tree(*open_built(dirty, {.replay = false}), forest));
    const auto remnants = find_remnants(*open_built(dirty));
    BOOST_REQUIRE(remnants.has_value() && remnants.value().size() == 1U);
    BOOST_TEST((remnants.value()[0].source == RemnantSource::before_replay));
    BOOST_TEST(as_integer(remnants.value()[0].value).value() == -5);
}

BOOST_AUTO_TEST_CASE(a_chain_of_100000_nodes_is_walked_without_recursion) {
    Forest forest;
    std::size_t parent = Forest::kRoot;
    for (int i = 0; i < 100'000; ++i) parent = forest.add({"n"}, parent);
    const StoragePtr storage =
        open_built(HypervBuilder({.alignment = 65536, .table_bytes = 65536, .shuffled = true}).build(forest));
    BOOST_TEST(kinds(*storage).empty());
    BOOST_TEST(same_tree(*storage, forest));
}

BOOST_AUTO_TEST_CASE(a_circle_of_any_length_is_cut_once) {
    // Every node is the parent of the one before it, and the last one's parent is made the first.
    Forest forest;
    std::size_t parent = forest.add({"first"});
    for (int i = 0; i < 50; ++i) parent = forest.add({"n"}, parent);
    HypervBuilder builder;
    BuiltFile file = builder.build(forest);
    const std::size_t entry = builder.entry_offset(0);
    file.bytes[entry + 6] = std::byte{1}; // parent table 1
    const auto offset =
        test::little(static_cast<std::uint32_t>(builder.entry_offset(50) - builder.entry_offset(0) + 10));
    std::copy(offset.begin(), offset.end(), file.bytes.begin() + static_cast<std::ptrdiff_t>(entry + 8));
    const StoragePtr storage = open_built(file);
    BOOST_TEST(storage->tree().tops(Tree::RootKind::cycle).size() == 1U);
    BOOST_TEST(path_of(*storage, storage->tree().tops(Tree::RootKind::cycle)[0]) == "cycle:/first");
    BOOST_TEST(kinds(*storage).count("unreachable") == 1U);
}

BOOST_AUTO_TEST_CASE(sequence_counters_wrap) {
    BOOST_TEST(newer(1, 0));
    BOOST_TEST(newer(0, 0xFFFF));
    BOOST_TEST(newer(5, 0xFFFE));
    BOOST_TEST(!newer(0xFFFE, 5));
    BOOST_TEST(!newer(9, 9));
}

BOOST_AUTO_TEST_CASE(utf16_is_decoded_and_what_is_not_valid_is_told) {
    const auto decoded = [](std::vector<std::byte> bytes) { return decode_utf16(bytes); };
    BOOST_TEST(decoded(test::utf16("a")).utf8 == "a");
    BOOST_TEST(decoded(concat({test::utf16("a"), bytes({0, 0})})).utf8 == "a");
    BOOST_TEST(decoded(concat({test::utf16("a"), bytes({0, 0, 0, 0})})).utf8 == std::string("a\0", 2));
    BOOST_TEST(decoded(bytes({0x3D, 0xD8, 0x00, 0xDE})).utf8 == "\xF0\x9F\x98\x80");
    BOOST_TEST(decoded(bytes({0x3D, 0xD8})).utf8 == "\xEF\xBF\xBD");
    BOOST_TEST(!decoded(bytes({0x3D, 0xD8})).exact);
    BOOST_TEST(!decoded(bytes({0x41, 0x00, 0x42})).exact);
    BOOST_TEST(decoded({}).exact);
}

// [MS-XCA] 3.1 gives these two.
BOOST_AUTO_TEST_CASE(xpress_expands_the_examples_of_its_specification) {
    const auto expand = [](const std::vector<std::byte>& packed, std::size_t size) {
        std::vector<std::byte> out(size);
        BOOST_TEST(expand_xpress(packed, out).has_value());
        return std::string(reinterpret_cast<const char*>(out.data()), out.size());
    };
    BOOST_TEST(expand(concat({bytes({0x3f, 0, 0, 0}), test::bytes_of("abcdefghijklmnopqrstuvwxyz")}), 26) ==
               "abcdefghijklmnopqrstuvwxyz");
    std::string abc;
    for (int i = 0; i < 100; ++i) abc += "abc";
    BOOST_TEST(expand(bytes({0xff, 0xff, 0xff, 0x1f, 0x61, 0x62, 0x63, 0x17, 0x00, 0x0f, 0xff, 0x26, 0x01}), 300) ==
               abc);
}

BOOST_AUTO_TEST_CASE(xpress_matches_have_every_length_that_can_be_written) {
    for (const std::uint32_t length : {3U, 9U, 10U, 11U, 24U, 25U, 26U, 279U, 280U, 281U, 65538U, 65539U, 70000U}) {
        // A letter, and a match with it.
        const std::uint32_t rest = length - 3;
        std::vector<std::byte> packed = bytes({0xff, 0xff, 0xff, 0x7f, 0x61});
        const auto put = [&](std::uint32_t value, std::size_t size) {
            for (std::size_t i = 0; i < size; ++i) packed.push_back(static_cast<std::byte>(value >> 8 * i));
        };
        put(std::min(rest, 7U), 2);
        if (rest >= 7) put(std::min(rest - 7, 15U), 1);
        if (rest >= 22) put(std::min(rest - 22, 255U), 1);
        if (rest >= 277) put(rest > 65535 ? 0 : rest, 2);
        if (rest > 65535) put(rest, 4);
        std::vector<std::byte> out(1 + length);
        BOOST_TEST(expand_xpress(packed, out).has_value(), length);
        BOOST_TEST((out == std::vector<std::byte>(1 + length, std::byte{0x61})), length);
    }
}

BOOST_AUTO_TEST_CASE(xpress_fills_its_output_or_fails) {
    const auto abc = bytes({0xff, 0xff, 0xff, 0x1f, 0x61, 0x62, 0x63, 0x17, 0x00, 0x0f, 0xff, 0x26, 0x01});
    for (std::size_t length = 0; length < abc.size(); ++length) {
        std::vector<std::byte> out(300);
        BOOST_TEST(expand_xpress(std::span(abc).first(length), out).has_error(), length);
    }
    for (const std::size_t size : {0U, 1U, 299U, 301U}) {
        std::vector<std::byte> out(size);
        BOOST_TEST(expand_xpress(abc, out).has_error(), size);
    }
    std::vector<std::byte> out(8);
    BOOST_TEST(
        expand_xpress(bytes({0xff, 0xff, 0xff, 0x7f, 0x61, 0x08, 0x00}), out).has_error()); // a match before the start
}

BOOST_AUTO_TEST_CASE(a_page_stream_is_whole_or_says_which_pages_are_missing) {
    BOOST_TEST(decode(fill(256, 7)).whole());
    BOOST_TEST(decode(concat({fill(256, 7), bytes({255, 255, 255, 255})})).whole());
    BOOST_TEST(decode(fill(257, 7)).good.none());
    BOOST_TEST(decode(fill(100, 7)).good.count() == 100U);
    BOOST_TEST(decode({}).good.none());
    BOOST_TEST(
        decode(concat({fill(255, 7), test::little<std::uint32_t>(4096), std::vector<std::byte>(4095)})).good.count() ==
        255U);
    BOOST_TEST(decode(concat({fill(256, 7), fill(1, 7)})).good.count() == 256U);
    BOOST_TEST(!decode(concat({fill(256, 7), fill(1, 7)})).fault.empty());
    BOOST_TEST(decode(std::vector<std::byte>(kBlockBytes, std::byte{9})).whole());
    BOOST_TEST(decode(std::vector<std::byte>(kBlockBytes + 1)).good.none());
}

BOOST_AUTO_TEST_CASE(a_page_that_does_not_expand_is_lost_alone_only_if_the_rest_comes_out_even) {
    const auto broken = concat({test::little<std::uint32_t>(5), bytes({0xff, 0xff, 0xff, 0xff, 0x41})});
    const RamBlock even = decode(concat({fill(10, 1), broken, fill(245, 2)}));
    BOOST_TEST(even.good.count() == 255U);
    BOOST_TEST(!even.good[10]);
    BOOST_TEST(decode(concat({fill(10, 1), broken, fill(244, 2)})).good.count() == 10U);
}

BOOST_AUTO_TEST_CASE(memory_regions_keep_their_addresses_and_hostile_ones_cost_nothing) {
    Forest forest;
    const std::size_t saved = forest.add({"savedstate"});
    forest.add({"RamMemoryBlock0", 7, region(300, 0, 0)}, saved);
    forest.add({"RamMemoryBlock1", 7, region(1, 512, 0x100000)}, saved);
    forest.add({"RamMemoryBlock2", 7, region(1, 512, 0x100000)}, saved);             // the same place again
    forest.add({"RamMemoryBlock3", 7, region(std::uint64_t{1} << 63, 0, 5)}, saved); // beyond any address
    forest.add({"RamMemoryBlock4", 7, region(std::uint64_t{1} << 39, 1024, 0x200000)}, saved);
    forest.add({"RamMemoryBlock5", 7, region(1, 3, 0x300000)}, saved); // inside a block
    forest.add({"RamBlock0", 7, fill(256, 1)}, saved);
    forest.add({"RamBlock1", 7, fill(44, 2)}, saved); // the region needs no more of it
    forest.add({"RamBlock2", 7, fill(256, 3)}, saved);
    forest.add({"RamBlock3", 7, fill(256, 4)}, saved);
    const auto memory = SavedMemory::open(open_built(HypervBuilder().build(forest)));
    BOOST_REQUIRE(memory.has_value());
    BOOST_TEST(memory.value().regions().size() == 3U);
    BOOST_TEST(memory.value().losses().size() == 4U); // regions 2, 3 and 5, and block 3
    std::map<std::uint64_t, std::uint64_t> runs;
    const auto losses =
        memory.value().read_all([&](std::uint64_t address, std::span<const std::byte> pages) -> Result<void> {
            runs[address] = pages.size();
            return ok();
        });
    const std::map<std::uint64_t, std::uint64_t> expected{
        {0, kBlockBytes}, {kBlockBytes, 44 * kPageBytes}, {0x100000 * kPageBytes, kPageBytes}};
    BOOST_TEST((runs == expected));
    BOOST_REQUIRE(losses.has_value());
    BOOST_TEST(losses.value().size() == 1U); // all of region 4, at once
}

// Where pages were rebuilt: address to bytes.
std::map<std::uint64_t, std::uint64_t> rebuilt(const SavedMemory& memory, std::vector<MemoryLoss>& losses) {
    std::map<std::uint64_t, std::uint64_t> runs;
    auto done = memory.read_all([&](std::uint64_t address, std::span<const std::byte> pages) -> Result<void> {
        runs[address] = pages.size();
        return ok();
    });
    losses = std::move(done).value();
    return runs;
}

// A plain and a compressed block, both in file objects, at the end of a file; pages of the compressed one are a kind of
// noise, so that it is long.
BuiltFile saved_blocks() {
    std::mt19937 random(7);
    std::vector<std::byte> plain(kBlockBytes);
    for (std::byte& byte : plain) byte = static_cast<std::byte>(random());
    std::vector<std::byte> packed;
    for (std::size_t page = 0; page < kPagesPerBlock; ++page) {
        const auto token = test::little<std::uint32_t>(kPageBytes);
        packed.insert(packed.end(), token.begin(), token.end());
        packed.insert(packed.end(), plain.begin() + static_cast<std::ptrdiff_t>(page * kPageBytes),
                      plain.begin() + static_cast<std::ptrdiff_t>((page + 1) * kPageBytes));
    }
    packed.resize(packed.size() - 8 * (kPageBytes + 4)); // below 1 MiB, or it would count as plain
    const auto end = fill(8, 5);
    packed.insert(packed.end(), end.begin(), end.end());
    Forest forest;
    const std::size_t saved = forest.add({"savedstate"});
    forest.add({"RamMemoryBlock0", 7, region(512, 0, 0)}, saved);
    forest.add({"RamBlock0", 7, plain}, saved);
    forest.add({"RamBlock1", 7, packed}, saved);
    return HypervBuilder().build(forest);
}

BOOST_AUTO_TEST_CASE(a_cut_file_keeps_the_memory_before_the_cut) {
    const BuiltFile file = saved_blocks();
    std::uint64_t before = 2 * kBlockBytes + 1;
    for (std::size_t cut = file.bytes.size(); cut > file.bytes.size() - 2 * kBlockBytes; cut -= 54'321) {
        BuiltFile part = file;
        part.bytes.resize(cut);
        const auto memory = SavedMemory::open(open_built(part));
        BOOST_TEST_REQUIRE(memory.has_value());
        std::vector<MemoryLoss> losses;
        std::uint64_t good = 0, lost = 0;
        for (const auto& [address, bytes] : rebuilt(memory.value(), losses)) good += bytes;
        for (const MemoryLoss& loss : losses) lost += loss.length;
        BOOST_TEST(good + lost == 2 * kBlockBytes);
        BOOST_TEST((good < before || good == 2 * kBlockBytes)); // a page for each that is there
        BOOST_TEST(good + (file.bytes.size() - cut) + 4 * kPageBytes + kPagesPerBlock * 4 >= 2 * kBlockBytes);
        before = good;
    }
}

BOOST_AUTO_TEST_CASE(a_page_that_can_not_be_read_costs_itself_where_nothing_is_compressed) {
    const BuiltFile file = saved_blocks();
    for (const bool plain : {true, false}) {
        // Where the block's eleventh page lies: its bytes are noise, so they stand there only.
        const auto whole = Storage::open(std::make_shared<MemorySource>(file.bytes, "whole")).value();
        const KeyId key = find_key(*whole, plain ? "/savedstate/RamBlock0" : "/savedstate/RamBlock1");
        const std::uint64_t bad = whole->key(key).entry.pointer->offset + 10 * (kPageBytes + (plain ? 0 : 4)) + 100;
        const auto memory =
            SavedMemory::open(
                Storage::open(std::make_shared<test::FaultySource>(test::memory(file.bytes), bad, bad + 1)).value())
                .value();
        std::vector<MemoryLoss> losses;
        const auto runs = rebuilt(memory, losses);
        const std::uint64_t start = plain ? 0 : kBlockBytes;
        // Of compressed bytes a page's worth can't be read, which takes the end of the page before along.
        const std::uint64_t before = plain ? 10 : 9;
        BOOST_TEST_REQUIRE(losses.size() == 1U);
        BOOST_TEST(losses[0].address == start + before * kPageBytes);
        BOOST_TEST(losses[0].length == (plain ? kPageBytes : kBlockBytes - before * kPageBytes));
        BOOST_TEST(runs.at(start) == before * kPageBytes);
    }
}

BOOST_AUTO_TEST_CASE(a_region_that_can_not_be_read_is_lost_and_one_of_another_length_is_not_read) {
    Forest forest;
    const std::size_t saved = forest.add({"savedstate"});
    forest.add({"RamMemoryBlock0", 7, region(256, 0, 0)}, saved);
    forest.add({"RamMemoryBlock1", 7, fill(2, 9)}, saved);
    const BuiltFile file = HypervBuilder({.file_object_from = 8}).build(forest);
    const auto whole = Storage::open(std::make_shared<MemorySource>(file.bytes, "whole")).value();
    std::vector<std::string> told;
    for (const std::string_view name : {"/savedstate/RamMemoryBlock0", "/savedstate/RamMemoryBlock1"}) {
        const std::uint64_t place = whole->key(find_key(*whole, name)).entry.pointer->offset;
        const auto source = std::make_shared<test::FaultySource>(test::memory(file.bytes), place, place + 1);
        const auto memory = SavedMemory::open(Storage::open(source).value());
        BOOST_TEST_REQUIRE(memory.has_value());
        for (const MemoryLoss& loss : memory.value().losses()) told.push_back(loss.what + ": " + loss.why);
    }
    BOOST_TEST_REQUIRE(told.size() == 3U);
    BOOST_TEST(told[0].starts_with("RamMemoryBlock0: broken on purpose"));
    BOOST_TEST(told[1].starts_with("RamMemoryBlock1: it has "));
    BOOST_TEST(told[2] == told[1]);
}

// A record as versions before 3 have it.
std::vector<std::byte> old_region(std::uint64_t pages, std::uint64_t first_index, std::uint64_t first_page,
                                  unsigned version) {
    auto record = region(pages, first_index, first_page);
    record[0] = static_cast<std::byte>(version);
    record.resize(40);
    return record;
}

BOOST_AUTO_TEST_CASE(memory_of_older_machines_is_found_by_its_names) {
    for (const char* place : {"", "savedVM", "savedstate"})
        for (const int form : {0, 1, 2}) {
            Forest forest;
            forest.add({"configuration"});
            const std::size_t parent = *place == '\0' ? Forest::kRoot : forest.add({place});
            const auto add = [&](const std::string& name, const std::string& number, std::vector<std::byte> value) {
                if (form == 0) { // one name with a slash in it
                    forest.add({name + "/" + number, 7, std::move(value)}, parent);
                    return;
                }
                const std::size_t node = forest.add({name}, parent);
                if (form == 1) forest.add({number, 7, std::move(value)}, node);
                else forest.add({"data", 7, std::move(value)}, forest.add({number}, node));
            };
            add("RamMemoryBlock", "0", old_region(300, 0, 0, 2));
            add("RamMemoryBlock", "1", old_region(1, 512, 0x100000, 1));
            add("RamBlock", "0", fill(256, 1));
            add("RamBlock", "1", fill(256, 2));
            add("RamBlock", "2", fill(256, 3));
            const auto memory = SavedMemory::open(open_built(HypervBuilder().build(forest)));
            BOOST_TEST_REQUIRE(memory.has_value());
            BOOST_TEST(memory.value().losses().empty());
            std::vector<MemoryLoss> losses;
            const std::map<std::uint64_t, std::uint64_t> expected{
                {0, kBlockBytes}, {kBlockBytes, 44 * kPageBytes}, {0x100000 * kPageBytes, kPageBytes}};
            BOOST_TEST((rebuilt(memory.value(), losses) == expected));
            BOOST_TEST(losses.empty());
        }
}

BOOST_AUTO_TEST_CASE(a_record_that_is_short_for_its_version_is_believed_if_its_blocks_are_there) {
    Forest forest;
    const std::size_t saved = forest.add({"savedstate"});
    forest.add({"RamMemoryBlock0", 7, old_region(256, 0, 0, 3)}, saved);
    forest.add({"RamMemoryBlock1", 7, old_region(256, 256, 0x100000, 3)}, saved); // there is no RamBlock1
    forest.add({"RamMemoryBlock2", 7, old_region(256, 0, 0x200000, 4)}, saved);   // a version from the future
    forest.add({"RamBlock0", 7, fill(256, 1)}, saved);
    const auto memory = SavedMemory::open(open_built(HypervBuilder().build(forest))).value();
    BOOST_TEST_REQUIRE(memory.regions().size() == 1U);
    BOOST_TEST(memory.regions().front().number == 0U);
    BOOST_TEST(memory.losses().size() == 3U); // the one that is believed is told too
}

BOOST_AUTO_TEST_CASE(a_file_without_saved_memory_is_refused) {
    const auto memory = SavedMemory::open(open_built(HypervBuilder().build(small_forest())));
    BOOST_REQUIRE(memory.has_error());
    BOOST_TEST((memory.error().kind == ErrorKind::usage));
}

BOOST_AUTO_TEST_CASE(a_child_is_found_by_its_name_in_any_case) {
    Forest forest;
    const std::size_t top = forest.add({"top"});
    for (const char* const name : {"First", "second"}) forest.add({name}, top);
    const StoragePtr storage = open_built(HypervBuilder().build(forest));
    const KeyId parent = find_key(*storage, "/top");
    BOOST_TEST(find_child(*storage, parent, "first") == find_key(*storage, "/top/First"));
    BOOST_TEST(find_child(*storage, parent, "SECOND") == find_key(*storage, "/top/second"));
    BOOST_TEST(find_child(*storage, parent, "firs") == kNoKey);
}

BOOST_AUTO_TEST_CASE(the_drives_of_a_machine_in_xml_are_read_up_to_a_limit) {
    const std::string_view text = "<configuration><ide><controller0><drive0><pathname>a.vhd</pathname></drive0>"
                                  "<drive1><pathname>b.vhd</pathname></drive1></controller0></ide></configuration>";
    Limits limits;
    limits.machine_media = 2;
    const auto machine = describe_xml(text, "m.xml", limits);
    BOOST_TEST_REQUIRE(machine.has_value());
    BOOST_TEST_REQUIRE(machine.value().drives.size() == 2U);
    BOOST_TEST(machine.value().drives[0].location == "controller0/drive0");
    BOOST_TEST(machine.value().drives[1].location == "controller0/drive1");
    limits.machine_media = 1;
    BOOST_TEST((describe_xml(text, "m.xml", limits).error().kind == ErrorKind::limit_exceeded));
}

BOOST_AUTO_TEST_SUITE_END()
