// SPDX-License-Identifier: Apache-2.0
#include "format/pbs/index.hpp"

#include "base/digest.hpp"
#include "base/zeros.hpp"

#include <boost/endian/buffers.hpp>

#include <algorithm>
#include <limits>

namespace vdisk::pbs {
namespace {

using boost::endian::little_int64_buf_t;
using boost::endian::little_uint64_buf_t;

struct RawBackupIndexHeader {
    std::array<unsigned char, 8> magic;
    std::array<std::byte, 16> uuid;
    little_int64_buf_t ctime;
    Digest csum;
    little_uint64_buf_t size; // with the next one of fixed indexes alone: zeros in others
    little_uint64_buf_t chunk_size;
    std::array<std::byte, 4016> reserved;
};
static_assert(sizeof(RawBackupIndexHeader) == IndexHeader::kBytes);

struct RawEntry { // of a dynamic index; one of a fixed index is the digest alone
    little_uint64_buf_t end;
    Digest digest;
};
static_assert(sizeof(RawEntry) == 40);

constexpr std::array<unsigned char, 8> kFixedMagic{0x2f, 0x7f, 0x41, 0xed, 0x91, 0xfd, 0x0f, 0xcd};
constexpr std::array<unsigned char, 8> kDynamicMagic{0x1c, 0x91, 0x4e, 0xa5, 0x19, 0xba, 0xb3, 0xcd};
constexpr std::uint64_t kLeastChunk = 512;
constexpr std::uint64_t kMostSize = std::numeric_limits<std::int64_t>::max();

Result<void> check_sizes(const IndexHeader& header, std::string_view name, const Limits& limits) {
    if (header.size == 0 || header.size > kMostSize)
        return fail_at(64, ErrorKind::corrupt, "{}: size is {}", name, header.size);
    if (!is_power_of_two(header.chunk_size) || header.chunk_size < kLeastChunk)
        return fail_at(72, ErrorKind::corrupt, "{}: chunk_size is {}", name, header.chunk_size);
    if (header.chunk_size > limits.chunk_bytes)
        return fail_at(72, ErrorKind::limit_exceeded, "{}: chunk_size is {}, the limit is {}", name, header.chunk_size,
                       limits.chunk_bytes);
    return ok();
}

// A server of 2026 writes the size when a backup ends, and leaves room for more digests than there are.
Result<void> find_size(const ByteSource& file, IndexHeader& header) {
    std::uint64_t written = 0;
    LostPieces lost; // what can't be read may be digests
    const auto take = [&](std::uint64_t first, std::span<const Digest> digests) -> Result<void> {
        for (std::size_t i = 0; i < digests.size(); ++i)
            if (!all_zeros(digests[i])) written = first + i + 1;
        return ok();
    };
    VDISK_CHECK(for_each_piece<Digest>(file, IndexHeader::kBytes, header.entries, lost, take));
    if (written == 0 || !lost.none()) return ok();
    header.size = written * header.chunk_size;
    header.size_written = false;
    return ok();
}

Result<IndexHeader> read_dynamic(const ByteSource& file, IndexHeader header) {
    header.chunks = header.entries;
    if (header.entries == 0) return fail(ErrorKind::truncated, "{}: has no whole entry", file.name());
    VDISK_TRY(last, read_struct<RawEntry>(file, IndexHeader::kBytes + (header.entries - 1) * sizeof(RawEntry),
                                          "last entry of the index"));
    header.size = last.end.value();
    if (header.size == 0 || header.size > kMostSize)
        return fail(ErrorKind::corrupt, "{}: the last chunk ends at {}", file.name(), header.size);
    return header;
}

// Checks the order of a dynamic index's ends, as far as they can be read.
class Ends {
public:
    Ends(std::string_view name, std::uint64_t most) : name_(name), most_(most) {}
    Result<void> take(std::uint64_t number, std::uint64_t end) {
        const bool is_next = number == number_; // else what is before it could not be read
        if (is_next && (end <= before_ || end - before_ > most_))
            return fail_at(IndexHeader::kBytes + number * sizeof(RawEntry), ErrorKind::corrupt,
                           "{}: chunk {} ends at {}, the one before it at {}", name_, number, end, before_);
        before_ = end;
        number_ = number + 1;
        return ok();
    }

private:
    std::string_view name_;
    std::uint64_t most_;
    std::uint64_t before_ = 0;
    std::uint64_t number_ = 0;
};

} // namespace

Result<IndexHeader> IndexHeader::read(const ByteSource& file, const Limits& limits) {
    VDISK_TRY(raw, read_struct<RawBackupIndexHeader>(file, 0, "header of the index"));
    IndexHeader header{.uuid = {raw.uuid},
                       .created = raw.ctime.value(),
                       .checksum = raw.csum,
                       .checksum_written = !all_zeros(raw.csum),
                       .reserved_used = !all_zeros(raw.reserved)};
    if (raw.magic == kDynamicMagic) header.kind = Kind::dynamic;
    else if (raw.magic != kFixedMagic)
        return fail(ErrorKind::not_this_format, "{}: has not the magic of an index", file.name());
    header.entries = (file.size() - kBytes) / header.entry_bytes();
    if (header.entries > limits.backup_chunks)
        return fail(ErrorKind::limit_exceeded, "{}: has {} entries, the limit is {}", file.name(), header.entries,
                    limits.backup_chunks);
    header.most_chunk = limits.chunk_bytes;
    if (header.kind == Kind::dynamic) {
        header.reserved_used = header.reserved_used || raw.size.value() != 0 || raw.chunk_size.value() != 0;
        return read_dynamic(file, std::move(header));
    }
    header.size = raw.size.value();
    header.chunk_size = raw.chunk_size.value();
    if (header.size == 0 && !header.checksum_written && header.chunk_size <= limits.chunk_bytes)
        VDISK_CHECK(find_size(file, header));
    VDISK_CHECK(check_sizes(header, file.name(), limits));
    header.most_chunk = header.chunk_size;
    header.chunks = div_ceil(header.size, header.chunk_size);
    return header;
}

std::vector<std::string> IndexHeader::problems(std::uint64_t file_size) const {
    std::vector<std::string> lines;
    if (entries < chunks) lines.push_back(fmt::format("the index ends behind {} of {} digests", entries, chunks));
    if (!size_written)
        lines.push_back(fmt::format("the index does not say how large the disk is: {} bytes is up to the last chunk "
                                    "that was written",
                                    size));
    else if (entries > chunks)
        lines.push_back(fmt::format("the index has {} digests, and a disk of {} bytes has {}", entries, size, chunks));
    if ((file_size - kBytes) % entry_bytes() != 0) lines.emplace_back("the index ends within a digest");
    return lines;
}

Result<IndexSurvey> IndexSurvey::of(const ByteSource& file, const IndexHeader& header) {
    IndexSurvey survey;
    Hasher hasher("SHA256");
    Ends ends(file.name(), header.most_chunk);
    const auto take_digests = [&](std::uint64_t /*first*/, std::span<const Digest> digests) -> Result<void> {
        hasher.add(std::as_bytes(digests));
        for (const Digest& digest : digests) survey.never_written += all_zeros(digest) ? 1U : 0U;
        return ok();
    };
    const auto take_entries = [&](std::uint64_t first, std::span<const RawEntry> entries) -> Result<void> {
        hasher.add(std::as_bytes(entries));
        for (const RawEntry& entry : entries) {
            survey.never_written += all_zeros(entry.digest) ? 1U : 0U;
            VDISK_CHECK(ends.take(first++, entry.end.value()));
        }
        return ok();
    };
    if (header.kind == IndexHeader::Kind::fixed)
        VDISK_CHECK(for_each_piece<Digest>(file, IndexHeader::kBytes, header.entries, survey.lost, take_digests));
    else VDISK_CHECK(for_each_piece<RawEntry>(file, IndexHeader::kBytes, header.entries, survey.lost, take_entries));
    const auto checksum = hasher.finish<sizeof(Digest)>();
    if (!checksum) return fail(ErrorKind::io, "libcrypto failed: SHA-256");
    survey.checksum = *checksum;
    return survey;
}

Result<void> ChunkTable::read(std::uint64_t offset, std::span<std::byte> out) const {
    return cached_ ? cached_->read(offset, out) : read_exact(*file_, offset, out);
}

Result<Digest> ChunkTable::digest_of(std::uint64_t number) const {
    const std::uint64_t entry = header_.entry_bytes();
    Digest digest{};
    VDISK_CHECK(read(IndexHeader::kBytes + (number + 1) * entry - sizeof digest, digest));
    return digest;
}

Result<std::uint64_t> ChunkTable::end_of(std::uint64_t number) const {
    little_uint64_buf_t end;
    VDISK_CHECK(read(IndexHeader::kBytes + number * sizeof(RawEntry), std::as_writable_bytes(std::span(&end, 1))));
    return end.value();
}

Result<Chunk> ChunkTable::at(std::uint64_t offset) const {
    if (header_.kind == IndexHeader::Kind::fixed) return numbered(offset / header_.chunk_size);
    // The first chunk that ends behind the offset.
    std::uint64_t low = 0, high = header_.entries - 1;
    while (low < high) {
        const std::uint64_t middle = low + (high - low) / 2;
        VDISK_TRY(end, end_of(middle));
        if (end > offset) high = middle;
        else low = middle + 1;
    }
    VDISK_TRY(chunk, numbered(low));
    if (offset < chunk.start || offset - chunk.start >= chunk.length) return has_changed();
    return chunk;
}

Result<Chunk> ChunkTable::numbered(std::uint64_t number) const {
    Chunk chunk{.number = number};
    if (header_.kind == IndexHeader::Kind::fixed) {
        chunk.start = number * header_.chunk_size;
        chunk.length = std::min(header_.chunk_size, header_.size - chunk.start);
        if (number >= header_.entries) return chunk;
    } else {
        VDISK_CHECK(find_dynamic(chunk));
    }
    VDISK_TRY(digest, digest_of(number));
    chunk.digest = digest;
    return chunk;
}

// Where the chunk lies, by its end and that of the one before it.
Result<void> ChunkTable::find_dynamic(Chunk& chunk) const {
    if (chunk.number != 0) {
        VDISK_TRY(start, end_of(chunk.number - 1));
        chunk.start = start;
    }
    VDISK_TRY(end, end_of(chunk.number));
    if (end <= chunk.start || end - chunk.start > header_.most_chunk) return has_changed();
    chunk.length = end - chunk.start;
    return ok();
}

// All ends that could be read had an order when the index was surveyed.
Error ChunkTable::has_changed() const {
    return fail(ErrorKind::io, "{}: has changed since it was opened", file().name());
}

} // namespace vdisk::pbs
