// SPDX-License-Identifier: Apache-2.0
/// The images around a DiskDescriptor.xml: a state of the disk put together from them, and what one image is part of.
#pragma once

#include "disk/format.hpp"
#include "format/parallels/descriptor.hpp"

namespace vdisk::parallels {

constexpr std::string_view kDescriptorName = "DiskDescriptor.xml";

/// A state of the disk with all its parents: of each piece the images of `shot` and its ancestors. Opens them through
/// the gate. Errors name the descriptor, `source`, and the image.
[[nodiscard]] Result<Layer> open_shot(const Descriptor& descriptor, const Uuid& shot, const ByteSource& source,
                                      const OpenContext& context);

/// How to find an image of a descriptor.
[[nodiscard]] ParentLink link_to(const ImageFile& image);

/// What the descriptor beside an image says of it.
struct Membership {
    std::vector<Remark> remarks{};      ///< which state and piece it is, or why nobody knows
    std::optional<ParentLink> parent{}; ///< the same piece of the state below
};

/// Of the image at `context.file`. Nothing where no descriptor lies beside it or that does not name it. Errors: those
/// of a descriptor that can't be read, so that nothing is shown without its parent.
[[nodiscard]] Result<std::optional<Membership>> find_membership(const OpenContext& context);

/// Tells of each image of the descriptor what its own audit finds.
[[nodiscard]] Result<void> audit_images(const Descriptor& descriptor, const OpenContext& context,
                                        const AuditRequest& request, AuditReport& report);

} // namespace vdisk::parallels
