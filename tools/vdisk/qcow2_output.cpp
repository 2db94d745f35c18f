// SPDX-License-Identifier: Apache-2.0
#include "vdisk/qcow2_output.hpp"

#include "base/checked.hpp"
#include "base/zeros.hpp"
#include "common/pieces.hpp"
#include "format/qcow2/entries.hpp"
#include "format/qcow2/header.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <system_error>
#include <zlib.h>
#include <zstd.h>

namespace vdisk::tools {
namespace {

using qcow2::big_uint16_buf_t;
using qcow2::big_uint64_buf_t;

constexpr std::uint64_t kCluster = ClusterPacker::kClusterSize;
constexpr unsigned kClusterBits = 16;
constexpr unsigned kRefcountOrder = 4; // 16 bits
constexpr std::uint64_t kTableEntries = kCluster / sizeof(std::uint64_t);
constexpr std::uint64_t kRefcountsOfBlock = kCluster / sizeof(std::uint16_t);
constexpr std::size_t kClustersOfBatch = 16;
constexpr unsigned kSectorsShift = 62 - (kClusterBits - 8); // of a compressed entry's number of sectors
constexpr int kZlibLevel = 6;
constexpr int kZlibWindow = -12; // raw, and no more than QEMU has room for
constexpr int kZlibMemory = 9;
constexpr int kZstdLevel = 3;

struct WrittenHeader {
    qcow2::RawQcow2Header version_2;
    qcow2::RawQcow2HeaderV3 version_3;
    std::uint8_t compression_type;
    std::array<std::uint8_t, 7> padding;
    qcow2::RawExtension end_of_extensions;
};
static_assert(sizeof(WrittenHeader) == 120);

std::uint64_t clusters_for(std::uint64_t bytes) {
    return div_ceil(bytes, kCluster);
}

// Empty if that would not be smaller.
std::vector<std::byte> deflated(std::span<const std::byte> bytes) {
    std::vector<std::byte> packed(bytes.size() - 1);
    z_stream stream{};
    if (::deflateInit2(&stream, kZlibLevel, Z_DEFLATED, kZlibWindow, kZlibMemory, Z_DEFAULT_STRATEGY) != Z_OK)
        throw std::bad_alloc();
    stream.next_in = const_cast<Bytef*>(reinterpret_cast<const Bytef*>(bytes.data()));
    stream.avail_in = static_cast<uInt>(bytes.size());
    stream.next_out = reinterpret_cast<Bytef*>(packed.data());
    stream.avail_out = static_cast<uInt>(packed.size());
    const bool whole = ::deflate(&stream, Z_FINISH) == Z_STREAM_END;
    packed.resize(whole ? packed.size() - stream.avail_out : 0);
    ::deflateEnd(&stream);
    return packed;
}

std::vector<std::byte> zstd_packed(std::span<const std::byte> bytes) {
    std::vector<std::byte> packed(bytes.size() - 1);
    const std::size_t length = ::ZSTD_compress(packed.data(), packed.size(), bytes.data(), bytes.size(), kZstdLevel);
    packed.resize(::ZSTD_isError(length) != 0 ? 0 : length);
    return packed;
}

// A cluster that can't be had again as it was would be wrong bytes for ever.
Result<std::vector<std::byte>> packed_and_proven(Codec codec, std::span<const std::byte> bytes) {
    std::vector<std::byte> packed = codec == Codec::zstd ? zstd_packed(bytes) : deflated(bytes);
    if (packed.empty()) return packed;
    std::vector<std::byte> again(bytes.size());
    VDISK_CHECK(expand(codec, packed, again));
    if (std::ranges::equal(again, bytes)) return packed;
    return fail(ErrorKind::io, "a compressed cluster does not expand to what it was made of");
}

void pack(Codec codec, ClusterPacker::Batch& batch) {
    const std::size_t clusters = batch.bytes.size() / kCluster;
    batch.packed.resize(clusters);
    batch.zeros.resize(clusters);
    for (std::size_t i = 0; i < clusters; ++i) {
        const auto bytes = std::span(batch.bytes).subspan(i * kCluster, kCluster);
        batch.zeros[i] = all_zeros(bytes);
        if (batch.zeros[i]) continue;
        auto packed = packed_and_proven(codec, bytes);
        if (packed.has_error()) {
            batch.failed = std::move(packed).error();
            return;
        }
        batch.packed[i] = std::move(packed).value();
    }
}

template<class Buffer, class Number> std::vector<Buffer> in_big_endian(const std::vector<Number>& numbers) {
    return std::vector<Buffer>(numbers.begin(), numbers.end());
}

} // namespace

ClusterPacker::ClusterPacker(Codec codec, std::size_t threads) : codec_(codec) {
    threads_.emplace_back([this] { run(); });
    try {
        while (threads_.size() < threads) threads_.emplace_back([this] { run(); });
    } catch (const std::system_error&) { // those that are there do it
    }
}

ClusterPacker::~ClusterPacker() {
    {
        const std::lock_guard lock(mutex_);
        ended_ = true;
        waiting_.clear();
    }
    changed_.notify_all();
    for (std::thread& thread : threads_) thread.join();
}

void ClusterPacker::give(std::unique_ptr<Batch> batch) {
    batches_.push_back(std::move(batch));
    {
        const std::lock_guard lock(mutex_);
        waiting_.push_back(batches_.back().get());
    }
    changed_.notify_all();
}

std::unique_ptr<ClusterPacker::Batch> ClusterPacker::take() {
    std::unique_ptr<Batch> batch = std::move(batches_.front());
    batches_.pop_front();
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return batch->done; });
    return batch;
}

void ClusterPacker::run() {
    std::unique_lock lock(mutex_);
    for (;;) {
        changed_.wait(lock, [this] { return ended_ || !waiting_.empty(); });
        if (waiting_.empty()) return;
        Batch* const batch = waiting_.front();
        waiting_.pop_front();
        lock.unlock();
        try {
            pack(codec_, *batch);
        } catch (const std::exception& error) { // no memory
            batch->failed = fail(ErrorKind::io, "{}", error.what());
        }
        lock.lock();
        batch->done = true;
        changed_.notify_all();
    }
}

std::uint64_t Qcow2Output::size_for(std::uint64_t size) noexcept {
    return div_ceil(size, kSector) * kSector;
}

Qcow2Output::Qcow2Output(Output& out, std::uint64_t size, Codec codec, std::size_t threads)
    : out_(out), size_(size), codec_(codec), packer_(codec, threads),
      l1_(static_cast<std::size_t>(div_ceil(clusters_for(size), kTableEntries))) {
    allocate(1); // the header's
}

std::uint64_t Qcow2Output::allocate(std::uint64_t clusters) {
    const std::uint64_t offset = refcounts_.size() * kCluster;
    refcounts_.resize(refcounts_.size() + static_cast<std::size_t>(clusters), 1);
    return offset;
}

Result<void> Qcow2Output::write(std::span<const std::byte> bytes) {
    while (!bytes.empty()) {
        if (!filling_) {
            filling_ = std::make_unique<ClusterPacker::Batch>();
            filling_->first = at_ / kCluster;
            filling_->bytes.assign(static_cast<std::size_t>(at_ % kCluster), std::byte{0}); // skipped
        }
        std::vector<std::byte>& batch = filling_->bytes;
        const std::size_t taken =
            static_cast<std::size_t>(std::min<std::uint64_t>(bytes.size(), kClustersOfBatch * kCluster - batch.size()));
        batch.insert(batch.end(), bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(taken));
        bytes = bytes.subspan(taken);
        at_ += taken;
        if (batch.size() == kClustersOfBatch * kCluster) VDISK_CHECK(pass_on());
    }
    return ok();
}

// Zeros up to the end of a cluster that has other bytes; then clusters that are not there.
Result<void> Qcow2Output::skip(std::uint64_t length) {
    if (filling_) {
        const std::uint64_t rest = std::min(length, (kCluster - at_ % kCluster) % kCluster);
        filling_->bytes.resize(filling_->bytes.size() + static_cast<std::size_t>(rest));
        at_ += rest;
        length -= rest;
        if (length > 0 || filling_->bytes.size() == kClustersOfBatch * kCluster) VDISK_CHECK(pass_on());
    }
    at_ += length;
    return ok();
}

Result<void> Qcow2Output::pass_on() {
    filling_->bytes.resize(static_cast<std::size_t>(clusters_for(filling_->bytes.size()) * kCluster));
    packer_.give(std::move(filling_));
    return packer_.is_full() ? take_batch() : Result<void>(ok());
}

Result<void> Qcow2Output::take_batch() {
    const auto batch = packer_.take();
    if (batch->failed) return *batch->failed;
    for (std::size_t i = 0; i < batch->packed.size(); ++i)
        if (!batch->zeros[i]) VDISK_CHECK(put_cluster(batch->first + i, *batch, i));
    return ok();
}

Result<void> Qcow2Output::put_cluster(std::uint64_t number, const ClusterPacker::Batch& batch, std::size_t index) {
    if (batch.packed[index].empty())
        return put_whole(number, std::span(batch.bytes).subspan(index * kCluster, kCluster));
    return put_packed(number, batch.packed[index]);
}

Result<void> Qcow2Output::put_whole(std::uint64_t number, std::span<const std::byte> bytes) {
    const std::uint64_t offset = allocate(1);
    VDISK_CHECK(out_.rewrite(offset, bytes));
    return set_entry(number, offset | qcow2::kCopied);
}

// Behind the last one, also across the end of its cluster where the next cluster of the file is new. All clusters whose
// sectors an entry names count it.
Result<void> Qcow2Output::put_packed(std::uint64_t number, std::span<const std::byte> packed) {
    const bool at_end = packed_end_ == refcounts_.size() * kCluster;
    if (packed_at_ + packed.size() > packed_end_) {
        if (!at_end) packed_at_ = refcounts_.size() * kCluster;
        packed_end_ = allocate(1) + kCluster;
        refcounts_.back() = 0;
    }
    const std::uint64_t offset = packed_at_;
    const std::uint64_t first_sector = offset / kSector;
    const std::uint64_t last_sector = (offset + packed.size() - 1) / kSector;
    VDISK_CHECK(out_.rewrite(offset, packed));
    for (std::uint64_t cluster = first_sector * kSector / kCluster; cluster <= last_sector * kSector / kCluster;
         ++cluster)
        ++refcounts_[static_cast<std::size_t>(cluster)];
    packed_at_ = offset + packed.size();
    return set_entry(number, qcow2::kCompressed | ((last_sector - first_sector) << kSectorsShift) | offset);
}

// Clusters come in their order, so that a table that another one follows is whole.
Result<void> Qcow2Output::set_entry(std::uint64_t number, std::uint64_t entry) {
    const std::uint64_t table = number / kTableEntries;
    if (table != table_number_) VDISK_CHECK(put_table());
    table_number_ = table;
    table_.resize(static_cast<std::size_t>(kTableEntries));
    table_[static_cast<std::size_t>(number % kTableEntries)] = entry;
    return ok();
}

Result<void> Qcow2Output::put_table() {
    if (table_.empty()) return ok();
    const std::uint64_t offset = allocate(1);
    const auto stored = in_big_endian<big_uint64_buf_t>(table_);
    VDISK_CHECK(out_.rewrite(offset, std::as_bytes(std::span(stored))));
    l1_[static_cast<std::size_t>(table_number_)] = offset | qcow2::kCopied;
    table_.clear();
    return ok();
}

// The refcounts count their own clusters, too. Returns the offset of their table, which is the last in the file.
Result<std::uint64_t> Qcow2Output::put_tables(std::uint64_t l1_offset) {
    const auto l1 = in_big_endian<big_uint64_buf_t>(l1_);
    VDISK_CHECK(out_.rewrite(l1_offset, std::as_bytes(std::span(l1))));
    std::uint64_t blocks = 0, table_clusters = 0;
    for (;;) {
        const std::uint64_t all = refcounts_.size() + blocks + table_clusters;
        const std::uint64_t needed = all / kRefcountsOfBlock + 1;
        const std::uint64_t needed_clusters = clusters_for(needed * sizeof(std::uint64_t));
        if (needed <= blocks && needed_clusters <= table_clusters) break;
        blocks = std::max(blocks, needed);
        table_clusters = std::max(table_clusters, needed_clusters);
    }
    const std::uint64_t first_block = allocate(blocks);
    const std::uint64_t table = allocate(table_clusters);
    refcounts_.resize(static_cast<std::size_t>(blocks * kRefcountsOfBlock));
    const auto counts = in_big_endian<big_uint16_buf_t>(refcounts_);
    VDISK_CHECK(out_.rewrite(first_block, std::as_bytes(std::span(counts))));
    std::vector<big_uint64_buf_t> offsets(static_cast<std::size_t>(table_clusters * kTableEntries),
                                          big_uint64_buf_t(0));
    for (std::uint64_t i = 0; i < blocks; ++i) offsets[static_cast<std::size_t>(i)] = first_block + i * kCluster;
    VDISK_CHECK(out_.rewrite(table, std::as_bytes(std::span(offsets))));
    return table;
}

Result<void> Qcow2Output::finish() {
    if (at_ != size_) return fail(ErrorKind::usage, "{} of {} bytes were given", at_, size_);
    if (filling_) VDISK_CHECK(pass_on());
    while (!packer_.is_empty()) VDISK_CHECK(take_batch());
    VDISK_CHECK(put_table());
    const std::uint64_t l1_offset =
        allocate(std::max<std::uint64_t>(1, clusters_for(l1_.size() * sizeof(std::uint64_t))));
    VDISK_TRY(refcount_table, put_tables(l1_offset));
    const std::uint64_t blocks = refcounts_.size() / kRefcountsOfBlock;
    const std::uint64_t table_clusters = clusters_for(blocks * sizeof(std::uint64_t));
    WrittenHeader header{};
    header.version_2.magic = qcow2::kMagic;
    header.version_2.version = 3;
    header.version_2.cluster_bits = kClusterBits;
    header.version_2.size = size_for(size_);
    header.version_2.l1_size = static_cast<std::uint32_t>(l1_.size());
    header.version_2.l1_table_offset = l1_offset;
    header.version_2.refcount_table_offset = refcount_table;
    header.version_2.refcount_table_clusters = static_cast<std::uint32_t>(table_clusters);
    header.version_3.incompatible_features = codec_ == Codec::zstd ? std::uint64_t{qcow2::kCompressionType} : 0;
    header.version_3.refcount_order = kRefcountOrder;
    header.version_3.header_length = offsetof(WrittenHeader, end_of_extensions);
    header.compression_type = codec_ == Codec::zstd ? 1 : 0;
    VDISK_CHECK(out_.rewrite(0, std::as_bytes(std::span(&header, 1))));
    return out_.finish(refcount_table + table_clusters * kCluster);
}

} // namespace vdisk::tools
