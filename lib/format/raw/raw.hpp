// SPDX-License-Identifier: Apache-2.0
/// A raw image: the disk's bytes, one after the other.
#pragma once

#include "disk/format.hpp"

namespace vdisk {

extern const Format kRawFormat;

} // namespace vdisk
