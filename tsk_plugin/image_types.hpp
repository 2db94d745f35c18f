// SPDX-License-Identifier: Apache-2.0
/// The numbers and words under which The Sleuth Kit knows our formats.
#pragma once

#include "disk/format.hpp"

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace vdisk::tsk {

/// TSK_IMG_TYPE_ENUM. Not the enum itself, because versions of The Sleuth Kit differ in what it holds.
using TypeId = std::uint32_t;

constexpr TypeId kDetect = 0;

struct ImageType {
    TypeId id;
    std::string name; ///< what -i takes; matches \w+
    std::string description;
    std::string_view format; ///< ours
    std::string_view also{}; ///< another format of ours that libtsk's own reader of the type has always read under it
    bool compressed = false; ///< only of a file that is compressed
};

/// The formats of this build that have a number. Lives as long as the process; safe to call from any thread.
[[nodiscard]] std::span<const ImageType> image_types();

/// The type under which files of `format` are shown: a machine's .vbox file as the disks that it names. nullptr if
/// there is none.
[[nodiscard]] const ImageType* type_of(const Format& format);

/// nullptr if the number or name is none of ours.
[[nodiscard]] const ImageType* find_type(TypeId id);
[[nodiscard]] const ImageType* find_type(std::string_view name);

} // namespace vdisk::tsk
