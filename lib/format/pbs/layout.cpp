// SPDX-License-Identifier: Apache-2.0
#include "format/pbs/layout.hpp"

#include "base/text.hpp"

#include <algorithm>

namespace vdisk::pbs {
namespace {

constexpr Digest kNeverWritten{};

} // namespace

// One chunk's bytes, all of them. What the system refused may work the next time; what is damaged stays so.
Result<void> ChunkSource::read_chunk(const Chunk& chunk, std::span<std::byte> out) const {
    if (!chunk.digest || *chunk.digest == kNeverWritten)
        return fail(ErrorKind::truncated, "{}: has no digest of chunk {}", name(), chunk.number);
    if (const auto known = damaged_.get(chunk.number)) return Error(*known);
    auto read = chunks_->store->read({.digest = *chunk.digest, .key = chunks_->key.get()}, out);
    if (read.has_value()) return ok();
    Error error = std::move(read).error().in(fmt::format("chunk {}", chunk.number));
    if (error.kind != ErrorKind::io) damaged_.put(chunk.number, std::make_shared<const Error>(error), 1);
    return error;
}

Result<std::size_t> ChunkSource::read_at(std::uint64_t offset, std::span<std::byte> out) const {
    if (offset >= size()) return std::size_t{0};
    out = out.first(static_cast<std::size_t>(std::min<std::uint64_t>(out.size(), size() - offset)));
    for (std::size_t done = 0; done < out.size();) {
        const std::uint64_t at = offset + done;
        VDISK_TRY(chunk, chunks_->table.at(at));
        const std::uint64_t skipped = at - chunk.start;
        const auto taken = static_cast<std::size_t>(std::min<std::uint64_t>(out.size() - done, chunk.length - skipped));
        const std::span<std::byte> piece = out.subspan(done, taken);
        if (taken == chunk.length) {
            VDISK_CHECK(read_chunk(chunk, piece));
        } else {
            Block whole(static_cast<std::size_t>(chunk.length));
            VDISK_CHECK(read_chunk(chunk, whole.room()));
            std::ranges::copy(whole.room().subspan(static_cast<std::size_t>(skipped), taken), piece.begin());
        }
        done += taken;
    }
    return out.size();
}

Result<std::shared_ptr<const ChunkLayout>> ChunkLayout::make(ChunksPtr chunks, CachesPtr caches) {
    const IndexHeader header = chunks->table.header();
    const Key* const key = chunks->key.get();
    std::shared_ptr<ChunkLayout> layout(new ChunkLayout(std::move(chunks), std::move(caches)));
    if (header.kind == IndexHeader::Kind::dynamic) return std::shared_ptr<const ChunkLayout>(std::move(layout));
    VDISK_TRY(zeros, digest_of_zeros(header.chunk_size, key));
    layout->zeros_ = layout->last_zeros_ = zeros;
    if (const std::uint64_t last = header.size % header.chunk_size; last != 0) {
        VDISK_TRY(last_zeros, digest_of_zeros(last, key));
        layout->last_zeros_ = last_zeros;
    }
    return std::shared_ptr<const ChunkLayout>(std::move(layout));
}

bool ChunkLayout::was_never_written(const Chunk& chunk) noexcept {
    return *chunk.digest == kNeverWritten;
}

bool ChunkLayout::is_zeros(const Chunk& chunk) const noexcept {
    const IndexHeader& header = chunks_->table.header();
    if (header.kind != IndexHeader::Kind::fixed || !chunk.digest) return false;
    return *chunk.digest == (chunk.length == header.chunk_size ? zeros_ : last_zeros_);
}

std::optional<Error> ChunkLayout::objection(const Chunk& chunk) const {
    const std::string_view index = chunks_->table.file().name();
    if (!chunk.digest) return fail(ErrorKind::truncated, "{}: ends before the digest of chunk {}", index, chunk.number);
    if (was_never_written(chunk))
        return fail(ErrorKind::corrupt, "{}: chunk {} was never written: the backup did not end", index, chunk.number);
    auto missing = chunks_->store->missing(*chunk.digest);
    if (missing) return std::move(*missing).in(fmt::format("chunk {}", chunk.number));
    return std::nullopt;
}

// Of a fixed index the entry of one chunk is lost; where the ends of others are not known, no more than this.
Result<Mapping> ChunkLayout::entry_lost(GuestOffset at, const Error& why) const {
    const IndexHeader& header = chunks_->table.header();
    if (header.kind != IndexHeader::Kind::fixed) return Error(why);
    const std::uint64_t end = std::min((at.value / header.chunk_size + 1) * header.chunk_size, header.size);
    return Mapping(Extent::unreadable(end - at.value, Error(why)));
}

// Behind the last digest nothing more of the disk is known.
Result<Mapping> ChunkLayout::map_chunk(GuestOffset at) const {
    const auto found = table_.at(at.value);
    if (found.has_error()) return entry_lost(at, found.error());
    const Chunk& chunk = found.value();
    const std::uint64_t skipped = at.value - chunk.start;
    if (is_zeros(chunk)) return Mapping(Extent::zero(chunk.length - skipped));
    if (auto why = objection(chunk)) {
        const std::uint64_t length = chunk.digest ? chunk.length - skipped : disk_size() - at.value;
        return Mapping(Extent::unreadable(length, std::move(*why)));
    }
    Extent extent{.kind = Extent::Kind::packed, .length = chunk.length - skipped, .host = HostOffset{chunk.start}};
    extent.packed = {.codec = Codec::none,
                     .start = GuestOffset{chunk.start},
                     .expanded = static_cast<std::uint32_t>(chunk.length),
                     .host_length = chunk.length,
                     .digest = *chunk.digest};
    return Mapping(std::move(extent));
}

Result<Mapping> ChunkLayout::map(GuestOffset at, std::uint64_t wanted) const {
    return map_over_pieces(at, wanted, [this](GuestOffset from, std::uint64_t /*wanted*/) { return map_chunk(from); });
}

} // namespace vdisk::pbs
