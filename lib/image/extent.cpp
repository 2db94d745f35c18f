// SPDX-License-Identifier: Apache-2.0
#include "image/extent.hpp"

#include <algorithm>

namespace vdisk {

bool Extent::goes_on_in(const Extent& next) const noexcept {
    if (kind != next.kind) return false;
    switch (kind) {
    case Kind::zero: return true;
    case Kind::stored:
        return source == next.source && enciphered == next.enciphered && host.value + length == next.host.value;
    case Kind::packed:
    case Kind::unreadable: return false;
    }
    return false;
}

Extent Extent::without_start(std::uint64_t skipped) const {
    Extent rest = *this;
    rest.length -= skipped;
    if (kind == Kind::stored) rest.host.value += skipped;
    return rest;
}

bool Mapping::absorb(const Mapping& next) noexcept {
    const bool one_run =
        asks_parent_ || next.asks_parent_ ? asks_parent_ == next.asks_parent_ : extent_.goes_on_in(next.extent_);
    if (one_run) extent_.length += next.length();
    return one_run;
}

Mapping Mapping::without_start(std::uint64_t skipped) const {
    Mapping rest = *this;
    rest.extent_ = extent_.without_start(skipped);
    return rest;
}

Mapping Mapping::cut_to(std::uint64_t length) const {
    Mapping part = *this;
    part.extent_.length = std::min(extent_.length, length);
    return part;
}

} // namespace vdisk
