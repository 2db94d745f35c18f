// SPDX-License-Identifier: Apache-2.0
/// Writing a disk as a compressed qcow2 image.
#pragma once

#include "codec/codec.hpp"
#include "common/output.hpp"

#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

namespace vdisk::tools {

/// Compresses clusters in threads, and hands them back in order. One caller.
class ClusterPacker {
public:
    static constexpr std::size_t kClusterSize = 64U << 10;

    /// A few clusters that follow each other on the disk.
    struct Batch {
        std::uint64_t first = 0;                      ///< number of the first one
        std::vector<std::byte> bytes{};               ///< whole clusters
        std::vector<std::vector<std::byte>> packed{}; ///< of each; empty: it is not smaller when compressed
        std::vector<bool> zeros{};                    ///< of each, whether it is nothing but zeros
        std::optional<Error> failed{};
        bool done = false;
    };

    /// `codec` is deflate or zstd; `threads` at least 1, of which as many are started as can be had.
    ClusterPacker(Codec codec, std::size_t threads);
    ~ClusterPacker();
    ClusterPacker(const ClusterPacker&) = delete;
    ClusterPacker& operator=(const ClusterPacker&) = delete;

    void give(std::unique_ptr<Batch> batch);
    /// Whether so much is on its way that one should be taken first.
    [[nodiscard]] bool is_full() const noexcept { return batches_.size() >= 2 * threads_.size() + 2; }
    [[nodiscard]] bool is_empty() const noexcept { return batches_.empty(); }
    /// Waits for the oldest one, and returns it.
    [[nodiscard]] std::unique_ptr<Batch> take();

private:
    void run();

    Codec codec_;
    std::deque<std::unique_ptr<Batch>> batches_; ///< in their order; the caller's alone
    std::mutex mutex_;                           ///< guards what follows, and `done` of each
    std::condition_variable changed_;
    std::deque<Batch*> waiting_;
    bool ended_ = false;
    std::vector<std::thread> threads_; // last: they use the rest
};

/// Makes a qcow2 image, version 3, of the bytes that it takes: clusters of 64 KiB, compressed where that makes them
/// smaller, none for zeros. Each compressed cluster is expanded again and compared before it is written. Holds two
/// bytes a cluster of the file in memory, and one table at a time. Facts: docs/interop/qcow2.rst of QEMU.
class Qcow2Output final : public Sink {
public:
    /// Bytes that a disk can have: QEMU takes tables of the first level of at most 32 MiB.
    static constexpr std::uint64_t kMostSize = std::uint64_t{1} << 51;

    /// Writes to `out`, which was opened with `out_of_order` and must outlive this object, a disk of `size` bytes (<=
    /// kMostSize), which becomes whole sectors. `codec` and `threads`: as ClusterPacker's.
    Qcow2Output(Output& out, std::uint64_t size, Codec codec, std::size_t threads);

    /// The size that the disk has in the image.
    [[nodiscard]] static std::uint64_t size_for(std::uint64_t size) noexcept;

    [[nodiscard]] Result<void> write(std::span<const std::byte> bytes) override;
    [[nodiscard]] Result<void> skip(std::uint64_t length) override;

    /// Writes what is left, the tables and the header, and finishes the output. Call it once, last. Error: `usage`
    /// where not all of the disk was given.
    [[nodiscard]] Result<void> finish();

private:
    Result<void> pass_on();
    Result<void> take_batch();
    Result<void> put_cluster(std::uint64_t number, const ClusterPacker::Batch& batch, std::size_t index);
    Result<void> put_packed(std::uint64_t number, std::span<const std::byte> packed);
    Result<void> put_whole(std::uint64_t number, std::span<const std::byte> bytes);
    Result<void> put_table();
    Result<void> set_entry(std::uint64_t number, std::uint64_t entry);
    Result<std::uint64_t> put_tables(std::uint64_t l1_offset);
    std::uint64_t allocate(std::uint64_t clusters);

    Output& out_;
    std::uint64_t size_;
    Codec codec_;
    ClusterPacker packer_;
    std::uint64_t at_ = 0;                            ///< of the disk, that was given
    std::unique_ptr<ClusterPacker::Batch> filling_{}; ///< whose last cluster may not be whole
    std::vector<std::uint64_t> l1_;                   ///< offsets of tables
    std::vector<std::uint64_t> table_{};              ///< entries of the one that is being filled, empty: of none
    std::uint64_t table_number_ = 0;
    std::vector<std::uint16_t> refcounts_{};       ///< of the file's clusters, all that there are
    std::uint64_t packed_at_ = 0, packed_end_ = 0; ///< room in the last cluster that has compressed ones
};

} // namespace vdisk::tools
