// SPDX-License-Identifier: Apache-2.0
#include "disk/cluster_tables.hpp"
#include "io/memory_source.hpp"
#include "put_bytes.hpp"
#include "random_bytes.hpp"

#include <boost/test/unit_test.hpp>

using namespace vdisk;
using namespace vdisk::test;

BOOST_AUTO_TEST_SUITE(cluster_tables)

namespace {

constexpr std::uint64_t kCluster = 512;

// An entry is 0 (absent), 1 (zeros) or the number of a cluster in the file.
ClusterEntry decoded(std::uint64_t entry) {
    if (entry == 0) return {};
    if (entry == 1) return {.kind = ClusterEntry::Kind::zero};
    return {.kind = ClusterEntry::Kind::stored, .host = entry * kCluster};
}

struct Shape {
    std::uint64_t place;
    std::uint64_t entry_bytes;
    std::endian order;
};

using Entries = std::vector<std::uint64_t>;

// A file that ends with a table at that place.
ClusterLayout layout_of(const Shape& shape, const Entries& entries, std::uint64_t disk_size) {
    std::vector<std::byte> file(static_cast<std::size_t>(shape.place + entries.size() * shape.entry_bytes));
    for (std::size_t i = 0; i < entries.size(); ++i) {
        const auto at = static_cast<std::size_t>(shape.place + i * shape.entry_bytes);
        if (shape.order == std::endian::big) put_big(file, at, entries[i], shape.entry_bytes);
        else put_little(file, at, entries[i], shape.entry_bytes);
    }
    return {{.disk_size = disk_size,
             .cluster_size = kCluster,
             .table_entries = entries.size(),
             .entry_bytes = shape.entry_bytes,
             .order = shape.order,
             .only_table = shape.place,
             .decode = decoded},
            {},
            std::make_shared<const MemorySource>(std::move(file), "file"),
            std::make_shared<Caches>(Limits{})};
}

// Where each cluster is by `run`, which begins at `at`, and by the entries.
void check_run(const Mapping& run, std::uint64_t at, const Entries& entries) {
    for (std::uint64_t byte = at; byte < at + run.length(); byte += kCluster - byte % kCluster) {
        const std::uint64_t entry = entries[static_cast<std::size_t>(byte / kCluster)];
        BOOST_REQUIRE_EQUAL(run.asks_parent(), entry == 0);
        if (entry == 0) continue;
        BOOST_REQUIRE_EQUAL(run.own()->kind == Extent::Kind::zero, entry == 1);
        if (entry > 1) BOOST_REQUIRE_EQUAL(run.own()->host.value + byte - at, entry * kCluster + byte % kCluster);
    }
}

} // namespace

BOOST_AUTO_TEST_CASE(entries_are_read_wherever_their_table_lies) {
    Random random(5);
    Entries entries;
    while (entries.size() < 1500) {
        const std::uint64_t kind = below(random, 3);
        const std::uint64_t first = 100 + below(random, 1000);
        for (std::uint64_t i = below(random, 300); i > 0; --i) entries.push_back(kind < 2 ? kind : first + i);
    }
    const std::uint64_t size = entries.size() * kCluster - 100;
    for (const std::uint64_t place : {0U, 512U, 4090U, 4093U, 4095U, 8192U})
        for (const std::uint64_t entry_bytes : {4U, 8U})
            for (const std::endian order : {std::endian::little, std::endian::big}) {
                const ClusterLayout layout = layout_of({place, entry_bytes, order}, entries, size);
                std::uint64_t at = below(random, 2000);
                for (std::uint64_t length = 0; at < size; at += length) {
                    const auto run = layout.map(GuestOffset{at}, size - at);
                    BOOST_REQUIRE(run.has_value());
                    length = run.value().length();
                    BOOST_REQUIRE(length > 0 && length <= size - at);
                    check_run(run.value(), at, entries);
                }
            }
}

BOOST_AUTO_TEST_CASE(entries_that_are_alike_are_one_run_up_to_the_disks_end) {
    const std::uint64_t size = 3000 * kCluster - 100;
    for (const std::uint64_t entry : {0U, 1U})
        for (const std::uint64_t at : {0U, 700U}) {
            const ClusterLayout layout = layout_of({4093, 8, std::endian::big}, Entries(3000, entry), size);
            BOOST_TEST(layout.map(GuestOffset{at}, size).value().length() == size - at);
        }
}

BOOST_AUTO_TEST_CASE(entries_that_are_alike_and_stored_are_no_run) {
    const ClusterLayout layout = layout_of({512, 8, std::endian::little}, Entries(10, 7), 10 * kCluster);
    BOOST_TEST(layout.map(GuestOffset{100}, 10 * kCluster).value().length() == kCluster - 100);
}

BOOST_AUTO_TEST_SUITE_END()
