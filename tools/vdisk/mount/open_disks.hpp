// SPDX-License-Identifier: Apache-2.0
/// The disks of one file, opened when they are read.
#pragma once

#include "open/open.hpp"

#include <deque>
#include <list>
#include <mutex>

namespace vdisk::tools {

/// Opens disks on demand and keeps the last few of them open. What goes wrong, and what has to be said of a disk, is
/// told on standard error as it happens, and remembered. Thread-safe.
class OpenDisks {
public:
    /// `most` disks are kept open; more are only while somebody reads them.
    OpenDisks(OpenedFile file, OpenOptions options, std::size_t most);

    /// Disk number `index` of file().disks->disks(). Errors: as open_disk_at().
    [[nodiscard]] Result<ImagePtr> open(std::size_t index);

    /// Fills `out` from `offset` of that disk, as far as it goes. Errors: as open(), and as Image::read_at().
    [[nodiscard]] Result<std::size_t> read(std::size_t index, std::uint64_t offset, std::span<std::byte> out);

    /// What went wrong last with that disk, at opening or reading; empty if nothing did.
    [[nodiscard]] std::string problem(std::size_t index);

    /// What has to be said of that disk, a line each; empty as long as it was not opened.
    [[nodiscard]] std::string remarks(std::size_t index);

    [[nodiscard]] const OpenedFile& file() const noexcept { return file_; }

private:
    struct Slot {
        std::mutex opening; ///< held by who opens the disk
        std::weak_ptr<const Image> image{};
        std::string problem{}, remarks{}; ///< guarded by `telling_`
    };

    Result<ImagePtr> find_or_open(std::size_t index);
    Result<ImagePtr> open_anew(std::size_t index);
    void keep(const ImagePtr& image);
    void tell_problem(std::size_t index, const Error& error);

    OpenedFile file_;
    OpenOptions options_;
    std::size_t most_;
    std::deque<Slot> slots_;
    std::mutex keeping_;       ///< guards `kept_`
    std::list<ImagePtr> kept_; ///< the one used last in front
    std::mutex telling_;       ///< one line at a time
};

} // namespace vdisk::tools
