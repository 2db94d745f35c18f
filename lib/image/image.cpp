// SPDX-License-Identifier: Apache-2.0
#include "image/image.hpp"

#include "base/text.hpp"

#include <algorithm>
#include <cstring>

namespace vdisk {

Image::Image(Parts parts)
    : parts_(std::move(parts)), size_(parts_.layout->disk_size()), cache_owner_(parts_.caches->new_owner()),
      worth_preparing_(find_worth_preparing()), sequence_(worth_preparing_) {}

Image::~Image() = default;

std::uint64_t Image::find_worth_preparing() const {
    const std::uint64_t clusters = parts_.caches->clusters.make_room(parts_.cluster_bytes);
    std::uint64_t most = parts_.caches->clusters.has_threads() ? std::max<std::uint64_t>(1, clusters) : 0;
    for (const SourcePtr& source : parts_.sources)
        if (source) most = std::max(most, source->worth_preparing());
    return parts_.parent ? std::max(most, parts_.parent->worth_preparing_) : most;
}

Result<std::size_t> Image::read_at(std::uint64_t offset, std::span<std::byte> out) const {
    if (offset >= size_) return std::size_t{0};
    out = out.first(static_cast<std::size_t>(std::min<std::uint64_t>(out.size(), size_ - offset)));
    if (worth_preparing_ > 0)
        if (const auto range = sequence_.advance(offset, out.size())) prepare_range(*range);
    for (std::size_t done = 0; done < out.size();) {
        const GuestOffset at{offset + done};
        VDISK_TRY(found, resolve(at, out.size() - done));
        const auto piece = out.subspan(done, static_cast<std::size_t>(found.extent.length));
        if (auto read = found.layer->read_extent(found.extent, at, piece); read.has_error()) {
            Error error = std::move(read).error();
            error.offset = at.value;
            return std::move(error).in(fmt::format("{}: disk offset {}", parts_.name, at.value));
        }
        done += piece.size();
    }
    ReadCounters& counters = parts_.caches->reads;
    counters.reads.fetch_add(1, std::memory_order_relaxed);
    counters.bytes.fetch_add(out.size(), std::memory_order_relaxed);
    return out.size();
}

Result<ResolvedExtent> Image::resolve(GuestOffset at, std::uint64_t wanted) const {
    wanted = std::min(wanted, size_ - at.value);
    const Image* layer = this;
    for (std::size_t depth = 0;; ++depth, layer = layer->parts_.parent.get()) {
        VDISK_TRY(mapping, layer->map_here(at, wanted));
        if (const Extent* own = mapping.own()) return ResolvedExtent{layer->clip_to_source(*own), layer, depth};
        wanted = mapping.length();
        const Image* parent = layer->parts_.parent.get();
        if (parent == nullptr || at.value >= parent->size_)
            return ResolvedExtent{Extent::zero(wanted), layer, depth, false};
    }
}

// This layer's own answer, cut to `wanted` and to the disk's end.
Result<Mapping> Image::map_here(GuestOffset at, std::uint64_t wanted) const {
    wanted = std::min(wanted, size_ - at.value);
    auto found = parts_.layout->map(at, wanted);
    // A layout looks ahead, so that what it could not read may be what maps later bytes.
    if (found.has_error() && wanted > 1) found = parts_.layout->map(at, 1);
    VDISK_TRY(mapping, std::move(found));
    if (mapping.length() == 0)
        return fail_at(at.value, ErrorKind::corrupt, "{}: empty extent at disk offset {}", parts_.name, at.value);
    return mapping.cut_to(wanted);
}

namespace {

// The run that `host` begins with, of bytes that can be read or that can't, in whole units: of an enciphered sector
// that is readable in part nothing can be read.
Readability run_of_units(const ByteSource& source, std::uint64_t host, std::uint64_t length, std::uint64_t unit) {
    Readability run = source.readability(host, length);
    if (run.length >= length || unit == 1) return run;
    const std::uint64_t end = host + run.length;
    if (!run.why && align_down(end, unit) > host) return {align_down(end, unit) - host, nullptr};
    if (!run.why) {
        run = source.readability(end, length - run.length);
        run.length += end - host;
    }
    run.length = std::min(length, align_up(host + run.length, unit).value_or(host + length) - host);
    return run;
}

} // namespace

// Of what a layer says, the bytes that the source really has, or the first of those that it lacks.
Extent Image::clip_to_source(Extent extent) const {
    if (extent.kind == Extent::Kind::packed) return clip_packed(std::move(extent));
    if (extent.kind != Extent::Kind::stored) return extent;
    const ByteSource& source = *parts_.sources[extent.source];
    const std::uint64_t unit = extent.enciphered ? SectorCipher::kSectorBytes : 1;
    const std::uint64_t end = align_down(source.size(), unit);
    const std::uint64_t host = extent.host.value;
    if (host >= end)
        return Extent::unreadable(extent.length, fail_at(host, ErrorKind::truncated,
                                                         "{}: data at offset {} lies past the end of the file at {}",
                                                         source.name(), host, source.size()));
    Readability run = run_of_units(source, host, std::min(extent.length, end - host), unit);
    if (run.why) return Extent::unreadable(run.length, std::move(run.why));
    extent.length = run.length;
    return extent;
}

// A compressed cluster can be expanded only if all of it can be read.
Extent Image::clip_packed(Extent extent) const {
    const ByteSource& source = *parts_.sources[extent.source];
    const std::uint64_t host = extent.host.value;
    for (std::uint64_t done = 0; done < extent.packed.host_length;) {
        const Readability run = source.readability(host + done, extent.packed.host_length - done);
        if (run.why) return Extent::unreadable(extent.length, run.why);
        if (run.length == 0) break; // the source's end
        done += run.length;
    }
    return extent;
}

Result<void> Image::read_extent(const Extent& extent, GuestOffset at, std::span<std::byte> out) const {
    switch (extent.kind) {
    case Extent::Kind::zero: std::ranges::fill(out, std::byte{0}); return ok();
    case Extent::Kind::stored: return read_stored(extent, at, out);
    case Extent::Kind::packed: return read_packed(extent, at, out);
    case Extent::Kind::unreadable: return Error(*extent.why);
    }
    return ok();
}

Result<void> Image::read_stored(const Extent& extent, GuestOffset at, std::span<std::byte> out) const {
    const ByteSource& source = *parts_.sources[extent.source];
    parts_.caches->reads.stored.fetch_add(out.size(), std::memory_order_relaxed);
    if (!extent.enciphered) return read_exact(source, extent.host.value, out);
    if (!parts_.encryption.cipher)
        return fail_at(at.value, ErrorKind::usage, "{}: data at offset {} are enciphered and there is no key",
                       source.name(), extent.host.value);
    return read_deciphered(parts_.encryption, source, {.host = extent.host, .guest = at}, out);
}

Result<void> Image::read_packed(const Extent& extent, GuestOffset at, std::span<std::byte> out) const {
    VDISK_TRY(cluster, parts_.caches->clusters.get(cluster_key(extent), expander(extent), memory_for(extent)));
    const std::uint64_t skipped = at.value - extent.packed.start.value;
    if (!fits(skipped, out.size(), cluster->size()))
        return fail_at(at.value, ErrorKind::corrupt, "{}: compressed cluster at disk offset {} is too short",
                       parts_.name, at.value);
    std::memcpy(out.data(), cluster->data() + skipped, out.size());
    return ok();
}

BlockKey Image::cluster_key(const Extent& extent) const {
    return {cache_owner_ ^ (std::uint64_t{extent.source} << 32), extent.host.value, extent.packed.host_length};
}

// What expanding takes.
std::size_t Image::memory_for(const Extent& extent) {
    return static_cast<std::size_t>(extent.packed.host_length) + extent.packed.expanded;
}

// Owns what it needs, because it may outlive this image in a queue; but the counters, which outlive the queue.
ExpandedBlocks::Expand Image::expander(const Extent& extent) const {
    return [source = parts_.sources[extent.source], host = extent.host.value, packed = extent.packed,
            &reads = parts_.caches->reads]() -> Result<BlockPtr> {
        Block stored(static_cast<std::size_t>(packed.host_length));
        VDISK_TRY(got, source->read_at(host, stored.room()));
        stored.shrink(got);
        reads.packed.fetch_add(got, std::memory_order_relaxed);
        if (packed.codec == Codec::none && got == packed.expanded)
            return std::make_shared<const Block>(std::move(stored));
        auto cluster = std::make_shared<Block>(packed.expanded);
        if (auto done = expand(packed.codec, stored.room(), cluster->room()); done.has_error())
            return std::move(done).error().in(fmt::format("{}: compressed cluster at offset {}", source->name(), host));
        return BlockPtr(std::move(cluster));
    };
}

// Has the compressed clusters in `range` expanded ahead, and what a source has to make first made. What can't be
// resolved now is left to whoever reads it.
void Image::prepare_range(Sequence::Range range) const {
    const std::uint64_t end = std::min(range.end, size_);
    for (std::uint64_t at = range.start; at < end;) {
        const auto found = resolve(GuestOffset{at}, end - at);
        if (found.has_error()) return;
        const Extent& extent = found.value().extent;
        const Image& layer = *found.value().layer;
        if (extent.kind == Extent::Kind::packed)
            parts_.caches->clusters.prepare(layer.cluster_key(extent), layer.expander(extent), memory_for(extent));
        if (extent.kind == Extent::Kind::stored)
            layer.parts_.sources[extent.source]->prepare(extent.host.value, extent.length);
        at += extent.length;
    }
}

} // namespace vdisk
