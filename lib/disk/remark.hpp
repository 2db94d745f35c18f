// SPDX-License-Identifier: Apache-2.0
/// What has to be said about how a disk came together.
#pragma once

#include <cstdint>
#include <string>

namespace vdisk {

struct Remark {
    enum class Weight : std::uint8_t {
        note,  ///< how it was decided; the bytes are the right ones as far as anything shows
        doubt, ///< bytes may be others than those that the guest saw: programs end with their status for damage
    };
    Weight weight = Weight::note;
    std::string text; ///< one line, safe to show

    friend bool operator==(const Remark&, const Remark&) = default;
};

} // namespace vdisk
