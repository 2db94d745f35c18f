// SPDX-License-Identifier: Apache-2.0
/// One device of an archive as a disk.
#pragma once

#include "format/vma/map_check.hpp"
#include "image/layout.hpp"

namespace vdisk::vma {

/// What an archive is once it was gone over. Immutable.
struct Archive {
    Header header;
    Contents contents;
    SourcePtr source;
    std::unique_ptr<const MapCheck> check{}; ///< of what the index cache knew; nullptr: nothing is to be checked

    /// Where in the archive the data are that a Run calls `units`.
    [[nodiscard]] std::uint64_t offset_of(std::uint64_t units) const noexcept {
        return contents.offset_of(header, units);
    }
};

/// Looks clusters up in the device's map. One that is stored more than once is read from all places and compared: which
/// copy is the right one can't be known, so if they differ it is unreadable.
class DeviceLayout final : public Layout {
public:
    /// `device` is an index of the contents' devices.
    DeviceLayout(std::shared_ptr<const Archive> archive, std::size_t device);

    [[nodiscard]] std::uint64_t disk_size() const noexcept override { return device_.size; }
    [[nodiscard]] Result<Mapping> map(GuestOffset at, std::uint64_t wanted) const override;

private:
    Result<Extent> piece_at(std::uint64_t at) const;
    Result<void> check(const ClusterMap::Found& found, std::uint32_t cluster) const;
    Extent lost_piece(const ClusterMap::Found& found, std::uint64_t at, std::uint64_t end) const;
    Extent stored_piece(const Run& run, std::uint64_t at) const;
    Result<Extent> duplicate_piece(std::span<const Run> copies, std::uint64_t at) const;
    Result<void> read_cluster(const Run& copy, std::span<std::byte> out) const;
    Extent unreadable(std::uint64_t at, std::uint64_t length, std::string_view why) const;

    std::shared_ptr<const Archive> archive_;
    const Device& device_;
    const ClusterMap& map_;
};

} // namespace vdisk::vma
