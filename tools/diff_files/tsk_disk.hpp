// SPDX-License-Identifier: Apache-2.0
/// A disk as libtsk reads it.
#pragma once

#include "image/image.hpp"

#include <tsk/libtsk.h>

#include <optional>

namespace vdisk::diff_files {

/// Hands an Image to libtsk. One thread at a time.
class TskDisk {
public:
    TskDisk(ImagePtr image, std::uint32_t sector_size);
    ~TskDisk();
    TskDisk(const TskDisk&) = delete;
    TskDisk& operator=(const TskDisk&) = delete;

    [[nodiscard]] const Image& image() const noexcept { return *image_; }

    /// Null where libtsk refuses. Valid as long as this object.
    [[nodiscard]] TSK_IMG_INFO* info() noexcept { return opened_ ? &handle_.info : nullptr; }

    /// How many reads failed so far. libtsk makes zeros of some of them and calls that a success, so who asks it for
    /// bytes has to look at this too.
    [[nodiscard]] std::uint64_t failures() const noexcept { return failures_ + (ahead_failed_ ? 1 : 0); }

private:
    // libtsk's own structure may be larger than its header says.
    struct Handle {
        TSK_IMG_INFO info;
        TskDisk* owner;
        char room[4096];
    };

    static ssize_t read(TSK_IMG_INFO* info, TSK_OFF_T offset, char* bytes, std::size_t count);

    ImagePtr image_;
    Handle handle_{};
    bool opened_ = false;
    std::uint64_t failures_ = 0;
    std::optional<TSK_OFF_T> ahead_failed_{}; ///< where filling libtsk's cache failed and was not tried again
};

} // namespace vdisk::diff_files
