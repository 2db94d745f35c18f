// SPDX-License-Identifier: Apache-2.0
#include "io/cache_folder.hpp"
#include "io/index_cache.hpp"

#include "settled.hpp"
#include "temporary_folder.hpp"

#include <boost/test/unit_test.hpp>

#include <cstring>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <fstream>
#include <random>
#include <thread>

using namespace vdisk;
using vdisk::test::TemporaryFolder;
namespace fs = std::filesystem;

BOOST_AUTO_TEST_SUITE(index_cache)

namespace {

using Bytes = std::vector<std::byte>;

Bytes random_bytes(std::size_t count, unsigned seed) {
    std::mt19937 random(seed);
    Bytes bytes(count);
    for (std::byte& byte : bytes) byte = static_cast<std::byte>(random());
    return bytes;
}

Bytes read_file(const fs::path& path) {
    const auto file = FileSource::open(path, FileKinds::regular_only);
    return read_bytes(*file.value(), 0, file.value()->size(), "test").value();
}

IndexKey key_of(const fs::path& path, std::string_view kind) {
    return IndexKey::of(*FileSource::open(path, FileKinds::regular_only).value(), kind).value();
}

// A file whose last change is long enough ago for its indexes to be kept.
struct Evidence {
    explicit Evidence(const TemporaryFolder& folder, std::string_view kind = "test-1", unsigned seed = 1)
        : path(folder.write("evidence", random_bytes(200'000, seed))) {
        test::settle(path);
        key = key_of(path, kind);
    }
    fs::path path;
    IndexKey key;
};

// But for the mark.
std::vector<fs::path> files_in(const fs::path& folder) {
    std::vector<fs::path> files;
    for (const auto& entry : fs::directory_iterator(folder))
        if (entry.path().filename() != "CACHEDIR.TAG") files.push_back(entry.path());
    return files;
}

void make_old(const fs::path& path) {
    fs::last_write_time(path, fs::file_time_type::clock::now() - std::chrono::hours(100));
}

void write_file(const fs::path& path, const Bytes& bytes) {
    std::ofstream(path, std::ios::binary)
        .write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
}

// What begins as ours, for names of ours.
Bytes beginning(const IndexKey& key, std::string_view magic, std::size_t size) {
    Bytes bytes(size);
    std::memcpy(bytes.data(), magic.data(), magic.size());
    if (size >= 56) std::ranges::copy(key.digest(), bytes.begin() + 24);
    return bytes;
}

// A cache for one index: whichever is stored, all others of ours have to go.
IndexCache small_cache(const fs::path& folder) {
    return IndexCache(folder, 100);
}

std::size_t count_indexes(const fs::path& folder) {
    return static_cast<std::size_t>(
        std::ranges::count_if(files_in(folder), [](const fs::path& path) { return path.extension() == ".index"; }));
}

} // namespace

BOOST_AUTO_TEST_CASE(an_index_is_found_as_it_was_stored) {
    const TemporaryFolder folder;
    const Evidence evidence(folder);
    const IndexCache cache(folder.path() / "not" / "there" / "yet");
    BOOST_TEST(cache.open(evidence.key) == nullptr);
    for (const std::size_t size : {0U, 1U, 65535U, 65536U, 65537U, 200'000U}) {
        const Bytes index = random_bytes(size, 7);
        BOOST_TEST_REQUIRE(cache.store(evidence.key, index).has_value());
        BOOST_TEST((cache.load(evidence.key, size) == std::optional(index)));
        BOOST_TEST((size == 0 || !cache.load(evidence.key, size - 1).has_value()));
        const SourcePtr source = cache.open(evidence.key);
        BOOST_TEST_REQUIRE((source != nullptr && source->size() == size));
        for (std::size_t at = 0; at < size; at += 9973) {
            Bytes piece(std::min<std::size_t>(size - at, 70'000));
            BOOST_TEST(source->read_at(at, piece).value() == piece.size());
            BOOST_TEST(std::equal(piece.begin(), piece.end(), index.begin() + static_cast<std::ptrdiff_t>(at)));
        }
    }
    BOOST_TEST(files_in(cache.folder()).size() == 1U);
}

BOOST_AUTO_TEST_CASE(an_index_written_in_pieces_is_the_same_as_one_written_at_once) {
    const TemporaryFolder folder;
    const Evidence evidence(folder);
    const IndexCache cache(folder.path() / "cache");
    const Bytes index = random_bytes(300'000, 3);
    auto writer = cache.create(evidence.key);
    BOOST_TEST_REQUIRE(writer.has_value());
    for (std::size_t at = 0, step = 1; at < index.size(); at += step, step = step * 3 + 1)
        BOOST_TEST(writer.value().append(std::span(index).subspan(at, std::min(step, index.size() - at))).has_value());
    BOOST_TEST((cache.open(evidence.key) == nullptr));
    BOOST_TEST(writer.value().commit().has_value());
    BOOST_TEST((cache.load(evidence.key, 300'000) == std::optional(index)));
}

BOOST_AUTO_TEST_CASE(any_change_of_a_cache_file_is_noticed) {
    const TemporaryFolder folder;
    const Evidence evidence(folder);
    const IndexCache cache(folder.path() / "cache");
    const Bytes index = random_bytes(66'000, 5);
    BOOST_TEST_REQUIRE(cache.store(evidence.key, index).has_value());
    const fs::path path = files_in(cache.folder()).front();
    const Bytes good = read_file(path);
    const int descriptor = ::open(path.c_str(), O_RDWR | O_CLOEXEC);
    // Every byte of the frame and of the last block, every 97th of the block before, which is checked like it.
    for (std::size_t at = 0; at < good.size(); at += at < 100 || at >= 65'000 ? 1 : 97) {
        const std::byte flipped = good[at] ^ std::byte{static_cast<unsigned char>(1U << at % 8)};
        BOOST_TEST_REQUIRE(::pwrite(descriptor, &flipped, 1, static_cast<off_t>(at)) == 1);
        BOOST_TEST(!cache.load(evidence.key, 66'000).has_value(), "byte " << at);
        BOOST_TEST_REQUIRE(::pwrite(descriptor, &good[at], 1, static_cast<off_t>(at)) == 1);
    }
    BOOST_TEST((cache.load(evidence.key, 66'000) == std::optional(index)));
    for (const off_t size : {0L, 1L, 87L, 88L, 89L, 65'000L, 66'088L, long(good.size()) - 1, long(good.size()) + 1}) {
        BOOST_TEST_REQUIRE(::ftruncate(descriptor, size) == 0);
        BOOST_TEST(!cache.load(evidence.key, 66'000).has_value(), "size " << size);
        BOOST_TEST_REQUIRE(::pwrite(descriptor, good.data(), good.size(), 0) == static_cast<ssize_t>(good.size()));
    }
    ::close(descriptor);
}

BOOST_AUTO_TEST_CASE(a_damaged_block_fails_the_reads_that_touch_it_alone) {
    const TemporaryFolder folder;
    const Evidence evidence(folder);
    const IndexCache cache(folder.path() / "cache");
    BOOST_TEST_REQUIRE(cache.store(evidence.key, random_bytes(200'000, 5)).has_value());
    const fs::path path = files_in(cache.folder()).front();
    Bytes damaged = read_file(path);
    damaged[88 + 65536 + 100] ^= std::byte{1};
    const TemporaryFolder aside;
    fs::rename(aside.write("index", damaged), path);
    const SourcePtr source = cache.open(evidence.key);
    BOOST_TEST_REQUIRE((source != nullptr));
    Bytes piece(1000);
    BOOST_TEST(source->read_at(64'000, piece).has_value());
    BOOST_TEST((source->read_at(65'000, piece).error().kind == ErrorKind::corrupt));
    BOOST_TEST((source->read_at(131'071, piece).error().kind == ErrorKind::corrupt));
    BOOST_TEST(source->read_at(131'072, piece).has_value());
}

BOOST_AUTO_TEST_CASE(a_key_is_another_for_every_kind_file_and_state) {
    const TemporaryFolder folder;
    const Evidence first(folder, "test-1", 1);
    const Evidence other_kind(folder, "test-2", 1);
    BOOST_TEST((first.key.digest() != other_kind.key.digest()));
    // The same bytes and the modification time put back: the time of the change tells.
    const auto modified = fs::last_write_time(other_kind.path);
    folder.write("evidence", random_bytes(200'000, 1));
    fs::last_write_time(other_kind.path, modified);
    BOOST_TEST((key_of(other_kind.path, "test-2").digest() != other_kind.key.digest()));
}

BOOST_AUTO_TEST_CASE(clients_of_a_file_server_find_each_others_indexes) {
    constexpr std::uint64_t ext4 = 0xef53, nfs = 0x6969, ceph = 0xc36400;
    BOOST_TEST(lasting_file_system(ext4, 1) != lasting_file_system(ext4, 2));
    BOOST_TEST(lasting_file_system(nfs, 1) == lasting_file_system(nfs, 2));
    BOOST_TEST(lasting_file_system(ceph, 1) == lasting_file_system(ceph, 2));
    BOOST_TEST(lasting_file_system(nfs, 1) != lasting_file_system(ceph, 1));
}

BOOST_AUTO_TEST_CASE(the_index_of_a_file_that_changed_just_now_is_not_kept) {
    const TemporaryFolder folder;
    const IndexCache cache(folder.path() / "cache");
    const fs::path path = folder.write("fresh", random_bytes(10, 1));
    // A time in the future is what a file server with another clock gives: never settled.
    const auto key = IndexKey::of(*FileSource::open(path, FileKinds::regular_only).value(), "test-1");
    if (!key.value().settled()) // else this machine was held up between the two lines
        BOOST_TEST((cache.store(key.value(), random_bytes(10, 1)).error().kind == ErrorKind::unsupported));
    BOOST_TEST((cache.open(key.value()) == nullptr));
}

BOOST_AUTO_TEST_CASE(beyond_the_capacity_the_least_recently_used_go) {
    const TemporaryFolder folder;
    const IndexCache cache(folder.path() / "cache", 350'000);
    std::vector<IndexKey> keys;
    for (const char* kind : {"a", "b", "c"}) keys.push_back(Evidence(folder, kind).key);
    const auto store = [&](std::size_t which) {
        BOOST_TEST_REQUIRE(cache.store(keys[which], random_bytes(150'000, 1)).has_value());
        std::this_thread::sleep_for(std::chrono::milliseconds(20)); // so that the order of the times is theirs
    };
    store(0);
    store(1);
    BOOST_TEST((cache.open(keys[0]) != nullptr)); // used: now the younger of the two
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    store(2);
    BOOST_TEST((cache.open(keys[0]) != nullptr));
    BOOST_TEST((cache.open(keys[1]) == nullptr));
    BOOST_TEST((cache.open(keys[2]) != nullptr));
    BOOST_TEST((cache.store(keys[0], random_bytes(350'001, 1)).error().kind == ErrorKind::limit_exceeded));
    BOOST_TEST((cache.open(keys[0]) != nullptr)); // the one before stays
}

BOOST_AUTO_TEST_CASE(the_capacity_grows_with_the_free_space) {
    const std::uint64_t least = Limits{}.index_cache_bytes;
    const TemporaryFolder folder;
    BOOST_TEST(IndexCache(folder.path()).capacity() >= least);
    BOOST_TEST(IndexCache(folder.path()).capacity() <=
               std::max<std::uint64_t>(least, std::filesystem::space(folder.path()).capacity / 8));
    BOOST_TEST(IndexCache("/nonexistent/folder").capacity() == least);
    BOOST_TEST(IndexCache(folder.path(), 7).capacity() == 7U);
}

BOOST_AUTO_TEST_CASE(a_folder_that_can_not_be_written_costs_the_index_only) {
    const TemporaryFolder folder;
    const Evidence evidence(folder);
    const fs::path file = folder.write("a file", {});
    BOOST_TEST((IndexCache(file).store(evidence.key, Bytes(10)).error().kind == ErrorKind::io));
    BOOST_TEST((IndexCache(file / "below").store(evidence.key, Bytes(10)).error().kind == ErrorKind::io));
    BOOST_TEST((IndexCache("/proc/no-such-folder").store(evidence.key, Bytes(10)).error().kind == ErrorKind::io));
    BOOST_TEST((IndexCache(file).open(evidence.key) == nullptr));
    BOOST_TEST((IndexCache().store(evidence.key, Bytes(10)).error().kind == ErrorKind::unsupported));
    BOOST_TEST((IndexCache().open(evidence.key) == nullptr));
}

BOOST_AUTO_TEST_CASE(a_full_folder_leaves_nothing_behind) {
    const TemporaryFolder folder;
    const Evidence evidence(folder);
    const IndexCache cache(folder.path() / "cache");
    rlimit before{};
    BOOST_TEST_REQUIRE(::getrlimit(RLIMIT_FSIZE, &before) == 0);
    const auto old_handler = std::signal(SIGXFSZ, SIG_IGN);
    const rlimit small{100'000, before.rlim_max};
    BOOST_TEST_REQUIRE(::setrlimit(RLIMIT_FSIZE, &small) == 0);
    const auto stored = cache.store(evidence.key, random_bytes(200'000, 1));
    BOOST_TEST_REQUIRE(::setrlimit(RLIMIT_FSIZE, &before) == 0);
    std::signal(SIGXFSZ, old_handler);
    BOOST_TEST((stored.error().kind == ErrorKind::io));
    BOOST_TEST(files_in(cache.folder()).empty());
}

BOOST_AUTO_TEST_CASE(a_writer_that_is_given_up_leaves_nothing_behind) {
    const TemporaryFolder folder;
    const Evidence evidence(folder);
    const IndexCache cache(folder.path() / "cache");
    {
        auto writer = cache.create(evidence.key);
        BOOST_TEST(writer.value().append(random_bytes(100'000, 1)).has_value());
    }
    BOOST_TEST(files_in(cache.folder()).empty());
}

BOOST_AUTO_TEST_CASE(what_killed_writers_left_is_never_taken_for_an_index_and_goes_with_time) {
    const TemporaryFolder folder;
    const Evidence evidence(folder);
    const IndexCache cache(folder.path() / "cache");
    const pid_t child = ::fork();
    if (child == 0) {
        auto writer = cache.create(evidence.key);
        (void)writer.value().append(Bytes(200'000));
        ::kill(::getpid(), SIGKILL);
    }
    ::waitpid(child, nullptr, 0);
    BOOST_TEST(files_in(cache.folder()).size() == 1U);
    BOOST_TEST((cache.open(evidence.key) == nullptr));
    fs::last_write_time(files_in(cache.folder()).front(), fs::file_time_type::clock::now() - std::chrono::hours(25));
    BOOST_TEST(cache.store(evidence.key, Bytes(10)).has_value());
    BOOST_TEST(files_in(cache.folder()).size() == 1U);
    BOOST_TEST(cache.load(evidence.key, 10).has_value());
}

BOOST_AUTO_TEST_CASE(files_of_others_are_never_removed) {
    const TemporaryFolder folder;
    const Evidence evidence(folder), other(folder, "other");
    const IndexCache cache = small_cache(folder.path() / "cache");
    BOOST_TEST_REQUIRE(cache.store(evidence.key, Bytes(100)).has_value());
    const std::string name = CacheFolder::index_name(other.key.digest());
    const Bytes notes = random_bytes(1000, 1);
    const Bytes index = beginning(other.key, "vdiskidx", 1000);
    const Bytes unfinished = beginning(other.key, "vdisktmp", 1000);
    const std::vector<std::pair<std::string, Bytes>> strangers{
        {"evidence.index", notes},                     // another name
        {"evidence.index.bak", index},                 //
        {name.substr(1), index},                       //
        {"x" + name, index},                           //
        {std::string(32, 'G') + ".index", index},      //
        {std::string(32, 'A') + ".index", index},      //
        {name, notes},                                 // another content
        {std::string(32, '0') + ".index", index},      // another key
        {std::string(32, '1') + ".index", unfinished}, // another kind
        {"unfinished-report", notes},                  // even six letters
        {"unfinished-report.txt", unfinished},         //
        {"unfinished-abc12", unfinished},              //
        {"unfinished-abc123", index},                  //
        {"unfinished-short1", Bytes(8)},               //
    };
    for (const auto& [stranger, bytes] : strangers) {
        write_file(cache.folder() / stranger, bytes);
        make_old(cache.folder() / stranger);
    }
    BOOST_TEST_REQUIRE(cache.store(evidence.key, Bytes(100)).has_value());
    for (const auto& [stranger, bytes] : strangers) {
        BOOST_TEST_REQUIRE(fs::exists(cache.folder() / stranger), stranger);
        BOOST_TEST((read_file(cache.folder() / stranger) == bytes), stranger);
    }
    // Not even replaced by an index that belongs there.
    BOOST_TEST((cache.store(other.key, Bytes(100)).error().kind == ErrorKind::io));
    BOOST_TEST((read_file(cache.folder() / name) == notes));
    BOOST_TEST(files_in(cache.folder()).size() == strangers.size() + 1);
}

BOOST_AUTO_TEST_CASE(what_is_no_file_of_this_user_alone_is_left_alone) {
    const TemporaryFolder folder;
    const Evidence evidence(folder), linked(folder, "linked"), hard(folder, "hard"), open_to_all(folder, "open"),
        a_folder(folder, "folder"), fifo(folder, "fifo");
    const IndexCache cache = small_cache(folder.path() / "cache");
    const auto path_of = [&](const Evidence& of) { return cache.folder() / CacheFolder::index_name(of.key.digest()); };
    const auto ours = [](const Evidence& of) { return beginning(of.key, "vdiskidx", 1000); };
    BOOST_TEST_REQUIRE(cache.store(evidence.key, Bytes(100)).has_value());
    const fs::path elsewhere = folder.write("elsewhere", ours(linked));
    fs::create_symlink(elsewhere, path_of(linked));
    const fs::path first_name = folder.write("first name", ours(hard));
    fs::create_hard_link(first_name, path_of(hard));
    write_file(path_of(open_to_all), ours(open_to_all));
    fs::permissions(path_of(open_to_all), fs::perms::group_write, fs::perm_options::add);
    fs::create_directory(path_of(a_folder));
    BOOST_TEST_REQUIRE(::mkfifo(path_of(fifo).c_str(), 0600) == 0);
    for (const fs::path& old : {elsewhere, first_name, path_of(open_to_all), path_of(a_folder)}) make_old(old);
    const auto time = fs::last_write_time(elsewhere);

    BOOST_TEST_REQUIRE(cache.store(evidence.key, Bytes(100)).has_value());
    for (const Evidence* each : {&linked, &hard, &open_to_all, &a_folder, &fifo}) {
        BOOST_TEST((cache.open(each->key) == nullptr));
        BOOST_TEST(cache.store(each->key, Bytes(50)).has_error());
        BOOST_TEST(fs::exists(path_of(*each)));
    }
    BOOST_TEST((read_file(elsewhere) == ours(linked)));
    BOOST_TEST((read_file(first_name) == ours(hard)));
    BOOST_TEST((fs::last_write_time(elsewhere) == time)); // nor "used just now"
    BOOST_TEST(count_indexes(cache.folder()) == 6U);
    BOOST_TEST(files_in(cache.folder()).size() == 6U);
}

BOOST_AUTO_TEST_CASE(a_folder_that_was_not_empty_is_used_but_never_cleaned) {
    const TemporaryFolder folder;
    const Evidence first(folder, "1"), second(folder, "2"), third(folder, "3");
    const IndexCache cache(folder.path() / "case", 350'000);
    fs::create_directory(cache.folder());
    write_file(cache.folder() / "notes.txt", random_bytes(100, 1));
    const Bytes index = random_bytes(200'000, 2);
    BOOST_TEST_REQUIRE(cache.store(first.key, index).has_value());
    BOOST_TEST_REQUIRE(cache.store(second.key, index).has_value());
    BOOST_TEST((cache.load(first.key, 200'000) == std::optional(index)));
    BOOST_TEST((cache.load(second.key, 200'000) == std::optional(index)));
    BOOST_TEST((cache.store(third.key, index).error().kind == ErrorKind::limit_exceeded));
    BOOST_TEST(files_in(cache.folder()).size() == 3U);
    BOOST_TEST(!fs::exists(cache.folder() / "CACHEDIR.TAG"));
}

BOOST_AUTO_TEST_CASE(an_empty_folder_becomes_one_for_indexes_alone) {
    const TemporaryFolder folder;
    const Evidence first(folder, "1"), second(folder, "2");
    const IndexCache cache = small_cache(folder.path() / "empty");
    fs::create_directory(cache.folder());
    BOOST_TEST_REQUIRE(cache.store(first.key, Bytes(100)).has_value());
    BOOST_TEST(fs::exists(cache.folder() / "CACHEDIR.TAG"));
    BOOST_TEST_REQUIRE(cache.store(second.key, Bytes(100)).has_value());
    BOOST_TEST(count_indexes(cache.folder()) == 1U);
    // A mark of another program, a damaged one, and a folder that others may write: nothing is removed any more.
    const IndexCache large(cache.folder(), 1000);
    const Bytes mark = read_file(cache.folder() / "CACHEDIR.TAG");
    write_file(cache.folder() / "CACHEDIR.TAG", Bytes(mark.begin(), mark.begin() + 44));
    BOOST_TEST((large.store(first.key, Bytes(900)).has_value() && large.store(second.key, Bytes(900)).has_error()));
    write_file(cache.folder() / "CACHEDIR.TAG", mark);
    fs::permissions(cache.folder(), fs::perms::others_write, fs::perm_options::add);
    BOOST_TEST(large.store(second.key, Bytes(900)).has_error());
    BOOST_TEST(count_indexes(cache.folder()) == 2U);
    fs::permissions(cache.folder(), fs::perms::others_write, fs::perm_options::remove);
    BOOST_TEST(large.store(second.key, Bytes(900)).has_value());
    BOOST_TEST(count_indexes(cache.folder()) == 1U);
}

BOOST_AUTO_TEST_CASE(nothing_is_kept_beside_the_evidence) {
    const TemporaryFolder folder, links;
    const Evidence evidence(folder);
    const IndexCache cache(folder.path());
    BOOST_TEST((cache.store(evidence.key, Bytes(10)).error().kind == ErrorKind::unsupported));
    fs::create_directory_symlink(folder.path(), links.path() / "cache");
    BOOST_TEST(
        (IndexCache(links.path() / "cache").store(evidence.key, Bytes(10)).error().kind == ErrorKind::unsupported));
    fs::create_symlink(evidence.path, links.path() / "evidence");
    BOOST_TEST((cache.store(key_of(links.path() / "evidence", "k"), Bytes(10)).error().kind == ErrorKind::unsupported));
    BOOST_TEST(files_in(folder.path()).size() == 1U);
    BOOST_TEST(!fs::exists(folder.path() / "CACHEDIR.TAG"));
}

BOOST_AUTO_TEST_CASE(an_empty_file_in_the_place_of_an_index_is_replaced) {
    const TemporaryFolder folder;
    const Evidence evidence(folder);
    const IndexCache cache(folder.path() / "cache");
    BOOST_TEST_REQUIRE(cache.store(evidence.key, Bytes(10)).has_value());
    fs::resize_file(files_in(cache.folder()).front(), 0); // as a power cut may leave it
    BOOST_TEST((cache.open(evidence.key) == nullptr));
    BOOST_TEST_REQUIRE(cache.store(evidence.key, Bytes(10)).has_value());
    BOOST_TEST(cache.load(evidence.key, 10).has_value());
}

BOOST_AUTO_TEST_CASE(a_file_of_any_size_has_a_key_where_times_prove_nothing) {
    const TemporaryFolder folder;
    for (const std::size_t size : {0U, 1U, 65'536U, 131'071U, 131'072U, 131'073U, 200'000U, 1'000'000U}) {
        const auto file = FileSource::open(folder.write("file", Bytes(size)), FileKinds::regular_only).value();
        BOOST_TEST(IndexKey::of(*file, "k", ChangeTimes::doubtful).has_value());
    }
    constexpr std::uint64_t ext4 = 0xef53, fat = 0x4d44, exfat = 0x2011bab0, ntfs3 = 0x7366746e, fuse = 0x65735546;
    BOOST_TEST((change_times_of(ext4) == ChangeTimes::sure));
    for (const std::uint64_t type : {fat, exfat, ntfs3, fuse, std::uint64_t{0}})
        BOOST_TEST((change_times_of(type) == ChangeTimes::doubtful));
}

BOOST_AUTO_TEST_CASE(two_writers_of_one_key_both_leave_a_whole_index) {
    const TemporaryFolder folder;
    const Evidence evidence(folder);
    const IndexCache cache(folder.path() / "cache");
    const Bytes index = random_bytes(150'000, 9);
    std::vector<std::thread> writers;
    for (int i = 0; i < 4; ++i)
        writers.emplace_back([&] {
            for (int round = 0; round < 20; ++round) {
                (void)cache.store(evidence.key, index);
                const auto found = cache.load(evidence.key, 150'000);
                if (found != std::optional(index)) std::abort(); // Boost.Test's checks are for one thread
            }
        });
    for (std::thread& writer : writers) writer.join();
    BOOST_TEST((cache.load(evidence.key, 150'000) == std::optional(index)));
    BOOST_TEST(files_in(cache.folder()).size() == 1U);
}

BOOST_AUTO_TEST_CASE(the_environment_says_where) {
    struct Restore {
        std::string name;
        std::optional<std::string> value;
        explicit Restore(const char* variable) : name(variable) {
            if (const char* found = std::getenv(variable)) value = found;
        }
        ~Restore() {
            if (value) ::setenv(name.c_str(), value->c_str(), 1);
            else ::unsetenv(name.c_str());
        }
    };
    const Restore chosen("VDISK_CACHE_DIR"), xdg("XDG_CACHE_HOME"), home("HOME");
    ::setenv("VDISK_CACHE_DIR", "/some/where", 1);
    ::setenv("XDG_CACHE_HOME", "/xdg", 1);
    ::setenv("HOME", "/home/x", 1);
    BOOST_TEST(IndexCache::from_environment().folder() == "/some/where");
    ::setenv("VDISK_CACHE_DIR", "none", 1);
    BOOST_TEST(!IndexCache::from_environment().enabled());
    ::unsetenv("VDISK_CACHE_DIR");
    BOOST_TEST(IndexCache::from_environment().folder() == "/xdg/tsk-vdisk");
    ::setenv("XDG_CACHE_HOME", "relative", 1);
    BOOST_TEST(IndexCache::from_environment().folder() == "/home/x/.cache/tsk-vdisk");
    ::unsetenv("HOME");
    BOOST_TEST(!IndexCache::from_environment().enabled());
}

BOOST_AUTO_TEST_SUITE_END()
