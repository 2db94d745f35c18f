// SPDX-License-Identifier: Apache-2.0
/// A bitmap that a file keeps beside its disk: which parts were written to since some moment, usually the last backup.
#pragma once

#include "base/address.hpp"
#include "base/error.hpp"
#include "base/facts.hpp"

#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace vdisk {

/// A part of the disk that was written to, or of which the bitmap can't be read.
struct DirtyRange {
    GuestOffset offset{};
    std::uint64_t length = 0;                  ///< > 0, never past the end of the disk
    std::shared_ptr<const Error> unreadable{}; ///< null: dirty
};

/// Told of one range; an error stops the visit.
using DirtyVisitor = std::function<Result<void>(const DirtyRange&)>;

struct DirtyBitmap {
    Facts facts;                       ///< its name, granularity and flags; valid UTF-8
    std::vector<std::string> warnings; ///< why its content may be wrong, if anything says so

    /// Tells the ranges in ascending order; two dirty ones never touch. May be called often and from several threads.
    std::function<Result<void>(const DirtyVisitor&)> visit;
};

} // namespace vdisk
