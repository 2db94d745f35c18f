// SPDX-License-Identifier: Apache-2.0
/// The runs of a disk and where in the files of the system each lies.
#pragma once

#include "image/image.hpp"
#include "io/file_source.hpp"

#include <optional>

namespace vdisk {

/// Bytes of a disk that follow each other and come from one place.
struct MapRun {
    enum class Kind : std::uint8_t {
        data,        ///< stands in a file as it is, at `place`
        zero,        ///< zeros, by metadata or because the file has a hole there, at `place` then
        compressed,  ///< is decompressed from what lies at `place`: a cluster of its own, or a compressed file
        encrypted,   ///< is deciphered from as many bytes at `place`
        unallocated, ///< no layer has it, so it is zeros
        unreadable,  ///< can't be read, as `why` tells
    };

    GuestOffset start{};
    std::uint64_t length = 0; ///< bytes, > 0
    Kind kind = Kind::data;
    std::size_t depth = 0;           ///< of the layer that it comes from, 0: the disk's own
    const Image* layer = nullptr;    ///< that layer
    Origin place{};                  ///< `file` is null where the bytes stand in none; `length` means nothing
    std::uint64_t stored_length = 0; ///< of compressed clusters alone: bytes at `place` at most, 0 for a stream's bytes
    PackedCluster packed{};          ///< then, of one such cluster: which bytes of it the run is
    std::shared_ptr<const Error> why{}; ///< null but where it is unreadable

    [[nodiscard]] std::uint64_t end() const noexcept { return start.value + length; }
    [[nodiscard]] bool reads_as_zeros() const noexcept { return kind == Kind::zero || kind == Kind::unallocated; }
    /// Whether the bytes of a run stand in the file one by one: then byte N of the run is byte N of the place.
    [[nodiscard]] bool is_byte_by_byte() const noexcept { return place.file != nullptr && stored_length == 0; }
    /// Bytes of the file that the run is made of, 0 if it is made of none.
    [[nodiscard]] std::uint64_t bytes_in_file() const noexcept;

    /// Takes `next`, the run behind this one, into it if that goes on where this one ends: compressed clusters too, if
    /// they follow each other in the file. Whether it did.
    bool absorb(const MapRun& next) noexcept;
    /// The part of it that begins `skipped` (< length) bytes later; of a piece, not of compressed clusters in one run.
    [[nodiscard]] MapRun without_start(std::uint64_t skipped) const;
};

/// A stable word for a kind.
[[nodiscard]] std::string_view to_string(MapRun::Kind kind) noexcept;

/// Whether both are the same bytes of one file of the system in one state, whatever paths led there: its size and times
/// have to be the same too, because a file may have changed since it was opened first, and some file systems give two
/// files one number. False of what is in no file.
[[nodiscard]] bool in_one_place(const Origin& a, const Origin& b) noexcept;

/// Walks the runs of a disk from front to back, of which it keeps no more than one. Reads metadata alone, and asks the
/// file system for holes. What could not be read of the metadata is an unreadable run, whose end is found by trying: to
/// the sector, but that what can be read in between may be missed where it is shorter than 64 KiB. One thread at a
/// time.
class DiskMap {
public:
    /// From `start` to `end` (<= disk.size()) of `disk`, which must outlive this object.
    DiskMap(const Image& disk, GuestOffset start, std::uint64_t end) : disk_(disk), at_(start.value), end_(end) {}
    explicit DiskMap(const Image& disk) : DiskMap(disk, GuestOffset{0}, disk.size()) {}

    /// The next run as the metadata have it, a single compressed cluster or less; nothing at the end. It costs little
    /// however long what follows is. Not to be mixed with next_run().
    [[nodiscard]] std::optional<MapRun> next_piece();

    /// The longest run, whatever pieces it is stored in; nothing at the end. All runs tile the disk.
    [[nodiscard]] std::optional<MapRun> next_run();

private:
    MapRun look(std::uint64_t at);
    [[nodiscard]] std::uint64_t end_of_loss(std::uint64_t at) const;
    void look_for_hole(MapRun& run);

    const Image& disk_;
    std::uint64_t at_;
    std::uint64_t end_;
    std::optional<MapRun> ahead_{}; ///< what next_run() read too much

    // What the file system said last: of a file whose clusters lie anywhere, most are in one long run.
    struct Stored {
        const FileSource* file = nullptr;
        std::uint64_t start = 0;
        std::uint64_t end = 0;
        bool hole = false;
    } stored_{};
};

/// The files of the system that the bytes of a disk are read from, each once, those of its own layer first.
[[nodiscard]] std::vector<const FileSource*> files_of(const Image& disk);

} // namespace vdisk
