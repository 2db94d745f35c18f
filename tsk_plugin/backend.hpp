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
    std::string path;        ///< perhaps with a selector; reported as the image's name
    const ImageType* type;   ///< what it is shown as; never null
    std::string_view format; ///< what it is opened as: a format's name
    unsigned sector_size;    ///< 0: libtsk's default
};

/// Opens the image as a handle of `tsk`, to be closed by tsk_img_close(). nullptr where libtsk refused and set its own
/// tsk_error.
[[nodiscard]] Result<TSK_IMG_INFO*> open_image(RealTskPtr tsk, const ImageRequest& request);

} // namespace vdisk::tsk
