// SPDX-License-Identifier: Apache-2.0
/// Which images are ours.
#pragma once

#include "backend.hpp"

#include <optional>

namespace vdisk::tsk {

/// The arguments that all of libtsk's functions for opening an image come down to.
struct OpenCall {
    int count;
    const char* const* images;
    TypeId type;
    unsigned sector_size;
};

/// What to open if the call is ours: by its type or, where that is to be detected, because the file surely has one of
/// our formats. Several files are the parts of one, in their order. nullopt: libtsk's own affair. Errors:
/// `not_this_format` for a file that two formats are sure of, and why a reference file leads nowhere.
[[nodiscard]] Result<std::optional<ImageRequest>> claim(const RealTsk& tsk, const OpenCall& call);

} // namespace vdisk::tsk
