// SPDX-License-Identifier: Apache-2.0
/// Names for the feature bits and header extensions of a qcow2 image.
#pragma once

#include "format/qcow2/header.hpp"

namespace vdisk::qcow2 {

/// Which of the header's three bit masks; the numbers are those of the specification's feature name table.
enum class FeatureType : std::uint8_t { incompatible = 0, compatible = 1, autoclear = 2 };

/// The names of the bits that are set in `bits`, lowest first, each safe to show: the specification's, else "NAME (bit
/// N)" with the name that the image's own table gives, else "bit N".
[[nodiscard]] std::vector<std::string> feature_names(const ByteSource& file, const Header& header, FeatureType type,
                                                     std::uint64_t bits);

/// The extensions that the specification doesn't have, as "0x12345678, 16 bytes at offset 104".
[[nodiscard]] std::vector<std::string> unknown_extensions(const Header& header);

} // namespace vdisk::qcow2
