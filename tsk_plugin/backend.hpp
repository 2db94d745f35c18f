// SPDX-License-Identifier: Apache-2.0
/// A disk as a TSK_IMG_INFO.
#pragma once

#include "image_types.hpp"
#include "open/open.hpp"
#include "real_tsk.hpp"

struct TSK_IMG_INFO;

namespace vdisk::tsk {

/// How a program wants an image opened.
struct ImageRequest {
    std::string path;                      ///< perhaps with a selector; reported as the image's name
    const ImageType* type;                 ///< what it is shown as; never null
    std::string_view format;               ///< what it is opened as: a format's name
    unsigned sector_size;                  ///< 0: libtsk's default
    std::vector<std::string> more_parts{}; ///< of an image in several files, all but the first
};

/// Opens the image as a handle of `tsk`, to be closed by tsk_img_close(). nullptr where libtsk refused and set its own
/// tsk_error. Tells on standard error, once, how much of the disk metadata show to be unreadable: libtsk lists a folder
/// whose blocks are lost as a shorter one.
[[nodiscard]] Result<TSK_IMG_INFO*> open_image(RealTskPtr tsk, const ImageRequest& request);

/// Whether open_image() made this handle and nobody closed it since. Safe to call from any thread with any pointer.
[[nodiscard]] bool is_ours(const TSK_IMG_INFO* image) noexcept;

/// tsk_img_read() of one of our handles: exactly the bytes that are asked for, without libtsk's cache and the lock that
/// it holds while bytes are read. Less than `length` only at the disk's end, -1 with a tsk_error where a byte can't be
/// read or the offset lies behind the end.
[[nodiscard]] std::int64_t read_image(TSK_IMG_INFO* image, std::int64_t offset, char* buffer,
                                      std::size_t length) noexcept;

} // namespace vdisk::tsk
