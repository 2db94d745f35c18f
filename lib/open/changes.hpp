// SPDX-License-Identifier: Apache-2.0
/// Where two disks differ, as far as metadata alone tell: two states of one disk share most of what they are made of.
#pragma once

#include "open/open.hpp"

namespace vdisk {

/// Bytes of a disk, [offset, offset + length), length > 0.
struct ChangedRange {
    GuestOffset offset{};
    std::uint64_t length = 0;

    friend bool operator==(const ChangedRange&, const ChangedRange&) = default;
};

/// Told of a range; returns false to stop.
using OnChange = std::function<bool(const ChangedRange&)>;

/// Calls `on_change` for each range in which `left` and `right` may differ, in ascending order, none touching another.
/// Everywhere else they have the same bytes: both are zeros, or lie at the same place of the same file, or in chunks of
/// one digest. Reads metadata alone, and what of it can't be read is a range. What only the longer one has is one, too.
/// Errors: `cancelled`.
[[nodiscard]] Result<void> visit_changes(const Image& left, const Image& right, const OnChange& on_change);

} // namespace vdisk
