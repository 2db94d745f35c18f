// SPDX-License-Identifier: Apache-2.0
// What lies in the index cache. The first byte says what follows: a whole file of the cache, or the index of an
// archive's clusters in a sound one.
#include "format/vma/contents.hpp"
#include "io/cache_folder.hpp"
#include "settled.hpp"
#include "target.hpp"
#include "temporary_folder.hpp"

namespace {

using namespace vdisk;
using fuzz::require;
using Bytes = std::span<const std::byte>;

// A file with indexes, for as long as the process.
struct Indexed {
    test::TemporaryFolder folder;
    IndexCache cache{folder.path() / "cache"};
    IndexKey key;
    std::filesystem::path kept; // the index's file

    Indexed() {
        const auto path = folder.write("file", std::vector<std::byte>(1000));
        test::settle(path);
        key = IndexKey::of(*FileSource::open(path, FileKinds::regular_only).value(), vma::kContentsKind).value();
        require(cache.store(key, {}).has_value());
        kept = cache.folder() / CacheFolder::index_name(key.digest());
    }
};

Indexed& indexed() {
    static Indexed made;
    return made;
}

const vma::Header& header() {
    static const vma::Header made = [] {
        vma::Header header;
        header.devices = {{.id = 1, .name = "small", .size = 10 * vma::kClusterBytes},
                          {.id = 2, .name = "large", .size = std::uint64_t{1} << 40}};
        return header;
    }();
    return made;
}

void run_file(Bytes input) {
    (void)indexed().folder.write("cache/" + indexed().kept.filename().string(), input);
    require(!indexed().cache.load(indexed().key, 1U << 20) || input.size() >= 88);
    (void)vma::load_contents(indexed().cache, indexed().key, {header()}, {});
}

// Every cluster is found as one kind, in ranges that go on where the one before ends.
void check_map(const vma::ClusterMap& map, std::uint64_t clusters) {
    std::uint64_t next = 0;
    for (int i = 0; i < 1000 && next < clusters; ++i) {
        const auto found = map.find(static_cast<std::uint32_t>(next));
        require(found.last >= next && found.last < clusters);
        if (const vma::ZeroRun* const run = map.zeros_at(static_cast<std::uint32_t>(next)))
            require(run->first <= next && run->last_with(static_cast<std::uint32_t>(next)) >= next);
        next = std::uint64_t{found.last} + 1;
    }
    (void)map.stored_blocks();
}

void run_contents(Bytes input) {
    std::filesystem::remove(indexed().kept); // what run_file() left there may not be ours
    require(indexed().cache.store(indexed().key, input).has_value());
    const auto contents = vma::load_contents(indexed().cache, indexed().key, {header()}, {});
    if (!contents) return;
    for (std::size_t i = 0; i < contents->maps.size(); ++i)
        check_map(contents->maps[i], contents->devices[i].clusters());
    require(vma::store_contents(indexed().cache, indexed().key, {header()}, *contents).has_value());
    require(vma::load_contents(indexed().cache, indexed().key, {header()}, {}).has_value());
}

} // namespace

void vdisk::fuzz::index_cache(Input input) {
    if (input.empty()) return;
    const std::uint8_t kind = std::to_integer<std::uint8_t>(input[0]);
    input = input.subspan(1);
    kind % 2 == 0 ? run_file(input) : run_contents(input);
}
