// SPDX-License-Identifier: Apache-2.0
/// UTM's machines: `config.plist` in a bundle (X.utm), of the layout with images in `Data` (configuration 4, of QEMU
/// and of Apple's hypervisor) and of the older one with `Images`. Source: UTM's classes of configurations.
#pragma once

#include "disk/format.hpp"
#include "disk/machine.hpp"

namespace vdisk::utm {

constexpr std::string_view kConfigName = "config.plist";

/// Whether a file is such a property list, as XML or binary.
[[nodiscard]] Match probe(std::span<const std::byte> head, const ByteSource& source);

/// Reads the machine. Errors: `unsupported` for a binary property list, `not_this_format`, `limit_exceeded`, `io`.
[[nodiscard]] Result<Machine> read(const ByteSource& source, const OpenContext& context);

} // namespace vdisk::utm
