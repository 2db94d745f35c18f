// SPDX-License-Identifier: Apache-2.0
#include "format/vmdk/markers.hpp"

#include <algorithm>
#include <cstring>

namespace vdisk::vmdk {
namespace {

enum Type : std::uint32_t { end_of_stream = 0, grain_table = 1, grain_directory = 2, footer = 3, progress_mark = 4 };

// A zlib stream's first two bytes: deflate with a window of at most 32 KiB, no dictionary, and a check.
bool begins_zlib(std::uint32_t start) noexcept {
    const std::uint32_t method = start & 0xFF;
    const std::uint32_t flags = start >> 8 & 0xFF;
    return (method & 0x0F) == 8 && method >> 4 <= 7 && (flags & 0x20) == 0 && (method * 256 + flags) % 31 == 0;
}

// The grain whose marker this is; nothing if it can't be one.
std::optional<PackedGrain> grain_of(const Sparse& sparse, const RawMarker& marker, std::uint64_t offset) {
    const std::uint64_t size = marker.size.value();
    const std::uint64_t sectors = sparse.grain_size / kSector;
    const std::uint64_t sector = marker.value.value();
    // What does not shrink grows by a few bytes in a thousand.
    const bool possible = size > 0 && size <= 2 * sparse.grain_size + kSector && sector % sectors == 0 &&
                          sector / sectors < sparse.grains() && begins_zlib(marker.type.value());
    if (!possible) return std::nullopt;
    return PackedGrain{.number = sector / sectors, .host = offset + kMarkerBytes, .length = size};
}

class Follower {
public:
    Follower(const Sparse& sparse, const ByteSource& file, const Limits& limits, const Progress& progress)
        : sparse_(sparse), file_(file), limits_(limits), progress_(progress), left_(limits.audit_look_bytes) {}

    Result<FoundGrains> run() {
        if (sparse_.grains() > 0xFFFFFFFF)
            return fail(ErrorKind::limit_exceeded, "{}: has {} grains, and no table of them can be read", file_.name(),
                        sparse_.grains());
        std::uint64_t at = kSector;
        for (const Claim& claim : sparse_.structures) at = std::max(at, *align_up(claim.end(), kSector));
        const std::uint64_t end = std::min(file_.size(), (std::uint64_t{1} << 32) * kSector);
        while (!ended_ && fits(at, sizeof(RawMarker), end)) {
            if (++steps_ % 4096 == 0) VDISK_CHECK(tell(progress_, at, file_.size()));
            VDISK_TRY(marker, read_struct<RawMarker>(file_, at, "marker"));
            VDISK_TRY(next, step(at, marker));
            if (next == at) {
                VDISK_TRY(found, search(at + kSector, end));
                found_.passed_over += found - at;
                next = found;
            }
            at = next;
        }
        found_.whole = ended_ && found_.passed_over == 0;
        sort();
        VDISK_CHECK(find_tables());
        return std::move(found_);
    }

private:
    // What stands at a sector where something other than a grain may begin.
    bool is_metadata(const RawMarker& marker, std::uint64_t at) const {
        const std::uint64_t sectors = marker.value.value();
        const std::uint32_t type = marker.type.value();
        if (marker.size.value() != 0 || type > progress_mark) return false;
        // Zeros may be a hole in a damaged file as well.
        if (type == end_of_stream) return sectors == 0 && align_up(file_.size(), kSector) == at + kSector;
        return sectors < file_.size() / kSector && fits(at + kSector, sectors * kSector, file_.size());
    }

    // Where the next marker should be; `at` if there is none.
    Result<std::uint64_t> step(std::uint64_t at, const RawMarker& marker) {
        if (const auto grain = grain_of(sparse_, marker, at)) return take_grain(at, *grain);
        if (!is_metadata(marker, at)) return at;
        ended_ = marker.type.value() == end_of_stream;
        const std::uint64_t bytes = marker.value.value() * kSector;
        if (marker.type.value() == grain_table && bytes >= sparse_.table_bytes()) tables_.push_back(at + kSector);
        return at + kSector + bytes;
    }

    // The next sector from `at` on where a marker may be, or where looking for it ends.
    Result<std::uint64_t> search(std::uint64_t at, std::uint64_t end) {
        constexpr std::uint64_t kAtOnce = 1U << 20;
        std::vector<std::byte> bytes;
        while (fits(at, sizeof(RawMarker), end)) {
            const std::uint64_t taken = std::min(kAtOnce, file_.size() - at);
            if (taken > left_) return end;
            left_ -= taken;
            bytes.resize(static_cast<std::size_t>(taken));
            VDISK_CHECK(read_exact(file_, at, bytes));
            VDISK_CHECK(tell(progress_, at, file_.size()));
            for (std::size_t i = 0; i + sizeof(RawMarker) <= bytes.size(); i += kSector) {
                RawMarker marker;
                std::memcpy(&marker, bytes.data() + i, sizeof marker);
                if (grain_of(sparse_, marker, at + i) || is_metadata(marker, at + i)) return at + i;
            }
            at += kAtOnce;
        }
        return end;
    }

    Result<std::uint64_t> take_grain(std::uint64_t at, const PackedGrain& grain) {
        if (found_.places.size() >= limits_.cluster_map_bytes / sizeof(FoundGrains::Place) / 2)
            return fail(ErrorKind::limit_exceeded, "{}: has more than {} grains, and no table of them can be read",
                        file_.name(), found_.places.size());
        found_.places.push_back(
            {.number = static_cast<std::uint32_t>(grain.number), .sector = static_cast<std::uint32_t>(at / kSector)});
        found_.end = grain.host + grain.length;
        return *align_up(found_.end, kSector);
    }

    void sort() {
        std::ranges::sort(found_.places);
        std::vector<FoundGrains::Place> once;
        for (const FoundGrains::Place& place : found_.places) {
            if (!once.empty() && once.back().number == place.number) once.back() = place;
            else once.push_back(place);
        }
        found_.places = std::move(once);
    }

    // Which of the tables each is: the first grain that it names tells.
    Result<void> find_tables() {
        for (const std::uint64_t at : tables_) {
            VDISK_TRY(bytes, read_bytes(file_, at, sparse_.table_bytes(), "grain table"));
            for (std::size_t i = 0; i < sparse_.table_entries; ++i) {
                little_uint32_buf_t entry;
                std::copy_n(bytes.begin() + static_cast<std::ptrdiff_t>(i * 4), 4,
                            std::as_writable_bytes(std::span(&entry, 1)).begin());
                if (entry.value() == 0) continue;
                VDISK_TRY(grain, grain_at(sparse_, file_, entry.value() * kSector));
                if (grain && grain->number % sparse_.table_entries == i)
                    found_.tables[grain->number / sparse_.table_entries] = at;
                break;
            }
        }
        return ok();
    }

    const Sparse& sparse_;
    const ByteSource& file_;
    const Limits& limits_;
    const Progress& progress_;
    FoundGrains found_;
    std::uint64_t left_;                ///< bytes that may still be searched
    std::vector<std::uint64_t> tables_; ///< where they are
    std::uint64_t steps_ = 0;
    bool ended_ = false;
};

} // namespace

Result<std::optional<PackedGrain>> grain_at(const Sparse& sparse, const ByteSource& file, std::uint64_t offset) {
    if (!fits(offset, sizeof(RawMarker), file.size())) return std::optional<PackedGrain>();
    VDISK_TRY(marker, read_struct<RawMarker>(file, offset, "grain marker"));
    return grain_of(sparse, marker, offset);
}

Result<FoundGrains> follow_markers(const Sparse& sparse, const ByteSource& file, const Limits& limits,
                                   const Progress& progress) {
    return Follower(sparse, file, limits, progress).run();
}

} // namespace vdisk::vmdk
