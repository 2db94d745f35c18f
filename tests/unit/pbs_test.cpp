// SPDX-License-Identifier: Apache-2.0
#include "base/system/path.hpp"
#include "format/pbs/blob.hpp"
#include "format/pbs/catalog.hpp"
#include "format/pbs/layout.hpp"
#include "format/pbs/pbs.hpp"
#include "format_in_memory.hpp"
#include "image/disk_comparison.hpp"
#include "io/memory_source.hpp"
#include "open/open.hpp"
#include "pbs_builder.hpp"
#include "special_files.hpp"

#include <boost/test/unit_test.hpp>

namespace fs = std::filesystem;

using namespace vdisk;
using namespace vdisk::test;

BOOST_AUTO_TEST_SUITE(pbs)

namespace {

constexpr std::uint64_t kChunk = 65536;

const Bytes& zeros() {
    static const Bytes all(kChunk);
    return all;
}

// Chunks 0, 2 and 5 of random bytes, the others of zeros, and a short one of zeros at the end.
Bytes small_disk(Random& random) {
    Bytes disk = random_bytes(random, kChunk);
    for (const bool stored : {false, true, false, false, true}) {
        const Bytes chunk = stored ? random_bytes(random, kChunk) : zeros();
        disk.insert(disk.end(), chunk.begin(), chunk.end());
    }
    disk.resize(disk.size() + 1536);
    return disk;
}

vdisk::pbs::Key some_key(std::byte first = std::byte{0}) {
    SecretBytes bytes(vdisk::pbs::Key::kBytes);
    for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::byte>(i);
    bytes[0] = first;
    return required(vdisk::pbs::Key::of(std::move(bytes)));
}

OpenedDisk opened(const fs::path& index) {
    return required(open_disk(index.string(), {}));
}

bool fails(const Image& disk, std::uint64_t at, std::size_t length) {
    return read_some(disk, at, length).has_error();
}

void flip(const fs::path& file, std::uint64_t at, unsigned mask = 1) {
    std::fstream stream(file, std::ios::binary | std::ios::in | std::ios::out);
    stream.seekg(static_cast<std::streamoff>(at));
    const char was = static_cast<char>(stream.get());
    stream.seekp(static_cast<std::streamoff>(at));
    stream.put(static_cast<char>(was ^ static_cast<char>(mask)));
}

// That all of the disk reads as the model but [start, end), each byte of which is an error.
void check_lost(const Image& disk, const Bytes& model, std::uint64_t start, std::uint64_t end) {
    if (start > 0) BOOST_TEST(reads_as(disk, model, 0, start));
    if (end < model.size()) BOOST_TEST(reads_as(disk, model, end, model.size() - end));
    for (const std::uint64_t at : {start, (start + end) / 2, end - 1}) BOOST_TEST(fails(disk, at, 1));
    if (start > 0) BOOST_TEST(fails(disk, start - 1, 2));
}

} // namespace

BOOST_AUTO_TEST_CASE(an_index_that_a_program_reads_finds_chunks_only_where_a_person_says) {
    Random random(11);
    const PbsStore store;
    const Bytes disk = small_disk(random);
    const fs::path path = store.write_index(store.store(disk, kChunk), "a.img.fidx");
    const FilePtr file = required(FileSource::open(path, FileKinds::regular_only));
    const FilePtr given = FileSource::over(file, path); // whatever a program calls it
    const auto opened = [&](const std::string& selector) -> Result<OpenedDisk> {
        VDISK_TRY(index, open_given(given, selector, {}));
        return open_disk(std::move(index), {});
    };
    const auto without = opened("");
    BOOST_REQUIRE(without.has_error());
    BOOST_TEST(without.error().what.find("lies in no folder") != std::string::npos, without.error().what);
    const auto with = required(opened("chunks=" + (store.root() / ".chunks").string()));
    BOOST_TEST(reads_as(*with.image, disk, 0, disk.size()));
}

BOOST_AUTO_TEST_CASE(a_plain_index_reads_as_its_disk) {
    Random random(1);
    for (const bool compressed : {false, true}) {
        const PbsStore store;
        const Bytes disk = small_disk(random);
        const auto index = store.write_index(store.store(disk, kChunk, {.compressed = compressed}));
        check_against_model(*opened(index).image, disk, kChunk, random);
    }
}

BOOST_AUTO_TEST_CASE(parts_of_chunks_are_read_as_they_are_without_a_cache) {
    Random random(2);
    const PbsStore store;
    const Bytes disk = small_disk(random);
    const OpenedDisk whole = opened(store.write_index(store.store(disk, kChunk)));
    const Layer layer = required(whole.file.disks->layer(0));
    check_against_model(*layer.sources.front(), disk, kChunk, random);
}

BOOST_AUTO_TEST_CASE(zeros_are_known_by_their_digest_where_their_file_is_missing) {
    Random random(2);
    const PbsStore store;
    const Bytes disk = small_disk(random);
    const auto index = store.write_index(store.store(disk, kChunk));
    fs::remove(store.chunk(pbs_digest(zeros())));
    fs::remove(store.chunk(pbs_digest(std::span(zeros()).first(1536))));
    check_against_model(*opened(index).image, disk, kChunk, random);
}

BOOST_AUTO_TEST_CASE(a_chunk_that_is_missing_cut_or_another_one_is_an_error_for_its_range) {
    Random random(3);
    const Bytes disk = small_disk(random);
    const auto damage = [&](const auto& do_damage) {
        const PbsStore store;
        const PbsIndex index = store.store(disk, kChunk, {.compressed = true});
        const auto path = store.write_index(index);
        do_damage(store, index);
        check_lost(*opened(path).image, disk, 2 * kChunk, 3 * kChunk);
    };
    damage([](const PbsStore& store, const PbsIndex& index) { fs::remove(store.chunk(index.digests[2])); });
    damage([](const PbsStore& store, const PbsIndex& index) {
        fs::remove_all(store.chunk(index.digests[2]).parent_path());
    });
    damage([](const PbsStore& store, const PbsIndex& index) { fs::resize_file(store.chunk(index.digests[2]), 0); });
    damage([](const PbsStore& store, const PbsIndex& index) { fs::resize_file(store.chunk(index.digests[2]), 5); });
    damage([](const PbsStore& store, const PbsIndex& index) { fs::resize_file(store.chunk(index.digests[2]), 30000); });
    damage([](const PbsStore& store, const PbsIndex& index) {
        fs::remove(store.chunk(index.digests[2]));
        fs::copy_file(store.chunk(index.digests[0]), store.chunk(index.digests[2]));
    });
    damage([](const PbsStore& store, const PbsIndex& index) {
        fs::remove(store.chunk(index.digests[2]));
        fs::create_directory(store.chunk(index.digests[2]));
    });
    if (system::kHasDrives) return; // whoever may make links there
    damage([](const PbsStore& store, const PbsIndex& index) {
        const auto file = store.chunk(index.digests[2]);
        fs::rename(file, store.root() / "elsewhere");
        fs::create_symlink(store.root() / "elsewhere", file);
    });
    damage([](const PbsStore& store, const PbsIndex& index) {
        const auto folder = store.chunk(index.digests[2]).parent_path();
        fs::rename(folder, store.root() / "folder");
        fs::create_directory_symlink(store.root() / "folder", folder);
    });
}

BOOST_AUTO_TEST_CASE(every_changed_byte_of_a_chunk_file_is_noticed) {
    Random random(4);
    constexpr std::uint64_t kSmall = 512;
    for (const bool compressed : {false, true}) {
        Bytes disk(kSmall, std::byte{0x11});
        if (!compressed) disk = random_bytes(random, kSmall);
        const PbsStore store;
        const PbsIndex index = store.store(disk, kSmall, {.compressed = compressed});
        const auto path = store.write_index(index);
        const auto chunk = store.chunk(index.digests[0]);
        for (std::uint64_t at = 0; at < fs::file_size(chunk); ++at)
            for (const unsigned mask : {1U, 0x80U}) {
                flip(chunk, at, mask);
                Bytes out(kSmall);
                const auto read = opened(path).image->read_at(0, out);
                BOOST_TEST((read.has_error() || out == disk));
                flip(chunk, at, mask);
            }
    }
}

BOOST_AUTO_TEST_CASE(a_renamed_chunk_is_read_if_its_digest_proves_it) {
    Random random(5);
    const PbsStore store;
    const Bytes disk = small_disk(random);
    const PbsIndex index = store.store(disk, kChunk);
    const auto path = store.write_index(index);
    const auto chunk = store.chunk(index.digests[2]);
    fs::rename(chunk, chunk.string() + ".0.bad");
    check_against_model(*opened(path).image, disk, kChunk, random);
    flip(chunk.string() + ".0.bad", 100);
    check_lost(*opened(path).image, disk, 2 * kChunk, 3 * kChunk);
}

BOOST_AUTO_TEST_CASE(an_index_that_was_cut_lacks_what_its_digests_are_lost_of) {
    Random random(6);
    const PbsStore store;
    const Bytes disk = small_disk(random);
    const auto path = store.write_index(store.store(disk, kChunk));
    fs::resize_file(path, 4096 + 32 * 4 + 31);
    const OpenedDisk there = opened(path);
    check_lost(*there.image, disk, 4 * kChunk, disk.size());
    BOOST_TEST(!doubts_of(there.remarks()).empty());
}

BOOST_AUTO_TEST_CASE(a_changed_digest_is_an_error_or_is_told) {
    Random random(7);
    const PbsStore store;
    const Bytes disk = small_disk(random);
    PbsIndex index = store.store(disk, kChunk);
    const auto path = store.write_index(index);
    flip(path, 4096 + 32 * 2);
    const OpenedDisk lost = opened(path);
    check_lost(*lost.image, disk, 2 * kChunk, 3 * kChunk);
    BOOST_TEST(!doubts_of(lost.remarks()).empty());
}

BOOST_AUTO_TEST_CASE(impossible_headers_are_refused) {
    Random random(8);
    const PbsStore store;
    const Bytes disk = small_disk(random);
    const PbsIndex sound = store.store(disk, kChunk);
    const auto refused = [&](std::size_t at, std::uint64_t value) {
        Bytes file = sound.build();
        put_little(file, at, value, 8);
        const auto path = store.write(fs::path(PbsStore::kSnapshot) / "x.fidx", file);
        const auto there = open_disk(path.string(), {});
        BOOST_REQUIRE(there.has_error());
        return there.error().kind;
    };
    for (const std::uint64_t size : {std::uint64_t{0}, std::uint64_t{1} << 63, ~std::uint64_t{0}})
        BOOST_TEST((refused(64, size) == ErrorKind::corrupt));
    for (const std::uint64_t chunk_size : {0U, 1U, 256U, 3U << 20})
        BOOST_TEST((refused(72, chunk_size) == ErrorKind::corrupt));
    BOOST_TEST((refused(72, std::uint64_t{1} << 40) == ErrorKind::limit_exceeded));
}

BOOST_AUTO_TEST_CASE(an_index_that_never_got_its_size_ends_behind_the_last_chunk_that_was_written) {
    Random random(10);
    const PbsStore store;
    Bytes disk = small_disk(random);
    disk.resize(6 * kChunk);
    const PbsIndex sound = store.store(disk, kChunk);
    Bytes file = sound.build();
    put_little(file, 64, 0, 8);
    std::fill_n(file.begin() + 32, 32, std::byte{0});
    file.resize(4096 + 32 * 128); // the room that such a server leaves
    const OpenedDisk there = opened(store.write(fs::path(PbsStore::kSnapshot) / "x.img.tmp_fidx", file));
    BOOST_TEST(there.image->size() == disk.size());
    BOOST_TEST(reads_as(*there.image, disk, 0, disk.size()));
    std::string said;
    for (const Remark& remark : there.remarks()) said += remark.text + "\n";
    BOOST_TEST(said.find("does not say how large the disk is") != std::string::npos);
    std::fill(file.begin() + 4096, file.end(), std::byte{0});
    const auto empty = open_disk(store.write(fs::path(PbsStore::kSnapshot) / "y.img.tmp_fidx", file).string(), {});
    BOOST_TEST((empty.error().kind == ErrorKind::corrupt));
}

// A catalog of one folder's table behind another's, as Proxmox's client lays them out.
struct CatalogBuilder {
    Bytes bytes = of_text("\x91\xfd\x60\xf9\xc4\x67\x58\xd5");

    static Bytes of_text(std::string_view text) {
        const auto raw = std::as_bytes(std::span(text));
        return {raw.begin(), raw.end()};
    }
    static void add_number(Bytes& to, std::uint64_t value) {
        for (; value >= 0x80; value >>= 7) to.push_back(static_cast<std::byte>(value | 0x80));
        to.push_back(static_cast<std::byte>(value));
    }
    static void add(Bytes& to, char kind, std::string_view name, std::initializer_list<std::uint64_t> numbers) {
        to.push_back(static_cast<std::byte>(kind));
        add_number(to, name.size());
        const Bytes text = of_text(name);
        to.insert(to.end(), text.begin(), text.end());
        for (const std::uint64_t number : numbers) add_number(to, number);
    }
    // Returns where it is.
    std::size_t table(std::uint64_t count, const Bytes& entries) {
        const std::size_t at = bytes.size();
        Bytes body;
        add_number(body, count);
        body.insert(body.end(), entries.begin(), entries.end());
        add_number(bytes, body.size());
        bytes.insert(bytes.end(), body.begin(), body.end());
        return at;
    }
    Result<vdisk::pbs::Catalog> listed(std::uint64_t root, const Limits& limits = {}) const {
        Bytes whole = bytes;
        whole.resize(whole.size() + 8);
        put_little(whole, whole.size() - 8, root, 8);
        return vdisk::pbs::list_catalog(MemorySource(whole, "catalog"), limits);
    }
};

BOOST_AUTO_TEST_CASE(a_catalog_lists_paths_with_sizes_and_times) {
    CatalogBuilder catalog;
    Bytes inner;
    CatalogBuilder::add(inner, 'f', "pass\nwd", {300, 1714561602});
    CatalogBuilder::add(inner, 'f', "old", {0});
    inner.push_back(std::byte{0x81}); // -1
    inner.push_back(std::byte{0});
    const std::size_t etc = catalog.table(2, inner);
    Bytes outer;
    const std::size_t root = catalog.bytes.size();
    CatalogBuilder::add(outer, 'd', "etc", {root - etc});
    CatalogBuilder::add(outer, 'l', "bin", {});
    catalog.table(2, outer);
    const auto listed = required(catalog.listed(root));
    BOOST_TEST(listed.problem == "");
    BOOST_TEST(listed.text == "d                                     etc\n"
                              "l                                     bin\n"
                              "f            300 2024-05-01T11:06:42Z etc/pass\\x0awd\n"
                              "f              0 1969-12-31T23:59:59Z etc/old\n");
}

BOOST_AUTO_TEST_CASE(a_damaged_or_hostile_catalog_ends_and_says_what_is_amiss) {
    CatalogBuilder catalog;
    Bytes entries;
    CatalogBuilder::add(entries, 'd', "itself", {0});
    const std::size_t circle = catalog.table(1, entries);
    BOOST_TEST(required(catalog.listed(circle)).problem != "");
    for (const std::uint64_t root : {std::uint64_t{0}, std::uint64_t{7}, ~std::uint64_t{0}, std::uint64_t{1} << 40})
        BOOST_TEST(required(catalog.listed(root)).problem != "");
    // Tables that each name the one before twice: 2^40 paths.
    std::size_t before = catalog.table(0, {});
    for (int i = 0; i < 40; ++i) {
        Bytes twice;
        const std::size_t at = catalog.bytes.size();
        for (const char* name : {"a", "b"}) CatalogBuilder::add(twice, 'd', name, {at - before});
        before = catalog.table(2, twice);
    }
    Limits limits;
    limits.folder_entries = 1000;
    const auto many = required(catalog.listed(before, limits));
    BOOST_TEST(std::ranges::count(many.text, '\n') == 1000);
    BOOST_TEST(many.problem.find("more than 1000 entries") != std::string::npos);
    limits.catalog_bytes = 10;
    BOOST_TEST((catalog.listed(before, limits).error().kind == ErrorKind::limit_exceeded));
    BOOST_TEST(
        (vdisk::pbs::list_catalog(MemorySource(Bytes(100), "x"), {}).error().kind == ErrorKind::not_this_format));
    // Every byte of it flipped, and every length: nothing worse than another list.
    for (std::size_t i = 8; i < catalog.bytes.size(); ++i) {
        CatalogBuilder flipped = catalog;
        flipped.bytes[i] ^= std::byte{0xFF};
        Limits few;
        few.folder_entries = 100;
        (void)flipped.listed(before, few);
    }
}

BOOST_AUTO_TEST_CASE(a_size_that_needs_more_digests_costs_nothing) {
    Random random(9);
    const PbsStore store;
    const Bytes disk = small_disk(random);
    PbsIndex index = store.store(disk, kChunk);
    index.size = std::uint64_t{1} << 60;
    const OpenedDisk there = opened(store.write_index(index));
    BOOST_TEST(reads_as(*there.image, disk, 0, 6 * kChunk));
    BOOST_TEST(fails(*there.image, index.size - 512, 512));
}

BOOST_AUTO_TEST_CASE(the_folder_of_the_chunks_can_be_named) {
    Random random(10);
    const PbsStore store;
    const Bytes disk = small_disk(random);
    const auto path = store.write_index(store.store(disk, kChunk));
    fs::rename(store.root() / ".chunks", store.root() / "copied");
    BOOST_TEST((open_disk(path.string(), {}).error().kind == ErrorKind::usage));
    const std::string text = path.string() + "#chunks=" + (store.root() / "copied").string();
    check_against_model(*required(open_disk(text, {})).image, disk, kChunk, random);
    if (system::kHasDrives) return;
    fs::create_directory_symlink(store.root() / "copied", store.root() / ".chunks");
    BOOST_TEST((open_disk(path.string(), {}).error().kind == ErrorKind::usage));
}

BOOST_AUTO_TEST_CASE(a_chunk_that_expands_to_more_or_less_is_refused) {
    for (const std::uint64_t length : {kChunk - 1, kChunk + 1, 64 * kChunk}) {
        const PbsStore store;
        const Bytes content(length, std::byte{7});
        const PbsIndex index{.size = 2 * kChunk,
                             .chunk_size = kChunk,
                             .digests = {store.put(content, {.compressed = true}), store.put(zeros())}};
        const OpenedDisk there = opened(store.write_index(index));
        BOOST_TEST(fails(*there.image, 0, 1));
        BOOST_TEST(reads_as(*there.image, Bytes(2 * kChunk), kChunk, kChunk));
    }
}

BOOST_AUTO_TEST_CASE(an_entry_that_can_not_be_read_costs_its_chunk) {
    Random random(13);
    const PbsStore store;
    const Bytes disk = random_bytes(random, 300 * 512);
    const auto path = store.write_index(store.store(disk, 512));
    const SourcePtr file = required(FileSource::open(path, FileKinds::regular_only));
    // Entries 128 to 255, a block of the cache.
    const auto holed = std::make_shared<const FaultySource>(file, 2 * vdisk::pbs::IndexHeader::kBytes,
                                                            3 * vdisk::pbs::IndexHeader::kBytes);
    const auto header = required(vdisk::pbs::IndexHeader::read(*holed, {}));
    const auto survey = required(vdisk::pbs::IndexSurvey::of(*holed, header));
    BOOST_TEST(!survey.lost.none());
    BOOST_TEST(survey.never_written == 0U);
    const CachesPtr caches = std::make_shared<Caches>(Limits{});
    const auto chunks = std::make_shared<const vdisk::pbs::Chunks>(
        vdisk::pbs::Chunks{.table = vdisk::pbs::ChunkTable(holed, header),
                           .store = std::make_shared<const vdisk::pbs::ChunkStore>(
                               required(Folder::open(store.root() / vdisk::pbs::ChunkStore::kFolder)), Limits{}),
                           .key = nullptr});
    const auto layout = required(vdisk::pbs::ChunkLayout::make(chunks, caches));
    const Image image({.name = "image",
                       .layout = layout,
                       .sources = {std::make_shared<const vdisk::pbs::ChunkSource>(chunks)},
                       .parent = nullptr,
                       .caches = caches});
    check_lost(image, disk, 128 * 512, 256 * 512);
}

BOOST_AUTO_TEST_CASE(two_backups_differ_where_their_digests_do) {
    Random random(11);
    const PbsStore store;
    const Bytes before = small_disk(random);
    Bytes after = before;
    after[2 * kChunk + 5] ^= std::byte{1};
    after[3 * kChunk] = std::byte{1};
    after.resize(after.size() + kChunk);
    const auto first = opened(store.write_index(store.store(before, kChunk), "a.img.fidx"));
    const auto second = opened(store.write_index(store.store(after, kChunk, {.compressed = true}), "b.img.fidx"));
    fs::remove_all(store.chunk(pbs_digest(std::span(before).first(kChunk))).parent_path());
    using State = ComparedRange::State;
    const auto states = [](const Image& one, const Image& other) {
        std::vector<State> found(div_ceil(std::min(one.size(), other.size()), kChunk));
        DiskComparison comparison(one, other);
        while (const auto range = comparison.next())
            for (std::uint64_t at = range->start(); at < range->start() + range->length(); at += kChunk)
                found[at / kChunk] = range->state;
        return found;
    };
    // A chunk that is in neither is no witness; the last one was short.
    std::vector<State> expected(div_ceil(before.size(), kChunk), State::same);
    expected[0] = State::unreadable;
    expected[2] = expected[3] = State::open;
    BOOST_TEST((states(*first.image, *second.image) == expected));
    expected.assign(div_ceil(after.size(), kChunk), State::same);
    expected[0] = State::unreadable;
    BOOST_TEST((states(*second.image, *second.image) == expected));
}

BOOST_AUTO_TEST_CASE(encrypted_chunks_read_with_their_key_and_with_no_other) {
    Random random(12);
    const auto key = some_key();
    for (const bool compressed : {false, true}) {
        const PbsStore store;
        const Bytes disk = small_disk(random);
        const auto path = store.write_index(store.store(disk, kChunk, {.compressed = compressed, .key = &key}));
        const auto key_file =
            store.write("key.json", std::as_bytes(std::span(std::string_view(
                                        R"({"kdf":null,"data":"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="})"))));
        const auto other =
            store.write("other.json", std::as_bytes(std::span(std::string_view(
                                          R"({"kdf":null,"data":"AQECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="})"))));
        BOOST_TEST((open_disk(path.string(), {}).error().kind == ErrorKind::usage));
        check_against_model(*required(open_disk(path.string() + "#key-file=" + key_file.string(), {})).image, disk,
                            kChunk, random);
        // Nothing but the chunks tells which key it was: no byte is read.
        const auto wrong = open_disk(path.string() + "#key-file=" + other.string(), {});
        if (wrong.has_value())
            for (std::uint64_t at = 0; at < disk.size(); at += 512) BOOST_TEST(fails(*wrong.value().image, at, 1));
        store.write_manifest(R"({"backup-type":"vm","backup-id":"100","backup-time":1,"files":[],"unprotected":)"
                             R"({"key-fingerprint":")" +
                             vdisk::pbs::fingerprint_text(key.fingerprint()) + R"("}})");
        BOOST_TEST((open_disk(path.string() + "#key-file=" + other.string(), {}).error().kind == ErrorKind::usage));
    }
}

BOOST_AUTO_TEST_CASE(every_changed_byte_of_an_encrypted_chunk_file_is_noticed) {
    Random random(13);
    constexpr std::uint64_t kSmall = 512;
    const auto key = some_key();
    const PbsStore store;
    const Bytes disk = random_bytes(random, kSmall);
    const PbsIndex index = store.store(disk, kSmall, {.key = &key});
    const auto path = store.write_index(index);
    const auto key_file =
        store.write("key.json", std::as_bytes(std::span(std::string_view(
                                    R"({"kdf":null,"data":"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="})"))));
    const auto chunk = store.chunk(index.digests[0]);
    for (std::uint64_t at = 0; at < fs::file_size(chunk); ++at) {
        flip(chunk, at);
        const auto there = open_disk(path.string() + "#key-file=" + key_file.string(), {});
        if (there.has_value()) {
            Bytes out(kSmall);
            const auto read = there.value().image->read_at(0, out);
            BOOST_TEST((read.has_error() || out == disk));
            BOOST_TEST((read.has_error() || (at >= 8 && at < 12))); // the CRC alone proves nothing
        }
        flip(chunk, at);
    }
}

BOOST_AUTO_TEST_CASE(every_changed_byte_of_an_index_is_an_error_a_doubt_or_changes_no_byte) {
    Random random(14);
    const PbsStore store;
    Bytes disk = random_bytes(random, 4 * 512 + 100);
    const PbsIndex index = store.store(disk, 512);
    const auto path = store.write_index(index);
    const std::uint64_t length = fs::file_size(path);
    for (std::uint64_t at = 0; at < length; at = at == 128 ? 4096 : at + 1)
        for (unsigned bit = 0; bit < 8; ++bit) {
            flip(path, at, 1U << bit);
            const auto there = open_disk(path.string(), {});
            if (there.has_value()) {
                const bool told = !there.value().remarks().empty();
                const bool sized = there.value().image->size() == disk.size();
                bool right = true;
                for (std::uint64_t from = 0; from < std::min<std::uint64_t>(disk.size(), there.value().image->size());
                     from += 100) {
                    Bytes out(100);
                    const auto got = there.value().image->read_at(from, out);
                    if (got.has_value())
                        right = right && std::equal(out.begin(), out.begin() + static_cast<std::ptrdiff_t>(got.value()),
                                                    disk.begin() + static_cast<std::ptrdiff_t>(from));
                }
                BOOST_TEST(right);
                // Of a size that lies in the last chunk the chunk's length is the witness.
                BOOST_TEST((told || sized || fails(*there.value().image, there.value().image->size() - 1, 1)));
            }
            flip(path, at, 1U << bit);
        }
}

// Windows has no folders with colons in their names.
BOOST_AUTO_TEST_CASE(a_snapshot_a_group_and_a_datastore_list_their_disks, *on_posix()) {
    Random random(15);
    const PbsStore store;
    const Bytes disk = small_disk(random);
    store.write_index(store.store(disk, kChunk));
    store.write_index(store.store(Bytes(kChunk, std::byte{3}), kChunk), "drive-efidisk0.img.fidx");
    store.write_manifest(R"({"backup-type":"vm","backup-id":"100","backup-time":1714557600,"files":[]})");
    store.write(fs::path(PbsStore::kSnapshot) / "qemu-server.conf.blob",
                pbs_blob(std::as_bytes(std::span(std::string_view("cores: 2\n"))), {.compressed = true}));
    for (const auto& [folder, prefix] : {std::pair<fs::path, std::string>{store.snapshot(), ""},
                                         {store.snapshot().parent_path(), "2024-05-01T10:00:00Z/"},
                                         {store.root() / "vm", "100/2024-05-01T10:00:00Z/"},
                                         {store.root(), "vm/100/2024-05-01T10:00:00Z/"}}) {
        const OpenedFile there = required(open_file(folder.string(), {}));
        BOOST_REQUIRE_EQUAL(there.disks->disks().size(), 2U);
        BOOST_TEST(there.disks->disks()[1].name == prefix + "drive-scsi0");
        BOOST_TEST(!there.disks->disks()[0].chosen_by_default);
        check_against_model(*required(open_disk(folder.string(), {})).image, disk, kChunk, random);
        check_against_model(*required(open_disk(folder.string() + "#" + prefix + "drive-scsi0", {})).image, disk,
                            kChunk, random);
    }
    const auto texts = required(required(open_file(store.snapshot().string(), {})).disks->configurations());
    BOOST_REQUIRE_EQUAL(texts.size(), 1U);
    BOOST_TEST(texts[0].data == "cores: 2\n");
    BOOST_TEST((open_file((store.root() / ".chunks").string(), {}).error().kind == ErrorKind::io));
}

BOOST_AUTO_TEST_CASE(verify_reads_a_chunk_once_and_tells_each_range_of_a_damaged_one) {
    Random random(16);
    const PbsStore store;
    Bytes disk = random_bytes(random, kChunk);
    disk.insert(disk.end(), disk.begin(), disk.begin() + kChunk);
    const PbsIndex index = store.store(disk, kChunk);
    const auto path = store.write_index(index);
    const auto verified = [&] { return required(required(open_file(path.string(), {})).disks->verify({})); };
    BOOST_TEST(verified().number_of(Severity::note) == 1U); // that there is no manifest
    BOOST_TEST(*verified().facts["chunks read"].number() == 1U);
    flip(store.chunk(index.digests[0]), 9);
    BOOST_TEST(count(verified(), "wrong-crc") == 2U);
    BOOST_TEST(reads_as(*opened(path).image, disk, 0, disk.size()));
    flip(store.chunk(index.digests[0]), 100);
    BOOST_TEST(count(verified(), "lost") == 2U);
}

BOOST_AUTO_TEST_CASE(a_blob_of_more_bytes_than_its_content_can_have_is_not_read) {
    const auto refused = [](std::uint64_t bytes) {
        return vdisk::pbs::read_blob(*memory(Bytes(bytes)), nullptr, 100).error().kind;
    };
    BOOST_TEST((refused(vdisk::pbs::most_stored(100)) == ErrorKind::not_this_format));
    BOOST_TEST((refused(vdisk::pbs::most_stored(100) + 1) == ErrorKind::limit_exceeded));
}

BOOST_AUTO_TEST_CASE(a_key_has_the_fingerprint_that_proxmox_prints) {
    BOOST_TEST(vdisk::pbs::fingerprint_text(some_key().fingerprint()) ==
               "0e:ab:d4:46:0b:6e:b9:ca:34:50:23:de:e2:b7:78:c7:90:e5:4a:16:83:b9:65:9c:0a:57:ae:19:90:90:15:9b");
}

BOOST_AUTO_TEST_CASE(the_chunk_of_zeros_has_the_digest_that_all_stores_have) {
    BOOST_TEST(hex(required(vdisk::pbs::digest_of_zeros(4U << 20, nullptr))) ==
               "bb9f8df61474d25e71fa00722318cd387396ca1736605e1248821cc0de3d3af8");
}

BOOST_AUTO_TEST_SUITE_END()
