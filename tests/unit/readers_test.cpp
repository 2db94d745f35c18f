// SPDX-License-Identifier: Apache-2.0
// Sixteen threads on one image, with caches that hold less than what they read: for the thread sanitizer above all.
#include "model.hpp"
#include "open/open.hpp"
#include "qcow2_builder.hpp"
#include "temporary_folder.hpp"
#include "vma_builder.hpp"

#include <boost/test/unit_test.hpp>
#include <libdeflate.h>
#include <zstd.h>

#include <thread>

using namespace vdisk;
using namespace vdisk::test;

BOOST_AUTO_TEST_SUITE(readers)

namespace {

constexpr std::uint64_t kCluster = 65536;
constexpr std::uint64_t kClusters = 96;
constexpr unsigned kReaders = 16;
constexpr int kReads = 40;

// Every other sector is noise, so that it compresses, but not to nothing.
Bytes disk_model() {
    Random random(11);
    Bytes model(kClusters * kCluster);
    for (std::size_t at = 0; at < model.size(); at += 1024)
        for (std::size_t i = 0; i < 512; ++i) model[at + i] = static_cast<std::byte>(random());
    return model;
}

Limits small_caches() {
    Limits limits;
    limits.cluster_cache_bytes = 8 * kCluster;
    limits.metadata_cache_bytes = 4 * 4096;
    limits.stream_cache_bytes = 1U << 20;
    limits.stream_thread_bytes = 4U << 20;
    limits.stream_decode_bytes = 256U << 10;
    limits.threads = 16;
    return limits;
}

// Half of the reads go on where the one before ended, as a program that copies a disk does.
void read_from_sixteen_threads(const std::string& text, const Bytes& model) {
    const OpenedDisk disk = required(open_disk(text, {.limits = small_caches()}));
    std::atomic<int> wrong{0};
    std::vector<std::thread> readers;
    for (unsigned seed = 0; seed < kReaders; ++seed)
        readers.emplace_back([&, seed] {
            Random random(seed);
            std::uint64_t at = below(random, model.size());
            for (int i = 0; i < kReads; ++i) {
                const std::uint64_t length = 1 + below(random, 3 * kCluster);
                if (!reads_as(*disk.image, model, at, length)) ++wrong;
                at = i % 2 == 0 ? (at + length) % model.size() : below(random, model.size());
            }
        });
    for (std::thread& reader : readers) reader.join();
    BOOST_TEST(wrong == 0);
}

} // namespace

BOOST_AUTO_TEST_CASE(sixteen_on_a_compressed_qcow2) {
    const Bytes model = disk_model();
    Qcow2Builder image({.size = model.size()});
    const std::unique_ptr<libdeflate_compressor, decltype(&libdeflate_free_compressor)> compressor(
        libdeflate_alloc_compressor(6), libdeflate_free_compressor);
    for (std::uint64_t i = 0; i < kClusters; ++i) {
        Bytes packed(libdeflate_deflate_compress_bound(compressor.get(), kCluster));
        packed.resize(libdeflate_deflate_compress(compressor.get(), model.data() + i * kCluster, kCluster,
                                                  packed.data(), packed.size()));
        const std::uint64_t place = image.append_tight(packed);
        image.set(i, image.packed(place, packed.size()));
    }
    const TemporaryFolder folder;
    read_from_sixteen_threads(folder.write("disk.qcow2", image.bytes()).string(), model);
}

BOOST_AUTO_TEST_CASE(sixteen_on_a_compressed_archive) {
    const Bytes model = disk_model();
    VmaBuilder builder;
    builder.add_device(1, "drive-scsi0", model.size());
    std::vector<VmaBuilder::Slot> slots;
    for (std::uint32_t i = 0; i < kClusters; ++i) slots.push_back(VmaBuilder::slot_of(1, model, i));
    builder.add_extents(slots, 20);
    const Bytes archive = builder.build();
    Bytes packed(ZSTD_compressBound(archive.size()));
    packed.resize(ZSTD_compress(packed.data(), packed.size(), archive.data(), archive.size(), 3));
    const TemporaryFolder folder;
    read_from_sixteen_threads(folder.write("archive.vma.zst", packed).string(), model);
}

BOOST_AUTO_TEST_SUITE_END()
