// SPDX-License-Identifier: Apache-2.0
#include "io/index_cache.hpp"

#include "base/digest.hpp"
#include "base/system/path.hpp"
#include "base/system/program.hpp"
#include "base/text.hpp"
#include "io/cache_folder.hpp"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <system_error>
#include <vector>

namespace vdisk {
namespace {

namespace fs = std::filesystem;
using boost::endian::little_int64_buf_t;
using boost::endian::little_uint32_buf_t;
using boost::endian::little_uint64_buf_t;

constexpr std::uint32_t kVersion = 1;
constexpr std::uint64_t kBlock = 64U << 10;
constexpr std::uint64_t kHashedEnds = 64U << 10;
// Where times prove nothing: pieces this large, this many, spread evenly over what lies between the ends.
constexpr std::uint64_t kSample = 4U << 10;
constexpr std::uint64_t kSamples = 64;

using Digest = IndexKey::Digest;
// 128 bits of SHA-256 a block: no accident gets past them, and they cost 0.03 %.
using BlockDigest = std::array<std::byte, 16>;

// A file in the cache: this header, the index, and a BlockDigest for each kBlock bytes of it.

std::optional<BlockDigest> block_digest(std::span<const std::byte> block) {
    Hasher hasher("SHA256");
    hasher.add(block);
    const auto whole = hasher.finish<sizeof(Digest)>();
    if (!whole) return std::nullopt;
    BlockDigest digest;
    std::copy_n(whole->begin(), digest.size(), digest.begin());
    return digest;
}

std::optional<Digest> frame_check(RawIndexHeader header, std::span<const BlockDigest> blocks) {
    header.check = {};
    Hasher hasher("SHA256");
    hasher.add_struct(header);
    hasher.add(std::as_bytes(blocks));
    return hasher.finish<sizeof(Digest)>();
}

// The index in a cache file whose frame was found good. Reads check the blocks that they touch.
class IndexSource final : public ByteSource {
public:
    /// nullptr if the frame is not sound, or `file` is.
    static SourcePtr open(FilePtr file, const IndexKey& key);

    std::uint64_t size() const noexcept override { return size_; }
    std::string_view name() const noexcept override { return file_->name(); }
    Result<std::size_t> read_at(std::uint64_t offset, std::span<std::byte> out) const override;

private:
    IndexSource(FilePtr file, std::uint64_t size, std::vector<BlockDigest> blocks)
        : file_(std::move(file)), size_(size), blocks_(std::move(blocks)) {}
    Result<void> check(std::uint64_t block, std::span<const std::byte> bytes) const;
    Result<void> read_part(std::uint64_t offset, std::span<std::byte> out) const;

    FilePtr file_;
    std::uint64_t size_;
    std::vector<BlockDigest> blocks_;
};

std::optional<std::vector<BlockDigest>> read_frame(const ByteSource& file, const RawIndexHeader& header,
                                                   const IndexKey& key) {
    if (header.magic != kIndexMagic || header.version.value() != kVersion || header.block_size.value() != kBlock)
        return std::nullopt;
    if (header.key != key.digest()) return std::nullopt;
    const std::uint64_t length = header.length.value();
    if (!fits(sizeof header, length, file.size())) return std::nullopt;
    std::vector<BlockDigest> blocks;
    const std::uint64_t table = sizeof header + length;
    // The table must be all that is left, so it is no larger than the file before it is allocated.
    if (file.size() - table != div_ceil(length, kBlock) * sizeof(BlockDigest)) return std::nullopt;
    blocks.resize(static_cast<std::size_t>(div_ceil(length, kBlock)));
    if (read_exact(file, table, std::as_writable_bytes(std::span(blocks))).has_error()) return std::nullopt;
    if (frame_check(header, blocks) != std::optional(header.check)) return std::nullopt;
    return blocks;
}

SourcePtr IndexSource::open(FilePtr file, const IndexKey& key) {
    if (!file) return nullptr;
    const auto header = read_struct<RawIndexHeader>(*file, 0, "index header");
    if (header.has_error()) return nullptr;
    auto blocks = read_frame(*file, header.value(), key);
    if (!blocks) return nullptr;
    return SourcePtr(new IndexSource(std::move(file), header.value().length.value(), std::move(*blocks)));
}

Result<void> IndexSource::check(std::uint64_t block, std::span<const std::byte> bytes) const {
    if (block_digest(bytes) == std::optional(blocks_[static_cast<std::size_t>(block)])) return ok();
    return fail_at(block * kBlock, ErrorKind::corrupt, "{}: block {} of the index is damaged", name(), block);
}

// Part of one block: the whole of it is read, because that is what can be checked.
Result<void> IndexSource::read_part(std::uint64_t offset, std::span<std::byte> out) const {
    const std::uint64_t start = align_down(offset, kBlock);
    std::vector<std::byte> block(static_cast<std::size_t>(std::min(kBlock, size_ - start)));
    VDISK_CHECK(read_exact(*file_, sizeof(RawIndexHeader) + start, block));
    VDISK_CHECK(check(start / kBlock, block));
    std::memcpy(out.data(), block.data() + (offset - start), out.size());
    return ok();
}

Result<std::size_t> IndexSource::read_at(std::uint64_t offset, std::span<std::byte> out) const {
    if (offset >= size_) return std::size_t{0};
    out = out.first(static_cast<std::size_t>(std::min<std::uint64_t>(out.size(), size_ - offset)));
    for (std::size_t done = 0; done < out.size();) {
        const std::uint64_t at = offset + done;
        const std::uint64_t end = std::min(align_down(at, kBlock) + kBlock, size_);
        const auto piece =
            out.subspan(done, static_cast<std::size_t>(std::min<std::uint64_t>(end - at, out.size() - done)));
        VDISK_CHECK(read_part(at, piece));
        done += piece.size();
    }
    return out.size();
}

// The time that must have passed since a file's last change until a further one is sure to carry another time. Kernels
// stamp with the time of their last tick, 10 ms at most; some file systems keep whole seconds, FAT even pairs of them.
std::chrono::nanoseconds time_granularity(std::int64_t changed) {
    if (changed % 1'000'000'000 == 0) return std::chrono::seconds(3);
    return std::chrono::milliseconds(100);
}

Result<void> hash_range(Hasher& hasher, const FileSource& file, std::uint64_t offset, std::uint64_t length) {
    VDISK_TRY(bytes, read_bytes(file, offset, length, "the bytes that identify the file"));
    hasher.add(bytes);
    return ok();
}

// The bytes by which a file is told from another of the same size and times.
Result<void> hash_content(Hasher& hasher, const FileSource& file, ChangeTimes times) {
    const std::uint64_t end = std::min(kHashedEnds, file.size());
    VDISK_CHECK(hash_range(hasher, file, 0, end));
    VDISK_CHECK(hash_range(hasher, file, file.size() - end, end));
    const std::uint64_t between = file.size() - end;
    if (times == ChangeTimes::sure || between <= end) return ok();
    const std::uint64_t step = std::max(kSample, (between - end) / kSamples);
    for (std::uint64_t at = end; at < between; at += step)
        VDISK_CHECK(hash_range(hasher, file, at, std::min(kSample, between - at)));
    return ok();
}

// What tells one state of a file from another.
void hash_state(Hasher& hasher, const FileSource& file) {
    struct {
        little_uint64_buf_t file_system, inode, size;
        little_int64_buf_t modified, changed;
    } state;
    state.file_system = file.file_system();
    state.inode = file.identity().inode;
    state.size = file.size();
    state.modified = file.modified();
    state.changed = file.changed();
    hasher.add_struct(state);
}

bool is_settled(const FileSource& file) {
    return std::chrono::system_clock::now().time_since_epoch() - std::chrono::nanoseconds(file.changed()) >
           time_granularity(file.changed());
}

// The folder that the file lies in, whatever links lead to it; nothing where that can't be had any more.
std::optional<FileIdentity> folder_of(const FileSource& file) {
    std::error_code error;
    const fs::path path = fs::canonical(file.path(), error);
    if (error) return std::nullopt;
    const auto folder = CacheFolder::open(path.parent_path());
    if (folder.has_error()) return std::nullopt;
    return folder.value().identity();
}

} // namespace

Result<IndexKey> IndexKey::of(const FileSource& file, std::string_view kind) {
    return of(file, kind, file.change_times());
}

Result<IndexKey> IndexKey::of(const FileSource& file, std::string_view kind, ChangeTimes times) {
    if (!file.is_regular())
        return fail(ErrorKind::unsupported, "{}: is no regular file: its indexes can't be kept", file.name());
    Hasher hasher("SHA256");
    for (const FileSource* const each : file.files()) hash_state(hasher, *each);
    for (const FilePart& part : file.parts())
        if (part.file) hasher.add_struct(little_uint64_buf_t(part.start));
    hasher.add(std::as_bytes(std::span(kind)));
    VDISK_CHECK(hash_content(hasher, file, times));
    const auto digest = hasher.finish<sizeof(Digest)>();
    if (!digest) return fail(ErrorKind::io, "SHA-256 is not available");

    IndexKey key;
    key.digest_ = *digest;
    for (const FileSource* const each : file.files())
        if (const auto folder = folder_of(*each)) key.folders_.insert(*folder);
    key.settled_ = std::ranges::all_of(file.files(), [](const FileSource* each) { return is_settled(*each); });
    return key;
}

struct IndexWriter::State {
    CacheFolder folder;
    CacheFolder::Unfinished unfinished;
    std::uint64_t capacity = 0;
    bool failed = false;
    bool there = true; ///< the unfinished file
    RawIndexHeader header{};
    std::uint64_t length = 0;       ///< bytes appended
    std::vector<std::byte> block{}; ///< the ones that are not written yet
    std::vector<BlockDigest> digests{};

    Error os_error(std::string_view what) const {
        const std::string why = system::reason();
        return fail(ErrorKind::io, "{}: {}: {}", printable(utf8(folder.path() / unfinished.name)), what, why);
    }

    Result<void> write(std::uint64_t offset, std::span<const std::byte> bytes) {
        if (!system::write_at(unfinished.file.get(), bytes.data(), bytes.size(), offset)) return os_error("writing");
        return ok();
    }

    Result<void> write_header() { return write(0, std::as_bytes(std::span(&header, 1))); }

    Result<void> write_block() {
        const auto digest = block_digest(block);
        if (!digest) return fail(ErrorKind::io, "SHA-256 is not available");
        VDISK_CHECK(write(sizeof header + digests.size() * kBlock, block));
        digests.push_back(*digest);
        block.clear();
        return ok();
    }

    Result<void> append(std::span<const std::byte> bytes) {
        if (bytes.size() > capacity - length)
            return fail(ErrorKind::limit_exceeded, "{}: an index of more than {} bytes", printable(utf8(folder.path())),
                        capacity);
        length += bytes.size();
        while (!bytes.empty()) {
            const std::size_t taken = std::min<std::size_t>(bytes.size(), kBlock - block.size());
            block.insert(block.end(), bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(taken));
            bytes = bytes.subspan(taken);
            if (block.size() == kBlock) VDISK_CHECK(write_block());
        }
        return ok();
    }

    // No fsync(): an index that a power cut leaves half written does not check, and is built again.
    Result<void> finish() {
        if (!block.empty()) VDISK_CHECK(write_block());
        VDISK_CHECK(write(sizeof header + length, std::as_bytes(std::span(digests))));
        header.magic = kIndexMagic;
        header.length = length;
        const auto check = frame_check(header, digests);
        if (!check) return fail(ErrorKind::io, "SHA-256 is not available");
        header.check = *check;
        VDISK_CHECK(write_header());
        if (unfinished.file.reset() != 0) return os_error("closing");
        VDISK_CHECK(folder.finish(unfinished.name, header.key));
        there = false;
        return ok();
    }
};

IndexWriter::IndexWriter(std::unique_ptr<State> state) : state_(std::move(state)) {}
IndexWriter::IndexWriter(IndexWriter&& other) noexcept = default;

IndexWriter::~IndexWriter() {
    if (state_ && state_->there) state_->folder.remove_unfinished(state_->unfinished.name);
}

Result<void> IndexWriter::append(std::span<const std::byte> bytes) {
    auto done = state_->append(bytes);
    state_->failed = state_->failed || done.has_error();
    return done;
}

Result<void> IndexWriter::commit() {
    if (state_->failed || !state_->there) return fail(ErrorKind::usage, "an index that can't be committed");
    auto done = state_->finish();
    state_->failed = done.has_error();
    if (done.has_value()) state_->folder.clean(state_->capacity);
    return done;
}

IndexCache::IndexCache(fs::path folder, std::optional<std::uint64_t> capacity)
    : folder_(std::move(folder)), capacity_(capacity) {}

std::uint64_t IndexCache::capacity() const {
    constexpr std::uint64_t kShareOfFree = 8;
    if (capacity_) return *capacity_;
    std::error_code error;
    const fs::space_info space = fs::space(folder_, error);
    return std::max(Limits{}.index_cache_bytes, error ? 0 : std::uint64_t{space.available} / kShareOfFree);
}

IndexCache IndexCache::from_environment() {
    const std::string chosen = system::trusted_environment("VDISK_CACHE_DIR").value_or("");
    if (chosen == "none") return {};
    if (!chosen.empty()) return IndexCache(chosen);
    const fs::path home = system::cache_home();
    return home.empty() ? IndexCache() : IndexCache(home / "tsk-vdisk");
}

SourcePtr IndexCache::open(const IndexKey& key) const {
    if (!enabled()) return nullptr;
    const auto folder = CacheFolder::open(folder_);
    if (folder.has_error() || key.lies_in(folder.value().identity())) return nullptr;
    return IndexSource::open(folder.value().open_index(key.digest()), key);
}

std::optional<std::vector<std::byte>> IndexCache::load(const IndexKey& key, std::uint64_t most) const {
    const SourcePtr index = open(key);
    if (!index || index->size() > most) return std::nullopt;
    auto bytes = read_bytes(*index, 0, index->size(), "index");
    if (bytes.has_error()) return std::nullopt;
    return std::move(bytes).value();
}

Result<IndexWriter> IndexCache::create(const IndexKey& key) const {
    if (!enabled()) return fail(ErrorKind::unsupported, "the index cache is off");
    if (!key.settled()) return fail(ErrorKind::unsupported, "the file has changed just now: its index is not kept");
    VDISK_TRY(folder, CacheFolder::open_or_make(folder_));
    const std::string shown = printable(utf8(folder_));
    if (key.lies_in(folder.identity()))
        return fail(ErrorKind::unsupported, "{}: nothing is written beside the file that an index is of", shown);
    const std::uint64_t most = capacity();
    if (!folder.is_ours() && folder.used() >= most)
        return fail(ErrorKind::limit_exceeded, "{}: is full and not for indexes alone: no older ones are removed",
                    shown);
    VDISK_TRY(unfinished, folder.make_unfinished());

    auto state = std::make_unique<IndexWriter::State>(
        IndexWriter::State{.folder = std::move(folder), .unfinished = std::move(unfinished), .capacity = most});
    state->header = {.magic = kUnfinishedMagic,
                     .version = little_uint32_buf_t(kVersion),
                     .block_size = little_uint32_buf_t(std::uint32_t{kBlock}),
                     .key = key.digest()};
    IndexWriter writer(std::move(state));
    VDISK_CHECK(writer.state_->write_header());
    return Result<IndexWriter>(std::move(writer));
}

Result<void> IndexCache::store(const IndexKey& key, std::span<const std::byte> bytes) const {
    VDISK_TRY(writer, create(key));
    VDISK_CHECK(writer.append(bytes));
    return writer.commit();
}

} // namespace vdisk
